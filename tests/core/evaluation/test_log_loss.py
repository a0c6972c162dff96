import math

import numpy as np
import pytest

from routellm_core.evaluation.log_loss import BLIND_RATE, blind_rate_of, clustered_mean, log_loss_figures


def test_the_one_rate_is_told_for_the_pair_that_is_asked_for():
    provenance = {BLIND_RATE: {"big": 0.7, "small": 0.3}}
    assert blind_rate_of(provenance, "big", "small") == 0.7
    assert blind_rate_of(provenance, "small", "big") == 0.3
    assert blind_rate_of(provenance, "big", "other") is None
    for wrong in (
        {},
        {BLIND_RATE: 0.7},
        {BLIND_RATE: {"big": "much", "small": 0}},
        {BLIND_RATE: {"big": 2, "small": 0}},
    ):
        assert blind_rate_of(wrong, "big", "small") is None


def test_a_tie_is_half_a_win():
    found = log_loss_figures([0.9, 0.2, 0.5], [0.0, 1.0, 1.0], [1.0, 0.5, 1.0], 0.6, resamples=20)
    losses = [-math.log(0.9), -0.25 * math.log(0.2) - 0.75 * math.log(0.8), math.log(2)]
    blind = [-math.log(0.6), -0.25 * math.log(0.6) - 0.75 * math.log(0.4), -0.5 * math.log(0.6 * 0.4)]
    assert found["log_loss"].value == pytest.approx(np.mean(losses))
    assert found["prompt_blind_log_loss"].value == pytest.approx(np.mean(blind))
    assert found["log_loss_gain"].value == pytest.approx(np.mean(blind) - np.mean(losses))


def test_scores_on_another_scale_have_no_log_loss():
    assert log_loss_figures([0.5, 0.5], [3.0, 9.0], [8.0, 2.0], 0.5) == {}


def test_the_interval_of_a_mean_is_that_of_its_prompts():
    values = np.random.default_rng(0).normal(1.0, 2.0, size=400)
    found = clustered_mean(values, np.arange(400))
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        (found.value - 1.96 * error, found.value + 1.96 * error), abs=0.2 * error
    )
    alike = clustered_mean(np.array([1.0, 3.0]), np.zeros(2, np.intp), weight=np.array([3.0, 1.0]))
    assert (alike.low, alike.value, alike.high) == (1.5, 1.5, 1.5)
