import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core import ThresholdTable, calibrate_threshold, load_router
from routellm_core.calibration import strong_fraction_interval
from routellm_core.errors import CalibrationError, InvalidThresholdError
from routellm_core.intervals import exceedance_interval, wilson_interval

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
    assert calibrate_threshold(np.linspace(0, 1, 1000), 0.5).warnings == ()


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
        found = calibrate_threshold(rng.beta(2, 5, 400), 0.3, n_fresh=4000)
        fresh = np.mean(rng.beta(2, 5, 4000) >= found.threshold)
        covered += found.interval[0] <= fresh <= found.interval[1]
    # 95% of 300, less three standard errors of a binomial.
    assert covered >= 300 * 0.95 - 3 * np.sqrt(300 * 0.95 * 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "n_fresh", "fraction", "decimals"),
    [
        (500, None, 0.3, None),
        (2000, None, 0.5, None),
        (300, 3000, 0.2, None),
        (3000, 500, 0.7, None),
        (1000, math.inf, 0.1, None),
        (1000, None, 0.3, 3),  # with equal win rates
    ],
)
def test_the_realised_share_keeps_the_promise(n, n_fresh, fraction, decimals):
    """On 4,000 independent repeats the share on fresh traffic is in the interval as often as it says."""
    rng = np.random.default_rng(20261122)  # fixed before the first run
    repeats, covered = 4000, 0
    size = n if n_fresh is None else 200_000 if math.isinf(n_fresh) else n_fresh

    def draw(k):
        rates = rng.beta(2, 5, k)
        return rates if decimals is None else rates.round(decimals)

    for _ in range(repeats):
        found = calibrate_threshold(draw(n), fraction, n_fresh=n_fresh)
        if n_fresh == math.inf:
            # The share in the long run follows from the distribution function of beta(2, 5), which is a polynomial.
            x = found.threshold
            share = 1 - sum(math.comb(6, k) * x**k * (1 - x) ** (6 - k) for k in range(2, 7))
        else:
            share = np.mean(draw(size) >= found.threshold)
        covered += found.interval[0] - 1e-12 <= share <= found.interval[1] + 1e-12
    assert abs(covered / repeats - 0.95) <= 3 * math.sqrt(0.95 * 0.05 / repeats)


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_the_promise_holds_on_a_real_benchmark(outcome_data, fraction):
    """Of 200 halves of MMLU that the default router is calibrated on, the others agree in 90 to 99%."""
    pq = pytest.importorskip("pyarrow.parquet", reason="extra eval is not installed")
    prompts = pq.read_table(outcome_data / "routellm_mmlu.parquet", columns=["prompt"]).column(0).to_pylist()
    rates = load_router("default").strong_win_rates(prompts)
    rng = np.random.default_rng(20261122)  # fixed before the first run
    covered = 0
    for _ in range(200):
        here, there = np.array_split(rng.permutation(rates), 2)
        low, high = calibrate_threshold(here, fraction, n_fresh=there.size).interval
        covered += low <= np.mean(there >= calibrate_threshold(here, fraction).threshold) <= high
    assert 0.90 <= covered / 200 <= 0.99


@given(win_rates, fractions, st.sampled_from([1, 7, 1000, math.inf]))
def test_the_interval_is_one_of_shares(rates, fraction, n_fresh):
    low, high = calibrate_threshold(rates, fraction, n_fresh=n_fresh).interval
    assert 0 <= low <= high <= 1


def test_a_larger_sample_on_either_side_narrows_the_interval():
    def width(n, n_fresh):
        low, high = calibrate_threshold(np.linspace(0, 0.99, n), 0.3, n_fresh=n_fresh).interval
        return high - low

    assert width(1000, None) == width(1000, 1000) > width(1000, 10_000) > width(1000, 300_000) > width(1000, math.inf)
    assert width(100, 1000) > width(1000, 1000) > width(10_000, 1000)


@pytest.mark.parametrize("bad", [0, -1, 0.5, "many", float("nan"), True])
def test_bad_sizes_of_fresh_traffic_are_refused(bad):
    with pytest.raises(CalibrationError, match="n_fresh"):
        calibrate_threshold([0.1, 0.2], 0.5, n_fresh=bad)


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


def test_a_threshold_between_two_win_rates_lies_between_their_ranks():
    rates = np.arange(1, 101) / 100
    _, higher = exceedance_interval(31, 100, 100)
    lower, exact = exceedance_interval(30, 100, 100)
    assert strong_fraction_interval(rates, 0.71) == (lower, exact)  # one of them: 30 reach it
    assert strong_fraction_interval(rates, 0.705) == (lower, higher)
    assert higher > exact
    tied = np.where(rates > 0.7, 0.8, rates)
    assert strong_fraction_interval(tied, 0.8) == (lower, higher)
