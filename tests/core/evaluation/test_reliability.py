import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.reliability import reliability


def test_calibrated_win_rates_are_on_the_diagonal():
    rng = np.random.default_rng(0)
    rates = rng.random(20_000)
    strong = (rng.random(20_000) < rates).astype(float)
    found = reliability(rates, 1 - strong, strong)
    assert found.expected_calibration_error < 0.02
    assert found.brier == pytest.approx(1 / 6, abs=0.01)
    assert all(abs(b.n - 2000) <= 1 for b in found.bins)
    assert len(found.bins) == 10
    assert sum(b.low <= b.predicted <= b.high for b in found.bins) >= 8


def test_ties_count_half_and_equal_win_rates_stay_together():
    found = reliability([0.2] * 6 + [0.9] * 4, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1, 1], n_bins=5)
    assert [(b.n, b.predicted) for b in found.bins] == [(6, pytest.approx(0.2)), (4, pytest.approx(0.9))]
    assert found.bins[0].observed == pytest.approx((1 + 5 * 0.5) / 6)
    assert found.bins[1].observed == 1.0
    assert found.bins[1].low < 0.8  # four of four are not certainty
    assert found.expected_calibration_error == pytest.approx(0.6 * abs(0.2 - 3.5 / 6) + 0.4 * 0.1)


def test_constant_win_rates_are_one_bin():
    found = reliability([0.5, 0.5, 0.5], [0, 0, 1], [1, 0, 0])
    assert [(b.n, b.observed) for b in found.bins] == [(3, 0.5)]
    with pytest.raises(ConfigurationError):
        reliability([], [], [])
