"""A figure with its interval, and how an interval is made from bootstrap draws."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: The figure on the data as they are; NaN if it is not defined.
        low: The lower end.
        high: The upper end.
        reason: Why a number is NaN; None if all are numbers.
    """

    value: float
    low: float
    high: float
    reason: str | None = None

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "n/a"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: null for NaN, and the reason where there is one."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        plain: dict[str, Any] = {key: number if math.isfinite(number) else None for key, number in numbers.items()}
        return plain if self.reason is None else {**plain, "reason": self.reason}

    @classmethod
    def exact(cls, value: float) -> "Interval":
        """Return a figure that has no error."""
        return cls(value, value, value)

    @classmethod
    def undefined(cls, reason: str) -> "Interval":
        """Return a figure that cannot be given, and why."""
        return cls(math.nan, math.nan, math.nan, reason)


def interval_from_draws(
    value: float, draws: NDArray[np.float64], *, confidence: float = 0.95, acceleration: float = 0.0
) -> Interval:
    """Return the bias-corrected and accelerated bootstrap interval (Efron 1987) around a figure.

    Draws that are NaN are left out. Where more than one in twenty is, the ends are NaN: an interval over the others would
    not be that of the figure.

    Args:
        value: The figure on the data as they are.
        draws: The figure on the resamples, shape (resamples,).
        confidence: The coverage, in (0, 1).
        acceleration: A sixth of the skewness of the figure's influence values; 0 corrects the bias alone.
    """
    defined = draws[~np.isnan(draws)]
    if math.isnan(value) or not defined.size:
        return Interval(value, math.nan, math.nan, "not defined on these data")
    if defined.size < 0.95 * draws.size:
        share = 1 - defined.size / draws.size
        return Interval(value, math.nan, math.nan, f"not defined on {share:.0%} of the resamples: too few prompts")
    normal = NormalDist()
    below = (np.count_nonzero(defined < value) + 0.5 * np.count_nonzero(defined == value)) / defined.size
    half = 0.5 / defined.size
    bias = normal.inv_cdf(min(1 - half, max(half, float(below))))
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(normal.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(defined, ends)
    return Interval(value, float(low), float(high))
