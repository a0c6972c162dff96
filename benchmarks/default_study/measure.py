"""How candidates are fitted across folds, and how all of them are measured beside the baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.default_study.data import FOLDS, TUNED_FOLDS, Array
from routellm_core.evaluation.baselines import length_win_rates, oracle_win_rates, random_apgr
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.evaluation.curve import CostQualityCurve
from routellm_core.evaluation.metrics import average_performance_gap_recovered
from routellm_core.training.measures import log_loss

FIGURES = ("apgr", "cpt50", "cpt80")
STRENGTHS = (0.5, 2.0)

Rows = NDArray[np.intp]
Fit = Callable[[Rows, int | None, float], Callable[[Rows], Array]]
"""Takes the training rows, the fold that is left out (None: none) and a strength; returns what gives win rates of rows."""


@dataclass(frozen=True)
class Candidate:
    """One way to make a router.

    Attributes:
        name: What tables call it.
        about: What it varies: features, heads, data.
        fit: How it is fitted.
        strengths: Settings to choose from by the log loss over the folds.
        of_folds: It reads what was fine-tuned without a fold, which was done for the first `TUNED_FOLDS`: held-out win rates are
            the mean of their models, and rows of other folds get none (NaN).
    """

    name: str
    about: str
    fit: Fit
    strengths: Sequence[float] = STRENGTHS
    of_folds: bool = False


@dataclass(frozen=True)
class Fitted:
    """The win rates of a candidate.

    Attributes:
        inner: Of the training rows, each from a model that did not see it, shape (n,).
        outer: Of the held-out rows, shape (m,).
        strength: The setting that was chosen.
    """

    inner: Array
    outer: Array
    strength: float


def cross_fit(candidate: Candidate, train: Rows, held_out: Rows, fold: NDArray[np.int64], outcome: Array) -> Fitted:
    """Fit a candidate on all folds but one, in turn, and on all.

    Args:
        candidate: What to fit.
        train: The training rows.
        held_out: The rows to give win rates for.
        fold: The fold of each training row; rows beyond the last fold are always trained on, and get no win rate.
        outcome: What strong won on each training row, ties half.
    """
    tried = []
    for strength in candidate.strengths:
        inner, outers = np.full(len(train), np.nan), []
        for k in range(TUNED_FOLDS if candidate.of_folds else FOLDS):
            predict = candidate.fit(train[fold != k], k, strength)
            inner[fold == k] = predict(train[fold == k])
            if candidate.of_folds:
                outers.append(predict(held_out))
        there = ~np.isnan(inner)
        loss = log_loss(outcome[there], np.clip(inner[there], 1e-6, 1 - 1e-6))
        tried.append((loss, strength, inner, outers))
    _, strength, inner, outers = min(tried, key=lambda one: one[0])
    outer = np.mean(outers, axis=0) if outers else candidate.fit(train, None, strength)(held_out)
    return Fitted(inner, outer, strength)


def measured(
    rates: Mapping[str, Array], table: pd.DataFrame, *, against: str = "length", bands: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the figures of routers on a set with 95% intervals, and their paired differences to one of them.

    Args:
        rates: Their win rates; length and the oracle are added.
        table: Prompts and the scores of both sides.
        against: To which of them the differences are.
        bands: Of which of them the curve is kept.
    """
    weak, strong = table["weak"].to_numpy(float), table["strong"].to_numpy(float)
    base = {
        "length": length_win_rates(table["prompt"].tolist()),
        "oracle": oracle_win_rates(weak, strong),
    }
    every = {**rates, **base}
    # The one that differences are taken to comes last, so that they are the others' less its own.
    ordered = {name: every[name] for name in every if name != against} | {against: every[against]}
    found = bootstrap_pair(ordered, weak, strong, levels=(0.5, 0.8), figures=FIGURES)
    return {
        "n": len(table),
        "weak": found.weak,
        "strong": found.strong,
        "random": random_apgr(weak, strong),
        "routers": {name: found.figures[name] for name in every},
        "differences": {name: found.differences[name, against]["apgr"] for name in ordered if name != against},
        "against": against,
        "bands": {name: found.bands[name] for name in bands},
    }


def shares(table: pd.DataFrame) -> Array:
    """Return what strong won on each row, ties half."""
    return np.asarray((1.0 + table["strong"].to_numpy(float) - table["weak"].to_numpy(float)) / 2.0)


def apgr(rates: Array, table: pd.DataFrame) -> float:
    """Return APGR."""
    return average_performance_gap_recovered(CostQualityCurve.from_win_rates(rates, table["weak"], table["strong"]))
