"""A figure with its interval, and how an interval is made from bootstrap draws."""

import math
from dataclasses import dataclass
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


def interval_from_draws(value: float, draws: NDArray[np.float64], *, confidence: float = 0.95) -> Interval:
    """Return the percentile bootstrap interval around a figure.

    Of the percentile, basic, normal and bias-corrected intervals it is the plainest that keeps its promise for APGR and PGR where
    the gap between the models is small: the basic and the normal one are then too wide.

    Draws that are NaN are left out. Where more than one in twenty is, the ends are NaN: an interval over the others would
    not be that of the figure.

    Args:
        value: The figure on the data as they are.
        draws: The figure on the resamples, shape (resamples,).
        confidence: The coverage, in (0, 1).
    """
    defined = draws[~np.isnan(draws)]
    if math.isnan(value):
        return Interval.undefined("not reached, or not defined on these prompts")
    if defined.size < 0.95 * draws.size:
        share = 1 - defined.size / draws.size
        return Interval(value, math.nan, math.nan, f"not defined on {share:.0%} of the resamples: too few prompts")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
