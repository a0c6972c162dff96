"""Fine-tuning of transformers with a few thousand random weights: what is learned, when it ends, and how it goes on."""

import json
import math

import numpy as np
import pytest
from safetensors import safe_open

from routellm_core import load_router
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.training.resume import STATE_FILE, TrainingState
from support.tiny_transformers import language_model, require_torch, write_classifier

EASY, HARD = "What is the capital of France? {}", "Prove that the square root of two is irrational: {}"
SHARED = {"batch_size": 8, "max_length": 48, "validation_fraction": 0.25, "device": "cpu", "learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def trainers():
    """Skip where the extra `train` is missing."""
    require_torch()
    for module in ("accelerate", "peft"):
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def battles():
    """The strong model wins what is hard; what is easy is a tie or lost."""
    n = 96
    return PreferenceDataset.from_columns(
        prompt=[(HARD if i % 2 else EASY).format(i) for i in range(n)],
        model_a=["strong" if i % 3 else "weak" for i in range(n)],
        model_b=["weak" if i % 3 else "strong" for i in range(n)],
        winner=["tie" if i % 4 == 0 else ("model_a" if (i % 2 == 1) == (i % 3 > 0) else "model_b") for i in range(n)],
    )


@pytest.fixture
def llama(tmp_path):
    model, tokenizer = language_model()
    model.save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def pair(config_class, **changes):
    return config_class(**{**SHARED, "reference_strong": "strong", "reference_weak": "weak", **changes})


def check(router, report, battles, folder):
    assert report.validation_loss < report.baseline_loss - 0.1
    rates = router.strong_win_rates([HARD.format("x"), EASY.format("x")])
    assert rates[0] > rates[1] + 0.3
    router.save_pretrained(folder)
    loaded = load_router(folder)
    prompts = list(battles.prompts[:20])
    assert (loaded.strong_win_rates(prompts) == router.strong_win_rates(prompts)).all()
    assert loaded.thresholds == router.thresholds


def has_baseline(report):
    from matplotlib.figure import Figure

    from routellm_core.training.plots import draw_learning_curve

    axes = Figure().add_subplot()
    draw_learning_curve(report, axes)
    return "knows no prompt" in [line.get_label() for line in axes.lines]


@pytest.mark.parametrize("head", ["3way", "sigmoid"])
def test_an_encoder_learns_a_pair(battles, tmp_path, head):
    from routellm_core.training.bert import BertConfig, train_bert

    base = write_classifier(tmp_path / "encoder", labels=3 if head == "3way" else 1)
    config = pair(BertConfig, head=head, steps=60, evaluate_every=20)
    router, report = train_bert(battles, base, config, state_folder=tmp_path / "work")
    check(router, report, battles, tmp_path / "router")
    assert [point.step for point in report.history] == [20, 40, 60]
    assert has_baseline(report) == (head == "sigmoid")  # with three labels, another loss is lowered


def test_a_language_model_learns_to_write_labels(battles, llama, tmp_path):
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    config = pair(CausalLLMConfig, adapter="full", steps=60, evaluate_every=20)
    router, report = train_causal_llm(battles, llama, config, state_folder=tmp_path / "work")
    assert report.history[-1].validation < np.log(3)  # of the whole vocabulary, it writes hardly anything but labels
    assert not has_baseline(report)
    check(router, report, battles, tmp_path / "router")


@pytest.mark.parametrize("tied", [False, True])
def test_lora_learns_to_write_labels(battles, tmp_path, tied):
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    model, tokenizer = language_model(tied=tied)
    model.save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    config = pair(CausalLLMConfig, adapter="lora", steps=60, evaluate_every=20, learning_rate=1e-2)
    router, report = train_causal_llm(battles, tmp_path / "llama", config, state_folder=tmp_path / "work")
    assert report.history[-1].validation < np.log(3)
    check(router, report, battles, tmp_path / "router")


@pytest.mark.parametrize("router", ["bert", "causal_llm"])
def test_balanced_labels_count_the_same(llama, tmp_path, router):
    from routellm_core.training.bert import BertConfig, train_bert
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    # The strong model wins one battle in eight on every prompt.
    prompts = [EASY.format(i) for i in range(12)]
    few = PreferenceDataset.from_columns(
        prompt=prompts * 8,
        model_a=["strong"] * 96,
        model_b=["weak"] * 96,
        winner=["model_a"] * 12 + ["model_b"] * 84,
    )
    means = {}
    for balanced in (False, True):
        changes = {"balanced": balanced, "steps": 60, "evaluate_every": 10}
        work = tmp_path / f"work-{balanced}"
        if router == "bert":
            config = pair(BertConfig, head="sigmoid", learning_rate=1e-2, **changes)
            found, _ = train_bert(few, write_classifier(tmp_path / "encoder", labels=1), config, state_folder=work)
        else:
            found, _ = train_causal_llm(few, llama, pair(CausalLLMConfig, **changes), state_folder=work)
        means[balanced] = float(found.strong_win_rates(prompts).mean())
    print(means)
    assert means[False] < 0.25
    assert 0.35 < means[True] < 0.65


def recorded(monkeypatch):
    """Record the learning rate of every update."""
    from transformers import Trainer

    rates, original = [], Trainer.training_step

    def step(self, *arguments, **options):
        rates.append(self.optimizer.param_groups[0]["lr"])
        return original(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "training_step", step)
    return rates


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing(battles, tmp_path, monkeypatch):
    from routellm_core.training.bert import BertConfig, train_bert

    rates = recorded(monkeypatch)
    base = write_classifier(tmp_path / "encoder")
    config = pair(BertConfig, steps=20, warmup=0.25, learning_rate=1e-3, evaluate_every=20)
    train_bert(battles, base, config, state_folder=tmp_path / "work")
    rising, falling = [step / 5 for step in range(5)], [(20 - step) / 15 for step in range(5, 20)]
    assert rates == pytest.approx([1e-3 * share for share in rising + falling])


def test_it_stops_early_and_keeps_the_lowest_loss(battles, tmp_path):
    from routellm_core.training.bert import BertConfig, train_bert

    flipped = PreferenceDataset.from_columns(
        prompt=[f"{prompt}!" for prompt in battles.prompts],
        model_a=["strong"] * len(battles.prompts),
        model_b=["weak"] * len(battles.prompts),
        winner=["model_b" if i % 2 else "model_a" for i in range(len(battles.prompts))],
    )  # whatever is learned is wrong there
    base = write_classifier(tmp_path / "encoder")
    config = pair(BertConfig, steps=200, evaluate_every=5, patience=2, learning_rate=1e-3)
    router, report = train_bert(battles, base, config, validation=flipped, state_folder=tmp_path / "work")
    losses = [point.validation for point in report.history]
    assert len(losses) - 1 - losses.index(min(losses)) == 2
    assert len(losses) < 40
    assert report.best_step == report.history[losses.index(min(losses))].step
    chances = np.log(np.asarray(router.strong_win_rates(flipped.prompts)))
    lost = -np.log1p(-router.strong_win_rates(flipped.prompts))
    won = np.arange(len(chances)) % 2 == 0
    assert report.validation_loss == pytest.approx(np.where(won, -chances, lost).mean(), rel=1e-4)


def test_a_run_that_was_killed_goes_on_from_its_last_measurement(battles, llama, tmp_path, monkeypatch):
    from transformers import Trainer

    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    config = pair(CausalLLMConfig, steps=12, evaluate_every=4)
    _, whole = train_causal_llm(battles, llama, config, state_folder=tmp_path / "whole")
    done, original = [], Trainer.training_step

    def step(self, *arguments, **options):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(self.optimizer.param_groups[0]["lr"])
        return original(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", step)
        with pytest.raises(KeyboardInterrupt):
            train_causal_llm(battles, llama, config, state_folder=tmp_path / "cut")
    with safe_open(tmp_path / "cut" / STATE_FILE, framework="numpy") as state:
        before = json.loads(state.metadata()["facts"])["seconds"]
        key = json.loads(state.metadata()["key"])
    assert before > 0
    TrainingState(tmp_path / "cut", key).save({}, {"seconds": before + 1000})  # as though the first part had been long
    rates = recorded(monkeypatch)
    router, resumed = train_causal_llm(battles, llama, config, state_folder=tmp_path / "cut")
    assert before + 1000 < resumed.seconds < before + 1000 + 10 * whole.seconds
    assert len(rates) == 8  # the state after step 4 was kept
    assert rates[:3] == pytest.approx(done[4:])  # the learning rate goes on, too
    assert [point.step for point in resumed.history] == [4, 8, 12]
    assert resumed.validation_loss == pytest.approx(whole.validation_loss, abs=1e-4)
    assert math.isfinite(router.strong_win_rates(["Hi"])[0])
    few = battles.select(np.arange(60))
    with pytest.raises(ConfigurationError, match="differs in: battles"):
        train_causal_llm(few, llama, config, state_folder=tmp_path / "cut")
