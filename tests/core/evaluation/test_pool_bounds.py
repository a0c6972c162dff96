import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.pool_bounds import (
    best_single_column,
    classifier_bound,
    fastest_right_seconds,
    majority_quality,
    oracle_choices,
    per_instance_choices,
    random_quality,
    use_of,
)

tables = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 30), st.integers(1, 5)), elements=st.sampled_from([0.0, 0.5, 1.0])
)

# Srivatsa et al. (arXiv 2405.00467), the result tables of their repository: accuracy and seconds a prompt of each model.
GSM8K = {
    "gemma-7b": (71.1145, 7.1),
    "metamath-7b": (67.5512, 4.7),
    "mistral-7b": (59.7422, 3.7),
    "mistral-7b-inst": (50.4170, 1.0),
    "llama2-13b-chat": (46.7020, 1.8),
    "gemma-7b-it": (36.8461, 0.7),
}
MMLU = (63.8562, 42.2876, 62.0915, 51.6340, 50.5229, 49.2810, 48.3660)


def with_accuracies(accuracies, n=1319, seed=0):
    """Return outcomes of n prompts with these shares of right answers, in percent."""
    rng = np.random.default_rng(seed)
    columns = [rng.permutation(np.arange(n) < round(accuracy / 100 * n)) for accuracy in accuracies]
    return np.array(columns, dtype=float).T


@given(tables)
def test_bounds_enclose_every_choice(scores):
    rows = np.arange(len(scores))
    oracle = scores[rows, oracle_choices(scores)].mean()
    assert oracle == scores.max(axis=1).mean()
    assert scores.min() <= random_quality(scores) <= oracle
    everyone = classifier_bound(np.ones_like(scores), scores)
    nobody = classifier_bound(np.zeros_like(scores), scores)
    assert (everyone, nobody) == (oracle, 0.0)
    assert random_quality(scores) == pytest.approx(scores.mean(axis=0).mean())


def test_random_is_the_mean_of_the_published_accuracies():
    assert 100 * random_quality(with_accuracies([a for a, _ in GSM8K.values()])) == pytest.approx(55.378, abs=0.05)
    assert 100 * random_quality(with_accuracies(MMLU, n=1530)) == pytest.approx(52.563, abs=0.05)


def test_latency_counts_every_query():
    """The published 3.623 s of the random router is a mean over right answers alone."""
    scores = with_accuracies([a for a, _ in GSM8K.values()])
    seconds = np.array([s for _, s in GSM8K.values()])
    right_only = (scores * seconds).sum() / scores.sum()
    assert right_only == pytest.approx(3.623, abs=0.01)
    n, m = scores.shape
    models = list(GSM8K)
    choices = np.random.default_rng(1).integers(m, size=n)
    use = use_of(choices, scores, models, seconds={name: s for name, (_, s) in GSM8K.items()})
    assert use.seconds == pytest.approx(seconds[choices].mean())
    assert use.seconds == pytest.approx(19.0 / 6, abs=0.2)


def test_an_argmax_that_is_not_predicted_right_counts_for_nothing():
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    predicted = np.array([[0.6, 0.1], [0.4, 0.3], [0.6, 0.7]])
    assert classifier_bound(predicted, scores) == pytest.approx(2 / 3)
    assert classifier_bound(predicted, scores, thresholds=[0.3, 0.9]) == pytest.approx(2 / 3)
    assert classifier_bound(predicted, scores, thresholds=[0.5, 0.9]) == pytest.approx(1 / 3)


def test_the_oracle_takes_the_cheapest_of_the_best():
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert oracle_choices(scores).tolist() == [0, 0]
    assert oracle_choices(scores, [2, 1, 0]).tolist() == [1, 2]


def test_the_best_single_model_is_chosen_on_training_data():
    assert best_single_column([[1.0, np.nan], [0.0, 0.9]]) == 1
    assert best_single_column([[0.1, np.nan], [0.0, np.nan]]) == 0


def test_averages_break_ties_of_predictions():
    predicted = np.array([[0.6, 0.6, 0.2], [0.6, 0.64, 0.2]])
    assert per_instance_choices(predicted, [0.9, 0.5, 0.5]).tolist() == [0, 1]


def test_majority_needs_more_than_half():
    scores = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert majority_quality(scores) == pytest.approx(2 / 3)
    assert majority_quality(scores[:, :2]) == pytest.approx(2 / 3)


def test_use_adds_up_calls_prices_and_parameters():
    scores = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, np.nan]])
    use = use_of([0, 0, 1, 0], scores, ["a", "b"], prices={"a": 1.0, "b": 5.0}, parameters={"a": 7, "b": 70})
    assert use.quality == pytest.approx(0.625)
    assert use.calls == {"a": 0.75, "b": 0.25}
    assert use.price == pytest.approx(2.0)
    assert use.parameters == pytest.approx(22.75)
    assert use.seconds is None
    with pytest.raises(ConfigurationError, match=r"table\.complete\(\)"):
        use_of([0, 0, 1, 1], scores, ["a", "b"])
    with pytest.raises(ConfigurationError, match="prices has no number for 'b'"):
        use_of([0, 0, 1, 0], scores, ["a", "b"], prices={"a": 1.0})
    with pytest.raises(ConfigurationError, match="2 models"):
        use_of([0], scores, ["a", "b"])


def test_the_fastest_right_model():
    assert fastest_right_seconds([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], [5.0, 1.0]) == pytest.approx((1 + 5 + 1) / 3)


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), np.zeros(3), np.array([[1.0, np.nan]])])
def test_bounds_need_complete_scores(bad):
    with pytest.raises(ConfigurationError, match="none missing"):
        random_quality(bad)
