import json
from dataclasses import replace

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.training.held_out import pair_outcomes, paired_gain, reference_pair
from routellm_core.training.measures import calibration_table, log_loss, prompt_blind_rates
from routellm_core.training.plots import draw_learning_curve, save_plots
from routellm_core.training.report import CalibrationBin, LossPoint, TrainingReport

REPORT = TrainingReport(
    router="mf",
    config={"dim": 8, "patience": None},
    seed=3,
    counts={"training battles": 90},
    history=(
        LossPoint(step=0, epoch=0, training=None, validation=0.7),
        LossPoint(step=9, epoch=1, training=0.6, validation=0.65),
    ),
    baseline_loss=0.69,
    validation_loss=0.65,
    best_step=9,
    seconds=1.5,
    metrics={"gain": {"value": 0.04, "low": 0.01, "high": 0.07}},
    calibration=(CalibrationBin(low=0.1, high=0.4, count=20, predicted=0.25, observed=0.3),),
)


def test_a_report_survives_json(tmp_path):
    path = REPORT.save(tmp_path / "new")
    assert TrainingReport.load(tmp_path / "new") == REPORT
    assert json.loads(path.read_text()) == REPORT.to_dict()


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"training_report\.json holds no training report"):
        TrainingReport.load(tmp_path)
    with pytest.raises(ConfigurationError, match="not a training report"):
        TrainingReport.from_dict({"history": [], "calibration": [], "unheard": 1})


def test_the_card_tells_data_settings_and_losses():
    assert REPORT.card_provenance() == {
        "data": {"training battles": 90},
        "settings": {"dim": 8},
        "seed": 3,
        "steps": 9,
    }
    assert REPORT.card_metrics()["log loss on the validation part"] == 0.65
    assert REPORT.card_metrics()["gain"] == REPORT.metrics["gain"]


def test_plots_are_written_without_a_display(tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    files = save_plots(REPORT, tmp_path / "plots")
    assert [file.name for file in files] == ["learning_curve.png", "calibration.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.parametrize(("validation_loss", "drawn"), [(0.65, True), (0.65003, True), (0.6, False)])
def test_the_loss_that_knows_no_prompt_is_drawn_beside_losses_of_its_kind(validation_loss, drawn):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    draw_learning_curve(replace(REPORT, validation_loss=validation_loss), axes)
    assert ("knows no prompt" in [line.get_label() for line in axes.lines]) == drawn
    assert axes.get_ylabel() == ("log loss" if drawn else "loss that training lowers")


# The numbers in it


def test_calibration_bins_are_of_like_size_and_keep_equal_predictions_together():
    generator = np.random.default_rng(0)
    rate = generator.random(1000)
    table = calibration_table((generator.random(1000) < rate).astype(float), rate)
    assert [row.count for row in table] == [100] * 10
    assert all(abs(row.observed - row.predicted) < 0.15 for row in table)
    equal = calibration_table([1.0, 0.0, 0.5, 1.0], [0.5, 0.5, 0.5, 0.9])
    assert [(row.count, row.predicted, row.observed) for row in equal] == [(3, 0.5, 0.5), (1, 0.9, 1.0)]


def test_the_log_loss_of_a_tie_and_of_certainty_is_finite():
    assert log_loss([0.5], [0.5]) == pytest.approx(np.log(2))
    assert 27 < log_loss([1.0], [0.0]) < 28
    assert log_loss([1.0, 0.0], [0.8, 0.8], [1.0, 0.0]) == pytest.approx(-np.log(0.8))


def test_the_baseline_knows_models_and_no_prompt():
    training = PreferenceDataset.from_columns(
        prompt=[f"p{i}" for i in range(8)],
        model_a=["x"] * 8,
        model_b=["y"] * 8,
        winner=["model_a"] * 6 + ["model_b"] * 2,
    )
    validation = PreferenceDataset.from_columns(
        prompt=["q", "r", "s"], model_a=["y", "x", "new"], model_b=["x", "y", "x"], winner=["tie"] * 3
    )
    rates = prompt_blind_rates(training, validation)
    assert rates[:2] == pytest.approx([0.25, 0.75], abs=1e-6)
    assert rates[2] == pytest.approx(1 / (1 + np.sqrt(3)), abs=1e-6)  # halfway between the two


def test_the_battles_of_a_pair_become_outcomes():
    battles = PreferenceDataset.from_columns(
        prompt=["q", "q", "r", "s"],
        model_a=["x", "y", "x", "x"],
        model_b=["y", "x", "y", "z"],
        winner=["model_a", "tie", "model_b", "model_a"],
    )
    table = pair_outcomes(battles, "x", "y")
    assert table.prompts == ("q", "r")
    assert table.scores.tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert pair_outcomes(battles, "y", "z") is None
    assert pair_outcomes(battles, "y", "absent") is None


def weighted(weight):
    return PreferenceDataset.from_columns(
        prompt=["q", "q", "q", "r", "r"],
        model_a=["x", "x", "y", "x", "x"],
        model_b=["y", "y", "x", "z", "z"],
        winner=["model_a", "model_b", "model_b", "model_a", "tie"],
        weight=weight,
    )


def test_the_weights_of_battles_count_in_the_pair():
    # Three battles of x and y against two of x and z, which weigh more.
    assert reference_pair(weighted(None), None, None) == ("x", "y")
    assert reference_pair(weighted([1, 1, 1, 2, 2]), None, None) == ("x", "z")
    assert reference_pair(weighted([1, 1, 1, 2, 2]), None, "x") == ("z", "x")
    assert pair_outcomes(weighted([2, 1, 5, 1, 1]), "x", "y").scores.tolist() == [[7 / 8, 1 / 8]]
    assert pair_outcomes(weighted([2, 1, 5, 0, 3]), "x", "z").scores.tolist() == [[0.5, 0.5]]
    assert pair_outcomes(weighted([2, 1, 5, 0, 0]), "x", "z") is None  # what weighs nothing says nothing
    # The better one is by weights, too: x lost to y where it counts.
    assert reference_pair(weighted([1, 9, 1, 0, 0]), None, None) == ("y", "x")


def test_a_gain_is_resampled_by_prompt():
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(50), 40)
    effect = generator.normal(0.1, 0.2, size=50)[clusters]
    others = np.ones(2000)
    clustered = paired_gain(others - effect, others, clusters)
    single = paired_gain(others - effect, others, np.arange(2000))
    assert clustered.value == pytest.approx(effect.mean())
    assert clustered.high - clustered.low > 3 * (single.high - single.low)


def test_a_gain_counts_weights():
    losses, others, prompts = np.array([0.1, 0.9, 0.2]), np.array([0.5, 0.5, 0.5]), np.array([0, 0, 1])
    gain = paired_gain(losses, others, prompts, weight=np.array([3.0, 0.0, 1.0]))
    assert gain.value == pytest.approx((3 * 0.4 + 0.3) / 4)
    assert (gain.low, gain.high) == pytest.approx((0.3, 0.4))


def test_the_baseline_counts_weights():
    battles = PreferenceDataset.from_columns(
        prompt=["p", "q"], model_a=["x"] * 2, model_b=["y"] * 2, winner=["model_a", "model_b"], weight=[3.0, 1.0]
    )
    assert prompt_blind_rates(battles, battles) == pytest.approx([0.75, 0.75], abs=1e-6)
