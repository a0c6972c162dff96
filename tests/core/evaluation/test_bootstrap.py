"""The fast bootstrap against drawing prompts one by one, and what it promises."""

import math

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation import (
    CostQualityCurve,
    average_improvement_in_quality,
    average_performance_gap_recovered,
    bootstrap_pair,
    call_performance_threshold,
    calls_saved,
)
from routellm_core.evaluation.bootstrap import GRID, map_resamples, pair_figures
from routellm_core.evaluation.interval import interval_from_draws
from routellm_core.evaluation.metrics import recovered


def simulate(rng, n, *, graded=False):
    """A router that knows a little of which prompts are hard, and a strong model that is better on those."""
    hard = rng.random(n)
    rates = hard + rng.normal(scale=0.3, size=n)
    if graded:  # judge's scores, and win rates with ties
        strong = np.clip(np.round(9.3 - hard + rng.normal(size=n)), 1, 10)
        weak = np.clip(np.round(8.5 - 2 * hard + 1.5 * rng.normal(size=n)), 1, 10)
        return np.round(10 * rates), weak, strong
    strong, weak = rng.random(n) < 0.95 - 0.2 * hard, rng.random(n) < 0.9 - 0.6 * hard
    return rates, weak.astype(float), strong.astype(float)


@pytest.fixture
def data():
    return simulate(np.random.default_rng(3), 300)


@pytest.mark.parametrize("graded", [False, True])
def test_every_figure_is_that_of_the_drawn_prompts(graded):
    """Whatever is drawn: the same numbers as from the curve of the drawn prompts."""
    rates, weak, strong = simulate(np.random.default_rng(1), 50, graded=graded)
    n = len(rates)
    order = np.argsort(-rates, kind="stable")
    counted = map_resamples(lambda counts: counts, n, 30, seed=5)
    for counts in np.concatenate(counted):
        rows = np.repeat(np.arange(n), counts.astype(int))
        curve = CostQualityCurve.from_win_rates(rates[rows], weak[rows], strong[rows])
        x = np.concatenate([[0], np.cumsum(counts[order])]) / n
        q = np.concatenate([[0], np.cumsum((counts * (strong - weak))[order])]) / n + weak[rows].mean()
        ends = np.append(np.flatnonzero(np.diff(rates[order])) + 1, n)
        at = np.concatenate([[0], ends])
        found = pair_figures(x[None, at], q[None, at], n, (0.2, 0.5, 0.8))
        expected = {
            "apgr": average_performance_gap_recovered(curve),
            "apgr_deciles": average_performance_gap_recovered(curve, "deciles"),
            "apgr_mean10": average_performance_gap_recovered(curve, "mean10"),
            "auc": curve.auc,
            "aiq": average_improvement_in_quality(GRID, np.interp(GRID, curve.strong_fraction, curve.quality)),
            "pgr50": np.interp(0.5, curve.strong_fraction, recovered(curve.quality)),
        }
        for level in (0.2, 0.5, 0.8):
            expected[f"cpt{100 * level:g}"] = call_performance_threshold(curve, level)
            points, relative = calls_saved(curve, level)
            expected[f"saved{100 * level:g}"] = points
            expected[f"saved{100 * level:g}_relative"] = relative
        assert {key: float(value[0]) for key, value in found.items()} == pytest.approx(expected)


def test_values_are_those_of_the_exact_curve(data):
    found = bootstrap_pair({"a": data[0]}, data[1], data[2], resamples=50)
    curve = CostQualityCurve.from_win_rates(*data)
    assert found.figures["a"]["apgr"].value == pytest.approx(average_performance_gap_recovered(curve))
    assert found.figures["a"]["cpt80"].value == pytest.approx(call_performance_threshold(curve, 0.8))
    assert (found.weak.value, found.strong.value) == pytest.approx((data[1].mean(), data[2].mean()))
    for share, alone in ((0, found.weak), (-1, found.strong)):  # a band ends in the intervals of the two models
        np.testing.assert_allclose(found.bands["a"][:, share], [alone.value, alone.low, alone.high])
    np.testing.assert_allclose(found.bands["a"][0], np.interp(GRID, curve.strong_fraction, curve.quality))
    for figure in found.figures["a"].values():
        assert figure.low <= figure.value <= figure.high
        assert figure.reason is None


def test_it_is_the_bootstrap_of_drawing_prompts_one_by_one(data):
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1500):
        rows = rng.integers(0, 300, 300)
        drawn.append(average_performance_gap_recovered(CostQualityCurve.from_win_rates(*(x[rows] for x in data))))
    slow = np.quantile(drawn, [0.025, 0.975])
    fast = bootstrap_pair({"a": data[0]}, data[1], data[2], resamples=1500, figures=["apgr"]).figures["a"]["apgr"]
    np.testing.assert_allclose([fast.low, fast.high], slow, atol=0.12 * np.ptp(slow))


def test_interval_leaves_half_of_the_rest_on_either_side():
    draws = np.arange(1001.0)
    found, narrow = interval_from_draws(500, draws), interval_from_draws(500, draws, confidence=0.8)
    assert (found.low, found.high) == pytest.approx((25, 975))
    assert (narrow.low, narrow.high) == pytest.approx((100, 900))


def test_no_resample_comes_twice():
    drawn = np.concatenate(map_resamples(lambda counts: counts, 300_000, 7, 0))  # in chunks of three
    assert drawn.shape == (7, 300_000)
    assert (drawn.sum(axis=1) == 300_000).all()
    assert len(np.unique(drawn[:, :50], axis=0)) == 7


def test_more_prompts_than_points_of_a_resample():
    rates, weak, strong = simulate(np.random.default_rng(2), 30_000)
    found = bootstrap_pair({"a": rates}, weak, strong, resamples=20)
    curve = CostQualityCurve.from_win_rates(rates, weak, strong)
    assert found.figures["a"]["apgr"].value == pytest.approx(average_performance_gap_recovered(curve), abs=1e-12)
    half = (found.figures["a"]["apgr"].high - found.figures["a"]["apgr"].low) / 2
    assert 0.003 < half < 0.02


def test_results_do_not_depend_on_the_number_of_cores(data, monkeypatch):
    monkeypatch.setattr("routellm_core.evaluation.bootstrap._CHUNK", 3000)
    results = []
    for cores in (1, 4):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        results.append(bootstrap_pair({"a": data[0]}, data[1], data[2], resamples=35, seed=9).figures)
    assert results[0] == results[1]


def test_seed_decides(data):
    def apgr(seed):
        return bootstrap_pair({"a": data[0]}, data[1], data[2], resamples=60, seed=seed).figures["a"]["apgr"]

    assert apgr(1) == apgr(1)
    assert apgr(1) != apgr(2)
    assert apgr(1).value == apgr(2).value


def test_differences_are_paired(data):
    rates, weak, strong = data
    rng = np.random.default_rng(8)
    close = rates + rng.normal(scale=0.05, size=len(rates))
    found = bootstrap_pair({"a": rates, "same": rates + 1, "close": close}, weak, strong, resamples=300)
    assert all((f.value, f.low, f.high) == (0, 0, 0) for f in found.differences["a", "same"].values())
    difference, one = found.differences["a", "close"]["apgr"], found.figures["a"]["apgr"]
    assert difference.value == pytest.approx(one.value - found.figures["close"]["apgr"].value)
    assert difference.high - difference.low < 0.5 * (one.high - one.low)
    assert set(found.differences) == {("a", "same"), ("a", "close"), ("same", "close")}


def test_fewer_than_ten_prompts_say_nothing():
    rng = np.random.default_rng(0)
    rates, weak, strong = simulate(rng, 9)
    found = bootstrap_pair({"a": rates, "b": -rates}, weak, strong, resamples=20)
    for figure in (*found.figures["a"].values(), *found.differences["a", "b"].values()):
        assert math.isnan(figure.value)
        assert figure.reason == "9 prompts are fewer than 10"


def test_no_gap_says_why():
    scores = np.array([0.0, 1.0] * 10)
    found = bootstrap_pair({"a": np.arange(20.0)}, scores, scores[::-1], resamples=20).figures["a"]
    assert all(math.isnan(f.value) and f.reason.startswith("no gap") for f in found.values())


def test_equal_win_rates_say_why_unless_an_expectation_is_meant(data):
    _, weak, strong = data
    found = bootstrap_pair(
        {"stuck": np.full(300, 0.5), "random": np.full(300, 0.5)}, weak, strong, resamples=20, expectations=["random"]
    ).figures
    assert all("same win rate" in f.reason for f in found["stuck"].values())
    assert found["random"]["apgr"].value == pytest.approx(0.5)
    assert found["random"]["cpt80"].value == pytest.approx(0.8)
    assert found["random"]["apgr_mean10"].value == pytest.approx(0.55)
    assert found["random"]["apgr"].low == pytest.approx(0.5)


def test_interval_that_too_many_resamples_do_not_define():
    draws = np.concatenate([np.full(10, np.nan), np.arange(90.0)])
    found = interval_from_draws(3.0, draws)
    assert found.value == 3.0
    assert math.isnan(found.low)
    assert "10% of the resamples" in found.reason
    assert interval_from_draws(3.0, draws[8:]).reason is None


@pytest.mark.parametrize("options", [{"resamples": 0}, {"confidence": 1.0}, {"levels": (80,)}, {"figures": ["apqr"]}])
def test_arguments_are_checked(data, options):
    with pytest.raises(ConfigurationError):
        bootstrap_pair({"a": data[0]}, data[1], data[2], **options)


def test_no_router():
    with pytest.raises(ConfigurationError, match="there is no router to evaluate"):
        bootstrap_pair({}, [0, 1], [1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("graded", [False, True], ids=["right or wrong", "judge's scores and tied win rates"])
def test_intervals_cover_the_truth_as_often_as_they_say(graded):
    """95% within three binomial standard errors, on 2,000 independent samples of 500 prompts. The seeds were fixed beforehand."""
    repeats, n = 2000, 500
    curve = CostQualityCurve.from_win_rates(*simulate(np.random.default_rng(1), 4_000_000, graded=graded))
    truth = {
        "apgr": average_performance_gap_recovered(curve),
        "pgr50": float(np.interp(0.5, curve.strong_fraction, recovered(curve.quality))),
    }
    hits = dict.fromkeys(truth, 0)
    for repeat in range(repeats):
        rates, weak, strong = simulate(np.random.default_rng([20, repeat]), n, graded=graded)
        found = bootstrap_pair({"a": rates}, weak, strong, resamples=1000, seed=repeat, figures=list(truth)).figures[
            "a"
        ]
        for name, value in truth.items():
            hits[name] += found[name].low <= value <= found[name].high
    allowed = 3 * math.sqrt(0.95 * 0.05 / repeats)
    print({name: hit / repeats for name, hit in hits.items()})
    for name, hit in hits.items():
        assert abs(hit / repeats - 0.95) <= allowed, (name, hit / repeats)
