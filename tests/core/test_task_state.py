import pickle
import threading

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.task_state import (
    BANDWIDTH,
    FALLBACK,
    NEIGHBOURS,
    VOTE,
    TaskConfidence,
    TaskState,
    TaskSummary,
    confidence_thresholds,
    negative_entropy,
    probability_better,
    task_scores,
    thresholded_confidence,
)


def test_s3_on_worked_examples():
    # S2 p + (1 - S2)(1 - p)
    np.testing.assert_allclose(task_scores([0.8, 0.8, 0.8, 0.8], [1.0, 0.9, 0.5, 0.0]), [0.8, 0.74, 0.5, 0.2])


def test_s3_is_the_mean_of_its_form_for_one_prompt():
    rng = np.random.default_rng(0)
    votes, p = rng.random((50, 4)) > 0.4, rng.random(4)
    each = np.where(votes, p, 1 - p).mean(axis=0)
    np.testing.assert_allclose(task_scores(votes.mean(axis=0), p), each)


@pytest.mark.parametrize(
    ("n_a", "n_b", "p_a", "p_b", "n"),
    [(60, 50, 0.8, 0.7, 100), (40, 45, 0.65, 0.6, 80), (25, 30, 0.9, 0.85, 60), (110, 100, 0.75, 0.9, 300)],
)
def test_the_closed_form_agrees_with_monte_carlo(n_a, n_b, p_a, p_b, n):
    rng = np.random.default_rng(1)
    draws = 2_000_000
    right_a = rng.binomial(n_a, p_a, draws) + rng.binomial(n - n_a, 1 - p_a, draws)
    right_b = rng.binomial(n_b, p_b, draws) + rng.binomial(n - n_b, 1 - p_b, draws)
    s_a, s_b = task_scores([n_a / n, n_b / n], [p_a, p_b])
    assert probability_better(s_a, s_b, p_a, p_b, n) == pytest.approx((right_a > right_b).mean(), abs=0.002)


def test_certain_votes_leave_no_doubt():
    assert probability_better(0.6, 0.5, 1.0, 1.0, 10) == 1.0
    assert probability_better(0.5, 0.5, 1.0, 1.0, 10) == 0.0


def confidence(**changes):
    parts = {
        "distances": np.array([0.1, 0.3, 0.31]),
        "agreement": np.array([[0.9, 0.8], [0.6, np.nan], [0.5, np.nan]]),
        "accuracies": np.array([0.5, 0.6]),
    }
    return TaskConfidence(**{**parts, **changes})


def test_the_kernel_regression_is_its_formula():
    found = confidence()
    for distance in (0.05, 0.2, 0.35):
        weights = np.exp(-0.5 * ((distance - found.distances) / 0.09) ** 2)
        expected = (weights * found.agreement[:, 0]).sum() / weights.sum()
        assert found.probabilities(distance) == pytest.approx([expected, 0.8])


def test_far_from_every_reference_the_nearest_decides():
    assert confidence().probabilities(50.0) == pytest.approx([0.5, 0.8])
    nowhere = confidence(agreement=np.array([[0.9, np.nan]] * 3))
    assert nowhere.probabilities(0.2) == pytest.approx([0.9, 0.5])


def test_columns_can_be_left_out_and_exchanged():
    found = confidence().for_columns([1, 0])
    assert found.accuracies.tolist() == [0.6, 0.5]
    assert found.agreement[0].tolist() == [0.8, 0.9]
    with pytest.raises(ConfigurationError, match="agreement of shape"):
        confidence(accuracies=np.array([0.5]))
    with pytest.raises(ConfigurationError, match="bandwidth"):
        confidence(bandwidth=0)


def test_a_prediction_of_a_half_is_no_vote():
    """The published code counts g > 0.5."""
    rows = np.array([[0.5, 0.5000001], [0.5, 0.4]])
    np.testing.assert_allclose(TaskSummary.of(rows).votes, [0.0, 0.5])
    state = TaskState()
    state.observe(rows[0])
    np.testing.assert_allclose(state.observe(rows[1]).votes, [0.0, 0.5])


def test_the_constants_are_those_of_the_paper():
    assert (NEIGHBOURS, BANDWIDTH, FALLBACK, VOTE) == (19, 0.09, 0.6, 0.5)
    assert (confidence().bandwidth, confidence().fallback) == (0.09, 0.6)


def test_a_state_adds_up_to_the_summary_of_its_prompts():
    rng = np.random.default_rng(2)
    rows, distances = rng.random((40, 3)), rng.random(40)
    state = TaskState()
    for row, distance in zip(rows, distances, strict=True):
        seen = state.observe(row, distance)
    whole = TaskSummary.of(rows, distances)
    assert seen.n == whole.n == 40
    np.testing.assert_allclose(seen.scores, whole.scores)
    np.testing.assert_allclose(seen.votes, whole.votes)
    assert seen.distance == pytest.approx(whole.distance)


def test_a_window_counts_that_many_prompts():
    state = TaskState(window=3)
    counts = [state.observe(np.array([0.0])).n for _ in range(3)]
    assert [*counts, state.observe(np.array([1.0])).n] == pytest.approx([1, 2, 3, 3])
    assert state.observe(np.array([1.0]), keep=False).scores == pytest.approx([1 - (2 / 3) ** 2])


def test_old_prompts_fade():
    state = TaskState(window=20)
    for _ in range(500):
        state.observe(np.array([1.0, 0.0]))
    for _ in range(100):
        seen = state.observe(np.array([0.0, 1.0]))
    assert seen.n == pytest.approx(20)
    assert seen.scores[1] > 0.95


def test_what_is_not_kept_does_not_count():
    state = TaskState()
    state.observe(np.array([0.2, 0.4]))
    assert state.observe(np.array([0.8, 0.0]), keep=False).scores == pytest.approx([0.5, 0.2])
    assert state.observe(np.array([0.2, 0.4])).scores == pytest.approx([0.2, 0.4])
    with pytest.raises(ConfigurationError, match="2 candidates, not 3"):
        state.observe(np.array([0.1, 0.2, 0.3]))
    with pytest.raises(ConfigurationError, match="window"):
        TaskState(0)


def test_threads_lose_no_prompt():
    state = TaskState(window=100_000)

    def observe():
        for _ in range(500):
            state.observe(np.array([0.25, 0.75]), 0.5)

    threads = [threading.Thread(target=observe) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = state.observe(np.array([0.25, 0.75]), 0.5)
    assert seen.n == 4001
    assert seen.scores == pytest.approx([0.25, 0.75])
    copy = pickle.loads(pickle.dumps(state))
    assert copy.observe(np.array([0.25, 0.75]), 0.5).n == 4002


def test_a_task_has_prompts():
    with pytest.raises(ConfigurationError, match="n of 1 or more"):
        TaskSummary.of(np.zeros((0, 2)))


def test_thresholded_confidence_finds_the_error_rate_again():
    rng = np.random.default_rng(3)
    truth = rng.random((20_000, 2))
    labels = (rng.random(truth.shape) < truth).astype(float)
    limits = confidence_thresholds(truth[:10_000], labels[:10_000])
    found = thresholded_confidence(truth[10_000:], limits)
    right = ((truth > 0.5) == (labels > 0.5))[10_000:].mean(axis=0)
    np.testing.assert_allclose(found, right, atol=0.02)


def test_thresholded_confidence_at_the_edges():
    assert confidence_thresholds([[0.9], [0.1]], [[1.0], [0.0]]).tolist() == [-np.inf]
    assert confidence_thresholds([[0.9], [0.1]], [[0.0], [1.0]]).tolist() == [np.inf]
    assert negative_entropy([0.5, 1.0]) == pytest.approx([-np.log(2), 0.0], abs=1e-9)
