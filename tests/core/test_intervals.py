"""The predictive interval against scipy's distributions, and against counting."""

from itertools import combinations

import pytest

from routellm_core.intervals import exceedance_interval, wilson_interval


@pytest.mark.parametrize(
    ("above", "n", "fresh"), [(300, 1000, 1000), (1, 50, 200), (50, 50, 20), (3, 10_000, 500), (70, 100, 5000)]
)
def test_a_finite_sample_is_beta_binomial(above, n, fresh):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    law = stats.betabinom(fresh, above, n - above + 1)
    low, high = (round(share * fresh) for share in exceedance_interval(above, n, fresh))
    held = law.cdf(high) - law.cdf(low - 1)
    assert 0.95 <= held <= 0.95 + max(law.pmf(low), law.pmf(high)) + 1e-9
    # No interval that is one shorter holds as much.
    assert all(
        law.cdf(start + high - low - 1) - law.cdf(start - 1) < 0.95 for start in range(0, fresh, max(1, fresh // 500))
    )


@pytest.mark.parametrize(("above", "n"), [(300, 1000), (20, 50), (999, 1000), (100_000, 1_000_000)])
def test_the_long_run_is_beta(above, n):
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    low, high = exceedance_interval(above, n)
    law = stats.beta(above, n - above + 1)
    assert law.cdf(high) - law.cdf(low) == pytest.approx(0.95, abs=2e-3)
    assert exceedance_interval(above, n, 10**9) == pytest.approx((low, high), abs=1e-4)


def test_the_law_is_that_of_counting():
    # Of 3 + 2 exchangeable values, all 10 ways to choose the first three are equally likely.
    counts = [0, 0, 0]
    for first in combinations(range(5), 3):
        second_largest = sorted(first)[1]
        counts[sum(value > second_largest for value in range(5) if value not in first)] += 1
    assert counts == [3, 4, 3]
    # so 0..1 holds 70%, and 0..2 all.
    assert exceedance_interval(2, 3, 2, confidence=0.7) in ((0.0, 0.5), (0.5, 1.0))
    assert exceedance_interval(2, 3, 2, confidence=0.71) == (0.0, 1.0)


def test_beyond_all_values_it_is_certain():
    assert exceedance_interval(0, 10, 100) == (0.0, 0.0)
    assert exceedance_interval(11, 10, 100) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (8, 10, 0.49016, 0.94332), (10, 10, 0.72247, 1.0), (50, 100, 0.40383, 0.59617)],
)
def test_wilson_interval(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-5)
