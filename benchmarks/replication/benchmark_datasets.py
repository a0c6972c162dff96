"""Routing with benchmark datasets (Shnitzer et al., arXiv 2309.15789), on three sets of graded answers.

    python -m benchmarks.replication.benchmark_datasets [--results FOLDER] [--fresh] [--quick]

Parts: `tasks` (every task in turn is new: what each score chooses, in the layout of the paper's table; how well correctness and
p are predicted), `average` (the best model on average with and without the new task), `labels` (a few labels of the new task),
`instances` (one choice a prompt, on answers with graded scores).
The router is knn as published: k = 5, uniform weights.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

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
from benchmarks.replication.few_labels import few_labels
from benchmarks.replication.routellm_data import alpaca_outcomes
from routellm_core.evaluation.pool_bounds import best_single_column
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.training.outcome_confidence import share_of_right_votes
from routellm_core.training.outcome_knn import KNNConfig, train_knn

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
        "over tasks": {
            name: spread([float(values[groups == task].mean()) for task in chosen]) for name, values in paired.items()
        },
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
        found["ratio"] = spread([t[pick] / t.max() for t, pick in pairs])
        found["rank"] = spread([1 + (t > t[pick]).sum() for t, pick in pairs])
        found["same as best on average"] = float(
            np.mean([one.columns[name] == one.columns["best on average"] for one in chosen])
        )
        if pool.sizes:
            sizes = np.array([pool.sizes[pool.table.models[pick]] for pick in picks])
            usual = np.array([pool.sizes[pool.table.models[one.columns["best on average"]]] for one in chosen])
            found |= {"billions": float(sizes.mean()), "billions less the best on average": spread(sizes - usual)}
        if name in chosen[0].scores:
            for key, ranks in (("pearson", False), ("spearman", True)):
                values = [correlation(one.scores[name], t, ranks=ranks) for one, t in zip(chosen, truth, strict=True)]
                found[key] = spread([value for value in values if not np.isnan(value)])
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


def spread(values: Sequence[float] | Array) -> Any:
    """Return the mean over tasks with its interval over tasks; None of no task."""
    return mean_interval(np.array(values, dtype=float)) if len(values) else None


def averages(pool: Pool, found: Mapping[str, Any]) -> dict[str, Any]:
    """Compare S3 with the best model on average where the new task is among the tasks of the average, as in the authors' code.

    Args:
        pool: The models.
        found: The stored results of `measure`: the gain of S3 on each task over the best on average without the task.
    """
    tasks = np.array(pool.table.groups)
    means = np.array([pool.table.scores[tasks == task].mean(axis=0) for task in found["tasks"]])
    best = int(means.mean(axis=0).argmax())
    without = np.array([means[i, np.delete(means, i, axis=0).mean(axis=0).argmax()] for i in range(len(means))])
    gains = without + np.array([task["gain of S3"] for task in found["tasks"].values()]) - means[:, best]
    return {
        "pool": pool.name,
        "best with the task": pool.table.models[best],
        "with the task": mean_interval(means[:, best]),
        "without the task": mean_interval(without),
        "S3 less the best with the task": mean_interval(gains),
    }


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
        tasks = run.part(slug, partial(described, pool, found[position - position % 2]))
        if tasks is not None:
            run.part(f"benchmark_datasets-average-{position}", partial(averages, pool, tasks))


if __name__ == "__main__":
    main()
