"""Whether prompts are like those a router was calibrated on."""

import numpy as np
import pytest

from routellm_core import ThresholdTable
from routellm_core.drift import score_drift
from routellm_core.errors import CalibrationError


def table(n=5000, seed=0, a=2.0, b=5.0, decimals=12):
    rates = np.random.default_rng(seed).beta(a, b, n).round(decimals)
    return ThresholdTable.from_win_rates(rates, source="test")


def test_the_same_distribution_does_not_drift():
    rng = np.random.default_rng(1)
    reference = table()
    above = [score_drift(rng.beta(2, 5, 500), reference) for _ in range(300)]
    assert sum(drift.psi > drift.noise for drift in above) <= 10  # 1% of 300, and three standard errors
    assert not any(drift.warnings for drift in above)
    assert score_drift(rng.beta(2, 5, 500), reference).median_fraction == pytest.approx(0.5, abs=0.1)


def test_another_distribution_drifts():
    drift = score_drift(np.random.default_rng(1).beta(5, 2, 500), table())
    assert drift.psi > 0.25
    assert "far from" in drift.warnings[0]
    assert drift.median_fraction > 0.9
    slight = score_drift(np.random.default_rng(1).beta(2.6, 5, 2000), table())
    assert 0.1 < slight.psi < 0.25
    assert "not quite like" in slight.warnings[0]


def test_noise_is_that_of_both_samples():
    rates = np.random.default_rng(1).beta(2, 5, 500)
    assert score_drift(rates, table(n=5000)).noise == pytest.approx((1 / 500 + 1 / 5000) * 21.67)
    assert score_drift(rates, ThresholdTable.uniform(source="test")).noise == pytest.approx(21.67 / 500)


def test_few_prompts_show_no_drift():
    assert score_drift(np.full(3, 0.9), table()).warnings == ()


def test_psi_is_the_published_sum():
    # Ten classes of a tenth each; the sample has them at 19%, 9%, ..., 9%.
    rates = np.concatenate([np.full(1900, 0.05), *[np.full(900, 0.1 * k + 0.05) for k in range(1, 10)]])
    expected = 0.09 * np.log(1.9) + 9 * (-0.01) * np.log(0.9)
    assert score_drift(rates, ThresholdTable.uniform(source="test")).psi == pytest.approx(expected, rel=1e-3)


def test_equal_win_rates_are_no_drift():
    reference = table(decimals=1)
    same = np.random.default_rng(3).beta(2, 5, 2000).round(1)
    assert score_drift(same, reference).warnings == ()
    constant = ThresholdTable((0.4,) * 101, 100, "test")
    assert score_drift([0.1, 0.9], constant) is None


def test_no_prompts_are_refused():
    with pytest.raises(CalibrationError, match="win_rates"):
        score_drift([], table())
