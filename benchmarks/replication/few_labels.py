"""What a few labelled prompts of a new task are worth to S1, as in figure 2 of arXiv 2309.15789."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool_routers import Pool, mean_interval
from benchmarks.replication.common import Array, bundled
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.index import ExactIndex

LABELS = (0, 2, 5, 10, 20, 30, 50)


def few_labels(name: str, table: OutcomeTable, of_pools: Sequence[Pool], repeats: int) -> dict[str, Any]:
    """Give knn some labelled prompts of the new task, let S1 choose, and measure on the rest of the task.

    The five neighbours among the other tasks are found once; the labelled prompts are then put among them, which gives what
    `KNNRouter.with_examples` gives.
    """
    tasks, vectors = np.array(table.groups), bundled().embed(table.prompts)
    reached: dict[str, dict[str, dict[int, list[float]]]] = {pool.name: {} for pool in of_pools}
    safe: dict[str, dict[str, float]] = {pool.name: {} for pool in of_pools}
    right: dict[str, dict[int, list[float]]] = {pool.name: {count: [] for count in LABELS} for pool in of_pools}
    for task in np.unique(tasks):
        inside, outside = np.flatnonzero(tasks == task), np.flatnonzero(tasks != task)
        if len(inside) < max(LABELS) + 25:
            continue
        positions, cosines = ExactIndex(vectors[outside]).search(vectors[inside], 5)
        known, among = table.scores[outside][positions], vectors[inside] @ vectors[inside].T
        rows: dict[str, dict[int, list[float]]] = {pool.name: {count: [] for count in LABELS} for pool in of_pools}
        means: dict[str, list[float]] = {pool.name: [] for pool in of_pools}
        singles = {pool.name: best_on_average(pool.table.select(outside)) for pool in of_pools}
        for repeat in range(repeats):
            drawn = np.random.default_rng(repeat).permutation(len(inside))
            rest = drawn[max(LABELS) :]
            truth = table.scores[inside[rest]].mean(axis=0)
            for count in LABELS:
                s1 = first_score(
                    known[rest], cosines[rest], table.scores[inside[drawn[:count]]], among[rest][:, drawn[:count]]
                )
                for pool in of_pools:
                    columns = [table.models.index(model) for model in pool.table.models]
                    pick = int(s1[columns].argmax())
                    rows[pool.name][count].append(float(truth[columns][pick]))
                    right[pool.name][count].append(float(truth[columns][pick] >= truth[columns].max() - 1e-12))
            for pool in of_pools:
                columns = [table.models.index(model) for model in pool.table.models]
                means[pool.name].append(float(truth[columns][singles[pool.name]]))
        for pool in of_pools:
            reached[pool.name][str(task)] = rows[pool.name]
            safe[pool.name][str(task)] = float(np.mean(means[pool.name]))
    return {
        "table": name,
        "repeats": repeats,
        "pools": [summary(pool.name, reached[pool.name], safe[pool.name], right[pool.name]) for pool in of_pools],
    }


def first_score(known: Array, cosines: Array, given: Array, near: NDArray[np.float32]) -> Array:
    """Return S1 of every model, shape (m,), with labelled prompts put among the neighbours of r prompts.

    Args:
        known: The outcomes of the five nearest prompts of other tasks, shape (r, 5, m).
        cosines: Theirs, shape (r, 5).
        given: The outcomes of the labelled prompts, shape (k, m).
        near: The cosines of the r prompts to the labelled ones, shape (r, k).
    """
    outcomes = np.concatenate([known, np.broadcast_to(given, (len(known), *given.shape))], axis=1)
    order = np.argsort(-np.concatenate([cosines, near], axis=1), axis=1, kind="stable")[:, :5]
    return np.asarray(np.take_along_axis(outcomes, order[:, :, None], axis=1).mean(axis=(0, 1)))


def summary(
    pool: str, reached: dict[str, dict[int, list[float]]], safe: dict[str, float], right: dict[int, list[float]]
) -> dict[str, Any]:
    """Return what few labels come to in one pool: means over tasks, with intervals over tasks."""
    means = {count: np.array([np.mean(by[count]) for by in reached.values()]) for count in LABELS}
    return {
        "pool": pool,
        "tasks": len(reached),
        "best on average": safe,
        "by task": {count: dict(zip(reached, values.tolist(), strict=True)) for count, values in means.items()},
        "reached": {count: mean_interval(values) for count, values in means.items()},
        "gain over none": {count: mean_interval(values - means[0]) for count, values in means.items()},
        "best picked": {count: float(np.mean(values)) for count, values in right.items()},
    }


def best_on_average(table: OutcomeTable) -> int:
    """Return the column with the highest mean over tasks of the means over their prompts."""
    tasks = np.array(table.groups)
    return int(np.mean([table.scores[tasks == task].mean(axis=0) for task in np.unique(tasks)], axis=0).argmax())
