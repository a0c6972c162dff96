import subprocess
import sys

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError
from routellm_core.routers.random import RandomRouter

PROMPTS = [f"prompt {i}" for i in range(20_000)]


def test_win_rates_are_uniform():
    rates = np.sort(RandomRouter().strong_win_rates(PROMPTS))
    n = len(rates)
    steps = np.arange(n + 1) / n
    distance = max((steps[1:] - rates).max(), (rates - steps[:-1]).max())  # Kolmogorov-Smirnov
    assert distance < 1.95 / np.sqrt(n)  # p = 0.001
    assert rates[0] >= 0
    assert rates[-1] < 1


def test_prompts_that_resemble_each_other_are_independent():
    rates = RandomRouter().strong_win_rates(PROMPTS)
    assert abs(np.corrcoef(rates[:-1], rates[1:])[0, 1]) < 4 / np.sqrt(len(rates))


def test_seeds_are_independent_and_reproducible():
    a, b = RandomRouter(1).strong_win_rates(PROMPTS), RandomRouter(2).strong_win_rates(PROMPTS)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))
    np.testing.assert_array_equal(a, RandomRouter(1).strong_win_rates(PROMPTS))
    assert RandomRouter(1).fingerprint != RandomRouter(2).fingerprint


def test_same_in_every_process():
    code = """
from routellm_core import load_router
router = load_router("random", seed=7)
print(router.strong_win_rate("Hi!"), router.fingerprint)
"""
    router = load_router("random", seed=7)
    expected = f"{router.strong_win_rate('Hi!')} {router.fingerprint}"
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
def test_thresholds_give_the_share(fraction):
    router = RandomRouter()
    share = np.mean(router.strong_win_rates(PROMPTS) >= router.thresholds.threshold_for(fraction))
    assert share == pytest.approx(fraction, abs=0.015)


@pytest.mark.parametrize("seed", [1.5, "1", None, True])
def test_seed_is_an_integer(seed):
    with pytest.raises(ConfigurationError, match="seed must be an integer"):
        RandomRouter(seed)


def test_negative_and_huge_seeds():
    assert RandomRouter(-1).strong_win_rate("x") != RandomRouter(10**30).strong_win_rate("x")
