"""The shipped router on everything: RouteLLM's benchmarks, other pairs, tasks nothing was trained on, answers judged by people.

ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.beside
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.default_study.data import (
    Array,
    benchmarks,
    human_judged,
    mmlu,
    study_run,
    transfer_sets,
    unseen_sets,
)
from benchmarks.default_study.measure import Rows, measured
from benchmarks.replication.common import Run
from routellm_core.evaluation.baselines import length_win_rates
from routellm_core.routers.default import DefaultRouter

RESAMPLES = 2000


def rated(run: Run, sets: Mapping[str, pd.DataFrame], *, topic: bool = False) -> dict[str, Any]:
    """Measure the shipped router on sets, with its curve."""
    router, found = DefaultRouter.by_name(), {}
    for name, table in sets.items():
        rates: dict[str, Array] = {"default": router.strong_win_rates(table["prompt"].tolist())}
        if topic and name == "MMLU":
            train = mmlu(run, "train")
            gap = (train["strong"] - train["weak"]).groupby(train["task"]).mean()
            rates["topic known"] = table["task"].map(gap).to_numpy(float)
        found[name] = measured(rates, table, bands=("default", "length", "oracle"))
    return found


def unseen(run: Run) -> dict[str, Any]:
    """Test on each unseen set whether the router is worse than random, with Holm's correction, and how it does beside length.

    The area between the curve and random is in points of quality, so a set with a small gap counts little and one where the
    strong model is the worse one still counts.
    """
    sets = {**unseen_sets(run), **{name: table for name, table in benchmarks(run).items() if name != "MMLU"}}
    sets |= human_judged(run)
    router = DefaultRouter.by_name()
    rows: dict[str, Any] = {}
    draws: list[Array] = []
    for name, table in sets.items():
        scale = 10.0 if name == "MT-Bench" else 1.0
        gain = (table["strong"] - table["weak"]).to_numpy(float) / scale
        ours = router.strong_win_rates(table["prompt"].tolist())
        length = length_win_rates(table["prompt"].tolist())
        n, rng = len(table), np.random.default_rng(0)
        drawn = np.array([_areas((ours, length), gain, rng.integers(0, n, n)) for _ in range(RESAMPLES)])
        at = _areas((ours, length), gain, np.arange(n))
        draws.append(drawn[:, 0] - drawn[:, 1])
        rows[name] = {
            "n": n,
            "gap": 100 * gain.mean(),
            "default": [at[0], *np.quantile(drawn[:, 0], (0.025, 0.975))],
            "length": [at[1], *np.quantile(drawn[:, 1], (0.025, 0.975))],
            "p worse": float((1 + (drawn[:, 0] >= 0).sum()) / (1 + RESAMPLES)),
            "p better": float((1 + (drawn[:, 0] <= 0).sum()) / (1 + RESAMPLES)),
        }
    for key in ("p worse", "p better"):
        adjusted = holm([row[key] for row in rows.values()])
        for row, value in zip(rows.values(), adjusted, strict=True):
            row[f"{key}, Holm"] = value
    sizes = np.array([row["n"] for row in rows.values()], dtype=float)
    ours_less = np.array([row["default"][0] - row["length"][0] for row in rows.values()])
    less = {}
    for key, weight in (("sets", np.ones(len(sizes))), ("prompts", sizes)):
        drawn_means = np.average(draws, axis=0, weights=weight)
        less[key] = [np.average(ours_less, weights=weight), *np.quantile(drawn_means, (0.025, 0.975))]
    return {"sets": rows, "default less length": less}


def _areas(routers: tuple[Array, ...], gain: Array, rows: Rows) -> list[float]:
    """Return the area between each router's curve and random, in points of quality."""
    return [area_over_random(rates[rows], gain[rows]) for rates in routers]


def area_over_random(rates: Array, gain: Array) -> float:
    """Return the area between a router's curve and that of random routing, in points of quality.

    Args:
        rates: Its win rates, shape (n,).
        gain: What strong has more than weak, shape (n,).
    """
    # Of prompts ranked r = 0, 1, ..., the gain of each counts for the share of the curve behind it; equal ones their mean.
    _, group, counts = np.unique(-rates, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts + 1) / 2.0
    n = len(rates)
    return float(100.0 * np.mean(gain * ((n - 0.5 - middle[group]) / n - 0.5)))


def holm(values: list[float]) -> list[float]:
    """Return p-values corrected for as many tests as there are."""
    order, corrected, highest = np.argsort(values), [0.0] * len(values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[i]))
        corrected[i] = highest
    return corrected


def main() -> None:
    """Measure."""
    run = study_run(__doc__)
    parts: dict[str, Callable[[], Any]] = {
        "benchmarks": lambda: rated(run, benchmarks(run), topic=True),
        "transfer": lambda: rated(run, transfer_sets(run)),
        "unseen_sets": lambda: rated(run, unseen_sets(run)),
        "human": lambda: rated(run, human_judged(run)),
        "unseen": lambda: unseen(run),
    }
    for name, compute in parts.items():
        run.part(f"beside-{name}", compute)


if __name__ == "__main__":
    main()
