"""Metrics of RouteLLM (arXiv 2406.18665, section 3.2) on the exact cost-quality curve. Pure functions of arrays."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CostQualityCurve:
    """The mean quality a router reaches at every share of strong calls.

    Attributes:
        strong_fraction: Shape (n + 1,): 0, 1/n, ..., 1.
        quality: Shape (n + 1,): the mean quality when the prompts with the highest win rates go to strong. Where
            win rates are equal, the expectation over random orders of the tied prompts.
    """

    strong_fraction: Array
    quality: Array

    @classmethod
    def from_win_rates(cls, win_rates: ArrayLike, weak_scores: ArrayLike, strong_scores: ArrayLike) -> Self:
        """Compute the curve of a router on graded answers.

        Args:
            win_rates: The router's strong win rates, shape (n,).
            weak_scores: The weak model's score on each prompt, shape (n,).
            strong_scores: The strong model's, shape (n,).

        Raises:
            ConfigurationError: If the shapes differ, there is no prompt, or a number is not finite.
        """
        rates, weak, strong = (np.asarray(a, dtype=np.float64) for a in (win_rates, weak_scores, strong_scores))
        if rates.ndim != 1 or not rates.size or rates.shape != weak.shape or rates.shape != strong.shape:
            raise ConfigurationError(
                "win_rates, weak_scores and strong_scores must be of one and the same length of at least 1, not "
                f"{rates.shape}, {weak.shape} and {strong.shape}"
            )
        if not (np.isfinite(rates).all() and np.isfinite(weak).all() and np.isfinite(strong).all()):
            raise ConfigurationError("win rates and scores must be finite: leave out prompts without a score")
        order = np.argsort(-rates, kind="stable")
        gains = (strong - weak)[order]
        _, first, counts = np.unique(-rates[order], return_index=True, return_counts=True)
        expected = np.repeat(np.add.reduceat(gains, first) / counts, counts)
        n = rates.size
        quality = weak.mean() + np.concatenate([[0.0], np.cumsum(expected)]) / n
        return cls(np.arange(n + 1) / n, quality)

    @property
    def weak_quality(self) -> float:
        """The quality of the weak model alone."""
        return float(self.quality[0])

    @property
    def strong_quality(self) -> float:
        """The quality of the strong model alone."""
        return float(self.quality[-1])

    @property
    def auc(self) -> float:
        """The area under the curve, in units of quality."""
        return float(np.trapezoid(self.quality, self.strong_fraction))


def performance_gap_recovered(quality: float, weak_quality: float, strong_quality: float) -> float:
    """Return PGR = (quality - weak) / (strong - weak), which is 0 at the weak and 1 at the strong model's quality.

    Args:
        quality: What is reached.
        weak_quality: The weak model's.
        strong_quality: The strong model's.

    Returns:
        Below 0 and above 1 are possible; NaN if the two models are equally good, for then there is no gap.
    """
    if math.isclose(strong_quality, weak_quality, rel_tol=1e-12):  # a gap that rounding has made is none
        return math.nan
    return (quality - weak_quality) / (strong_quality - weak_quality)


def average_performance_gap_recovered(curve: CostQualityCurve) -> float:
    """Return APGR, the mean of PGR over all shares of strong calls: 0.5 for a random router.

    Returns:
        NaN if the two models are equally good.
    """
    return performance_gap_recovered(curve.auc, curve.weak_quality, curve.strong_quality)


def call_performance_threshold(curve: CostQualityCurve, gap: float = 0.5) -> float:
    """Return CPT, the smallest share of strong calls that recovers a part of the performance gap.

    Args:
        curve: The router's curve.
        gap: The part to recover, in [0, 1]; 0.8 is CPT(80%).

    Returns:
        A share in [0, 1], linear between the points of the curve; NaN if the two models are equally good.

    Raises:
        ConfigurationError: If the gap is out of range.
    """
    if not 0.0 <= gap <= 1.0:
        raise ConfigurationError(f"gap must be in [0, 1] (0.8 is 80%), not {gap!r}")
    if math.isclose(curve.strong_quality, curve.weak_quality, rel_tol=1e-12):
        return math.nan
    recovered = (curve.quality - curve.weak_quality) / (curve.strong_quality - curve.weak_quality)
    right = int(np.flatnonzero(recovered >= gap - 1e-12)[0])  # the last point recovers all of it
    if right == 0:
        return 0.0
    left = right - 1
    share = (gap - recovered[left]) / (recovered[right] - recovered[left])
    width = curve.strong_fraction[right] - curve.strong_fraction[left]
    return float(curve.strong_fraction[left] + min(1.0, max(0.0, share)) * width)


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: The figure on the data as they are.
        low: The lower end.
        high: The upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    n: int,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a percentile bootstrap interval over prompts.

    A difference between two routers is paired if the statistic computes both from the same indices. Samples on which the
    statistic is NaN are left out.

    Args:
        statistic: From the indices of the prompts, shape (n,), to the figure.
        n: The number of prompts.
        resamples: How many samples with replacement to draw.
        confidence: The coverage, in (0, 1).
        seed: Of the draws.

    Raises:
        ConfigurationError: If a number is out of range.
    """
    if n < 1 or resamples < 1 or not 0.0 < confidence < 1.0:
        raise ConfigurationError(
            f"n and resamples must be 1 or more and confidence in (0, 1), not {n!r}, {resamples!r} and {confidence!r}"
        )
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, n, n)) for _ in range(resamples)])
    tail = (1.0 - confidence) / 2
    defined = drawn[~np.isnan(drawn)]
    low, high = np.quantile(defined, [tail, 1.0 - tail]) if defined.size else (math.nan, math.nan)
    return Interval(statistic(np.arange(n)), float(low), float(high))
