"""The log loss of a router's win rates, beside that of the best that knows no prompt."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.evaluation.curve import as_columns
from routellm_core.evaluation.interval import Interval, interval_from_draws
from routellm_core.training.measures import log_losses

Array = NDArray[np.float64]

BLIND_RATE = "prompt_blind_win_rate"
"""Under this name the provenance of a table says how often each of its two models wins, as far as one can know without the
prompts: a mapping of model to rate."""


def clustered_mean(
    values: Array,
    clusters: NDArray[np.intp],
    *,
    weight: Array | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a mean with its bootstrap interval.

    Args:
        values: Shape (n,).
        clusters: Which prompt each belongs to, shape (n,): prompts are drawn, with all of their values.
        weight: Shape (n,); None weighs all alike.
        resamples: How many.
        confidence: The coverage, in (0, 1).
        seed: Of the draws.
    """
    w = np.ones(len(values)) if weight is None else weight
    _, index = np.unique(clusters, return_inverse=True)
    sums, weights = np.bincount(index, w * values), np.bincount(index, w)
    generator = np.random.default_rng(seed)
    draws = np.empty(resamples)
    for i in range(resamples):
        rows = generator.integers(len(sums), size=len(sums))
        total = weights[rows].sum()
        draws[i] = sums[rows].sum() / total if total > 0 else math.nan
    return interval_from_draws(float(sums.sum() / weights.sum()), draws, confidence=confidence)


def blind_rate_of(provenance: Mapping[str, Any], strong: str, weak: str) -> float | None:
    """Return the strong win rate that knows no prompt; None if a table does not say it.

    Args:
        provenance: Of the table.
        strong: A column.
        weak: Another.
    """
    rates = provenance.get(BLIND_RATE)
    if not isinstance(rates, Mapping) or set(rates) != {strong, weak}:
        return None
    rate = rates[strong]
    return float(rate) if isinstance(rate, int | float) and 0 <= rate <= 1 else None


def log_loss_figures(
    win_rates: ArrayLike,
    weak_scores: ArrayLike,
    strong_scores: ArrayLike,
    blind_rate: float,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return the mean log loss of win rates in nats, that of one rate for all prompts, and by how much the first is lower.

    Args:
        win_rates: Shape (n,).
        weak_scores: The weak model's score on each prompt, in [0, 1], shape (n,).
        strong_scores: The strong model's; strong won (1 + strong - weak) / 2 of a prompt.
        blind_rate: The one rate.
        resamples: Of the bootstrap over prompts.
        confidence: Of the intervals, in (0, 1).
        seed: Of the draws.

    Returns:
        "log_loss", "prompt_blind_log_loss" and "log_loss_gain"; empty if a score is not in [0, 1].
    """
    rates, weak, strong = as_columns(win_rates, weak_scores, strong_scores)
    if not all(scores.min() >= 0 and scores.max() <= 1 for scores in (weak, strong)):
        return {}
    outcome = (1.0 + strong - weak) / 2.0
    losses, blind = log_losses(outcome, rates), log_losses(outcome, np.full(len(rates), blind_rate))
    columns = {"log_loss": losses, "prompt_blind_log_loss": blind, "log_loss_gain": blind - losses}
    each = np.arange(len(rates))
    return {
        name: clustered_mean(values, each, resamples=resamples, confidence=confidence, seed=seed)
        for name, values in columns.items()
    }
