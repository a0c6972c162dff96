"""Intervals of shares: of one sample, and of further samples that are still to come."""

import math

import numpy as np
from numpy.typing import NDArray

_LARGEST_SAMPLE = 200_000
"""Up to this size of a further sample its counts are gone through one by one."""


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Args:
        successes: How many of the n count.
        n: The number of trials, at least 1.
        confidence: The coverage, in (0, 1).
    """
    from statistics import NormalDist  # not needed to import this library, and slow to

    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def exceedance_interval(above: int, n: int, fresh: int | None = None, confidence: float = 0.95) -> tuple[float, float]:
    """Return where the share of a further sample lies that reaches the `above`-th largest of n values.

    Whatever the distribution is, as long as it is continuous and the values are exchangeable, the number of `fresh` further
    values that reach it is beta-binomial with the parameters (fresh, above, n - above + 1); as a share of infinitely many it
    follows a beta distribution. The interval is the shortest one that holds at least the confidence, so it counts the noise of
    both samples.

    Args:
        above: The rank of the value, in 0..n + 1; 0 stands for a value above all, n + 1 for one below all.
        n: The size of the sample, at least 1.
        fresh: The size of the further sample; None is for the share in the long run.
        confidence: The coverage, in (0, 1).

    Example:
        >>> low, high = exceedance_interval(300, 1000, 1000)
        >>> round(low, 3), round(high, 3)
        (0.26, 0.34)
    """
    if above == 0:
        return 0.0, 0.0
    if above == n + 1:
        return 1.0, 1.0
    if fresh is not None and fresh <= _LARGEST_SAMPLE:
        shares = np.arange(fresh + 1) / fresh
        masses = _beta_binomial(fresh, above, n - above + 1)
    else:
        # A further sample that is finite, but large, adds its noise to the first one's as if that had been smaller.
        size = n if fresh is None else n * fresh / (n + fresh)
        shares, masses = _beta(above * size / n, (n - above + 1) * size / n)
    low, high = _shortest(masses, confidence)
    return float(shares[low]), float(shares[high])


def _beta_binomial(trials: int, a: float, b: float) -> NDArray[np.float64]:
    """Return the chance of 0, 1, ..., trials successes, shape (trials + 1,)."""
    k = np.arange(trials)
    steps = np.log(trials - k) + np.log(a + k) - np.log(k + 1) - np.log(trials - k - 1 + b)
    return _normalised(np.concatenate([[0.0], np.cumsum(steps)]))


def _beta(a: float, b: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a fine grid over the beta distribution and the chance of each of its cells."""
    mean = a / (a + b)
    reach = 12 * math.sqrt(mean * (1 - mean) / (a + b + 1)) + 12 / (a + b)
    edges = np.linspace(max(0.0, mean - reach), min(1.0, mean + reach), 20_001)
    points = (edges[1:] + edges[:-1]) / 2
    return points, _normalised((a - 1) * np.log(points) + (b - 1) * np.log1p(-points))


def _normalised(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    masses = np.exp(logs - logs.max())
    return np.asarray(masses / masses.sum())


def _shortest(masses: NDArray[np.float64], confidence: float) -> tuple[int, int]:
    """Return the first and the last position of the shortest run that holds the confidence; of several, the heaviest."""
    cumulated = np.concatenate([[0.0], np.cumsum(masses)])
    # For every first position the smallest end that suffices; rounding must not ask for more than there is.
    ends = np.searchsorted(cumulated, cumulated[:-1] + confidence * cumulated[-1] - 1e-12)
    starts = np.flatnonzero(ends < cumulated.size)
    lengths = ends[starts] - starts
    shortest = starts[lengths == lengths.min()]
    held = cumulated[ends[shortest]] - cumulated[shortest]
    low = int(shortest[np.argmax(held)])
    return low, int(ends[low]) - 1
