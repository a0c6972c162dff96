"""What every router is compared with: chance, the length of the prompt, hindsight, one model alone."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from routellm_core.evaluation.curve import Array
from routellm_core.evaluation.interval import Interval


def length_win_rates(prompts: Sequence[str]) -> Array:
    """Return the length of every prompt as a share of the longest, shape (n,): the router that reads nothing."""
    lengths = np.fromiter((len(prompt) for prompt in prompts), dtype=np.float64, count=len(prompts))
    return lengths / max(1.0, float(lengths.max(initial=0.0)))


def oracle_win_rates(weak_scores: ArrayLike, strong_scores: ArrayLike) -> Array:
    """Return win rates that order prompts by what strong gains on them, shape (n,): no router's curve is above theirs."""
    gains = np.asarray(strong_scores, dtype=np.float64) - np.asarray(weak_scores, dtype=np.float64)
    widest = float(np.abs(gains).max(initial=0.0))
    return np.asarray(0.5 + gains / (2 * widest)) if widest else np.full(gains.shape, 0.5)


def random_apgr(weak_scores: ArrayLike, strong_scores: ArrayLike, *, z: float = 1.96) -> Interval:
    """Return the APGR of one random order of the prompts: 0.5, and the range that most single runs fall into.

    The expectation over all orders has no spread. A router whose APGR is inside the range cannot be told from one draw of chance.

    Args:
        weak_scores: The weak model's score on each prompt, shape (n,).
        strong_scores: The strong model's, shape (n,).
        z: Half the width, in standard deviations.
    """
    gains = np.asarray(strong_scores, dtype=np.float64) - np.asarray(weak_scores, dtype=np.float64)
    n = gains.size
    if n < 2 or math.isclose(gains.mean(), 0.0, abs_tol=1e-12):
        return Interval.undefined("no gap, or a single prompt")
    # The area is a linear rank statistic: the gain in place j of the order counts (n - j + 1/2) / n times.
    places = (n - np.arange(1, n + 1) + 0.5) / n
    variance = n * gains.var() * n * places.var() / (n - 1)
    deviation = math.sqrt(variance) / n / abs(float(gains.mean()))
    return Interval(0.5, 0.5 - z * deviation, 0.5 + z * deviation)


def best_single(models: Sequence[str], scores: Array) -> str:
    """Return the model with the highest mean score; of equals the first.

    Args:
        models: m names.
        scores: Shape (n, m).
    """
    return models[int(np.argmax(scores.mean(axis=0)))]
