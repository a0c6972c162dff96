"""Compare the routers that are learned from outcomes, and the policies that choose with them, on benchmark data.

    ROUTELLM_OUTCOME_DATA=folder python benchmarks/pool_routers.py [--quick] [--out docs/benchmarks/pool_routers.md]

The folder holds tables of outcomes (prompt, task, split, score::<model>): llmrouter_9models, mmlupro_tiger,
evouna_human_judged and routellm_mmlu, made from public sets. First, routers are trained on the rows of split "train" and
measured on "dev", by policy. Second, every task in turn is held out of training and one model is chosen for all of it.
Intervals are of a bootstrap over prompts; for a few labels of a new task, over tasks.
"""

import argparse
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import Embedder
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.embedders.cache import CachedEmbedder
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.pool_bounds import (
    best_single_column,
    majority_right,
    oracle_choices,
    per_instance_choices,
    reachable_scores,
    use_of,
)
from routellm_core.policies import (
    ClosestPolicy,
    ContextPolicy,
    GatedArgmaxPolicy,
    ModelThresholdsPolicy,
    Policy,
    PolicyContext,
    get_policy,
)
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes
from routellm_core.routers.base import Router
from routellm_core.routers.knn import KNNRouter
from routellm_core.routers.outcome import OutcomeRouter
from routellm_core.task_state import TaskConfidence, TaskSummary, task_scores
from routellm_core.training.matrix_factorization import MatrixFactorizationConfig, train_matrix_factorization
from routellm_core.training.outcome_cluster import ClusterConfig, train_cluster
from routellm_core.training.outcome_confidence import share_of_right_votes
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.outcome_linear import LinearConfig, train_multilabel, train_separate
from routellm_core.training.outcome_mlp import MLPConfig, train_mlp
from routellm_core.training.similarity_weighted import train_similarity_weighted

Array = NDArray[np.float64]
RESAMPLES = 1000
_NEW_TASKS = """## One model for a task that was not in the training data

Every task in turn is left out of training. Numbers are means over tasks; intervals resample the prompts of each task, and so are
for these tasks. Differences are paired: what the choice gains over the best model on average, and what S3 gains over the choice.
"""
_FEW_LABELS = """## A few labels of the new task

knn with 0 to 20 labelled prompts of the task, S1 over the rest; mean over tasks, five draws of the labelled prompts each.
Intervals resample tasks, each with the mean of its draws: they tell what other tasks would give. Gains are paired.

| pool | tasks | labels | quality | more than without |
|---|---|---|---|---|"""
PAPER_KNN = KNNConfig(k=5, weights="uniform", shrinkage=0.0)


@dataclass(frozen=True)
class Pool:
    """Some models of a table, and the size of each where it is known (billions of parameters)."""

    name: str
    table: OutcomeTable
    sizes: Mapping[str, float] | None


def billions(model: str) -> float | None:
    found = re.search(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b\b", model.lower().replace("-hf", ""))
    return None if found is None else float(found[1] or 1) * float(found[2])


def pools(folder: Path) -> list[Pool]:
    nine = read_outcomes(folder / "llmrouter_9models.parquet")
    nine = nine.select(~nine.flags.get("test_prompt_in_train", np.zeros(len(nine), bool)))
    pro = read_outcomes(folder / "mmlupro_tiger.parquet").complete()
    una = read_outcomes(folder / "evouna_human_judged.parquet")
    una = una.select(~una.flags["improper"]).complete()
    found = [
        ("9 open models", nine, nine.models),
        ("the 6 up to 10B", nine, [m for m in nine.models if (billions(m) or 99) <= 10]),
        ("MMLU-Pro, 29 models", pro, pro.models),
        ("MMLU-Pro, up to 14B", pro, [m for m in pro.models if (billions(m) or 99) <= 14]),
        ("NQ judged by people, 5 models", una, una.models),
    ]
    result = []
    for name, table, models in found:
        sizes = {model: size for model in models if (size := billions(model)) is not None}
        result.append(Pool(name, table.for_models(list(models)), sizes if len(sizes) == len(models) else None))
    return result


def mmlu(folder: Path) -> Pool:
    """Return a pair of models on 57 subjects; every seventh prompt, as each subject is left out of the training of the others."""
    table = read_outcomes(folder / "routellm_mmlu.parquet")
    table = table.select(~table.flags["routellm_contaminated"]).complete()
    return Pool("MMLU, 2 models", table.select(np.arange(0, len(table), 7)), None)


def mean_interval(values: Array, seed: int = 0, groups: NDArray[Any] | None = None) -> Interval:
    """Return a mean with its 95% interval; with groups, the mean over groups of their means, resampled within groups."""
    rng = np.random.default_rng(seed)
    parts = [values] if groups is None else [values[groups == group] for group in np.unique(groups)]
    drawn = [np.mean([part[rng.integers(0, len(part), len(part))].mean() for part in parts]) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(np.mean([part.mean() for part in parts])), float(low), float(high))


def interval(values: Array, seed: int = 0, groups: NDArray[Any] | None = None) -> str:
    return str(mean_interval(values, seed, groups))


# --- part 1: routers by policy ------------------------------------------------------------------------------------------


def train_all(train: OutcomeTable, embedder: CachedEmbedder) -> dict[str, tuple[Router, float]]:
    trainers: dict[str, Callable[[], Router]] = {
        "knn": lambda: train_knn(train, embedder, KNNConfig(confidence=False))[0],
        "knn, as published (k = 5)": lambda: train_knn(
            train, embedder, KNNConfig(k=5, weights="uniform", shrinkage=0.0, confidence=False)
        )[0],
        "mlp": lambda: train_mlp(train, embedder, MLPConfig(confidence=False))[0],
        "cluster, embeddings": lambda: train_cluster(train, embedder, ClusterConfig(confidence=False))[0],
        "cluster, TF-IDF": lambda: train_cluster(train, "tfidf", ClusterConfig(confidence=False))[0],
        "multilabel": lambda: train_multilabel(train, embedder, LinearConfig(confidence=False))[0],
        "multilabel, multi-class head": lambda: train_multilabel(train, embedder, LinearConfig(head="multiclass"))[0],
        "separate": lambda: train_separate(train, embedder, LinearConfig(confidence=False))[0],
        "mf": lambda: train_matrix_factorization(
            _some(train.to_battles()), embedder, MatrixFactorizationConfig(epochs=20)
        )[0].for_pool(train.models),
        "sw_ranking": lambda: train_similarity_weighted(_some(train.to_battles()), embedder)[0].for_pool(train.models),
    }
    trained = {}
    for name, run in trainers.items():
        start = time.process_time()  # of the processor: whatever else the machine is doing
        trained[name] = run(), time.process_time() - start
        print(f"  {name}: {trained[name][1]:.1f} s", flush=True)
    return trained


def _some(battles: PreferenceDataset, most: int = 150_000) -> PreferenceDataset:
    """Return at most so many of the battles: every two of 29 models on every prompt would be a million."""
    if len(battles) <= most:
        return battles
    return battles.select(np.sort(np.random.default_rng(0).permutation(len(battles))[:most]))


def choose(policy: Policy, scores: Array, threshold: float | None, by_price: Sequence[int]) -> NDArray[np.intp]:
    return np.array([policy.order(row, threshold, by_price)[0] for row in scores], dtype=np.intp)


def policies_for(
    router: Router, train: OutcomeTable, context: PolicyContext, single: str
) -> dict[str, tuple[Policy, float | None]]:
    found: dict[str, tuple[Policy, float | None]] = {
        "argmax": (get_policy("argmax"), None),
        "argmax_gated 0.5, else the best single": (GatedArgmaxPolicy(single), 0.5),
        "random_topk 0.6": (get_policy("random_topk"), 0.6),
        "cheapest_above 0.5": (get_policy("cheapest_above"), 0.5),
    }
    if context.prices is not None:
        found["cost_aware 0.1"] = (get_policy("cost_aware"), 0.1)
    if isinstance(router, OutcomeRouter):
        # What its name gives is fitted to held-out prompts; as published, to those that the router was trained on.
        found["closest"] = (
            get_policy("closest")
            if context.closest is not None
            else ClosestPolicy.fit(router.score(train.prompts), train.scores),
            None,
        )
        if router.model_thresholds:
            found["model_thresholds"] = (ModelThresholdsPolicy(router.model_thresholds), None)
    return {
        name: (policy.bind(context) if isinstance(policy, ContextPolicy) else policy, threshold)
        for name, (policy, threshold) in found.items()
    }


def compare_routers(pool: Pool, embedder: CachedEmbedder) -> list[str]:
    print(pool.name, flush=True)
    split = np.array(pool.table.split)
    train, dev = pool.table.select(split == "train"), pool.table.select(split == "dev")
    models, m = pool.table.models, len(pool.table.models)
    single = best_single_column(train.scores)
    means = np.nanmean(train.scores, axis=0)
    # Without a price list, size stands for price; where sizes are not known, the mean score does.
    by_price = sorted(range(m), key=lambda c: pool.sizes[models[c]] if pool.sizes else means[c])
    context = PolicyContext(
        candidates=models,
        models=models,
        prices=tuple(pool.sizes[model] for model in models) if pool.sizes else None,
    )
    rows = np.arange(len(dev))
    oracle = oracle_choices(dev.scores, by_price)
    best = dev.scores[:, single]
    lines = [
        f"### {pool.name}",
        "",
        (
            f"{len(train)} training prompts, {len(dev)} held out. Oracle {interval(dev.scores[rows, oracle])}; best single "
            f"model by training data ({models[single]}) {interval(best)}; all models by majority "
            f"{interval(majority_right(dev.scores))}; random {interval(dev.scores.mean(axis=1))}; cheapest "
            f"({models[by_price[0]]}) {interval(dev.scores[:, by_price[0]])}."
        ),
        "",
        "| router | policy | quality [95%] | less the best single | classifier bound | favourite | mean size | CPU to train |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (router, seconds) in train_all(train, embedder).items():
        scores = router.score(dev.prompts)
        bound = interval(reachable_scores(scores, dev.scores)) if router.score_kind == "correctness" else "-"
        known = replace(context, closest=router.closest)
        for label, (policy, threshold) in policies_for(router, train, known, models[single]).items():
            chosen = choose(policy, scores, threshold, by_price)
            use = use_of(chosen, dev.scores, models)
            reached = dev.scores[rows, chosen]
            favourite = max(use.calls, key=use.calls.__getitem__)
            share = mean_interval(np.where(chosen == models.index(favourite), 100.0, 0.0))
            size = "-"
            if pool.sizes:
                mean = mean_interval(np.array([pool.sizes[model] for model in models])[chosen])
                size = f"{mean.value:.1f}B [{mean.low:.1f}, {mean.high:.1f}]"
            lines.append(
                f"| {name} | {label} | {interval(reached)} | {interval(reached - best)} | {bound} | "
                f"{favourite} {share.value:.0f}% [{share.low:.0f}, {share.high:.0f}] | {size} | {seconds:.1f} s |"
            )
    return [*lines, ""]


# --- part 2: one model for a whole new task -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NewTask:
    """What is chosen for a task that was not in the training data.

    Attributes:
        held: The prompts of the task.
        columns: Way to choose -> the one column for all of them.
        scores: S1, S2, S3 and S3 with true p of every model, shape (m,) each.
        per_instance: The column of each prompt.
        p: How often the votes on each model are estimated to be right, shape (m,).
        true_p: How often they are.
        distance: Of the task from the training prompts.
    """

    held: OutcomeTable
    columns: dict[str, int]
    scores: dict[str, Array]
    per_instance: NDArray[np.intp]
    p: Array
    true_p: Array
    distance: float


@dataclass(frozen=True, eq=False)
class AskedTask:
    """What a router that was trained on all other tasks says about one.

    Attributes:
        held: The prompts of the task.
        scores: Predicted correctness, shape (n, m).
        distances: Of each prompt from the training prompts, shape (n,).
        confidence: How far the predictions can be trusted.
    """

    held: OutcomeTable
    scores: Array
    distances: Array
    confidence: TaskConfidence

    def for_models(self, models: Sequence[str]) -> "AskedTask":
        """Return the same for some of the models; with knn as published, what they alone would have given."""
        columns = [self.held.models.index(model) for model in models]
        return AskedTask(
            self.held.for_models(models), self.scores[:, columns], self.distances, self.confidence.for_columns(columns)
        )


def ask_about_new_task(table: OutcomeTable, task: str, embedder: Embedder, config: KNNConfig) -> AskedTask:
    """Train on all other tasks and score this one."""
    inside = np.array(table.groups) == task
    router, _ = train_knn(table.select(~inside), embedder, config)
    confidence = router.confidence
    if confidence is None:
        raise SystemExit(f"{table.name} has too few tasks")
    held = table.select(inside)
    found = router.score_with_distance(held.prompts)
    return AskedTask(held, found[:, :-1], found[:, -1], confidence)


def choose_for_new_task(asked: AskedTask) -> NewTask:
    """Choose for the task in every way."""
    held, scores, confidence = asked.held, asked.scores, asked.confidence
    summary, distance = TaskSummary.of(scores, asked.distances), float(asked.distances.mean())
    order = range(len(held.models))
    context = PolicyContext(candidates=held.models, models=held.models, confidence=confidence)
    columns = {"best on average": int(confidence.accuracies.argmax())}
    for name, policy in (("S1", "s1"), ("S2", "s2"), ("S3", "s3")):
        made = get_policy(policy)
        bound = made.bind(context) if isinstance(made, ContextPolicy) else made
        columns[name] = bound.order_for_task(summary, order)[0]  # type: ignore[attr-defined]
    p, true_p = confidence.probabilities(distance), share_of_right_votes(scores, held.scores)
    with_true_p = task_scores(summary.votes, true_p)
    columns["S3, true p"] = int(with_true_p.argmax())
    columns["oracle of tasks"] = int(held.scores.mean(axis=0).argmax())
    return NewTask(
        held,
        columns,
        {"S1": summary.scores, "S2": summary.votes, "S3": task_scores(summary.votes, p), "S3, true p": with_true_p},
        per_instance_choices(scores, confidence.accuracies),
        p,
        true_p,
        distance,
    )


def new_tasks(pool: Pool, embedder: Embedder, config: KNNConfig) -> dict[str, Array]:
    """Return what each way to choose reaches on every prompt, when the prompt's task was not in the training data."""
    table, tasks = pool.table, np.array(pool.table.groups)
    names = ["best on average", "S1", "S2", "S3", "S3, true p", "per instance", "oracle of tasks", "oracle of prompts"]
    reached = {name: np.zeros(len(table)) for name in names}
    for task in np.unique(tasks):
        inside = tasks == task
        chosen = choose_for_new_task(ask_about_new_task(table, task, embedder, config))
        for name, column in chosen.columns.items():
            reached[name][inside] = chosen.held.scores[:, column]
        at = np.arange(len(chosen.held))
        reached["per instance"][inside] = chosen.held.scores[at, chosen.per_instance]
        reached["oracle of prompts"][inside] = chosen.held.scores.max(axis=1)
    return reached


def compare_scores(pool: Pool, embedder: CachedEmbedder) -> list[str]:
    print(f"{pool.name}: new tasks", flush=True)
    tasks = np.array(pool.table.groups)
    ours, published = (new_tasks(pool, embedder, config) for config in (KNNConfig(), PAPER_KNN))
    lines = [
        f"### {pool.name}, {len(np.unique(tasks))} tasks",
        "",
        (
            "| choice | knn, k = 5 as published | less the best on average | S3 less it | "
            "knn, tuned | less the best on average | S3 less it |"
        ),
        "|---|---|---|---|---|---|---|",
    ]
    for name in ours:
        cells = []
        for reached in (published, ours):
            best, s3 = reached["best on average"], reached["S3"]
            cells += [interval(v, groups=tasks) for v in (reached[name], reached[name] - best, s3 - reached[name])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def few_labels(pool: Pool, embedder: CachedEmbedder, repeats: int = 5) -> list[str]:
    print(f"{pool.name}: few labels", flush=True)
    table, tasks = pool.table, np.array(pool.table.groups)
    counts = (0, 5, 10, 20)
    reached: dict[int, list[float]] = {count: [] for count in counts}  # the mean over draws of every task
    for task in np.unique(tasks):
        inside = np.flatnonzero(tasks == task)
        if len(inside) <= max(counts):
            continue
        drawn_means: dict[int, list[float]] = {count: [] for count in counts}
        router, _ = train_knn(table.select(tasks != task), embedder, KNNConfig(confidence=False))
        for repeat in range(repeats):
            drawn = np.random.default_rng(repeat).permutation(inside)
            rest = table.select(drawn[max(counts) :])
            for count in counts:
                given = table.select(drawn[:count])
                adapted: KNNRouter = router.with_examples(given.prompts, given.scores) if count else router
                column = table.models.index(adapted.choose_for_task(rest.prompts, policy="s1"))
                drawn_means[count].append(float(rest.scores[:, column].mean()))
        for count in counts:
            reached[count].append(float(np.mean(drawn_means[count])))
    lines = []
    for count in counts:
        means, without = np.array(reached[count]), np.array(reached[0])
        gain = interval(means - without) if count else "-"
        lines.append(f"| {pool.name} | {len(means)} | {count} | {interval(means)} | {gain} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the two pools of 9 and 6 models alone")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--work", type=Path, default=Path("pool_routers"), help="finished sections; a run goes on from them"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no section after this time; exit code 3"
    )
    options = parser.parse_args()
    folder = os.environ.get("ROUTELLM_OUTCOME_DATA")
    if not folder:
        raise SystemExit("set ROUTELLM_OUTCOME_DATA to the folder of the tables")
    embedder = CachedEmbedder(BundledEmbedder(), max_entries=100_000)
    chosen = pools(Path(folder))[: 2 if options.quick else None]
    with_tasks = [pool for pool in chosen if len(set(pool.table.groups or ())) > 2]
    if not options.quick:
        with_tasks.append(mmlu(Path(folder)))
    introduction = (
        f"Written by `benchmarks/pool_routers.py`. Embedder `{embedder.id}`. Intervals are 95% bootstrap intervals over "
        f"prompts, {RESAMPLES} resamples, unless said otherwise; differences are paired. Every router was trained once, and the "
        "time is of that run. Size stands for price: billions of parameters."
    )
    sections: list[str | Callable[[], list[str]]] = [
        f"# Routers among many models, by policy\n\n{introduction}\n\n## Trained and measured on the same tasks\n",
        *(partial(compare_routers, pool, embedder) for pool in chosen),
        _NEW_TASKS,
        *(partial(compare_scores, pool, embedder) for pool in with_tasks),
        _FEW_LABELS,
        *(partial(few_labels, pool, embedder) for pool in with_tasks if pool in chosen),
    ]
    options.work.mkdir(parents=True, exist_ok=True)
    start, parts = time.perf_counter(), []
    for position, section in enumerate(sections):
        if isinstance(section, str):
            parts.append(section)
            continue
        stored = options.work / f"{position}.md"
        if not stored.is_file():
            if time.perf_counter() - start > options.seconds:
                raise SystemExit(3)
            stored.write_text("\n".join(section()), encoding="utf-8")
        parts.append(stored.read_text(encoding="utf-8"))
    page = "\n".join(parts) + "\n"
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
