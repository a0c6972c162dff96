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
    performance_gap_recovered,
)


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


@pytest.mark.slow
def test_interval_covers_the_true_apgr_as_often_as_it_says():
    def draw(rng, n):
        hard = rng.random(n)
        strong, weak = rng.random(n) < 0.95 - 0.2 * hard, rng.random(n) < 0.9 - 0.6 * hard
        return hard + rng.normal(scale=0.3, size=n), weak.astype(float), strong.astype(float)

    def apgr(rates, weak, strong):
        return average_performance_gap_recovered(CostQualityCurve.from_win_rates(rates, weak, strong))

    truth = apgr(*draw(np.random.default_rng(0), 2_000_000))
    covered = []
    for seed in range(150):
        data = draw(np.random.default_rng(seed + 1), 400)
        found = bootstrap_interval(
            lambda rows, data=data: apgr(*(x[rows] for x in data)), 400, resamples=200, seed=seed
        )
        covered.append(found.low <= truth <= found.high)
    assert 0.89 <= np.mean(covered) <= 0.99  # 95% within three standard errors
