"""Learning how far a router can be trusted on a task: every task in turn is treated as new, and as half known."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from routellm_core.routers.index import ExactIndex
from routellm_core.routers.outcome import OutcomeRouter, mean_distances
from routellm_core.task_state import BANDWIDTH, FALLBACK, NEIGHBOURS, VOTE, TaskConfidence
from routellm_core.training.outcome_data import OutcomeData

Fit = Callable[[OutcomeData], OutcomeRouter]
"""Trains a router; called once for each task that is left out."""


def learn_confidence(
    data: OutcomeData, fit: Fit, *, bandwidth: float = BANDWIDTH, fallback: float = FALLBACK
) -> TaskConfidence | None:
    """Leave out one task at a time, train on the others, and note distance and share of right votes on the one left out.

    Then the same with every second prompt of the task among the training prompts: without such references, tasks that are
    known would be judged by those that are not.

    Args:
        data: The training prompts with their tasks.
        fit: Trains on a part of them; a model that has no label in a part must not stop it.
        bandwidth: Of the kernel over distances.
        fallback: How probable it must be that a model is better than the best one on average.

    Returns:
        None if there are fewer than two tasks.
    """
    tasks = [] if data.groups is None else sorted(set(data.groups.tolist()))
    if data.groups is None or len(tasks) < 2:
        return None
    distances, agreement, accuracies = [], [], []
    for task in tasks:
        inside = data.groups == task
        accuracies.append(_mean_known(data.labels[inside]))
        for held_out in (inside, _every_second(inside)):
            rest, held = data.select(~held_out), data.select(held_out)
            predicted = fit(rest).score_from_embeddings(held.embeddings)
            distances.append(float(task_distances(rest, held).mean()))
            agreement.append(share_of_right_votes(predicted, held.labels))
    return TaskConfidence(
        np.array(distances),
        np.array(agreement),
        np.nan_to_num(_mean_known(np.array(accuracies)), nan=0.5),
        bandwidth,
        fallback,
    )


def task_distances(known: OutcomeData, new: OutcomeData) -> NDArray[np.float64]:
    """Return how far each new prompt is from the known ones, shape (n,)."""
    return mean_distances(ExactIndex(known.embeddings).search(new.embeddings, NEIGHBOURS)[1])


def share_of_right_votes(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each model how often "score above 0.5" agreed with "label above 0.5", shape (m,); NaN where nothing is known."""
    agreed = np.where(np.isnan(labels), np.nan, (scores > VOTE) == (labels > VOTE))
    return _mean_known(agreed)


def _every_second(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    chosen = np.zeros_like(inside)
    chosen[np.flatnonzero(inside)[::2]] = True
    return chosen


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)
