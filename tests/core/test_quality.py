"""Thresholds for a wanted quality."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import CalibrationError
from routellm_core.quality import calibrate_quality


def graded(n, rng, gap=0.5):
    """Return win rates and scores of a router that knows how hard prompts are for the weak model."""
    hardness = rng.beta(3, 3, n)
    strong = rng.random(n) < 0.85
    weak = rng.random(n) < 0.85 - gap * hardness
    return hardness, weak.astype(float), strong.astype(float)


def recovered(rates, weak, strong, threshold):
    gains = strong - weak
    return gains[rates >= threshold].sum() / gains.sum()


@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from([1, 2, 12]))
def test_the_fewest_strong_calls_that_suffice(seed, quality, decimals):
    rates, weak, strong = graded(60, np.random.default_rng(seed))
    rates = rates.round(decimals)
    if strong.mean() <= weak.mean():
        return
    found = calibrate_quality(rates, weak, strong, quality, resamples=1)
    assert found.achieved_quality == pytest.approx(recovered(rates, weak, strong, found.threshold))
    assert found.achieved_quality >= quality - 1e-9
    assert found.achieved_fraction == np.mean(rates >= found.threshold)
    for higher in np.unique(rates[rates > found.threshold]):
        assert recovered(rates, weak, strong, higher) < quality + 1e-9


def test_the_ends_are_the_two_models():
    rates, weak, strong = graded(500, np.random.default_rng(0))
    assert calibrate_quality(rates, weak, strong, 0.0).achieved_fraction == 0.0
    # A router that knows the answers recovers everything with the calls on which strong is better.
    oracle = (1 + strong - weak) / 2
    assert calibrate_quality(oracle, weak, strong, 1.0).achieved_fraction == np.mean(strong > weak)


def test_the_interval_tells_of_the_search():
    rates, weak, strong = graded(400, np.random.default_rng(1))
    found = calibrate_quality(rates, weak, strong, 0.5)
    low, high = found.quality_interval
    assert low < 0.5 < high
    assert found == calibrate_quality(rates, weak, strong, 0.5)  # seeded
    wide = calibrate_quality(rates, weak, strong, 0.5, n_fresh=100).quality_interval
    assert wide[1] - wide[0] > high - low
    narrow = calibrate_quality(rates, weak, strong, 0.5, n_fresh=math.inf).quality_interval
    assert narrow[1] - narrow[0] < high - low


def test_a_small_gap_is_told():
    weak = np.tile([0.0, 1.0], 50)
    strong = 1 - weak
    strong[0] = 0.0  # 49 better, 50 worse
    strong[[1, 3]] = 1.0  # 49 better, 48 worse
    found = calibrate_quality(np.linspace(0, 1, 100), weak, strong, 0.5)
    assert any("no gap at all" in warning for warning in found.warnings)
    rates, weak, strong = graded(60, np.random.default_rng(3))
    assert any("grade more" in warning for warning in calibrate_quality(rates, weak, strong, 0.5).warnings)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (([0.5, 0.6], [0, 1], [1], 0.5), "one and the same length"),
        (([], [], [], 0.5), "one and the same length"),
        (([0.5], [float("nan")], [1], 0.5), "finite"),
        (([0.5], [0], [1], 50), "quality"),
        (([0.5], [0], [1], True), "quality"),
        (([1.5], [0], [1], 0.5), "win_rates"),
        (([0.5], [1], [0], 0.5), "no better"),
        (([0.5], [1], [1], 0.5), "no better"),
    ],
)
def test_bad_input_is_refused(arguments, why):
    with pytest.raises(CalibrationError, match=why):
        calibrate_quality(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_fresh"), [(500, None), (1000, 400)])
def test_both_intervals_keep_their_promise(n, n_fresh):
    """On 1,000 repeats quality and share on fresh prompts are in their intervals; both are approximate here."""
    rng = np.random.default_rng(20261122)  # fixed before the first run
    repeats, quality, share = 1000, 0, 0
    for _ in range(repeats):
        found = calibrate_quality(*graded(n, rng), 0.5, n_fresh=n_fresh, resamples=300, seed=int(rng.integers(1 << 30)))
        fresh = graded(n if n_fresh is None else n_fresh, rng)
        quality += found.quality_interval[0] <= recovered(*fresh, found.threshold) <= found.quality_interval[1]
        share += found.interval[0] <= np.mean(fresh[0] >= found.threshold) <= found.interval[1]
    for covered in (quality, share):
        assert 0.92 <= covered / repeats <= 0.98


def test_the_interval_counts_that_the_threshold_is_from_a_sample():
    rng = np.random.default_rng(4)
    rates = rng.random(400)
    strong = (rng.random(400) < 0.9).astype(float)
    weak = (rng.random(400) < 0.9 - 0.5 * rates).astype(float)
    long_run = calibrate_quality(rates, weak, strong, 0.5, n_fresh=math.inf, resamples=200).quality_interval
    assert long_run[1] - long_run[0] > 0.1  # no noise is left but that of the threshold
    once_more = calibrate_quality(rates, weak, strong, 0.5, resamples=200).quality_interval
    assert once_more[1] - once_more[0] > 1.1 * (long_run[1] - long_run[0])
