"""How the candidates for open questions are measured: on tasks left out, and on GSM8K and MT-Bench."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.default_study.data import Array
from benchmarks.default_study.measure import measured
from routellm_core import load_router
from routellm_core.evaluation.curve import CostQualityCurve
from routellm_core.routers.prompt_reading import stem

TASKS = ("math", "human_eval", "commongen", "commonsense_qa", "openbook_qa", "trivia_qa", "mmlu", "mmlu_pro")


def gained(rates: Array, table: pd.DataFrame) -> float:
    """Return the area between a router's curve and that of random routing, in points of quality."""
    curve = CostQualityCurve.from_win_rates(rates, table["weak"], table["best"])
    return 100.0 * (curve.auc - (curve.weak_quality + curve.strong_quality) / 2.0)


def table_of(
    train: pd.DataFrame, tasks: Any, sets: Mapping[str, pd.DataFrame], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Measure all on both benchmarks, and say which one the tasks left out pick."""
    inner = {
        name: {task: gained(np.array(one["inner"])[tasks == task], train[tasks == task]) for task in TASKS}
        for name, one in found.items()
    }
    means = {name: float(np.mean(list(of.values()))) for name, of in inner.items()}
    lengths = np.array([len(stem(prompt)) for prompt in train["prompt"]], dtype=float)
    of_length = [gained(lengths[tasks == task], train[tasks == task]) for task in TASKS]
    tables = {}
    for name, table in sets.items():
        rates = {candidate: np.array(one[name]) for candidate, one in found.items()}
        rates["the shipped router"] = np.asarray(
            load_router("default").score(table["prompt"].tolist())[:, 1], dtype=float
        )
        tables[name] = measured(rates, table, against="the shipped router")
    shippable = [name for name in means if "cannot be shipped" not in name]
    return {
        "inner": inner,
        "inner mean": {**means, "length": float(np.mean(of_length))},
        "pick": max(shippable, key=lambda name: means[name]),
        "sets": tables,
    }
