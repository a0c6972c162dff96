import json
import math
from dataclasses import replace

import numpy as np
import pytest

from routellm_core import PairRouter, PoolRouter, load_router
from routellm_core.call_costs import RouterCost
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.evaluation.costs import bootstrap_savings, call_costs
from routellm_core.evaluation.evaluate import evaluate
from routellm_core.evaluation.scores import ScoreCache
from routellm_core.evaluation.transfer import transfer
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.pricing import Price


class Digits(PairRouter):
    """Knows how hard a prompt is: its number says so."""

    name = "digits"

    def __init__(self, noise=0.0):
        self.noise = noise

    @property
    def fingerprint(self):
        return f"digits {self.noise}"

    def strong_win_rates(self, prompts):
        hard = np.array([int(prompt.split()[-1]) / 1000 for prompt in prompts])
        wobble = np.array([np.sin(7919 * int(p.split()[-1])) for p in prompts])
        return np.clip(hard + self.noise * wobble, 0, 1)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 400
    hard = rng.integers(0, 1000, n)
    weak = (rng.random(n) > hard / 1000).astype(float)
    strong = (rng.random(n) > hard / 4000).astype(float)
    other = (rng.random(n) > 0.2 + hard / 3000).astype(float)
    return OutcomeTable(
        prompts=tuple(f"prompt {'x' * int(rng.integers(0, 50))} {h}" for h in hard),
        models=("weak", "strong", "other"),
        scores=np.stack([weak, strong, other], axis=1),
        groups=tuple("hard" if h > 500 else "easy" for h in hard),
        flags={"improper": hard > 990, "routellm_contaminated": hard < 5, "short": hard % 2 == 0},
        provenance={"source": "made here"},
        name="made",
    )


@pytest.fixture(scope="module")
def result(table):
    routers = {"good": Digits(), "worse": Digits(0.8), "length": load_router("length")}
    return evaluate(routers, table, strong="strong", weak="weak", resamples=200, prices={"strong": 20.0, "weak": 1.0})


def test_flagged_rows_are_left_out(table, result):
    kept = ~(table.flags["improper"] | table.flags["routellm_contaminated"])
    assert result.n == kept.sum()
    assert result.excluded == {
        "routellm_contaminated": int(table.flags["routellm_contaminated"].sum()),
        "improper": int(table.flags["improper"].sum()),
    }
    all_rows = evaluate({"g": Digits()}, table, strong="strong", weak="weak", resamples=10, exclude=(), speed=False)
    assert (all_rows.n, all_rows.excluded) == (400, {})


def test_json_has_the_agreed_form(result):
    plain = json.loads(json.dumps(result.to_dict()))
    assert list(plain)[:4] == ["benchmark", "n", "strong", "weak"]
    assert (plain["benchmark"], plain["strong"], plain["weak"]) == ("made", "strong", "weak")
    assert set(plain["routers"]) == {"good", "worse", "length"}
    for found in (*plain["routers"].values(), *(plain["baselines"][name] for name in ("random", "length", "oracle"))):
        for key in ("apgr", "cpt20", "cpt50", "cpt80", "saved50", "saved50_relative", "auc", "aiq", "pgr50"):
            assert set(found[key]) == {"value", "low", "high"}, key
    assert plain["baselines"]["best_single"]["model"] == "strong"
    assert plain["provenance"] == {"source": "made here"}
    assert {"good - worse", "good - length", "good - length (baseline)", "good - random (baseline)"} <= set(
        plain["differences"]
    )
    assert plain["routers"]["good"]["speed"]["p50_ms"] > 0


def test_better_routers_have_better_figures(result):
    figures = result.bootstrap.figures
    oracle, good, worse = (figures[name]["apgr"].value for name in ("oracle (baseline)", "good", "worse"))
    assert oracle > good > worse > 0.5
    assert result.bootstrap.differences["good", "worse"]["apgr"].low > 0
    assert figures["good"]["cpt50"].value < figures["worse"]["cpt50"].value
    assert figures["random (baseline)"]["apgr"].value == pytest.approx(0.5)
    assert result.random_single.low < 0.5 < result.random_single.high


def test_length_router_is_its_baseline(result):
    assert result.bootstrap.figures["length"]["apgr"] == result.bootstrap.figures["length (baseline)"]["apgr"]


def test_groups(table, result):
    assert set(result.groups) == {"easy", "hard"}
    assert sum(part["n"] for part in result.groups.values()) == result.n
    assert set(result.groups["easy"]["routers"]) == {"good", "worse", "length"}


def test_savings(result):
    for saving in result.savings["good"]:
        assert saving.routed.value == pytest.approx(
            saving.all_weak + saving.strong_fraction * (saving.all_strong - saving.all_weak)
        )
        assert saving.routed.low < saving.routed.value < saving.routed.high
        assert saving.saved.value == pytest.approx(1 - saving.routed.value / saving.all_strong)
        assert saving.saved.low < saving.saved.value < saving.saved.high
    assert [saving.gap for saving in result.savings["good"]] == [0.2, 0.5, 0.8]
    assert result.savings["good"][1].to_dict()["usd_per_1000_calls_strong"] == pytest.approx(1000 * 20 * 359 / 1e6)


def test_missing_scores_are_left_out(table):
    scores = table.scores.copy()
    scores[:50, 0] = np.nan
    holes = OutcomeTable(prompts=table.prompts, models=table.models, scores=scores)
    found = evaluate({"g": Digits()}, holes, strong="strong", weak="weak", resamples=10, speed=False)
    assert (found.n, found.excluded) == (350, {"without a score": 50})
    assert found.groups == {}


def test_warnings(table):
    few = evaluate({"g": Digits()}, table.select(range(30)), strong="strong", weak="weak", resamples=20, speed=False)
    assert any(f"only {few.n} prompts" in warning for warning in few.warnings)
    swapped = evaluate({"g": Digits()}, table, strong="weak", weak="strong", resamples=20, speed=False)
    assert any("the strong model is the weaker one" in warning for warning in swapped.warnings)
    nine = evaluate({"g": Digits()}, table.select(range(9)), strong="strong", weak="weak", resamples=20, speed=False)
    assert math.isnan(nine.bootstrap.figures["g"]["apgr"].value)
    assert nine.to_dict()["routers"]["g"]["apgr"]["reason"] == "9 prompts are fewer than 10"
    assert any("too few" in warning for warning in nine.warnings)


def test_pool_router_is_read_at_the_pair(table):
    class Pool(PoolRouter):
        score_kind, name, models = "correctness", "pool", ("other", "small", "big")

        def score(self, prompts):
            hard = Digits().strong_win_rates(prompts)
            return np.stack([np.full(len(hard), 0.5), 1 - hard, 1 - hard / 4], axis=1)

    references = {"weak": "small", "strong": "big"}
    found = evaluate(
        {"pool": Pool(), "pair": Digits()},
        table,
        strong="strong",
        weak="weak",
        references=references,
        resamples=10,
        speed=False,
    )
    assert found.bootstrap.figures["pool"]["apgr"] == found.bootstrap.figures["pair"]["apgr"]
    with pytest.raises(UnknownModelError, match="router 'pool' does not know 'weak'; it knows: other, small, big"):
        evaluate({"pool": Pool()}, table, strong="strong", weak="weak", resamples=10)


def test_scores_are_cached_and_progress_is_told(table, tmp_path):
    cache, told = ScoreCache(tmp_path / "s.sqlite"), []
    options = {"strong": "strong", "weak": "weak", "resamples": 10, "cache": cache, "speed": False}
    first = evaluate({"a": Digits(), "b": Digits(0.5)}, table, progress=lambda *x: told.append(x), **options)
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)

    class Silent(Digits):
        def strong_win_rates(self, prompts):
            raise AssertionError("scored again")

    again = evaluate({"a": Silent(), "b": Silent(0.5)}, table, **options)
    assert again.bootstrap.figures == first.bootstrap.figures


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"routers": {}}, ConfigurationError, "there is no router"),
        ({"routers": {"random (baseline)": Digits()}}, ConfigurationError, "a baseline has that name"),
        ({"weak": "strong"}, ConfigurationError, "must be two columns"),
        ({"weak": "nobody"}, UnknownModelError, "nobody"),
    ],
)
def test_arguments_are_checked(table, change, error, match):
    options = {"routers": {"g": Digits()}, "strong": "strong", "weak": "weak"} | change
    with pytest.raises(error, match=match):
        evaluate(options.pop("routers"), table, **options)


def test_no_row_left(table):
    gone = table.select(table.flags["improper"])
    with pytest.raises(ConfigurationError, match=r"none of \d+ rows counts; left out: \d+ improper"):
        evaluate({"g": Digits()}, gone, strong="strong", weak="weak")


# --- costs ----------------------------------------------------------------------------------------------------------


def test_costs_are_recorded_or_priced():
    table = OutcomeTable(
        prompts=("a", "b"),
        models=("m", "k"),
        scores=np.ones((2, 2)),
        cost_usd=np.array([[0.5, np.nan], [np.nan, np.nan]]),
        tokens_in=np.array([[10.0, 100.0], [np.nan, 100.0]]),
        tokens_out=np.array([[10.0, 200.0], [20.0, np.nan]]),
    )
    price = Price(input=10, output=30)
    np.testing.assert_allclose(call_costs(table, "m", {"m": price}), [0.5, (95 * 10 + 20 * 30) / 1e6])
    np.testing.assert_allclose(call_costs(table, "k", {"k": 2}), [300 * 2e-6, 364 * 2e-6])
    assert call_costs(table, "k", {}) is None
    assert call_costs(table, "m", {}) is None
    with pytest.raises(ConfigurationError):
        call_costs(table, "k", {"k": "cheap"})


def test_price_of_a_mixed_token():
    """RouteLLM, appendix D: 95 tokens in and 264 out at 10 and 30 dollars a million make 24.7 dollars a million tokens."""
    price = Price(input=10, output=30)
    assert price.typical_call / (95 + 264) * 1e6 == pytest.approx(24.7075, abs=5e-5)


def test_savings_count_what_the_routed_prompts_cost():
    scores = np.zeros(4), np.array([1.0, 1, 0, 0])  # the first two prompts recover the gap
    costs = np.full(4, 0.1), np.array([1.0, 3.0, 5.0, 7.0])
    half, whole = bootstrap_savings(np.array([0.9, 0.8, 0.2, 0.1]), scores, costs, (0.5, 1.0), resamples=20)
    assert (half.strong_fraction, half.routed.value) == pytest.approx((0.25, 1000 * (1.0 + 0.3) / 4))
    assert (whole.strong_fraction, whole.routed.value) == pytest.approx((0.5, 1000 * (1.0 + 3.0 + 0.2) / 4))
    assert (half.all_strong, half.all_weak, half.router) == pytest.approx((4000, 100, 0))
    assert half.saved.value == pytest.approx(1 - 325 / 4000)


def test_savings_count_the_router_itself(table):
    prices = {"strong": 20.0, "weak": 1.0}
    free, paid, timed = (
        evaluate({"r": Digits()}, table, strong="strong", weak="weak", resamples=50, prices=prices, router_costs=costs)
        for costs in (
            {},
            {"r": RouterCost(usd_per_hour=36, requests_per_second=10)},
            {"r": RouterCost(usd_per_hour=36)},
        )
    )
    for without, counted in zip(free.savings["r"], paid.savings["r"], strict=True):
        assert counted.router == pytest.approx(1000 * 36 / 3600 / 10)
        assert counted.routed.value == pytest.approx(without.routed.value + 1.0)
        assert counted.routed.low == pytest.approx(without.routed.low + 1.0)
        assert counted.saved.value < without.saved.value
    assert timed.savings["r"][0].router == pytest.approx(36 / 3600 * timed.speed["r"].p50_ms)


def test_intervals_of_savings_are_those_of_the_share_and_the_price():
    rng = np.random.default_rng(5)
    n = 600
    rates = rng.random(n)
    scores = (rng.random(n) > 0.6 * rates).astype(float), (rng.random(n) > 0.1).astype(float)
    found = bootstrap_savings(rates, scores, (np.full(n, 1.0), np.full(n, 3.0)), (0.5,), resamples=400, seed=3)[0]
    share = bootstrap_pair({"r": rates}, *scores, resamples=400, seed=3).figures["r"]["cpt50"]
    for routed, part in zip(
        (found.routed.low, found.routed.value, found.routed.high), (share.low, share.value, share.high), strict=True
    ):
        assert routed == pytest.approx(1000 * (1 + 2 * part))  # with one price a call the cost is the share


def test_a_router_on_its_own_training_table_is_warned_of(table):
    seen = replace(table, name="routellm-mmlu")
    routers = {"default": load_router("default"), "length": load_router("length")}

    def warned(table):
        warnings = evaluate(routers, table, strong="strong", weak="weak", resamples=5, speed=False).warnings
        return [warning for warning in warnings if "trained on" in warning]

    assert [warning.split()[0] for warning in warned(seen)] == ["default"]
    assert warned(table) == []
    assert warned(replace(seen, split=("dev",) * len(seen))) == []
    assert warned(replace(seen, split=("dev",) * (len(seen) - 1) + ("train",))) != []


@pytest.mark.parametrize("option", ["prices", "references"])
def test_columns_that_are_none_are_refused(table, option):
    with pytest.raises(UnknownModelError, match=f"{option}: table 'made' has no model 'stong'"):
        evaluate({"r": Digits()}, table, strong="strong", weak="weak", resamples=5, **{option: {"stong": 1}})


# --- transfer -------------------------------------------------------------------------------------------------------


def test_transfer_to_every_pair_scores_each_prompt_once(table):
    asked = []

    class Asked(Digits):
        def strong_win_rates(self, prompts):
            asked.extend(prompts)
            return super().strong_win_rates(prompts)

    rows = transfer({"d": Asked()}, table, resamples=50)
    assert len(asked) == len(set(asked)) == len(set(table.prompts))
    pairs = {(row.strong, row.weak) for row in rows}
    assert pairs == {("strong", "weak"), ("strong", "other"), ("other", "weak")}
    assert all(row.strong_quality >= row.weak_quality + 0.02 for row in rows)
    by_pair = {(row.strong, row.weak, row.router): row for row in rows}
    direct = evaluate({"d": Digits()}, table, strong="strong", weak="weak", resamples=50, speed=False)
    assert by_pair["strong", "weak", "d"].figures["apgr"] == direct.bootstrap.figures["d"]["apgr"]
    assert ("strong", "weak", "length (baseline)") in by_pair
    assert set(rows[0].to_dict()) >= {"strong", "weak", "router", "n", "apgr", "cpt50", "cpt80"}


def test_transfer_to_given_pairs(table):
    rows = transfer({"d": Digits()}, table, [("other", "strong")], resamples=20)
    assert [(row.strong, row.weak, row.router) for row in rows] == [
        ("other", "strong", "d"),
        ("other", "strong", "length (baseline)"),
    ]
    with pytest.raises(ConfigurationError, match="no pair of models"):
        transfer({"d": Digits()}, table, least_gap=2.0)
