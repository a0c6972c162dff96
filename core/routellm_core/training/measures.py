"""Losses and calibration on battles, and the baseline that knows no prompt."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import bradley_terry, pair_statistics, win_probability
from routellm_core.training.report import CalibrationBin

Array = NDArray[np.float64]

_SMALLEST = 1e-12  # a probability of 0 or 1 costs 27.6 nats where it is wrong, not infinity


def log_loss(outcome: ArrayLike, rate: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Return the mean log loss in nats.

    Args:
        outcome: Shape (n,), in [0, 1]; a tie is 0.5.
        rate: The predicted probabilities, shape (n,).
        weight: Shape (n,), 0 or more; None weighs all alike.
    """
    return float(np.average(log_losses(outcome, rate), weights=None if weight is None else np.asarray(weight)))


def log_losses(outcome: ArrayLike, rate: ArrayLike) -> Array:
    """Return the log loss of every prediction, in nats; see `log_loss`."""
    y = np.asarray(outcome, np.float64)
    p = np.clip(np.asarray(rate, np.float64), _SMALLEST, 1.0 - _SMALLEST)
    return np.asarray(-(y * np.log(p) + (1.0 - y) * np.log1p(-p)))


def model_columns(dataset: PreferenceDataset, models: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where the two models of every battle stand in a list that has all of them; shapes (n,) and (n,)."""
    position = {model: i for i, model in enumerate(models)}
    column = np.array([position[model] for model in dataset.models], np.intp)
    return column[dataset.model_a], column[dataset.model_b]


def prompt_blind_strengths(training: PreferenceDataset, models: Sequence[str]) -> Array:
    """Fit Bradley-Terry to battles; shape (len(models),), natural-log scale, 0 for a model without battles."""
    a, b = model_columns(training, models)
    _, wins = pair_statistics(a, b, training.outcome, len(models), training.weight)
    return bradley_terry(wins)


def prompt_blind_rates(training: PreferenceDataset, validation: PreferenceDataset) -> Array:
    """Predict battles without looking at their prompts.

    Args:
        training: What Bradley-Terry is fitted to.
        validation: n battles.

    Returns:
        The chance that model_a wins, shape (n,); a model that never fought counts as average.
    """
    models = sorted({*training.models, *validation.models})
    strengths = prompt_blind_strengths(training, models)
    a, b = model_columns(validation, models)
    return win_probability(strengths[a], strengths[b])


def calibration_table(outcome: ArrayLike, rate: ArrayLike, *, n_bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Compare predicted probabilities with outcomes in bins of about equal size.

    Args:
        outcome: Shape (n,), in [0, 1].
        rate: Shape (n,), the predictions.
        n_bins: How many bins; fewer where there are not as many different predictions.
    """
    y, p = np.asarray(outcome, np.float64), np.asarray(rate, np.float64)
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    # Equal predictions stay together: a bin ends where the next prediction is another one.
    ends = sorted({int(np.searchsorted(p, p[k - 1], side="right")) for k in _cuts(len(p), n_bins)})
    starts = [0, *ends[:-1]]
    return tuple(
        CalibrationBin(
            low=float(p[i]),
            high=float(p[j - 1]),
            count=j - i,
            predicted=float(p[i:j].mean()),
            observed=float(y[i:j].mean()),
        )
        for i, j in zip(starts, ends, strict=True)
    )


def _cuts(n: int, n_bins: int) -> list[int]:
    return [k for k in (round(n * i / n_bins) for i in range(1, n_bins + 1)) if k > 0]
