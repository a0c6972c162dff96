import math

import numpy as np
import pytest

from routellm_core.evaluation import CostQualityCurve, average_performance_gap_recovered
from routellm_core.evaluation.baselines import best_single, length_win_rates, oracle_win_rates, random_apgr


def test_length_is_a_share_of_the_longest():
    assert length_win_rates(["a", "abcd", ""]).tolist() == [0.25, 1.0, 0.0]
    assert length_win_rates([""]).tolist() == [0.0]


def test_oracle_orders_by_gain():
    rates = oracle_win_rates([0.0, 1.0, 0.5], [1.0, 0.0, 0.5])
    assert rates.tolist() == [1.0, 0.0, 0.5]
    assert oracle_win_rates([1.0, 1.0], [1.0, 1.0]).tolist() == [0.5, 0.5]


def test_range_of_one_random_order_is_that_of_many():
    rng = np.random.default_rng(0)
    weak, strong = (rng.random(200) < 0.6).astype(float), (rng.random(200) < 0.85).astype(float)
    drawn = [
        average_performance_gap_recovered(CostQualityCurve.from_win_rates(rng.random(200), weak, strong))
        for _ in range(2000)
    ]
    found = random_apgr(weak, strong)
    assert found.value == 0.5
    assert (found.high - 0.5) / 1.96 == pytest.approx(np.std(drawn), rel=0.06)
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.01)


def test_random_order_without_a_gap():
    assert math.isnan(random_apgr([0, 1], [1, 0]).value)
    assert random_apgr([0], [1]).reason


def test_best_single_model():
    assert best_single(["a", "b", "c"], np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])) == "b"
