import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import win_probability
from routellm_core.training.matrix_factorization import MatrixFactorizationConfig, train_matrix_factorization
from routellm_core.training.measures import log_loss, model_columns, prompt_blind_strengths
from routellm_core.training.optimizers import Adam
from routellm_core.training.report import TrainingReport
from support.battles import GivenVectors, KnownFactors

KNOWN = KnownFactors.draw()
BATTLES = KNOWN.battles(6000, ties=0.1)
SHORT = MatrixFactorizationConfig(epochs=4)


def train(config=SHORT, battles=BATTLES, **options):
    return train_matrix_factorization(battles, KNOWN.embedder, config, **options)


def errors(router, known, n=5000):
    """Return the mean absolute errors of a router and of Bradley-Terry on pairs that were not trained on."""
    prompt, a, b = known.pairs(n, seed=7)
    truth = known.rates(prompt, a, b)
    column = [router.known_models.index(model) for model in known.models]
    qualities = router.model_qualities_from_embeddings(known.embedder.vectors)[:, column]
    return np.abs(win_probability(qualities[prompt, a], qualities[prompt, b]) - truth).mean(), truth


def test_it_learns_what_prompts_add():
    router, report = train(MatrixFactorizationConfig())
    found, truth = errors(router, KNOWN)
    assert truth.std() > 0.2
    assert found < 0.08
    assert report.validation_loss < report.baseline_loss - 0.05
    assert report.metrics["log loss gained over it"]["low"] > 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("n_models", "dimension"), [(10, 32), (20, 16), (64, 32)])
def test_it_recovers_known_factors(n_models, dimension):
    known = KnownFactors.draw(n_models=n_models, dimension=dimension, n_prompts=20_000, seed=n_models)
    battles = known.battles(65_000)
    router, _ = train_matrix_factorization(battles, known.embedder)
    found, truth = errors(router, known)
    strengths = prompt_blind_strengths(battles, known.models)
    _, a, b = known.pairs(len(truth), seed=7)
    blind = np.abs(win_probability(strengths[a], strengths[b]) - truth).mean()
    assert truth.std() >= 0.2
    assert found < 0.035
    assert found <= blind / 2


def test_one_seed_gives_the_same_weights_and_another_gives_others():
    first, second, other = (train(MatrixFactorizationConfig(epochs=2, seed=seed))[0] for seed in (3, 3, 4))
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_the_report_counts_and_its_losses_are_those_of_the_router():
    router, report = train()
    training, validation = BATTLES.split(validation_fraction=0.1, seed=0)
    assert report.counts["training battles"] == len(training)
    assert report.counts["validation prompts"] == len(validation.prompts)
    a, b = model_columns(validation, router.known_models)
    qualities = router.model_qualities_from_embeddings(KNOWN.embedder.embed(validation.prompts))
    rows = validation.prompt_index
    rates = win_probability(qualities[rows, a], qualities[rows, b])
    assert report.validation_loss == pytest.approx(log_loss(validation.outcome, rates), rel=1e-12)
    assert report.validation_loss == pytest.approx(min(point.validation for point in report.history), rel=1e-5)
    assert report.history[0].validation == pytest.approx(report.baseline_loss, rel=0.02)  # it starts at the ratings
    assert sum(row.count for row in report.calibration) == len(validation)
    assert max(abs(row.predicted - row.observed) for row in report.calibration) < 0.25


def test_what_was_trained_is_loaded_again_with_its_thresholds_and_card(tmp_path):
    router, report = train()
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path, embedder=KNOWN.embedder)
    prompts = [str(i) for i in range(100)]
    assert (loaded.score(prompts) == router.score(prompts)).all()
    assert loaded.thresholds == router.thresholds
    share = (router.strong_win_rates(prompts) >= router.thresholds.threshold_for(0.5)).mean()
    assert 0.3 < share < 0.7
    card = (tmp_path / "README.md").read_text()
    assert f"{report.validation_loss:.4f}" in card
    assert f"training battles: {report.counts['training battles']}" in card
    report.save(tmp_path)
    assert TrainingReport.load(tmp_path) == report


def test_it_stops_early_and_keeps_the_best_epoch():
    few = KNOWN.battles(400)
    _, report = train(MatrixFactorizationConfig(epochs=500, learning_rate=0.03, patience=3), few)
    losses = [point.validation for point in report.history]
    assert len(losses) < 100
    assert len(losses) - 1 - losses.index(min(losses)) == 3
    assert report.best_step == report.history[losses.index(min(losses))].step


def test_a_tie_is_half_a_win_or_left_out():
    # Every decided battle is won by "x"; ties are as many.
    prompts = [str(i // 2 % 50) for i in range(400)]
    winners = ["model_a", "tie"] * 200
    battles = PreferenceDataset.from_columns(prompt=prompts, model_a=["x"] * 400, model_b=["y"] * 400, winner=winners)
    rates = {
        ties: train(MatrixFactorizationConfig(ties=ties, epochs=200, start="random", learning_rate=0.01), battles)[0]
        .for_pair("x", "y")
        .strong_win_rates(["0", "1", "2"])
        .mean()
        for ties in ("half", "drop")
    }
    assert rates["half"] == pytest.approx(0.75, abs=0.05)
    assert rates["drop"] > 0.8


def test_swapping_the_sides_changes_nothing_that_is_learned():
    swapped = PreferenceDataset(
        prompts=BATTLES.prompts,
        models=BATTLES.models,
        prompt_index=BATTLES.prompt_index,
        model_a=BATTLES.model_b,
        model_b=BATTLES.model_a,
        outcome=1.0 - BATTLES.outcome,
        source=BATTLES.source,
    )
    pair = ("model-00", "model-01")
    config = MatrixFactorizationConfig(epochs=2, reference_strong=pair[0], reference_weak=pair[1])
    prompts = [str(i) for i in range(50)]
    one, other = (train(config, battles)[0].strong_win_rates(prompts) for battles in (BATTLES, swapped))
    assert one == pytest.approx(other, abs=1e-4)


def weighted(battles, weight):
    columns = {name: getattr(battles, name) for name in battles.__dataclass_fields__ if name != "weight"}
    return PreferenceDataset(**columns, weight=np.asarray(weight, float))


def contradicted(weight):
    """Return the battles, and their contradictions with a weight."""
    opposite = replace(BATTLES, outcome=1.0 - BATTLES.outcome)
    return PreferenceDataset.concat([weighted(BATTLES, np.ones(6000)), weighted(opposite, np.full(6000, weight))])


@pytest.mark.parametrize("start", ["bradley_terry", "random"])
def test_weights_count(start):
    config = MatrixFactorizationConfig(epochs=40, batch_size=100_000, learning_rate=0.02, weight_decay=0.0, start=start)
    prompts = [str(i) for i in range(50)]
    without, none, same = (train(config, data) for data in (BATTLES, contradicted(0.0), contradicted(1.0)))
    rates = [router.strong_win_rates(prompts) for router, _ in (without, none, same)]
    assert rates[0].std() > 0.1
    assert rates[1] == pytest.approx(rates[0], abs=0.01)
    assert rates[2] == pytest.approx(np.full(50, 0.5), abs=0.1)
    # What is measured counts them, too.
    assert none[1].validation_loss == pytest.approx(without[1].validation_loss, abs=0.005)
    assert none[1].baseline_loss == pytest.approx(without[1].baseline_loss, abs=1e-6)
    gains = [report.metrics["log loss gained over it"]["value"] for _, report in (without, none)]
    assert gains[1] == pytest.approx(gains[0], abs=0.005)


def test_noise_is_that_of_the_setting():
    config = MatrixFactorizationConfig(epochs=3, learning_rate=0.01)
    little, twice, much = (train(replace(config, noise=noise)) for noise in (0.01, 0.01, 5.0))
    assert little[0].fingerprint == twice[0].fingerprint
    learned = [report.history[0].validation - report.history[-1].validation for _, report in (little, much)]
    assert learned[0] > 0.05 > learned[1]


def test_weight_decay_keeps_weights_small():
    config = MatrixFactorizationConfig(epochs=5, start="random", learning_rate=0.01, patience=None)
    free, held = (
        train(replace(config, weight_decay=decay))[0].to_checkpoint().arrays["text_projection"] for decay in (0.0, 0.1)
    )
    assert np.abs(held).mean() < 0.7 * np.abs(free).mean()


def test_the_history_is_of_all_updates_and_weighs_the_short_last_batch_as_it_is():
    config = MatrixFactorizationConfig(epochs=2, batch_size=5000, learning_rate=1e-9)
    _, report = train(config)
    training, _ = BATTLES.split(validation_fraction=0.1, seed=0)
    assert len(training) % 5000 != 0
    assert [(point.step, point.epoch) for point in report.history] == [(0, 0), (2, 1), (4, 2)]
    # Nothing moves at that rate, so the mean over the updates is the loss of the part as a whole.
    router, _ = train(config)
    a, b = model_columns(training, router.known_models)
    qualities = router.model_qualities_from_embeddings(KNOWN.embedder.embed(training.prompts))
    rows = training.prompt_index
    rates = win_probability(qualities[rows, a], qualities[rows, b])
    assert report.history[1].training == pytest.approx(log_loss(training.outcome, rates), rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "bias", "normalised"), [("default", True, False), ("released", False, True), ("paper", True, False)]
)
def test_the_recipes(recipe, bias, normalised, tmp_path):
    router, report = train(MatrixFactorizationConfig.of_recipe(recipe, epochs=2, dim=16))
    checkpoint = router.to_checkpoint()
    assert ("bias" in checkpoint.arrays) == bias
    assert checkpoint.config.parameters["normalize_models"] is normalised
    assert report.config["epochs"] == 2
    assert report.config["ties"] == ("drop" if recipe == "released" else "half")


def test_the_published_settings_are_the_published_ones():
    released = MatrixFactorizationConfig.of_recipe("released")
    assert (released.dim, released.batch_size, released.epochs, released.noise) == (128, 64, 100, 0.1)
    assert (released.learning_rate, released.weight_decay, released.validation_fraction) == (3e-4, 1e-5, 0.05)
    paper = MatrixFactorizationConfig.of_recipe("paper")
    assert (paper.epochs, paper.noise, paper.bias) == (10, 0.0, True)


# The pair


def test_the_pair_that_met_most_is_the_reference_pair():
    battles = PreferenceDataset.from_columns(
        prompt=[str(i) for i in range(60)],
        model_a=["a"] * 40 + ["c"] * 20,
        model_b=["b"] * 60,
        winner=["model_b"] * 30 + ["model_a"] * 30,
    )
    router, _ = train(SHORT, battles)
    assert (router.reference_strong, router.reference_weak) == ("b", "a")
    router, _ = train(MatrixFactorizationConfig(epochs=1, reference_weak="c"), battles)
    assert (router.reference_strong, router.reference_weak) == ("b", "c")
    router, _ = train(MatrixFactorizationConfig(epochs=1, reference_strong="c"), battles)
    assert (router.reference_strong, router.reference_weak) == ("c", "b")
    router, _ = train(MatrixFactorizationConfig(epochs=1, reference_strong="a", reference_weak="c"), battles)
    assert (router.reference_strong, router.reference_weak) == ("a", "c")


def test_an_unknown_model_of_the_pair_is_named():
    with pytest.raises(UnknownModelError, match=r"reference_strong='gpt-9'.*model-00"):
        train(MatrixFactorizationConfig(reference_strong="gpt-9"))
    with pytest.raises(UnknownModelError, match=r"reference_weak='gpt-9'.*model-00"):
        train(MatrixFactorizationConfig(reference_weak="gpt-9"))
    with pytest.raises(ConfigurationError, match="'model-00' twice"):
        train(MatrixFactorizationConfig(reference_strong="model-00", reference_weak="model-00"))


# Resuming


def test_a_run_that_was_killed_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    config = MatrixFactorizationConfig(epochs=6, noise=0.05, patience=None)
    whole, report = train(config)
    steps_per_epoch = report.history[1].step
    original = Adam.step
    count = 0

    def dies(self, parameters, gradient):
        nonlocal count
        count += 1
        if count == int(2.5 * steps_per_epoch):
            raise KeyboardInterrupt
        original(self, parameters, gradient)

    monkeypatch.setattr(Adam, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(config, state_folder=tmp_path)
    done = count
    resumed, again = train(config, state_folder=tmp_path)
    assert count - done == 4 * steps_per_epoch  # two epochs were kept, the third was begun anew
    assert resumed.fingerprint == whole.fingerprint
    assert again.history == report.history
    ended, third = train(config, state_folder=tmp_path)
    assert ended.fingerprint == whole.fingerprint  # nothing is trained again
    assert third.seconds > again.seconds  # the time of all parts
    assert count - done == 4 * steps_per_epoch


def test_a_state_of_another_run_is_refused(tmp_path):
    train(SHORT, state_folder=tmp_path)
    with pytest.raises(ConfigurationError, match="differs in: epochs, seed"):
        train(MatrixFactorizationConfig(epochs=5, seed=1), state_folder=tmp_path)
    with pytest.raises(ConfigurationError, match="differs in: battles"):
        train(SHORT, BATTLES.select(np.arange(5000)), state_folder=tmp_path)
    with pytest.raises(ConfigurationError, match="differs in: battles"):
        train(SHORT, weighted(BATTLES, np.full(6000, 2.0)), state_folder=tmp_path)
    other = PreferenceDataset.from_columns(prompt=["1999"], model_a=["a"], model_b=["b"], winner=["tie"])
    with pytest.raises(ConfigurationError, match="differs in: validation"):
        train(SHORT, validation=other, state_folder=tmp_path)
    (tmp_path / "training_state.safetensors").write_bytes(b"no state")
    with pytest.raises(ConfigurationError, match="holds no training state"):
        train(SHORT, state_folder=tmp_path)


@pytest.mark.slow
def test_a_process_killed_at_random_moments_reaches_the_same_weights(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parents[2])!r})
            from support.battles import KnownFactors
            from routellm_core.training.matrix_factorization import *
            known = KnownFactors.draw()
            config = MatrixFactorizationConfig(epochs=40, dim=32, batch_size=32, patience=None)
            folder = sys.argv[1] if len(sys.argv) > 1 else None
            router, _ = train_matrix_factorization(known.battles(8000), known.embedder, config, state_folder=folder)
            print(router.fingerprint)
        """)
    )
    command = [sys.executable, str(script)]
    wanted = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    generator = np.random.default_rng()
    kills = 0
    for _ in range(200):
        with subprocess.Popen([*command, str(tmp_path / "state")], stdout=subprocess.PIPE, text=True) as process:
            try:
                out, _ = process.communicate(timeout=float(generator.uniform(0.8, 2.5)))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                time.sleep(0.01)
                continue
        assert out == wanted
        break
    assert kills > 0


# What cannot be trained


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"dim": 0}, "dim must be a whole number of 1 or more, not 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of 0 or more, not -1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"noise": float("nan")}, "noise must be 0 or more, not nan"),
        ({"ties": "win"}, "ties must be one of .*'half', 'drop'"),
        ({"start": "zero"}, "start must be one of"),
        ({"bias": False}, "start='bradley_terry' needs bias=True"),
    ],
)
def test_a_setting_out_of_range_is_named(setting, message):
    with pytest.raises(ConfigurationError, match=message):
        MatrixFactorizationConfig(**setting)


def test_an_unknown_recipe_or_setting_is_refused():
    with pytest.raises(ConfigurationError, match=r"recipe must be one of .*'paper'.* not 'arena'"):
        MatrixFactorizationConfig.of_recipe("arena")
    with pytest.raises(ConfigurationError, match="rank"):
        MatrixFactorizationConfig.of_recipe("paper", rank=4)


def test_battles_that_teach_nothing_are_refused():
    ties = PreferenceDataset.from_columns(
        prompt=["0", "1", "2"], model_a=["a"] * 3, model_b=["b"] * 3, winner=["tie"] * 3
    )
    with pytest.raises(ConfigurationError, match="every battle of a part is a tie"):
        train(MatrixFactorizationConfig(ties="drop"), ties)
    with pytest.raises(ConfigurationError, match="2 prompts are in the training and in the validation part"):
        train(SHORT, BATTLES, validation=BATTLES.select(np.arange(2)))


def test_a_part_to_hold_out_can_be_given():
    training, validation = BATTLES.split(validation_fraction=0.2, seed=5)
    _, report = train(SHORT, training, validation=validation)
    assert report.counts["validation battles"] == len(validation)
    assert report.counts["training battles"] == len(training)


def test_embeddings_that_are_at_hand_are_not_made_again():
    class Refuses(GivenVectors):
        def embed(self, texts):
            raise AssertionError

    vectors = KNOWN.embedder.embed(BATTLES.prompts)
    router, _ = train_matrix_factorization(BATTLES, Refuses(KNOWN.embedder.vectors), SHORT, embeddings=vectors)
    assert router.fingerprint == train()[0].fingerprint


def test_the_progress_bar_stays_away_where_there_is_no_terminal(capfd):
    train()
    assert capfd.readouterr() == ("", "")
