"""Probability calibration: from a router's win rates to frequencies that come true.

It is not threshold calibration. A threshold only needs the order of the win rates; whoever reads 0.8 as "strong is better in 8 of
10 cases", or weighs it against money, needs probabilities.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import CalibrationError, MissingDependencyError

Array = NDArray[np.float64]

Method = Literal["isotonic", "platt"]
"""Isotonic regression fits any rising curve, and makes equal what it cannot tell apart; Platt's fits a slope and an intercept of
the log-odds, needs less data and keeps the order."""

_FEWEST = {"isotonic": 1000, "platt": 50}


@dataclass(frozen=True, slots=True)
class ProbabilityCalibration:
    """A rising map of [0, 1] to itself, linear between knots.

    Attributes:
        method: How it was fitted.
        knots: Win rates, rising, shape (k,).
        values: The probability at each, never falling.
        n_prompts: How many prompts it was fitted on.
    """

    method: Method
    knots: tuple[float, ...]
    values: tuple[float, ...]
    n_prompts: int

    def __post_init__(self) -> None:
        knots, values = np.asarray(self.knots, dtype=np.float64), np.asarray(self.values, dtype=np.float64)
        sound = knots.shape == values.shape and knots.ndim == 1 and knots.size > 0
        if not (sound and _in_unit(knots) and _in_unit(values) and (np.diff(knots) > 0).all()):
            raise CalibrationError(
                "a probability calibration has as many values as rising knots, all of them in [0, 1]"
            )
        if (np.diff(values) < 0).any():
            raise CalibrationError("the values of a probability calibration must never fall")
        if self.method not in get_args(Method):
            raise CalibrationError(f"method must be one of {get_args(Method)}, not {self.method!r}")

    def apply(self, win_rates: ArrayLike) -> Array:
        """Return probabilities for win rates in [0, 1], of any shape."""
        return np.asarray(np.interp(np.asarray(win_rates, dtype=np.float64), self.knots, self.values))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting it."""
        fewest = _FEWEST[self.method]
        if self.n_prompts >= fewest:
            return ()
        other = ": platt needs fewer" if self.method == "isotonic" else ""
        return (f"{self.n_prompts} prompts are few for {self.method}, which wants {fewest}{other}",)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "method": self.method,
            "knots": list(self.knots),
            "values": list(self.values),
            "n_prompts": self.n_prompts,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            CalibrationError: If it is no calibration.
        """
        try:
            return cls(data["method"], tuple(data["knots"]), tuple(data["values"]), int(data["n_prompts"]))
        except (KeyError, TypeError) as error:
            raise CalibrationError(f"this is no probability calibration: {type(error).__name__} {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a JSON file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            CalibrationError: If the file is missing or holds something else.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise CalibrationError(f"{os.fspath(path)!r} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CalibrationError(f"{os.fspath(path)!r} is no probability calibration: {error}") from None


def fit_probabilities(
    win_rates: ArrayLike, outcomes: ArrayLike, *, method: Method = "isotonic"
) -> ProbabilityCalibration:
    """Fit the map from a router's win rates to how often strong was the better one.

    Args:
        win_rates: The router's strong win rates, shape (n,), in [0, 1]; of prompts it was not trained on.
        outcomes: 1 where strong was better, 0 where weak was, 0.5 for a tie; shape (n,), anything in [0, 1].
        method: "isotonic" or "platt".

    Raises:
        CalibrationError: If numbers are out of range, or higher win rates do not go with more wins.
        MissingDependencyError: If the extra `eval` is not installed.
    """
    rates, wins = np.asarray(win_rates, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if rates.ndim != 1 or not rates.size or rates.shape != wins.shape:
        raise CalibrationError(
            f"win_rates and outcomes must be of one length of at least 1, not {rates.shape} and {wins.shape}"
        )
    if not (_in_unit(rates) and _in_unit(wins)):
        raise CalibrationError("win_rates and outcomes must be in [0, 1]")
    if method not in get_args(Method):
        raise CalibrationError(f"method must be one of {get_args(Method)}, not {method!r}")
    knots, values = _fit_isotonic(rates, wins) if method == "isotonic" else _fit_platt(rates, wins)
    return ProbabilityCalibration(method, tuple(knots.tolist()), tuple(values.tolist()), int(rates.size))


def _fit_isotonic(rates: Array, wins: Array) -> tuple[Array, Array]:
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise MissingDependencyError.for_extra("Fitting probabilities", "eval") from error
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(rates, wins)
    return np.asarray(fitted.X_thresholds_), np.clip(np.maximum.accumulate(fitted.y_thresholds_), 0.0, 1.0)


def _fit_platt(rates: Array, wins: Array) -> tuple[Array, Array]:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingDependencyError.for_extra("Fitting probabilities", "eval") from error
    # Platt's targets: as if one more win and one more loss had been seen, so that separable data have a finite slope.
    positive, negative = wins.sum(), (1 - wins).sum()
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    target = wins * high + (1 - wins) * low
    labels = np.repeat([1, 0], rates.size)
    model = LogisticRegression(C=np.inf).fit(
        np.tile(_logit(rates), 2)[:, None], labels, sample_weight=np.concatenate([target, 1 - target])
    )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        raise CalibrationError(
            f"strong does not win more often where the win rate is higher (slope {slope:.3f}): this router cannot be "
            "calibrated on these prompts, only replaced"
        )
    knots = 1 / (1 + np.exp(-np.linspace(-14.0, 14.0, 1401)))
    knots = np.concatenate([[0.0], knots, [1.0]])
    return knots, 1 / (1 + np.exp(-(slope * _logit(knots) + intercept)))


def _logit(rates: Array) -> Array:
    inside = np.clip(rates, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _in_unit(values: Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
