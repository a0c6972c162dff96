"""Metrics against published figures (arXiv 2402.01781) and cases worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.robustness import flip_rate, kendall_tau, rank_displacement, recall_std
from routellm_core.robustness.metrics import accuracy, delta_accuracy, ranks, recalls

# Accuracies of eleven models on MMLU without examples: as it is, and with every right answer at A, B, C, D.
FIXED_POSITION = np.array(
    [
        [54.47, 52.31, 56.53, 56.30, 50.19],
        [61.12, 62.53, 64.44, 58.59, 63.13],
        [59.56, 52.19, 60.98, 63.84, 60.43],
        [53.48, 49.77, 54.67, 49.99, 57.74],
        [41.81, 66.36, 30.40, 36.28, 23.37],
        [46.37, 30.84, 69.41, 50.05, 28.23],
        [52.08, 35.82, 57.24, 68.65, 44.08],
        [53.12, 36.73, 56.72, 71.81, 42.63],
        [73.38, 66.16, 75.22, 78.07, 73.88],
        [65.44, 56.47, 67.38, 69.92, 66.47],
        [61.11, 41.78, 62.24, 75.07, 57.71],
    ]
)
# Accuracies with shuffled choices, and the change that this is.
SHUFFLED = np.array([34.6, 33.0, 40.0, 33.3, 24.3, 28.6, 37.0, 37.6, 45.0, 40.3, 37.6])
CHANGE = np.array([-3, -8.3, 1.0, -1.7, -5.0, -3.7, 0.7, 6.0, -5, -1.7, 0.3])


@pytest.mark.parametrize(("column", "printed"), [(1, 0.455), (2, 0.527), (3, 0.527), (4, 0.855)])
def test_published_tau(column, printed):
    assert kendall_tau(FIXED_POSITION[:, 0], FIXED_POSITION[:, column]) == pytest.approx(printed, abs=5e-4)


def test_tau_of_the_shuffle_table():
    baseline = np.round(SHUFFLED - CHANGE, 1)
    assert kendall_tau(baseline, SHUFFLED) == pytest.approx(0.5455, abs=5e-5)
    assert kendall_tau(baseline, SHUFFLED, variant="b") == pytest.approx(0.5505, abs=5e-5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20))
def test_tau_counts_pairs(rows):
    a, b = np.array(rows).T
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    signs = [int(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])) for i, j in pairs]
    assert kendall_tau(a, b) == pytest.approx(sum(signs) / len(pairs))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert kendall_tau(a, a, variant="b") == pytest.approx(1.0)
        assert kendall_tau(a, b, variant="b") == pytest.approx(-kendall_tau(a, -b, variant="b"))


def test_tau_undefined():
    assert math.isnan(kendall_tau([1], [2]))
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3], variant="b"))
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0


@pytest.mark.parametrize(
    ("a", "b", "variant", "message"),
    [
        ([1, 2], [1, 2, 3], "a", "same length"),
        ([1, math.nan], [1, 2], "a", "NaN"),
        ([1, 2], [1, 2], "c", "variant must be 'a' or 'b', not 'c'"),
    ],
)
def test_tau_refuses(a, b, variant, message):
    with pytest.raises(ConfigurationError, match=message):
        kendall_tau(a, b, variant=variant)


def test_recall_std_by_hand():
    # A: 2 of 2 right, B: 1 of 2, C: 0 of 1. Recalls 100, 50, 0: mean 50, variance (2500 + 0 + 2500) / 3.
    gold, predicted = list("AABBC"), list("AABAA")
    assert recalls(gold, predicted, "ABC").tolist() == [1.0, 0.5, 0.0]
    assert recall_std(gold, predicted, "ABC") == pytest.approx(math.sqrt(5000 / 3))
    assert recall_std(gold, predicted) == pytest.approx(math.sqrt(5000 / 3))
    assert recall_std([0, 1, 2, 3], [0, 0, 0, 0], range(4)) == pytest.approx(43.30127)
    assert recall_std([0, 1], [0, 1]) == 0
    assert recall_std([0, 1], [None, None], [0, 1]) == 0


def test_recall_std_is_undefined_where_an_option_is_never_right():
    assert math.isnan(recall_std("AAA", "ABA", "AB"))
    assert math.isnan(recall_std("AAA", "ABA"))
    assert math.isnan(recall_std("AAA", "AAA"))


def test_accuracy_and_its_change():
    assert accuracy("ABC", ["A", None, "C"]) == pytest.approx(2 / 3)
    assert delta_accuracy(0.6112, 0.6253) == pytest.approx(1.41)
    with pytest.raises(ConfigurationError, match="2 answers of 3 items"):
        accuracy("ABC", "AB")


def test_ranks():
    assert ranks([3, 9, 9, 1]).tolist() == [3, 1, 1, 4]
    assert rank_displacement([4, 3, 2, 1], [1, 4, 3, 2]).tolist() == [3, -1, -1, -1]


def test_flip_rate():
    assert flip_rate([0.1, 0.5, 0.9, 0.6], [0.5, 0.5, 0.1, 0.7], 0.5) == 0.5
    with pytest.raises(ConfigurationError, match="same prompts"):
        flip_rate([0.1], [0.1, 0.2], 0.5)
