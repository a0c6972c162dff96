import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation import (
    CostQualityCurve,
    Interval,
    average_performance_gap_recovered,
    bootstrap_interval,
    call_performance_threshold,
    calls_saved,
    cost_saving_ratio,
    performance_gap_recovered,
)
from routellm_core.evaluation.curve import decile_points


@st.composite
def outcomes(draw, max_size=30, levels=5):
    """Win rates with ties, and scores of a weak and a strong model."""
    n = draw(st.integers(1, max_size))
    rates = draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))
    weak = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    strong = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    return np.array(rates) / levels, np.array(weak), np.array(strong)


def curve_of(recovered) -> CostQualityCurve:
    """A curve whose PGR at 0, 1/n, ..., 1 is given."""
    values = np.asarray(recovered, dtype=float)
    return CostQualityCurve(np.linspace(0, 1, len(values)), 0.4 + 0.2 * values)


# --- golden numbers -------------------------------------------------------------------------------------------------

GOLDEN = {
    # n, weak, strong, (weak wrong strong right, weak right strong wrong, both), length APGR, CPT50, CPT80, oracle APGR
    "routellm_mmlu": (10_114, 67.49061, 80.40340, (1850, 544, 6282), 0.59085, 0.35614, 0.66974, 1.27578),
    "routellm_gsm8k": (661, 61.87595, 84.72012, (198, 47, 362), 0.61783, 0.32905, 0.64085, 1.10380),
    "routellm_mtbench_gpt4judge": (39, 8.13462, 9.29487, None, 0.43030, 0.61686, 0.81923, 0.89099),
}


GOLDEN_DECILES = {  # at the eleven points of the RouteLLM repository: length AUC, length APGR
    "routellm_mmlu": (75.10592, 0.58975),
    "routellm_gsm8k": (75.90102, 0.61395),
    "routellm_mtbench_gpt4judge": (8.64152, 0.43689),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_numbers_of_recorded_answers(outcome_data, name):
    pandas = pytest.importorskip("pandas")
    n, weak_mean, strong_mean, counts, apgr, cpt50, cpt80, oracle_apgr = GOLDEN[name]
    table = pandas.read_parquet(outcome_data / f"{name}.parquet")
    models = ["score::mixtral-8x7b-instruct-v0.1", "score::gpt-4-1106-preview"]
    if "mtbench" in name:  # a question is two turns; it is left out if one of them is contaminated
        table = table.groupby(table.prompt_id.str.rsplit("-", n=1).str[0]).agg(
            {"prompt": "first", "routellm_contaminated": "any", **dict.fromkeys(models, "mean")}
        )
    table = table[~table.routellm_contaminated]
    weak, strong = (table[model].to_numpy() for model in models)
    scale = 1 if "mtbench" in name else 100
    assert len(table) == n
    assert scale * weak.mean() == pytest.approx(weak_mean, abs=5e-6)
    assert scale * strong.mean() == pytest.approx(strong_mean, abs=5e-6)
    if counts:
        found = ((weak == 0) & (strong == 1), (weak == 1) & (strong == 0), (weak == 1) & (strong == 1))
        assert tuple(int(rows.sum()) for rows in found) == counts
    lengths = table.prompt.str.len().to_numpy()
    length = CostQualityCurve.from_win_rates(lengths / lengths.max(), weak, strong)
    assert average_performance_gap_recovered(length) == pytest.approx(apgr, abs=5e-6)
    auc11, apgr11 = GOLDEN_DECILES[name]
    assert average_performance_gap_recovered(length, "deciles") == pytest.approx(apgr11, abs=5e-6)
    eleven = CostQualityCurve(*decile_points(*length.points(), n))
    assert scale * eleven.auc == pytest.approx(auc11, abs=6e-6)
    assert call_performance_threshold(length, 0.5) == pytest.approx(cpt50, abs=5e-6)
    assert call_performance_threshold(length, 0.8) == pytest.approx(cpt80, abs=5e-6)
    oracle = CostQualityCurve.from_win_rates(strong - weak, weak, strong)
    assert average_performance_gap_recovered(oracle) == pytest.approx(oracle_apgr, abs=5e-6)


# --- the curve ------------------------------------------------------------------------------------------------------


@given(outcomes())
def test_ends_are_the_two_models(data):
    rates, weak, strong = data
    curve = CostQualityCurve.from_win_rates(rates, weak, strong)
    assert curve.strong_fraction[[0, -1]].tolist() == [0, 1]
    assert len(curve.quality) == len(rates) + 1
    assert curve.weak_quality == pytest.approx(weak.mean())
    assert curve.strong_quality == pytest.approx(strong.mean())


@given(outcomes(max_size=5, levels=2))
def test_ties_are_the_expectation_over_all_orders(data):
    rates, weak, strong = data
    n = len(rates)
    curves = []
    for order in permutations(range(n)):
        order = sorted(order, key=lambda i: -rates[i])  # stable: the permutation breaks the ties
        curves.append([np.mean([strong[i] if i in order[:k] else weak[i] for i in range(n)]) for k in range(n + 1)])
    np.testing.assert_allclose(
        CostQualityCurve.from_win_rates(rates, weak, strong).quality, np.mean(curves, axis=0), atol=1e-12
    )


@given(outcomes(), st.integers(0, 2**32 - 1))
def test_order_of_the_prompts_does_not_matter(data, seed):
    order = np.random.default_rng(seed).permutation(len(data[0]))
    before = CostQualityCurve.from_win_rates(*data)
    after = CostQualityCurve.from_win_rates(*(column[order] for column in data))
    np.testing.assert_allclose(after.quality, before.quality, atol=1e-12)


@given(outcomes(), st.sampled_from([np.exp, np.cbrt, lambda x: 7 * x - 3, lambda x: x**3]))
def test_only_the_order_of_win_rates_matters(data, transform):
    rates, weak, strong = data
    np.testing.assert_array_equal(
        CostQualityCurve.from_win_rates(transform(rates), weak, strong).quality,
        CostQualityCurve.from_win_rates(rates, weak, strong).quality,
    )


@given(outcomes())
def test_the_oracle_is_never_below_any_router(data):
    rates, weak, strong = data
    best = CostQualityCurve.from_win_rates(strong - weak, weak, strong).quality
    worst = CostQualityCurve.from_win_rates(weak - strong, weak, strong).quality
    curve = CostQualityCurve.from_win_rates(rates, weak, strong).quality
    assert (worst - 1e-12 <= curve).all()
    assert (curve <= best + 1e-12).all()


@given(outcomes())
def test_threshold_router_reaches_the_points_of_the_curve(data):
    rates, weak, strong = data
    curve = CostQualityCurve.from_win_rates(rates, weak, strong)
    for threshold in rates:
        chosen = rates >= threshold
        assert np.where(chosen, strong, weak).mean() == pytest.approx(curve.quality[chosen.sum()], abs=1e-12)


@pytest.mark.parametrize(
    ("rates", "weak", "strong"),
    [
        ([], [], []),
        ([0.5], [0, 1], [1, 1]),
        ([0.5, 0.5], [0, 1], [1]),
        ([[0.5]], [[0]], [[1]]),
        (0.5, 0, 1),
    ],
)
def test_shapes_are_checked(rates, weak, strong):
    with pytest.raises(ConfigurationError, match="one and the same length of at least 1"):
        CostQualityCurve.from_win_rates(rates, weak, strong)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_must_be_finite(position, value):
    columns = [[0.1, 0.2], [0.0, 1.0], [1.0, 1.0]]
    columns[position][1] = value
    with pytest.raises(ConfigurationError, match="must be finite: leave out prompts without a score"):
        CostQualityCurve.from_win_rates(*columns)


# --- PGR and APGR ---------------------------------------------------------------------------------------------------


def test_recovered_gap():
    assert performance_gap_recovered(0.4, 0.4, 0.6) == 0
    assert performance_gap_recovered(0.6, 0.4, 0.6) == 1
    assert performance_gap_recovered(0.5, 0.4, 0.6) == pytest.approx(0.5)
    assert performance_gap_recovered(0.7, 0.4, 0.6) == pytest.approx(1.5)
    assert performance_gap_recovered(0.3, 0.4, 0.6) == pytest.approx(-0.5)
    assert performance_gap_recovered(0.5, 0.6, 0.4) == pytest.approx(0.5)  # the "strong" model is the weaker one


def test_equally_good_models_have_no_gap():
    weak, strong = np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.1, 0.2])  # the means differ by rounding alone
    for rates in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.5, 0.5, 0.5], [0.2, 0.3, 0.1]):
        curve = CostQualityCurve.from_win_rates(rates, weak, strong)
        assert math.isnan(average_performance_gap_recovered(curve))
        assert math.isnan(call_performance_threshold(curve))
    assert math.isnan(performance_gap_recovered(0.5, 0.3, 0.3))
    assert performance_gap_recovered(5e-14, 0.0, 1e-13) == pytest.approx(0.5)


@given(outcomes())
def test_constant_win_rates_are_the_random_router(data):
    _, weak, strong = data
    assume(abs(strong.mean() - weak.mean()) > 1e-9)
    curve = CostQualityCurve.from_win_rates(np.full(len(weak), 0.3), weak, strong)
    assert average_performance_gap_recovered(curve) == pytest.approx(0.5)
    for gap in (0.0, 0.2, 0.5, 0.8, 1.0):
        assert call_performance_threshold(curve, gap) == pytest.approx(gap)


@given(outcomes())
def test_reversed_router_recovers_the_rest(data):
    rates, weak, strong = data
    assume(abs(strong.mean() - weak.mean()) > 1e-9)
    forth = average_performance_gap_recovered(CostQualityCurve.from_win_rates(rates, weak, strong))
    back = average_performance_gap_recovered(CostQualityCurve.from_win_rates(-rates, weak, strong))
    assert forth + back == pytest.approx(1)


@given(outcomes(), st.floats(0.1, 10), st.floats(-5, 5))
def test_units_of_quality_do_not_matter(data, scale, shift):
    rates, weak, strong = data
    assume(abs(strong.mean() - weak.mean()) > 1e-3)
    before = CostQualityCurve.from_win_rates(rates, weak, strong)
    after = CostQualityCurve.from_win_rates(rates, scale * weak + shift, scale * strong + shift)
    assert average_performance_gap_recovered(after) == pytest.approx(average_performance_gap_recovered(before))
    assert call_performance_threshold(after, 0.7) == pytest.approx(call_performance_threshold(before, 0.7), abs=1e-6)


def test_by_hand():
    curve = CostQualityCurve.from_win_rates([0.9, 0.1, 0.5, 0.5], [0, 1, 0, 1], [1, 1, 1, 0])
    # Gains, best first: 1, then 1 and -1 tied, then 0.
    np.testing.assert_allclose(curve.quality, [0.5, 0.75, 0.75, 0.75, 0.75])
    assert curve.auc == pytest.approx((0.625 + 3 * 0.75) / 4)
    assert average_performance_gap_recovered(curve) == pytest.approx(0.875)
    assert call_performance_threshold(curve, 0.5) == pytest.approx(0.125)


# --- CPT ------------------------------------------------------------------------------------------------------------


def test_first_crossing_of_a_curve_that_is_not_monotone():
    curve = curve_of([0, 0.6, 0.3, 0.9, 1.0])
    assert call_performance_threshold(curve, 0.5) == pytest.approx(0.25 * 0.5 / 0.6)
    assert call_performance_threshold(curve, 0.6) == pytest.approx(0.25)
    assert call_performance_threshold(curve, 0.75) == pytest.approx(0.5 + 0.25 * 0.75)
    assert call_performance_threshold(curve, 1.0) == pytest.approx(1.0)


def test_curve_that_first_falls():
    curve = curve_of([0, -0.5, 0.5, 1.5, 1.0])
    assert call_performance_threshold(curve, 0.0) == 0.0
    assert call_performance_threshold(curve, 0.2) == pytest.approx(0.25 + 0.25 * 0.7)
    assert call_performance_threshold(curve, 1.0) == pytest.approx(0.5 + 0.25 * 0.5)


def test_strong_model_that_is_the_weaker_one():
    curve = CostQualityCurve.from_win_rates([0.9, 0.1], [1, 1], [0, 1])
    assert call_performance_threshold(curve, 0.5) == pytest.approx(0.25)


@given(outcomes(), st.floats(0, 1))
def test_share_is_the_first_that_recovers_the_gap(data, gap):
    rates, weak, strong = data
    assume(abs(strong.mean() - weak.mean()) > 1e-6)
    curve = CostQualityCurve.from_win_rates(rates, weak, strong)
    share = call_performance_threshold(curve, gap)
    recovered = (curve.quality - curve.weak_quality) / (curve.strong_quality - curve.weak_quality)
    assert 0 <= share <= 1
    assert np.interp(share, curve.strong_fraction, recovered) == pytest.approx(gap, abs=1e-9) or share == 0
    earlier = np.linspace(0, share, 200, endpoint=False)
    if share > 0:
        assert (np.interp(earlier, curve.strong_fraction, recovered) < gap + 1e-9).all()


@given(outcomes(), st.floats(0, 1), st.floats(0, 1))
def test_more_of_the_gap_costs_more(data, a, b):
    rates, weak, strong = data
    assume(abs(strong.mean() - weak.mean()) > 1e-6)
    curve = CostQualityCurve.from_win_rates(rates, weak, strong)
    low, high = sorted([a, b])
    assert call_performance_threshold(curve, low) <= call_performance_threshold(curve, high) + 1e-12


@pytest.mark.parametrize("gap", [-0.1, 2.1, math.nan, 80])
def test_gap_out_of_range(gap):
    with pytest.raises(ConfigurationError, match=r"gap must be in \[0, 1\] \(0.8 is 80%\)"):
        call_performance_threshold(curve_of([0, 1]), gap)


def test_part_that_is_never_recovered():
    curve = curve_of([0, 0.6, 1.2, 1.0])
    assert call_performance_threshold(curve, 1.1) == pytest.approx(1 / 3 + 1 / 3 * 0.5 / 0.6)
    assert call_performance_threshold(curve, 1.2) == pytest.approx(2 / 3)
    assert call_performance_threshold(curve, 1.3) is None
    assert call_performance_threshold(curve, 1.0) == pytest.approx(1 / 3 + 1 / 3 * 0.4 / 0.6)


# --- calls saved, saving ratio --------------------------------------------------------------------------------------


def test_calls_saved_in_points_and_relative():
    curve = curve_of([0, 0.5, 0.8, 0.9, 1.0])  # half of the gap at a quarter of the calls
    assert calls_saved(curve, 0.5) == pytest.approx((0.25, 0.5))
    assert calls_saved(curve, 0.8) == pytest.approx((0.3, 0.375))
    assert calls_saved(curve_of([0, 1])) == pytest.approx((0, 0))
    for wrong in (0.0, 1.5, math.nan):
        with pytest.raises(ConfigurationError, match="gap must be in"):
            calls_saved(curve, wrong)


@pytest.mark.parametrize(
    ("random", "routers", "ratio"),
    [  # tables 1 to 3 and 6 of RouteLLM (arXiv 2406.18665v4): CPT in percent of the routers of a column
        (49.03, (78.09, 28.82, 25.32, 37.85, 19.58, 31.50, 13.40, 23.21), 3.66),
        (78.08, (87.64, 77.53, 74.26, 58.99, 34.02, 48.75, 31.31, 36.04), 2.49),
        (50.07, (49.43, 48.88, 45.00, 55.82, 41.30, 35.49, 35.46, 35.40), 1.41),
        (79.93, (77.80, 77.93, 76.86, 80.25, 72.20, 70.31, 71.40, 71.55), 1.14),
        (50.00, (58.78, 56.09, 53.59, 54.43, 44.76, 33.64, 38.82, 41.21), 1.49),
        (80.08, (83.84, 83.56, 85.24, 82.11, 79.09, 63.26, 72.62, 72.20), 1.27),
    ],
)
def test_published_saving_ratios(random, routers, ratio):
    assert round(cost_saving_ratio(random, routers), 2) == ratio
    assert cost_saving_ratio(random / 100, [cpt / 100 for cpt in routers]) == pytest.approx(
        cost_saving_ratio(random, routers)
    )


def test_saving_ratio_without_numbers():
    assert cost_saving_ratio(0.5, [math.nan, 0.25]) == 2
    assert math.isnan(cost_saving_ratio(0.5, []))
    assert math.isnan(cost_saving_ratio(math.nan, [0.5]))
    assert cost_saving_ratio(0.5, [0.0]) == math.inf


# --- APGR by other rules --------------------------------------------------------------------------------------------


def test_mean_of_ten_at_which_random_has_more_than_half():
    line = curve_of(np.linspace(0, 1, 41))
    assert average_performance_gap_recovered(line, "mean10") == pytest.approx(0.55)
    assert average_performance_gap_recovered(line, "deciles") == pytest.approx(0.5)
    assert average_performance_gap_recovered(line) == pytest.approx(0.5)


def test_deciles_see_eleven_points_alone():
    n = 20
    recovered = np.linspace(0, 1, n + 1)
    recovered[1::2] += 5  # between the eleven points, which are at 0, 2, 4, ... of 20 less the ends of deciles
    curve = curve_of(recovered)
    x, q = decile_points(curve.strong_fraction, curve.quality, n)
    above = [20, 18, 16, 14, 12, 10, 8, 6, 4, 2]  # of 20 win rates, how many reach the deciles 0 to 9
    np.testing.assert_allclose(x, [0, *sorted(np.array(above) / n)])
    assert average_performance_gap_recovered(curve, "deciles") == pytest.approx(
        np.trapezoid((q - curve.weak_quality) / (curve.strong_quality - curve.weak_quality), x)
    )


@given(outcomes(max_size=60, levels=100))
def test_deciles_are_those_of_a_threshold_sweep(data):
    rates, weak, strong = data
    # A threshold between two order statistics chooses as one at the higher of them does.
    thresholds = np.sort(rates)[np.ceil(np.linspace(0, 1, 11) * (len(rates) - 1)).astype(int)]
    chosen = [rates >= t for t in thresholds[:-1]] + [rates > thresholds[-1]]
    curve = CostQualityCurve.from_win_rates(rates, weak, strong)
    x, q = decile_points(*curve.points(), len(rates))
    np.testing.assert_allclose(x, sorted(c.mean() for c in chosen), atol=1e-12)
    np.testing.assert_allclose(q, [np.where(c, strong, weak).mean() for c in reversed(chosen)], atol=1e-12)


def test_method_is_checked():
    with pytest.raises(ConfigurationError, match="method must be 'exact', 'deciles' or 'mean10', not 'eleven'"):
        average_performance_gap_recovered(curve_of([0, 1]), "eleven")


# --- where upstream's own functions are wrong -----------------------------------------------------------------------


def test_constant_win_rates_have_a_curve():
    """`pandas.qcut` cannot cut equal win rates into ten and raises; here they are the random router."""
    curve = CostQualityCurve.from_win_rates(np.full(40, 0.3), np.zeros(40), np.ones(40))
    for method, value in (("exact", 0.5), ("deciles", 0.5), ("mean10", 0.55)):
        assert average_performance_gap_recovered(curve, method) == pytest.approx(value)


def test_crossing_of_a_curve_that_is_not_monotone():
    """`numpy.interp` with accuracies that do not rise answers without complaint, and wrongly."""
    recovered = [0, 0.1, 0.1, 0.2, 0.0, 0.8, 0.8, 0.7, 0.9, 0.9, 1.0]
    curve = curve_of(recovered)
    assert call_performance_threshold(curve, 0.8) == pytest.approx(0.5)
    assert np.interp(0.8, recovered, curve.strong_fraction) == pytest.approx(0.75)


def test_interval_with_a_reason_is_plain_json():
    assert Interval.undefined("too few").to_dict() == {"value": None, "low": None, "high": None, "reason": "too few"}
    assert Interval(0.5, 0.4, 0.6).to_dict() == {"value": 0.5, "low": 0.4, "high": 0.6}
    assert str(Interval.undefined("too few")) == "n/a"
    assert Interval.exact(0.5) == Interval(0.5, 0.5, 0.5)


# --- bootstrap ------------------------------------------------------------------------------------------------------


def test_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=2000)
    found = bootstrap_interval(lambda rows: float(values[rows].mean()), 2000, resamples=2000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found.value == values.mean()
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_is_reproducible_and_widens_with_confidence():
    values = np.arange(50.0)

    def interval(**options):
        return bootstrap_interval(lambda rows: float(values[rows].mean()), 50, resamples=200, **options)

    assert interval() == interval()
    assert interval(seed=1) != interval()
    assert interval(confidence=0.99).low < interval(confidence=0.5).low < interval().value


def test_paired_difference_of_equal_routers_is_zero():
    values = np.random.default_rng(0).normal(size=30)
    found = bootstrap_interval(lambda rows: float(values[rows].mean() - values[rows].mean()), 30, resamples=50)
    assert found == Interval(0, 0, 0)


def test_samples_without_a_figure_are_left_out():
    def sometimes(rows):
        return math.nan if rows[0] % 2 else 1.0

    assert bootstrap_interval(sometimes, 10, resamples=100) == Interval(1.0, 1.0, 1.0)
    nothing = bootstrap_interval(lambda _: math.nan, 10, resamples=10)
    assert all(math.isnan(x) for x in (nothing.value, nothing.low, nothing.high))


@pytest.mark.parametrize("options", [{"n": 0}, {"resamples": 0}, {"confidence": 0}, {"confidence": 95}])
def test_bootstrap_arguments_are_checked(options):
    with pytest.raises(ConfigurationError, match="n and resamples must be 1 or more and confidence in"):
        bootstrap_interval(lambda _: 0.0, **{"n": 5, **options})


def test_interval_reads_as_text():
    assert str(Interval(0.59085, 0.5, 0.68)) == "0.591 [0.500, 0.680]"
