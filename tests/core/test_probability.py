"""Probability calibration, by both methods."""

import json

import numpy as np
import pytest

from routellm_core import RoutingEngine, load_router
from routellm_core.config import load_config
from routellm_core.errors import CalibrationError, ConfigurationError
from routellm_core.evaluation.reliability import reliability
from routellm_core.probability import ProbabilityCalibration, fit_probabilities
from routellm_core.routers.calibrated import CalibratedRouter
from routellm_core.testing import RouterContract
from support.pools import NamedPoolRouter

pytest.importorskip("sklearn", reason="extra eval is not installed")


def overconfident(n, seed=0):
    """Return win rates whose log-odds are twice what they should be, and outcomes."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(3, 3, n)
    odds = (truth / (1 - truth)) ** 2
    return odds / (1 + odds), (rng.random(n) < truth).astype(float), truth


@pytest.mark.parametrize(("method", "close"), [("isotonic", 0.03), ("platt", 0.02)])
def test_frequencies_come_true_on_other_prompts(method, close):
    rates, wins, _ = overconfident(20_000)
    fitted = fit_probabilities(rates, wins, method=method)
    fresh, outcomes, truth = overconfident(5000, seed=1)
    assert np.abs(fitted.apply(fresh) - truth).mean() < close
    before = reliability(fresh, 1 - outcomes, outcomes)
    after = reliability(fitted.apply(fresh), 1 - outcomes, outcomes)
    assert after.expected_calibration_error < before.expected_calibration_error / 2
    assert after.brier < before.brier
    assert fitted.warnings == ()


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_it_never_turns_the_order_round_and_survives_json(method, tmp_path):
    rates, wins, _ = overconfident(200)
    fitted = fit_probabilities(rates, wins, method=method)
    grid = fitted.apply(np.linspace(0, 1, 5001))
    assert (np.diff(grid) >= 0).all()
    assert ((grid >= 0) & (grid <= 1)).all()
    assert (np.diff(fitted.apply(np.sort(rates))) > 0).all() or method == "isotonic"
    fitted.save(tmp_path / "calibration.json")
    assert ProbabilityCalibration.load(tmp_path / "calibration.json") == fitted


def test_isotonic_agrees_with_pooling_by_hand():
    fitted = fit_probabilities([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    assert fitted.apply([0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 1.0]).tolist() == [0, 0, 0.5, 0.5, 0.5, 1, 1]


def test_platt_finds_the_slope_and_the_intercept():
    rates, wins, _ = overconfident(200_000)
    fitted = fit_probabilities(rates, wins, method="platt")
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    low, high = logit(fitted.apply([0.2, 0.8]))
    assert (high - low) / (logit(0.8) - logit(0.2)) == pytest.approx(0.5, abs=0.02)
    assert low + high == pytest.approx(0, abs=0.03)


def test_ties_count_half():
    fitted = fit_probabilities(np.full(10, 0.7), np.full(10, 0.5))
    assert fitted.apply(0.7) == pytest.approx(0.5)


def test_few_prompts_are_told():
    rates, wins, _ = overconfident(200)
    assert "platt needs fewer" in fit_probabilities(rates, wins).warnings[0]
    assert fit_probabilities(rates, wins, method="platt").warnings == ()


def test_a_router_that_is_wrong_cannot_be_calibrated():
    rates, wins, _ = overconfident(2000)
    with pytest.raises(CalibrationError, match="only replaced"):
        fit_probabilities(rates, 1 - wins, method="platt")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (([0.5], [0, 1]), "one length"),
        (([], []), "one length"),
        (([1.5], [1]), r"\[0, 1\]"),
        (([0.5], [float("nan")]), r"\[0, 1\]"),
        (([0.5], [1], "beta"), "method"),
    ],
)
def test_bad_input_is_refused(arguments, why):
    rates, wins, *method = arguments
    with pytest.raises(CalibrationError, match=why):
        fit_probabilities(rates, wins, **({"method": method[0]} if method else {}))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"method": "platt", "knots": [0.5, 0.1], "values": [0, 1], "n_prompts": 9}),
        json.dumps({"method": "platt", "knots": [0.1, 0.5], "values": [1, 0], "n_prompts": 9}),
    ],
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CalibrationError):
        ProbabilityCalibration.load(tmp_path / "c.json")
    with pytest.raises(CalibrationError, match="cannot be read"):
        ProbabilityCalibration.load(tmp_path / "missing.json")


PROMPTS = [f"{'why ' * (i % 97)}question {i}" for i in range(300)]
WINS = [float(i % 97 > 48) for i in range(300)]


class TestCalibratedRouter(RouterContract):
    def make_router(self):
        return CalibratedRouter.fit(load_router("length"), PROMPTS, WINS, method="platt")


def test_a_calibrated_router_routes():
    router = CalibratedRouter.fit(load_router("length"), PROMPTS, WINS)
    assert router.name == "length+isotonic"
    assert router.thresholds.n_prompts == 300
    engine = RoutingEngine(router)
    share = np.mean([decision.choice == "strong" for decision in engine.decide_batch(PROMPTS)])
    assert 0.4 <= share <= 0.5
    other = CalibratedRouter.fit(load_router("length"), PROMPTS, WINS, method="platt")
    assert len({router.fingerprint, other.fingerprint, load_router("length").fingerprint}) == 3
    assert router.fingerprint == CalibratedRouter.fit(load_router("length"), PROMPTS, WINS).fingerprint


def test_only_pairs_are_calibrated(tmp_path):
    with pytest.raises(ConfigurationError, match="pair"):
        CalibratedRouter(NamedPoolRouter(), fit_probabilities([0.1, 0.9], [0, 1]))


def test_the_configuration_names_the_file(tmp_path):
    fitted = fit_probabilities(load_router("length").strong_win_rates(PROMPTS), WINS, method="platt")
    fitted.save(tmp_path / "calibration.json")
    (tmp_path / "routing.yaml").write_text(
        "models: {large: {}, small: {}}\n"
        "routers: {main: {load: length, probabilities: calibration.json}}\n"
        "chains: {a: {strong: large, weak: small, router: main, threshold: 0.5}}\n"
    )
    decision = load_config(tmp_path / "routing.yaml").engine("a").decide(PROMPTS[90])
    raw = load_router("length").strong_win_rate(PROMPTS[90])
    assert decision.strong_win_rate == pytest.approx(float(fitted.apply(raw)))
    (tmp_path / "calibration.json").unlink()
    with pytest.raises(ConfigurationError, match=r"line 3.*cannot be read"):
        load_config(tmp_path / "routing.yaml").engine("a")
