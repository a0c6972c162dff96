"""Thresholds from a wanted share of strong calls; calibrating probabilities is another subject."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import CalibrationError, InvalidThresholdError
from routellm_core.intervals import exceedance_interval

_FRACTIONS = tuple(round(step / 100, 2) for step in range(101))


def validate_threshold(threshold: float, *, name: str = "threshold") -> float:
    """Return the threshold as a float.

    Args:
        threshold: A number in [0, 1]; higher sends fewer calls to the strong model.
        name: What the value is called where the user wrote it.

    Raises:
        InvalidThresholdError: If it is not a number in [0, 1].
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number):
        raise InvalidThresholdError(f"{name} must be a number in [0, 1], not {threshold!r}")
    value = float(threshold)
    if not 0.0 <= value <= 1.0:  # also false for NaN
        raise InvalidThresholdError(f"{name} must be in [0, 1], not {threshold!r}; higher sends fewer calls to strong")
    return value


def _validate_fraction(strong_fraction: float) -> float:
    if isinstance(strong_fraction, bool) or not isinstance(strong_fraction, int | float | np.number):
        raise CalibrationError(f"strong_fraction must be a number in [0, 1], not {strong_fraction!r}")
    if not 0.0 <= float(strong_fraction) <= 1.0:
        raise CalibrationError(f"strong_fraction must be in [0, 1] (0.3 is 30%), not {strong_fraction!r}")
    return float(strong_fraction)


def _validate_win_rates(win_rates: ArrayLike) -> NDArray[np.float64]:
    try:
        values = np.asarray(win_rates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CalibrationError("win_rates must be a list of numbers in [0, 1]") from error
    if values.ndim != 1 or values.size == 0:
        raise CalibrationError(f"win_rates must be a non-empty list of numbers, not an array of shape {values.shape}")
    bad = ~((values >= 0.0) & (values <= 1.0))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise CalibrationError(f"win_rates must be in [0, 1]; {int(bad.sum())} are not, the first is row {first}")
    return values


def _threshold_at(ascending: NDArray[np.float64], strong_fraction: float) -> float:
    """Return the smallest threshold whose share of strong calls does not exceed the wanted one."""
    wanted = math.floor(strong_fraction * ascending.size + 1e-9)
    if wanted == 0:
        # Nothing may go to strong; only a win rate of exactly 1.0 cannot be kept out.
        return min(1.0, float(np.nextafter(ascending[-1], 2.0)))
    threshold = float(ascending[ascending.size - wanted])
    if wanted < ascending.size and ascending[ascending.size - wanted - 1] == threshold:
        # A tie group can only move as a whole: leave it out rather than exceed the budget.
        threshold = min(1.0, float(np.nextafter(threshold, 2.0)))
    return threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdCalibration:
    """What `calibrate_threshold` found.

    Attributes:
        threshold: Route to strong if and only if the win rate is at least this.
        requested_fraction: The share of strong calls that was asked for.
        achieved_fraction: The share on the calibration prompts; below the request where equal win rates
            cannot be split.
        interval: The 95% prediction interval of the share on further prompts of the same kind, as many as were asked for.
        n_prompts: How many win rates were given.
        warnings: What a user should know before trusting the threshold.
    """

    threshold: float
    requested_fraction: float
    achieved_fraction: float
    interval: tuple[float, float]
    n_prompts: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "threshold": self.threshold,
            "requested_fraction": self.requested_fraction,
            "achieved_fraction": self.achieved_fraction,
            "interval": list(self.interval),
            "n_prompts": self.n_prompts,
            "warnings": list(self.warnings),
        }


def calibrate_threshold(
    win_rates: ArrayLike, strong_fraction: float, *, n_fresh: float | None = None
) -> ThresholdCalibration:
    """Find the threshold that sends a wanted share of calls to the strong model.

    The threshold is an order statistic of the win rates, so the achieved share never exceeds the wanted one
    (an interpolated quantile, as in RouteLLM's `calibrate_threshold`, can). The one exception: win rates of
    exactly 1.0 go to strong at every threshold, and a warning says so.

    Args:
        win_rates: Strong win rates of prompts like those to be routed, shape (n,), in [0, 1].
        strong_fraction: The wanted share of strong calls, in [0, 1].
        n_fresh: How many further calls the interval is for; None takes as many as there are win rates, infinity the share
            in the long run.

    Raises:
        CalibrationError: If there are no win rates, or a number is out of its range.

    Example:
        >>> calibrate_threshold([0.1, 0.2, 0.3, 0.4], strong_fraction=0.5).threshold
        0.3
    """
    values = np.sort(_validate_win_rates(win_rates))
    fraction = _validate_fraction(strong_fraction)
    threshold = _threshold_at(values, fraction)
    strong = int(np.count_nonzero(values >= threshold))
    warnings = []
    if values[0] == values[-1] and values.size > 1:
        warnings.append("every prompt has the same win rate: this router cannot tell these prompts apart")
    elif abs(strong / values.size - fraction) > max(0.01, 1.0 / values.size):
        warnings.append(
            f"equal win rates cannot be split: {strong / values.size:.1%} of the prompts reach the threshold, "
            f"{fraction:.1%} were asked for"
        )
    return ThresholdCalibration(
        threshold=threshold,
        requested_fraction=fraction,
        achieved_fraction=strong / values.size,
        interval=strong_fraction_interval(values, threshold, n_fresh=n_fresh),
        n_prompts=int(values.size),
        warnings=(*warnings, *sample_size_warnings(values, threshold)),
    )


def strong_fraction_interval(
    win_rates: ArrayLike, threshold: float, *, n_fresh: float | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the prediction interval of the share of strong calls among further calls of the same kind.

    It counts the noise of these prompts and of the further ones, without any assumption on how win rates are distributed
    (`routellm_core.intervals.exceedance_interval`). Exact for a threshold that is one of the win rates and unique among
    them. Where win rates are equal it is a little wider: the share lies between what two neighbouring ranks give.

    Args:
        win_rates: Those that the threshold was taken from, shape (n,), in [0, 1].
        threshold: In [0, 1].
        n_fresh: How many further calls, at least 1; None takes as many as there are win rates, infinity the long run.
        confidence: The coverage, in (0, 1).

    Raises:
        CalibrationError: If a number is out of its range.
    """
    values = _validate_win_rates(win_rates)
    fresh = values.size if n_fresh is None else n_fresh
    if isinstance(fresh, bool) or not isinstance(fresh, int | float | np.integer) or not fresh >= 1:
        raise CalibrationError(f"n_fresh must be a number of calls, 1 or more, or infinity, not {n_fresh!r}")
    count = None if math.isinf(fresh) else int(fresh)
    above = int(np.count_nonzero(values >= threshold))
    low, high = exceedance_interval(above, values.size, count, confidence)
    if np.count_nonzero(values == threshold) != 1:
        # The threshold is not one value of its own: the share of further calls is between those of two ranks.
        _, high = exceedance_interval(above + 1, values.size, count, confidence)
    return low, high


def sample_size_warnings(win_rates: ArrayLike, threshold: float) -> tuple[str, ...]:
    """Say so if too few prompts were given to know the share of strong calls to ten points."""
    values = _validate_win_rates(win_rates)
    low, high = strong_fraction_interval(values, threshold, n_fresh=math.inf)
    if high - low <= 0.1:
        return ()
    return (f"only {values.size} prompts: even in the long run the share may be anywhere in {low:.1%} to {high:.1%}",)


@dataclass(frozen=True, slots=True)
class ThresholdTable:
    """The thresholds of a router for every percent of strong calls, as its checkpoint carries them.

    Attributes:
        thresholds: 101 values; entry i gives a strong fraction of i percent. Never increasing.
        n_prompts: How many prompts they come from; 0 if they follow from the router's definition.
        source: What those prompts were.
    """

    thresholds: tuple[float, ...]
    n_prompts: int
    source: str

    def __post_init__(self) -> None:
        values = np.asarray(self.thresholds, dtype=np.float64)
        if values.shape != (101,):
            raise CalibrationError(f"a threshold table has 101 thresholds, not {values.size}")
        if not ((values >= 0) & (values <= 1)).all() or (np.diff(values) > 0).any():
            raise CalibrationError("the thresholds of a table must be in [0, 1] and never increase")

    @classmethod
    def from_win_rates(cls, win_rates: ArrayLike, *, source: str) -> Self:
        """Make the table from strong win rates of typical prompts.

        Args:
            win_rates: Shape (n,), in [0, 1].
            source: What the prompts are, for the reader of the checkpoint.

        Raises:
            CalibrationError: If there are none, or one is out of range.
        """
        values = np.sort(_validate_win_rates(win_rates))
        return cls(tuple(_threshold_at(values, f) for f in _FRACTIONS), int(values.size), source)

    @classmethod
    def uniform(cls, *, source: str) -> Self:
        """Make the table of a router whose win rates are uniform on [0, 1]."""
        return cls(tuple(1.0 - f for f in _FRACTIONS), 0, source)

    def threshold_for(self, strong_fraction: float) -> float:
        """Return the threshold for a share of strong calls, linear between whole percents.

        Args:
            strong_fraction: In [0, 1].

        Raises:
            CalibrationError: If it is out of range.
        """
        return float(np.interp(_validate_fraction(strong_fraction), _FRACTIONS, self.thresholds))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"thresholds": list(self.thresholds), "n_prompts": self.n_prompts, "source": self.source}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            CalibrationError: If the thresholds are not a table.
        """
        thresholds: Sequence[float] = data["thresholds"]
        return cls(tuple(float(t) for t in thresholds), int(data["n_prompts"]), str(data["source"]))
