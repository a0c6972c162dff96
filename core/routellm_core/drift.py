"""Whether prompts are like those a router was trained and calibrated on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from routellm_core.calibration import ThresholdTable
from routellm_core.errors import CalibrationError

_PERCENTS = np.arange(10, 100, 10)
_CHI_SQUARED_99 = (6.63, 9.21, 11.34, 13.28, 15.09, 16.81, 18.48, 20.09, 21.67)
"""The 99% quantiles of chi-squared with 1 to 9 degrees of freedom."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreDrift:
    """How far the scores of prompts are from those of the prompts a router was calibrated on.

    Attributes:
        psi: The population stability index over the deciles of the calibration: below 0.1 the two are usually taken for
            equal, from 0.25 on for different.
        noise: What equal distributions stay below in 99 of 100 cases, with samples of these sizes.
        median_fraction: The share of these prompts that reach the threshold the router would take for a half.
    """

    psi: float
    noise: float
    median_fraction: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to tell the user: nothing if the shift is small, or may be chance."""
        if self.psi < 0.1 or self.psi <= self.noise:
            return ()
        size = "far from" if self.psi >= 0.25 else "not quite like"
        warning = (
            f"the scores of these prompts are {size} those of the prompts the router was calibrated on (population stability "
            f"index {self.psi:.2f}): its own threshold for half the calls would send {self.median_fraction:.1%} of them to "
            "strong, and what was measured of its quality may not hold here"
        )
        return (warning,)


def score_drift(win_rates: ArrayLike, table: ThresholdTable) -> ScoreDrift | None:
    """Compare strong win rates with those behind a threshold table.

    The population stability index is ``sum (a - e) ln(a / e)`` over the ten classes that the deciles of the table make, where
    a and e are the shares found and expected, with half a prompt added to every class. Under no drift it is about
    ``(1/n + 1/N) chi^2`` with one degree of freedom less than there are classes, for samples of n and N prompts.

    Args:
        win_rates: Of the prompts, shape (n,), in [0, 1].
        table: The calibration that is part of the router.

    Returns:
        None if the table cannot tell: all its deciles are the same.

    Raises:
        CalibrationError: If there are no win rates.
    """
    values = np.asarray(win_rates, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise CalibrationError(f"win_rates must be a non-empty list of numbers, not an array of shape {values.shape}")
    # Ascending thresholds and the share expected to reach each; where several percents share one, the smallest is right.
    edges, first = np.unique(np.asarray(table.thresholds)[_PERCENTS], return_index=True)
    above = _PERCENTS[first] / 100
    if len(edges) < 2:
        return None
    expected = -np.diff(np.concatenate([[1.0], above, [0.0]]))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(expected))
    found = (counts + 0.5) / (values.size + 0.5 * len(expected))
    psi = float(np.sum((found - expected) * np.log(found / expected)))
    rate = 1 / values.size + (1 / table.n_prompts if table.n_prompts else 0.0)
    return ScoreDrift(
        psi=psi,
        noise=rate * _CHI_SQUARED_99[len(expected) - 2],
        median_fraction=float(np.mean(values >= table.threshold_for(0.5))),
    )
