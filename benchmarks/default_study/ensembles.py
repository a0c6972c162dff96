"""Ensembles of what was tried: means of standardised win rates, and a regression on them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from benchmarks.default_study.data import FOLDS, SHIPPED, Array
from benchmarks.default_study.measure import Fitted, shares
from routellm_core.routers.base import sigmoid
from routellm_core.training.logistic import fit_logistic


def ensembles(fitted: Mapping[str, Fitted], train: pd.DataFrame) -> dict[str, Fitted]:
    """Return means of standardised win rates, and a regression on the win rates of the folds."""
    sets = {
        "mean of shipped, kNN and guessed subject": (
            SHIPPED,
            "kNN on the embedding",
            "subject guessed from the embedding",
        ),
        "mean of shipped and embedding heads": (SHIPPED, "embedding and statistics"),
        "mean of shipped and MiniLM fine-tuned": (SHIPPED, "MiniLM fine-tuned"),
        "mean of shipped and distilled heads": (SHIPPED, "distilled and statistics"),
        "mean of all heads on features at hand": (
            SHIPPED,
            "embedding and statistics",
            "ordinal: weak better, tie, strong better",
            "kNN on the embedding",
            "clusters of the embedding",
            "subject guessed from the embedding",
        ),
    }
    found = {
        name: Fitted(_mean(fitted, parts, "inner"), _mean(fitted, parts, "outer"), 0.0)
        for name, parts in sets.items()
        if all(part in fitted for part in parts)
    }
    names = [name for name, one in fitted.items() if " alone (" not in name and not np.isnan(one.inner).any()]
    inner, outer = (np.stack([getattr(fitted[name], side) for name in names], axis=1) for side in ("inner", "outer"))
    center, scale = inner.mean(axis=0), inner.std(axis=0)
    inner, outer = (inner - center) / scale, (outer - center) / scale
    fold, won = train["fold"].to_numpy(), shares(train)
    stacked = np.empty(len(inner))
    for k in range(FOLDS):
        stacked[fold == k] = logistic_on(inner[fold != k], won[fold != k], inner[fold == k])
    return found | {"regression on the win rates of all of them": Fitted(stacked, logistic_on(inner, won, outer), 0.0)}


def logistic_on(train: Array, outcome: Array, rows: Array) -> Array:
    """Fit a regression that holds its weights small, and return its win rates of rows."""
    theta, intercept = fit_logistic(train, outcome, 0.01)
    return sigmoid(rows @ theta + intercept)


def _mean(fitted: Mapping[str, Fitted], parts: Sequence[str], side: str) -> Array:
    columns = []
    for part in parts:
        inner = fitted[part].inner
        columns.append((getattr(fitted[part], side) - np.nanmean(inner)) / np.nanstd(inner))
    return sigmoid(np.mean(columns, axis=0))
