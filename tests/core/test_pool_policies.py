from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.policies import (
    ArgmaxPolicy,
    ClosestPolicy,
    CostAwarePolicy,
    GatedArgmaxPolicy,
    ModelThresholdsPolicy,
    PolicyContext,
    RandomTopKPolicy,
    TaskConfidencePolicy,
    TaskMeanPolicy,
    TaskVotesPolicy,
    get_policy,
    tune_thresholds,
)
from routellm_core.task_state import TaskConfidence, TaskSummary, probability_better, task_scores

BY_PRICE = (0, 1, 2)
CONTEXT = PolicyContext(candidates=("s", "m", "l"), models=("a", "b", "c"), prices=(1.0, 2.0, 10.0))
triples = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(np.array)


def test_cost_aware_weighs_prices_by_lambda():
    policy = get_policy("cost_aware").bind(CONTEXT)
    scores = np.array([0.5, 0.6, 0.9])
    assert policy.order(scores, 0.0, BY_PRICE) == (2, 1, 0)
    # 0.5 - 0.5 * 0.1, 0.6 - 0.5 * 0.2, 0.9 - 0.5 * 1.0
    assert policy.order(scores, 0.5, BY_PRICE) == (1, 0, 2)
    assert policy.order(scores, 1.0, BY_PRICE) == (0, 1, 2)


@given(triples)
def test_without_regard_for_cost_it_is_argmax(scores):
    policy = CostAwarePolicy([1, 2, 10])
    assert policy.order(scores, 0.0, BY_PRICE) == ArgmaxPolicy().order(scores, None, BY_PRICE)


def test_cost_aware_needs_prices():
    with pytest.raises(ConfigurationError, match="prices="):
        CostAwarePolicy().bind(PolicyContext(candidates=("s", "l"), models=("s", "l")))
    with pytest.raises(ConfigurationError, match="knows no prices"):
        CostAwarePolicy().order(np.array([0.1, 0.2]), 0.5, (0, 1))
    with pytest.raises(ConfigurationError, match="2 prices for the 3 candidates"):
        CostAwarePolicy([1, 2]).bind(CONTEXT)
    with pytest.raises(ConfigurationError, match="0 or more"):
        CostAwarePolicy([1, -2])


def test_every_model_is_held_to_its_own_threshold():
    policy = ModelThresholdsPolicy({"s": 0.8, "b": 0.4, "c": 0.5}).bind(
        CONTEXT
    )  # by candidate or by the router's model
    assert policy.order(np.array([0.7, 0.45, 0.9]), None, BY_PRICE) == (1, 2, 0)
    assert policy.order(np.array([0.9, 0.45, 0.9]), None, BY_PRICE) == (0, 1, 2)
    assert policy.order(np.array([0.7, 0.35, 0.2]), None, BY_PRICE) == (1, 0, 2)
    with pytest.raises(ConfigurationError, match="no threshold for 'm'"):
        ModelThresholdsPolicy({"s": 0.8, "c": 0.5}).bind(CONTEXT)
    with pytest.raises(ConfigurationError, match=r"\[0, 1\]"):
        ModelThresholdsPolicy({"s": 1.2})
    with pytest.raises(ConfigurationError, match="bind"):
        ModelThresholdsPolicy({"s": 0.2}).order(np.array([0.1]), None, (0,))


def test_by_name_the_thresholds_are_those_of_the_router():
    tuned = {"a": 0.8, "b": 0.4, "c": 0.5, "d": 0.1}
    policy = get_policy("model_thresholds").bind(replace(CONTEXT, model_thresholds=tuned))
    assert policy.order(np.array([0.7, 0.45, 0.9]), None, BY_PRICE) == (1, 2, 0)
    with pytest.raises(ConfigurationError, match="needs a router whose training tuned them"):
        get_policy("model_thresholds").bind(CONTEXT)


def best_f1_by_trying(scores, labels):
    def f1(threshold):
        said = scores >= threshold
        return 2 * (said & (labels > 0)).sum() / max(said.sum() + (labels > 0).sum(), 1)

    return max(f1(threshold) for threshold in [*scores, 0.0])


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), st.booleans()), min_size=3, max_size=12))
def test_tuned_thresholds_have_the_best_f1(rows):
    scores, labels = np.array([s for s, _ in rows]), np.array([float(right) for _, right in rows])
    [threshold] = tune_thresholds(scores[:, None], labels[:, None])
    if labels.all() or not labels.any():
        assert threshold == 0.5
        return
    said = scores >= threshold
    found = 2 * (said & (labels > 0)).sum() / (said.sum() + labels.sum())
    assert found == pytest.approx(best_f1_by_trying(scores, labels))


def test_tuning_leaves_out_what_is_not_known():
    scores, labels = np.array([[0.2], [0.8], [0.9]]), np.array([[0.0], [1.0], [np.nan]])
    np.testing.assert_allclose(tune_thresholds(scores, labels), [0.5])
    with pytest.raises(ConfigurationError, match="one and the same shape"):
        tune_thresholds(scores, labels[:2])


def test_gated_argmax_abstains_to_the_default():
    scores = np.array([0.3, 0.4, 0.2])
    assert GatedArgmaxPolicy().order(scores, 0.4, BY_PRICE) == (1, 0, 2)
    assert GatedArgmaxPolicy().order(scores, 0.5, BY_PRICE) == (2, 1, 0)  # the dearest
    assert GatedArgmaxPolicy("s").bind(CONTEXT).order(scores, 0.5, BY_PRICE) == (0, 1, 2)
    with pytest.raises(ConfigurationError, match="default='x'"):
        GatedArgmaxPolicy("x").bind(CONTEXT)
    with pytest.raises(ConfigurationError, match="bind"):
        GatedArgmaxPolicy("s").order(scores, 0.5, BY_PRICE)


@given(triples, st.floats(0, 1))
def test_an_open_gate_is_argmax(scores, threshold):
    if scores.max() >= threshold:
        assert GatedArgmaxPolicy().order(scores, threshold, BY_PRICE) == ArgmaxPolicy().order(scores, None, BY_PRICE)


def test_random_topk_draws_only_where_nobody_is_sure():
    policy = RandomTopKPolicy()
    at = [policy.order(np.array([0.6, 0.5, 0.1 * i / 200]), 0.6, BY_PRICE)[0] for i in range(200)]
    assert set(at) == {0, 1, 2}  # the paper draws up to 0.60, and at it
    rng = np.random.default_rng(0)
    sure, unsure = rng.random((3000, 5)) * 0.6, rng.random((3000, 5)) * 0.6
    sure[:, 3] = 0.7
    assert {policy.order(row, 0.6, range(5))[0] for row in sure} == {3}
    ranks = [list(np.argsort(-row, kind="stable")).index(policy.order(row, 0.6, range(5))[0]) for row in unsure]
    np.testing.assert_allclose(np.bincount(ranks, minlength=5) / 3000, [1 / 3, 1 / 3, 1 / 3, 0, 0], atol=0.03)
    assert policy.order(unsure[0], 0.6, range(5)) == RandomTopKPolicy().order(unsure[0].copy(), 0.6, range(5))
    assert {RandomTopKPolicy(seed=s).order(unsure[0], 0.6, range(5))[0] for s in range(30)} > {
        policy.order(unsure[0], 0.6, range(5))[0]
    }
    with pytest.raises(ConfigurationError, match="k must be 1 or more, not 0"):
        RandomTopKPolicy(0)


@given(triples, triples, st.floats(-1, 1))
def test_the_published_prediction_policy_is_argmax(scores, weights, intercept):
    """Subtracting the same number from every score changes no argmax (arXiv 2405.00467, its code)."""
    order = ClosestPolicy(weights, intercept, signed=True).order(scores, None, BY_PRICE)
    expected = scores - (scores @ weights + intercept)
    assert expected[order[0]] == expected.max()
    if len(set(np.round(scores, 6))) == 3:
        assert order == ArgmaxPolicy().order(scores, None, BY_PRICE)


def test_closest_is_fitted_to_the_score_of_the_first_right_model():
    rng = np.random.default_rng(1)
    scores = rng.random((400, 3))
    labels = np.zeros((400, 3))
    labels[:, 1] = 1  # the first right one is always the second
    policy = ClosestPolicy.fit(scores, labels)
    np.testing.assert_allclose(policy.weights, [0, 1, 0], atol=1e-9)
    assert policy.order(np.array([0.9, 0.3, 0.6]), None, BY_PRICE)[0] == 1
    nobody = ClosestPolicy.fit(scores, np.zeros((400, 3)))
    assert nobody.intercept == pytest.approx(0.5)
    with pytest.raises(ConfigurationError, match="fitted to 3 models, not 2"):
        policy.order(np.array([0.1, 0.2]), None, (0, 1))


def test_by_name_the_expected_score_is_that_of_the_router():
    bound = get_policy("closest").bind(replace(CONTEXT, closest=np.array([0.0, 1.0, 0.0, 0.1])))
    scores = np.array([0.9, 0.3, 0.45])  # 0.4 is expected
    assert bound.order(scores, None, BY_PRICE) == (2, 1, 0)
    own = ClosestPolicy([0.0, 0.0, 0.0], 0.8)
    assert own.bind(CONTEXT).order(scores, None, BY_PRICE) == (0, 2, 1)
    with pytest.raises(ConfigurationError, match="exactly these candidates"):
        get_policy("closest").bind(CONTEXT)
    with pytest.raises(ConfigurationError, match="bind"):
        get_policy("closest").order(scores, None, BY_PRICE)


# --- tasks -------------------------------------------------------------------------------------------------------------

CONFIDENCE = TaskConfidence(
    distances=np.array([0.1, 0.5]),
    agreement=np.array([[0.9, 0.9, 0.9], [0.5, 0.55, 0.9]]),
    accuracies=np.array([0.4, 0.5, 0.6]),
)


def test_s1_and_s2_go_by_means_and_by_votes():
    rows = np.array([[0.45, 0.2, 0.3], [0.45, 0.9, 0.3], [0.45, 0.6, 0.3], [1.0, 0.55, 0.3]])
    task = TaskSummary.of(rows)
    np.testing.assert_allclose(task.scores, [0.5875, 0.5625, 0.3])
    np.testing.assert_allclose(task.votes, [0.25, 0.75, 0.0])
    assert TaskMeanPolicy().order_for_task(task, BY_PRICE) == (0, 1, 2)
    assert TaskVotesPolicy().order_for_task(task, BY_PRICE) == (1, 0, 2)


def test_s3_trusts_votes_near_the_training_tasks_alone():
    policy = TaskConfidencePolicy(CONFIDENCE)
    votes = np.array([0.9, 0.2, 0.5])
    near = TaskSummary(200, votes, votes, 0.1)
    # p = 0.9 for all: S3 = 0.9*0.9 + 0.1*0.1 = 0.82, 0.26, 0.5
    assert policy.order_for_task(near, BY_PRICE) == (0, 2, 1)
    far = TaskSummary(200, votes, votes, 0.5)
    # p = 0.5, 0.55, 0.9: S3 = 0.5, 0.47, 0.5; nobody is likely better than the best on average
    assert policy.order_for_task(far, BY_PRICE)[0] == 2


def test_s3_falls_back_to_the_best_on_average_when_unsure():
    votes = np.array([0.62, 0.2, 0.6])
    policy = TaskConfidencePolicy(CONFIDENCE)
    assert policy.order_for_task(TaskSummary(10, votes, votes, 0.1), BY_PRICE) == (2, 0, 1)
    assert policy.order_for_task(TaskSummary(10_000, votes, votes, 0.1), BY_PRICE) == (0, 2, 1)


def test_how_sure_s3_must_be_is_the_confidence_own():
    votes = np.array([0.62, 0.2, 0.6])
    task = TaskSummary(100, votes, votes, 0.1)
    s3 = task_scores(votes, 0.9)
    sure = probability_better(s3[0], s3[2], 0.9, 0.9, 100)
    assert 0.5 < sure < 0.65
    for fallback, choice in ((sure - 0.01, 0), (sure + 0.01, 2)):
        assert TaskConfidencePolicy(replace(CONFIDENCE, fallback=fallback)).order_for_task(task, BY_PRICE)[0] == choice


def test_at_an_unknown_distance_s3_is_as_careful_as_at_the_farthest():
    policy, votes = TaskConfidencePolicy(CONFIDENCE), np.array([0.9, 0.2, 0.5])
    unknown, near, far = (policy.order_for_task(TaskSummary(200, votes, votes, d), BY_PRICE) for d in (None, 0.1, 0.5))
    assert unknown == far != near


def test_task_policies_refuse_what_they_cannot_know():
    with pytest.raises(ConfigurationError, match="trained on prompts with tasks"):
        TaskConfidencePolicy().bind(CONTEXT)
    with pytest.raises(ConfigurationError, match="3 models, and there are 2 candidates"):
        TaskConfidencePolicy(CONFIDENCE).bind(PolicyContext(candidates=("a", "b"), models=("a", "b")))
    assert TaskVotesPolicy().order(np.array([0.2, 0.7, 0.6]), None, BY_PRICE)[0] == 1
