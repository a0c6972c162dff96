"""Are the win rates probabilities? What a router says against what happens."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from routellm_core.evaluation.curve import as_columns


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Some prompts with similar win rates.

    Attributes:
        n: How many.
        predicted: Their mean win rate.
        observed: How often strong won, ties half.
        low: The lower end of the 95% interval of `observed`.
        high: The upper end.
    """

    n: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well win rates agree with outcomes.

    Attributes:
        bins: About equally many prompts each, by rising win rate; equal win rates are never split.
        expected_calibration_error: The mean distance of predicted and observed, over prompts.
        brier: The mean squared distance of the win rate and the outcome (1 strong better, 0 weak better, 0.5 a tie).
    """

    bins: tuple[ReliabilityBin, ...]
    expected_calibration_error: float
    brier: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "expected_calibration_error": self.expected_calibration_error,
            "brier": self.brier,
            "bins": [
                {"n": b.n, "predicted": b.predicted, "observed": b.observed, "low": b.low, "high": b.high}
                for b in self.bins
            ],
        }


def reliability(
    win_rates: ArrayLike, weak_scores: ArrayLike, strong_scores: ArrayLike, *, n_bins: int = 10
) -> Reliability:
    """Compare win rates with how often the strong model's answer was the better one.

    Args:
        win_rates: The router's strong win rates, shape (n,), in [0, 1].
        weak_scores: The weak model's score on each prompt, shape (n,).
        strong_scores: The strong model's, shape (n,).
        n_bins: How many bins, at most.

    Raises:
        ConfigurationError: If the shapes differ, there is no prompt, or a number is not finite.
    """
    rates, weak, strong = as_columns(win_rates, weak_scores, strong_scores)
    outcome = (np.sign(strong - weak) + 1) / 2
    highest = np.unique(np.quantile(rates, np.arange(1, n_bins + 1) / n_bins, method="inverted_cdf"))
    where = np.searchsorted(highest, rates)  # the first bin whose highest win rate is not below this one
    bins = []
    for i in np.unique(where):
        inside = where == i
        n, observed = int(inside.sum()), float(outcome[inside].mean())
        # Agresti and Coull: two of each outcome added, so that a bin of equal outcomes is not taken to be certain.
        centre = (n * observed + 2) / (n + 4)
        half = 1.96 * math.sqrt(centre * (1 - centre) / (n + 4))
        low, high = max(0.0, min(observed, centre - half)), min(1.0, max(observed, centre + half))
        bins.append(ReliabilityBin(n, float(rates[inside].mean()), observed, low, high))
    error = sum(b.n * abs(b.predicted - b.observed) for b in bins) / rates.size
    return Reliability(tuple(bins), error, float(np.mean((rates - outcome) ** 2)))
