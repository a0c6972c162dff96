import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core import ThresholdTable, calibrate_threshold
from routellm_core.errors import CalibrationError, InvalidThresholdError
from routellm_core.intervals import wilson_interval

win_rates = st.lists(st.floats(0, 1), min_size=1, max_size=200)
fractions = st.floats(0, 1)


@given(win_rates, fractions)
def test_the_share_never_exceeds_what_was_asked(rates, fraction):
    found = calibrate_threshold(rates, fraction)
    ones = sum(rate == 1.0 for rate in rates) / len(rates)  # no threshold in [0, 1] keeps these out
    assert found.achieved_fraction <= max(fraction, ones) + 1e-9
    assert found.achieved_fraction == np.mean(np.array(rates) >= found.threshold)


@given(win_rates, fractions, fractions)
def test_more_strong_calls_need_no_higher_threshold(rates, a, b):
    low, high = sorted([a, b])
    assert calibrate_threshold(rates, high).threshold <= calibrate_threshold(rates, low).threshold


@given(st.integers(1, 300), st.integers(0, 100))
def test_distinct_win_rates_reach_the_share_exactly(n, percent):
    rates = np.random.default_rng(n).permutation(np.linspace(0.1, 0.9, n))
    found = calibrate_threshold(rates, percent / 100)
    assert round(found.achieved_fraction * n) == int(np.floor(percent / 100 * n + 1e-9))


def test_ties_stay_below_the_budget_and_are_reported():
    found = calibrate_threshold([0.2] * 50 + [0.8] * 150, 0.5)
    assert found.achieved_fraction == 0.0
    assert "cannot be split" in found.warnings[0]


def test_a_constant_router_is_reported():
    assert "cannot tell" in calibrate_threshold([0.4] * 200, 0.5).warnings[0]


def test_few_prompts_are_reported():
    assert "only 4 prompts" in calibrate_threshold([0.1, 0.2, 0.3, 0.4], 0.5).warnings[-1]


@pytest.mark.parametrize("bad", [[], [[0.1]], [0.1, float("nan")], [0.1, 1.5], [-0.1]])
def test_bad_win_rates_are_refused(bad):
    with pytest.raises(CalibrationError, match="win_rates"):
        calibrate_threshold(bad, 0.5)


@pytest.mark.parametrize("bad", [-0.1, 30, float("nan"), True, "half"])
def test_bad_fractions_are_refused(bad):
    with pytest.raises(CalibrationError, match="strong_fraction"):
        calibrate_threshold([0.1, 0.2], bad)


def test_wilson_interval_matches_published_values():
    # Newcombe (1998), Statistics in Medicine 17:857-872, table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_the_interval_covers_the_share_on_fresh_prompts():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        found = calibrate_threshold(rng.beta(2, 5, 400), 0.3)
        fresh = np.mean(rng.beta(2, 5, 20_000) >= found.threshold)
        covered += found.interval[0] <= fresh <= found.interval[1]
    # 95% of 300, less three standard errors of a binomial.
    assert covered >= 300 * 0.95 - 3 * np.sqrt(300 * 0.95 * 0.05)


@given(win_rates, st.integers(0, 100))
def test_a_table_agrees_with_calibrating_directly(rates, percent):
    table = ThresholdTable.from_win_rates(rates, source="test")
    assert table.threshold_for(percent / 100) == pytest.approx(calibrate_threshold(rates, percent / 100).threshold)
    assert ThresholdTable.from_dict(table.to_dict()) == table


@pytest.mark.parametrize("bad", [(0.5,), tuple(np.linspace(0, 1, 101)), tuple(np.linspace(2, 0, 101))])
def test_a_bad_table_is_refused(bad):
    with pytest.raises(CalibrationError):
        ThresholdTable(bad, 10, "test")


def test_thresholds_are_checked_where_they_are_used():
    from routellm_core import routing

    for bad in (1.1, -0.1, float("nan"), "0.5", True):
        with pytest.raises(InvalidThresholdError, match=r"\[0, 1\]"):
            routing(threshold=bad)
