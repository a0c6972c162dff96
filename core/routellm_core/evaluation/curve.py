"""The cost-quality curve of a router between two models: exact, with equal win rates as expectations."""

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
        reachable: Shape (n + 1,): where a threshold can stand; False inside a group of equal win rates. None: everywhere.
    """

    strong_fraction: Array
    quality: Array
    reachable: NDArray[np.bool_] | None = None

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
        rates, weak, strong = as_columns(win_rates, weak_scores, strong_scores)
        order = np.argsort(-rates, kind="stable")
        n = rates.size
        ends = group_ends(rates[order])
        gained = np.concatenate([[0.0], np.cumsum((strong - weak)[order])[ends - 1]])
        reachable = np.zeros(n + 1, dtype=np.bool_)
        reachable[0] = reachable[ends] = True
        quality = weak.mean() + np.interp(np.arange(n + 1), np.flatnonzero(reachable), gained) / n
        return cls(np.arange(n + 1) / n, quality, reachable)

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

    def points(self) -> tuple[Array, Array]:
        """Return the points where a threshold can stand: shares of strong calls and qualities, shape (k,) each."""
        if self.reachable is None:
            return self.strong_fraction, self.quality
        return self.strong_fraction[self.reachable], self.quality[self.reachable]


def as_columns(win_rates: ArrayLike, weak_scores: ArrayLike, strong_scores: ArrayLike) -> tuple[Array, Array, Array]:
    """Return the three columns as arrays.

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
    return rates, weak, strong


def group_ends(ordered: Array) -> NDArray[np.intp]:
    """Return how many values stand before the end of each group of equal neighbours, shape (groups,)."""
    return np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, ordered.size)


# What follows takes curves by the batch: shares of strong calls `x` and qualities `q`, both of shape (..., k), with x rising
# from 0 to 1. One curve and a thousand resamples of it are read by the same code.


def quality_at(x: Array, q: Array, share: ArrayLike) -> Array:
    """Return the quality at a share of strong calls, one for all curves or one each, linear between points, shape (...)."""
    right = np.argmax(x >= np.asarray(share)[..., None] - 1e-12, axis=-1)[..., None]
    left = np.maximum(right - 1, 0)
    x0, x1, q0, q1 = (np.take_along_axis(a, i, axis=-1)[..., 0] for a in (x, q) for i in (left, right))
    width = np.where(x1 > x0, x1 - x0, 1.0)
    return np.asarray(q0 + (q1 - q0) * np.clip(np.where(x1 > x0, np.asarray(share) - x0, 0.0) / width, 0.0, 1.0))


def first_crossing(x: Array, recovered: Array, level: float) -> Array:
    """Return the smallest share of strong calls at which a level is recovered, shape (...); NaN where it never is."""
    reached = recovered >= level - 1e-12
    right = np.argmax(reached, axis=-1)[..., None]
    left = np.maximum(right - 1, 0)
    x0, x1, r0, r1 = (np.take_along_axis(a, i, axis=-1)[..., 0] for a in (x, recovered) for i in (left, right))
    rise = np.where(r1 > r0, r1 - r0, 1.0)
    crossing = x0 + np.clip(np.where(r1 > r0, level - r0, 0.0) / rise, 0.0, 1.0) * (x1 - x0)
    return np.where(reached.any(axis=-1), crossing, np.nan)


def decile_points(x: Array, q: Array, n: int) -> tuple[Array, Array]:
    """Return the eleven points that upstream's sweep visits, shape (..., 11), by rising share of strong calls.

    The thresholds are the deciles of the win rates, linear between order statistics. Strong takes the win rates at or above the
    threshold, except at the highest, where it takes none. A tie group moves as a whole, so points may coincide.

    Args:
        x: Shares at which a threshold can stand.
        q: The qualities there.
        n: The number of prompts.
    """
    # Rounded up with the noise of floating tenths: upstream's thresholds have it, and may so be a hair above a win rate.
    below = np.ceil(np.linspace(0.0, 1.0, 11) * (n - 1)).astype(np.int64)
    wanted = np.where(np.arange(11) < 10, n - below, 0)[::-1]
    at = np.stack([np.argmax(x * n > count - 0.5, axis=-1) for count in wanted], axis=-1)
    return np.take_along_axis(x, at, axis=-1), np.take_along_axis(q, at, axis=-1)
