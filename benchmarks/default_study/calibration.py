"""Whether win rates agree with outcomes, as they are and calibrated on the folds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.default_study.data import SHIPPED, Array
from benchmarks.default_study.measure import Fitted, apgr, shares
from routellm_core.evaluation.reliability import reliability
from routellm_core.routers.base import sigmoid
from routellm_core.training.logistic import fit_logistic
from routellm_core.training.measures import log_losses


def calibration(train: pd.DataFrame, dev: pd.DataFrame, fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    """Measure on `dev` how well win rates agree with outcomes, as they are and after calibration on the folds."""
    one, outcome, won = fitted[SHIPPED], shares(dev), shares(train)
    inner, outer = (np.log(r / (1 - r))[:, None] for r in (np.clip(x, 1e-4, 1 - 1e-4) for x in (one.inner, one.outer)))
    ways = {
        "two heads as they are": one.outer,
        "two heads, Platt": logistic_on_free(inner, won, outer),
        "two heads, isotonic in ten steps": steps(one.inner, won, one.outer),
        "win rate directly": fitted["win rate directly"].outer,
        "the mean for all": np.full(len(outcome), won.mean()),
    }
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(outcome), (1000, len(outcome)))
    rows: dict[str, Any] = {}
    for name, rates in ways.items():
        losses = log_losses(outcome, rates)
        means = losses[drawn].mean(axis=1)
        error = reliability(rates, dev["weak"], dev["strong"]).expected_calibration_error
        rows[name] = {
            "log loss": [losses.mean(), *np.quantile(means, [0.025, 0.975])],
            "calibration error": error,
            "apgr": None if name.startswith("the mean") else apgr(rates, dev),
        }
    return rows


def logistic_on_free(train: Array, outcome: Array, rows: Array) -> Array:
    """Fit slope and intercept almost without a penalty."""
    theta, intercept = fit_logistic(train, outcome, 1e4)
    return sigmoid(rows @ theta + intercept)


def steps(inner: Array, outcome: Array, outer: Array) -> Array:
    """Return the mean outcome of the tenth a win rate falls into, made monotone."""
    edges = np.quantile(inner, np.linspace(0, 1, 11)[1:-1])
    means = np.array([outcome[np.searchsorted(edges, inner) == i].mean() for i in range(10)])
    return np.maximum.accumulate(means)[np.searchsorted(edges, outer)]
