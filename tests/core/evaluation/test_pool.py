import json
import math

import numpy as np
import pytest

from routellm_core import PoolRouter, load_router
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.evaluation import average_improvement_in_quality
from routellm_core.evaluation.pool import evaluate_pool
from routellm_core.preferences.outcomes import OutcomeTable

MODELS = ("small", "medium", "large")


class Known(PoolRouter):
    """Gives every prompt the scores that a mapping has for it."""

    score_kind, name, models = "correctness", "known", MODELS

    def __init__(self, scores):
        self.scores = scores

    def score(self, prompts):
        return np.array([self.scores[prompt] for prompt in prompts])


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    scores = (rng.random((300, 3)) > hard[:, None] * np.array([1.0, 0.7, 0.3])).astype(float)
    return OutcomeTable(prompts=tuple(f"p{i}" for i in range(300)), models=MODELS, scores=scores, name="made")


def router(table, noise, seed=1):
    rng = np.random.default_rng(seed)
    blurred = np.clip(table.scores + rng.normal(scale=noise, size=table.scores.shape), 0, 1) if noise else table.scores
    return Known(dict(zip(table.prompts, blurred, strict=True)))


PRICES = {"small": 1.0, "medium": 5.0, "large": 25.0}


@pytest.fixture(scope="module")
def result(table):
    return evaluate_pool({"clear": router(table, 0), "blurred": router(table, 2)}, table, prices=PRICES, resamples=200)


def test_router_that_knows_is_the_oracle(table, result):
    assert result.routers["clear"]["quality"] == result.baselines["oracle"]["quality"]
    assert result.routers["clear"]["quality"].value == pytest.approx(table.scores.max(axis=1).mean())
    assert result.routers["clear"]["oracle_share"].value == 1.0
    assert result.routers["blurred"]["oracle_share"].value < 1.0
    assert result.differences["clear", "blurred"].low > 0


def test_calls_and_costs(table, result):
    assert sum(result.calls["clear"].values()) == pytest.approx(1)
    # Of equally right models the cheaper takes the call.
    first = [next((m for m, s in zip(MODELS, row, strict=True) if s == row.max())) for row in table.scores]
    assert result.calls["clear"] == pytest.approx({m: first.count(m) / 300 for m in MODELS})
    expected = np.mean([PRICES[m] * 359e-6 for m in first])
    assert result.routers["clear"]["mean_cost"].value == pytest.approx(expected)
    assert result.baselines["cheapest"]["mean_cost"].value == pytest.approx(359e-6)


def test_baselines(table, result):
    means = dict(zip(MODELS, table.scores.mean(axis=0), strict=True))
    assert result.best_single == max(means, key=means.get) == "large"
    assert result.baselines["best_single"]["quality"].value == pytest.approx(means["large"])
    assert result.baselines["best_single"]["gain"].high == 0.0
    assert result.baselines["random"]["quality"].value == pytest.approx(np.mean(list(means.values())))
    assert result.baselines["cheapest"]["quality"].value == pytest.approx(means["small"])
    assert {m: q.value for m, q in result.qualities.items()} == pytest.approx(means)


def test_frontier_runs_from_the_cheapest_to_no_regard_for_cost(table, result):
    points = result.frontier["clear"]
    assert points == sorted(points)
    assert points[0] == pytest.approx((359e-6, table.scores[:, 0].mean()))
    assert points[-1][1] == pytest.approx(result.routers["clear"]["quality"].value)
    low, high = result.baselines["cheapest"]["quality"].value, result.baselines["oracle"]["quality"].value
    assert low < result.routers["blurred"]["aiq"].value < result.routers["clear"]["aiq"].value < high


def test_aiq_is_over_the_range_of_the_models_costs(table, result):
    for name in ("clear", "blurred"):
        cost, quality = zip(*result.frontier[name], strict=True)
        expected = average_improvement_in_quality(cost, quality, lowest_cost=359e-6, highest_cost=25 * 359e-6)
        assert result.routers[name]["aiq"].value == pytest.approx(expected)


def test_aiq_leaves_out_what_is_cheaper_than_every_model(table):
    """Costs of single calls differ: a router may take each model where it is cheap."""
    even = np.arange(300) % 2 == 0
    cost = np.stack([np.where(even, 1.0, 9.0), np.where(even, 9.0, 1.0), np.full(300, 10.0)], axis=1)
    priced = OutcomeTable(prompts=table.prompts, models=MODELS, scores=table.scores, cost_usd=cost)
    thrifty = Known(
        {prompt: [0.9, 0.1, 0.5] if e else [0.1, 0.9, 0.5] for prompt, e in zip(table.prompts, even, strict=True)}
    )
    found = evaluate_pool({"r": thrifty}, priced, resamples=10)
    x, quality = zip(*found.frontier["r"], strict=True)
    assert min(x) == 1.0
    expected = average_improvement_in_quality(x, quality, lowest_cost=5.0, highest_cost=10.0)
    assert found.routers["r"]["aiq"].value == pytest.approx(expected)


def test_without_prices_there_is_no_money(table):
    found = evaluate_pool({"r": router(table, 1)}, table, resamples=20)
    assert found.frontier == {}
    assert set(found.routers["r"]) == {"quality", "oracle_share", "gain", "classifier_bound"}
    assert "cheapest" not in found.baselines


def test_json_has_the_agreed_form(result):
    plain = json.loads(json.dumps(result.to_dict()))
    for found in plain["routers"].values():
        assert {"quality", "oracle_share", "calls"} <= set(found)
        assert set(found["quality"]) == {"value", "low", "high"}
        assert set(found["calls"]) == set(MODELS)
    assert set(plain["baselines"]) == {"oracle", "best_single", "majority", "random", "cheapest"}
    assert plain["baselines"]["best_single"]["model"] == "large"
    assert plain["differences"]["clear - blurred"]["quality"]["low"] > 0


def test_all_models_by_majority_are_all_paid_for(table, result):
    expected = ((table.scores > 0.5).sum(axis=1) >= 2).mean()
    assert result.baselines["majority"]["quality"].value == pytest.approx(expected)
    assert result.baselines["majority"]["mean_cost"].value == pytest.approx(31 * 359e-6)
    graded = OutcomeTable(prompts=table.prompts, models=MODELS, scores=10 * table.scores)
    assert "majority" not in evaluate_pool({"r": router(table, 1)}, graded, resamples=10).baselines


def test_what_predictions_leave_within_reach(table, result):
    blurred = router(table, 2).score(table.prompts)
    expected = np.where(blurred > 0.5, table.scores, 0).max(axis=1).mean()
    assert result.routers["blurred"]["classifier_bound"].value == pytest.approx(expected)
    assert result.routers["clear"]["classifier_bound"] == result.baselines["oracle"]["quality"]
    assert "classifier_bound" not in result.baselines["oracle"]
    compared = router(table, 2)
    compared.score_kind = "win_rate"
    assert "classifier_bound" not in evaluate_pool({"r": compared}, table, resamples=10).routers["r"]


def test_size_and_latency_are_means_over_all_prompts(table):
    sizes, seconds = {"small": 7, "medium": 13, "large": 70}, {"small": 0.5, "medium": 1.0, "large": 4.0}
    found = evaluate_pool({"r": router(table, 0)}, table, parameters=sizes, seconds=seconds, resamples=10)
    for figure, facts in (("mean_parameters", sizes), ("mean_seconds", seconds)):
        expected = sum(share * facts[model] for model, share in found.calls["r"].items())
        assert found.routers["r"][figure].value == pytest.approx(expected)
        assert found.baselines["random"][figure].value == pytest.approx(sum(facts.values()) / 3)
        assert found.baselines["best_single"][figure].value == facts["large"]
    with pytest.raises(ConfigurationError, match="seconds has no number for 'medium', 'large'"):
        evaluate_pool({"r": router(table, 0)}, table, seconds={"small": 1}, resamples=10)
    with pytest.raises(UnknownModelError, match=r"parameters: .*'tiny'"):
        evaluate_pool({"r": router(table, 0)}, table, parameters={"tiny": 1}, resamples=10)


def test_best_single_chosen_elsewhere(table):
    other = OutcomeTable(prompts=("q",), models=MODELS, scores=np.array([[0.0, 1.0, 0.0]]))
    found = evaluate_pool({"r": router(table, 1)}, table, selection=other, resamples=10)
    assert (found.best_single, found.best_single_chosen_on) == ("medium", "1 other prompts")


def test_some_of_the_models_under_other_names(table):
    renamed = OutcomeTable(prompts=table.prompts, models=("s", "medium", "l"), scores=table.scores)
    names = {"s": "small", "l": "large"}
    found = evaluate_pool({"r": router(table, 0)}, renamed, references=names, resamples=10)
    assert found.models == ("s", "medium", "l")
    pair = evaluate_pool({"r": router(table, 0)}, renamed, models=["s", "medium"], references=names, resamples=10)
    assert set(pair.calls["r"]) == {"s", "medium"}
    with pytest.raises(UnknownModelError, match="does not know 's'"):
        evaluate_pool({"r": router(table, 0)}, renamed, models=["s", "medium"], resamples=10)


def test_router_that_makes_pools(table):
    class Maker(Known):
        models = ("reference",)

        def for_pool(self, models):
            assert list(models) == list(MODELS)
            return router(table, 0)

    found = evaluate_pool({"m": Maker({})}, table, models=MODELS, resamples=10)
    assert found.routers["m"]["oracle_share"].value == 1.0


def test_a_router_that_was_trained_on_these_prompts_is_named(table):
    taught = router(table, 0)
    taught.provenance = {"table": "made"}
    split = tuple("train" if i % 2 else "dev" for i in range(300))
    marked = OutcomeTable(prompts=table.prompts, models=MODELS, scores=table.scores, name="made", split=split)
    routers = {"taught": taught, "other": router(table, 1)}
    for rows, said in ((table, True), (marked, True), (marked.select(np.array(split) == "dev"), False)):
        warnings = evaluate_pool(routers, rows, resamples=10, speed=False).warnings
        assert warnings == (("taught was trained on prompts of made: its figures flatter it on those",) if said else ())


def test_too_few_prompts_say_nothing(table):
    found = evaluate_pool({"r": router(table, 0)}, table.select(range(9)), resamples=10)
    assert math.isnan(found.routers["r"]["quality"].value)
    assert found.routers["r"]["quality"].reason == "9 prompts are fewer than 10"
    assert found.warnings


def test_arguments_are_checked(table):
    with pytest.raises(ConfigurationError, match="there is no router"):
        evaluate_pool({}, table)
    with pytest.raises(ConfigurationError, match="two models or more"):
        evaluate_pool({"r": router(table, 0)}, table, models=["small"])
    with pytest.raises(UnknownModelError, match="give strong and weak"):
        evaluate_pool({"length": load_router("length")}, table)
