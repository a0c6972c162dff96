"""What each candidate adds to the oracle, and what labels do that come from a candidate's own training data."""

from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.replication.common import bundled, mean_interval
from routellm_core.evaluation.pool_bounds import best_single_column
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.training.outcome_linear import LinearConfig, train_multilabel

LINEAR = LinearConfig(confidence=False)
LEAKS = (0.0, 0.25, 0.5, 0.75, 0.94)
"""The last one is what MetaMath reached on the part of GSM8K that it was trained on, in the authors' notebook."""


def candidates(dev: OutcomeTable) -> dict[str, Any]:
    """Return what the oracle loses without each model, and its mean gain from it over all orders (Shapley)."""
    scores, m = dev.scores, len(dev.models)
    value: dict[tuple[int, ...], float] = {(): 0.0}
    for size in range(1, m + 1):
        for chosen in combinations(range(m), size):
            value[chosen] = float(scores[:, chosen].max(axis=1).mean())
    factorial = np.cumprod([1, *range(1, m + 1)]).astype(float)
    shares = np.zeros(m)
    for chosen, reached in value.items():
        weight = factorial[len(chosen)] * factorial[m - len(chosen) - 1] / factorial[m] if len(chosen) < m else 0.0
        for column in set(range(m)) - set(chosen):
            shares[column] += weight * (value[tuple(sorted((*chosen, column)))] - reached)
    full = scores.max(axis=1)
    return {
        model: {
            "alone": mean_interval(scores[:, c]),
            "lost without": mean_interval(full - np.delete(scores, c, axis=1).max(axis=1)),
            "mean over orders": float(shares[c]),
        }
        for c, model in enumerate(dev.models)
    }


def leak(train: OutcomeTable, dev: OutcomeTable) -> dict[str, Any]:
    """Let one candidate know a share of the training prompts by heart: its training labels rise, its answers do not.

    The candidate is the third best one, as MetaMath is a good one and not the best. Simulated: the models of this pool are not
    known to have been trained on these prompts.
    """
    order = np.argsort(-train.scores.mean(axis=0))
    column = int(order[2])
    draws = np.random.default_rng(0).random(len(train))
    rows = {}
    clean = None
    for share in LEAKS:
        scores = train.scores.copy()
        scores[draws < share, column] = 1.0
        changed = OutcomeTable(prompts=train.prompts, models=dev.models, scores=scores, groups=train.groups)
        picks = train_multilabel(changed, bundled(), LINEAR)[0].score(dev.prompts).argmax(axis=1)
        reached = dev.scores[np.arange(len(dev)), picks]
        clean = reached if clean is None else clean
        rows[str(share)] = {
            "training accuracy": float(scores[:, column].mean()),
            "sent to it": float((picks == column).mean()),
            "quality": mean_interval(reached),
            "loss": mean_interval(reached - clean),
            "against the best single": mean_interval(reached - dev.scores[:, best_single_column(train.scores)]),
        }
    return {"model": dev.models[column], "accuracy": float(dev.scores[:, column].mean()), "rows": rows}
