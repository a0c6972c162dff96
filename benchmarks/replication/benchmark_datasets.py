"""Routing with benchmark datasets (Shnitzer et al., arXiv 2309.15789), on three sets of graded answers.

    python -m benchmarks.replication.benchmark_datasets [--results FOLDER] [--fresh] [--quick]

Parts: `tasks` (every task in turn is new: what each score chooses, in the layout of the paper's table; how well correctness
and p are predicted), `labels` (a few labels of the new task), `instances` (one choice a prompt, on answers with graded scores).
The router is knn as published: k = 5, uniform weights.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool_routers import (
    PAPER_KNN,
    AskedTask,
    NewTask,
    Pool,
    ask_about_new_task,
    choose_for_new_task,
    mean_interval,
    pools,
)
from benchmarks.replication.common import Array, Run, bundled, grouped_intervals, run_for
from benchmarks.replication.routellm_data import alpaca_outcomes
from routellm_core.evaluation.pool_bounds import best_single_column
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.index import ExactIndex
from routellm_core.training.outcome_confidence import share_of_right_votes
from routellm_core.training.outcome_knn import KNNConfig, train_knn

LABELS = (0, 2, 5, 10, 20, 30, 50)
REPEATS = 10
FOLDS = 5
WITHOUT_CONFIDENCE = KNNConfig(k=5, weights="uniform", shrinkage=0.0, confidence=False, keep_prompts=False)
GRADED_POOL = (  # eleven open models, as many as in MixInstruct
    "Mixtral-8x7B-Instruct-v0.1",
    "Mistral-7B-Instruct-v0.2",
    "llama-2-70b-chat-hf",
    "tulu-2-dpo-70b",
    "vicuna-33b-v1.3",
    "OpenHermes-2.5-Mistral-7B",
    "gemma-7b-it",
    "Qwen-14B-Chat",
    "vicuna-13b-v1.5",
    "humpback-llama2-70b",
    "openbuddy-llama2-70b-v10.1",
)


def chosen_pools(run: Run) -> list[Pool]:
    """Return the pools that have tasks."""
    found = [pool for pool in pools(run.data) if len(set(pool.table.groups or ())) > 2]
    run.table("llmrouter_9models"), run.table("mmlupro_tiger")
    if not run.quick:
        return found
    return [Pool(p.name, p.table.select(np.arange(0, len(p.table), 4)), p.sizes) for p in found[:2]]


def correlation(a: Array, b: Array, *, ranks: bool = False) -> float:
    """Return Pearson's correlation, or of the ranks Spearman's; NaN where one side is constant."""
    if ranks:
        a, b = (np.array([((x < v).sum() + (x <= v).sum() - 1) / 2 for v in x]) for x in (a, b))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


@cache
def asked(table: OutcomeTable) -> dict[str, AskedTask]:
    """Ask a router that was trained on all other tasks about each task."""
    return {task: ask_about_new_task(table, task, bundled(), PAPER_KNN) for task in sorted(set(table.groups or ()))}


def measure(pool: Pool, largest: Pool) -> dict[str, Any]:
    """Choose for every task as if it were new; return the rows of the paper's table, and p beside its estimate.

    Args:
        pool: The models to choose from.
        largest: A pool on the same prompts that has them all, so that neighbours are looked for once.
    """
    table = pool.table
    chosen = {task: choose_for_new_task(one.for_models(table.models)) for task, one in asked(largest.table).items()}
    groups = np.concatenate([np.repeat(task, len(one.held)) for task, one in chosen.items()])
    reached = {
        name: np.concatenate([one.held.scores[:, one.columns[name]] for one in chosen.values()])
        for name in next(iter(chosen.values())).columns
    }
    reached["per instance"] = np.concatenate(
        [one.held.scores[np.arange(len(one.held)), one.per_instance] for one in chosen.values()]
    )
    reached["oracle of prompts"] = np.concatenate([one.held.scores.max(axis=1) for one in chosen.values()])
    compared = [("S3", "S1"), ("S3", "S2"), ("S3, true p", "S3"), ("per instance", "S3")]
    compared += [(name, "best on average") for name in reached]
    paired = {f"{a} - {b}": reached[a] - reached[b] for a, b in compared}
    found = grouped_intervals(reached | paired, groups)
    ways = {
        name: {
            "quality": found[name],
            "gain": found[f"{name} - best on average"],
            **by_task(name, list(chosen.values()), pool),
        }
        for name in reached
    }
    inside = known_tasks(table)
    outside = {task: float(np.nanmean(one.true_p)) for task, one in chosen.items()}
    errors = {task: float(np.abs(one.p - one.true_p).mean()) for task, one in chosen.items()}
    return {
        "n": len(table),
        "models": len(table.models),
        "ways": ways,
        "differences": {name: found[name] for name in paired},
        "right votes, task known": spread(list(inside.values())),
        "right votes, task new": spread(list(outside.values())),
        "error of p": spread(list(errors.values())),
        "tasks": {
            task: {
                "n": len(one.held),
                "distance": one.distance,
                "known": inside[task],
                "new": outside[task],
                "error of p": errors[task],
                "gain of S3": gain(one, "S3"),
                "gain of S3, true p": gain(one, "S3, true p"),
            }
            for task, one in chosen.items()
        },
    }


def described(pool: Pool, largest: Pool) -> dict[str, Any]:
    """Return the measurements of a pool with its name."""
    return {"pool": pool.name, **measure(pool, largest)}


def gain(chosen: NewTask, name: str) -> float:
    """Return what a way to choose gains over the best model on average, on one task."""
    means = chosen.held.scores.mean(axis=0)
    return float(means[chosen.columns[name]] - means[chosen.columns["best on average"]])


def by_task(name: str, chosen: Sequence[NewTask], pool: Pool) -> dict[str, Any]:
    """Return what the paper's table has of a way to choose one model for a task: means over tasks."""
    found: dict[str, Any] = {}
    if name in chosen[0].columns:
        truth = [one.held.scores.mean(axis=0) for one in chosen]
        picks = [one.columns[name] for one in chosen]
        pairs = list(zip(truth, picks, strict=True))
        found["ratio"] = float(np.mean([t[pick] / t.max() for t, pick in pairs]))
        found["rank"] = float(np.mean([1 + (t > t[pick]).sum() for t, pick in pairs]))
        found["same as best on average"] = float(
            np.mean([one.columns[name] == one.columns["best on average"] for one in chosen])
        )
        if pool.sizes:
            found["billions"] = float(np.mean([pool.sizes[pool.table.models[pick]] for pick in picks]))
        if name in chosen[0].scores:
            for key, ranks in (("pearson", False), ("spearman", True)):
                values = [correlation(one.scores[name], t, ranks=ranks) for one, t in zip(chosen, truth, strict=True)]
                found[key] = float(np.nanmean(values))
    elif name == "per instance" and pool.sizes:
        sizes = np.array([pool.sizes[model] for model in pool.table.models])
        found["billions"] = float(np.mean([sizes[one.per_instance].mean() for one in chosen]))
    return found


def known_tasks(table: OutcomeTable) -> dict[str, float]:
    """Return the share of right votes on each task where half of its prompts were trained on, with all others."""
    held = np.random.default_rng(0).random(len(table)) < 0.5
    tasks = np.array(table.groups)
    router, _ = train_knn(table.select(~held), bundled(), WITHOUT_CONFIDENCE)
    scores, labels = router.score(table.select(held).prompts), table.scores[held]
    return {
        str(task): float(np.nanmean(share_of_right_votes(scores[tasks[held] == task], labels[tasks[held] == task])))
        for task in np.unique(tasks)
    }


def spread(values: Sequence[float]) -> Any:
    """Return the mean over tasks with its interval over tasks."""
    return mean_interval(np.array(values))


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


def instances(run: Run) -> dict[str, Any]:
    """Choose a model for every prompt, by the mean graded score of neighbours; five folds over prompts."""
    table = alpaca_outcomes(run, GRADED_POOL, None)
    fold = np.random.default_rng(0).permutation(len(table)) % FOLDS
    reached: dict[str, Array] = {}
    for name, config in (
        ("S1 per prompt, k = 5", WITHOUT_CONFIDENCE),
        (
            "S1 per prompt, k = 10",
            KNNConfig(k=10, weights="uniform", shrinkage=0.0, confidence=False, keep_prompts=False),
        ),
        ("S1 per prompt, k = 64, drawn to the mean", KNNConfig(k=64, confidence=False, keep_prompts=False)),
    ):
        reached[name] = np.zeros(len(table))
        for one in range(FOLDS):
            held = np.flatnonzero(fold == one)
            router, _ = train_knn(table.select(fold != one), bundled(), config)
            picks = router.score([table.prompts[i] for i in held]).argmax(axis=1)
            reached[name][held] = table.scores[held, picks]
    single = np.zeros(len(table))
    for one in range(FOLDS):
        single[fold == one] = table.scores[fold == one, best_single_column(table.scores[fold != one])]
    reached |= {"best single": single, "random": table.scores.mean(axis=1), "oracle": table.scores.max(axis=1)}
    return {
        "n": len(table),
        "models": list(table.models),
        "ways": {name: {"quality": mean_interval(v), "gain": mean_interval(v - single)} for name, v in reached.items()},
    }


def main() -> None:
    """Run all parts."""
    run = run_for(__doc__)
    repeats, found = 2 if run.quick else REPEATS, chosen_pools(run)
    run.part("benchmark_datasets-instances", lambda: instances(run))
    run.part("benchmark_datasets-labels-0", lambda: few_labels("nine", found[0].table, found[:2], repeats))
    if len(found) > 2:
        run.part("benchmark_datasets-labels-1", lambda: few_labels("MMLU-Pro", found[2].table, found[2:4], repeats))
    for position, pool in enumerate(found):
        slug = f"benchmark_datasets-tasks-{position}"
        run.part(slug, partial(described, pool, found[position - position % 2]))


if __name__ == "__main__":
    main()
