"""Thresholds from a wanted quality, on prompts whose answers by both models are graded."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.calibration import sample_size_warnings, strong_fraction_interval
from routellm_core.errors import CalibrationError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityCalibration:
    """What `calibrate_quality` found.

    Attributes:
        threshold: Route to strong if and only if the win rate is at least this.
        requested_quality: The part of the gap between the two models that was asked for (PGR).
        achieved_quality: What the threshold recovers of it on the calibration prompts.
        quality_interval: The 95% interval of what it recovers on further prompts of the same kind, as many as were asked for.
        achieved_fraction: The share of strong calls on the calibration prompts.
        interval: The 95% prediction interval of that share on the further prompts.
        n_prompts: How many prompts were given.
        warnings: What a user should know before trusting the threshold.
    """

    threshold: float
    requested_quality: float
    achieved_quality: float
    quality_interval: tuple[float, float]
    achieved_fraction: float
    interval: tuple[float, float]
    n_prompts: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "threshold": self.threshold,
            "requested_quality": self.requested_quality,
            "achieved_quality": self.achieved_quality,
            "quality_interval": list(self.quality_interval),
            "achieved_fraction": self.achieved_fraction,
            "interval": list(self.interval),
            "n_prompts": self.n_prompts,
            "warnings": list(self.warnings),
        }


def calibrate_quality(
    win_rates: ArrayLike,
    weak_scores: ArrayLike,
    strong_scores: ArrayLike,
    quality: float,
    *,
    n_fresh: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> QualityCalibration:
    """Find the highest threshold that recovers a wanted part of the gap between the two models (PGR).

    The best of many thresholds on some prompts does a little worse on others. The interval counts that: the threshold is found
    anew on resamples of the prompts, and what it recovers is read off other resamples, of the size of the further traffic.

    Args:
        win_rates: The router's strong win rates, shape (n,), in [0, 1].
        weak_scores: How well the weak model answered each prompt, shape (n,), on any scale.
        strong_scores: How well the strong model did, shape (n,), on the same scale.
        quality: The wanted part of the gap, in [0, 1]: 0 is the weak model's quality, 1 the strong model's.
        n_fresh: How many further prompts the intervals are for; None takes n, infinity the long run.
        resamples: How many resamples the interval of the quality is from.
        seed: Of the resamples.

    Raises:
        CalibrationError: If a number is out of its range, or the strong model is no better on these prompts.

    Example:
        >>> calibrate_quality([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], [1, 1, 1, 1], 0.5).threshold
        0.9
    """
    rates, weak, strong = (np.asarray(values, dtype=np.float64) for values in (win_rates, weak_scores, strong_scores))
    if rates.ndim != 1 or not rates.size or rates.shape != weak.shape or rates.shape != strong.shape:
        raise CalibrationError(
            "win_rates, weak_scores and strong_scores must be of one and the same length of at least 1, not "
            f"{rates.shape}, {weak.shape} and {strong.shape}"
        )
    if not (np.isfinite(weak).all() and np.isfinite(strong).all()):
        raise CalibrationError("scores must be finite: leave out prompts that a model has not answered")
    if isinstance(quality, bool) or not isinstance(quality, int | float | np.number) or not 0.0 <= quality <= 1.0:
        raise CalibrationError(f"quality must be a part of the gap in [0, 1] (0.5 is half of it), not {quality!r}")
    if resamples < 1:
        raise CalibrationError(f"resamples must be 1 or more, not {resamples!r}")
    gap = float(strong.mean() - weak.mean())
    if gap <= 1e-12:
        raise CalibrationError(
            f"the strong model is no better than the weak one on these prompts ({strong.mean():.4f} and {weak.mean():.4f}): "
            "there is no gap to recover; send all calls to the weak model, or check which column is which"
        )
    curve = _Curve(rates, strong - weak)
    threshold = curve.threshold(curve.cut(np.ones(rates.size), float(quality)))
    interval = strong_fraction_interval(rates, threshold, n_fresh=n_fresh)
    fresh = rates.size if n_fresh is None else float(n_fresh)
    drawn = curve.simulate(float(quality), fresh, resamples, np.random.default_rng(seed))
    defined = drawn[~np.isnan(drawn)]
    low, high = np.quantile(defined, [0.025, 0.975]) if defined.size else (math.nan, math.nan)
    warnings = list(sample_size_warnings(rates, threshold))
    if defined.size < 0.95 * drawn.size:
        warnings.append(
            f"the strong model is so little better ({gap:.4f}) that further prompts may show no gap at all: a part of it says "
            "little here"
        )
    elif high - low > 0.4:
        warnings.append(f"what is recovered of the gap is uncertain: grade more than these {rates.size} prompts")
    return QualityCalibration(
        threshold=threshold,
        requested_quality=float(quality),
        achieved_quality=float(np.sum((strong - weak)[rates >= threshold]) / (gap * rates.size)),
        quality_interval=(float(low), float(high)),
        achieved_fraction=float(np.mean(rates >= threshold)),
        interval=interval,
        n_prompts=int(rates.size),
        warnings=tuple(warnings),
    )


class _Curve:
    """The gains of the strong model in the order in which prompts go to it.

    A cut is how many groups of equal win rates go to strong.
    """

    def __init__(self, rates: Array, gains: Array) -> None:
        order = np.argsort(-rates, kind="stable")
        self._gains = gains[order]
        self._values, counts = np.unique(-rates[order], return_counts=True)
        self._ends = np.cumsum(counts) - 1

    def recovered(self, weights: Array) -> Array:
        """Return PGR at every cut, shape (groups + 1,); NaN where there is no gap."""
        summed = np.cumsum(weights * self._gains)
        if summed[-1] <= 1e-9:
            return np.full(self._ends.size + 1, np.nan)
        return np.concatenate([[0.0], summed[self._ends] / summed[-1]])

    def cut(self, weights: Array, quality: float) -> int:
        """Return the first cut that recovers the quality; all of it if there is no gap."""
        reached = np.flatnonzero(self.recovered(weights) >= quality - 1e-12)
        return int(reached[0]) if reached.size else self._ends.size

    def threshold(self, cut: int) -> float:
        """Return the threshold of a cut."""
        highest = -float(self._values[0])
        return min(1.0, float(np.nextafter(highest, 2.0))) if cut == 0 else -float(self._values[cut - 1])

    def simulate(self, quality: float, fresh: float, resamples: int, rng: np.random.Generator) -> Array:
        """Return what thresholds that are found on one resample recover on another, shape (resamples,)."""
        n = self._gains.size
        everything = self.recovered(np.ones(n))
        drawn = np.empty(resamples)
        for position in range(resamples):
            cut = self.cut(_resample(n, n, rng), quality)
            further = everything if math.isinf(fresh) else self.recovered(_resample(n, int(fresh), rng))
            drawn[position] = further[cut]
        return drawn


def _resample(n: int, size: int, rng: np.random.Generator) -> Array:
    """Return how often each of n prompts is drawn in a sample with replacement."""
    return np.bincount(rng.integers(0, n, size), minlength=n).astype(np.float64)
