"""Harnessing the power of multiple minds (Srivatsa et al., arXiv 2405.00467), on nine open models.

    python -m benchmarks.replication.multiple_minds [--results FOLDER] [--fresh] [--quick]

Parts: `policies` (classifiers and clusters by policy, beside bounds and baselines, with the size of the model called in place of
its latency), `latency` (of the routers' own decisions, over all held-out queries), `size` (share of the oracle against training
prompts), `candidates` (what each model adds to the oracle), `leak` (what happens if one candidate was trained on the prompts that
the labels come from), `within` (one benchmark at a time), `encoder` (as `policies`, on an encoder's vectors). Routers are trained
on the rows of split "train" and measured on "dev". Features of the encoder are used where `features.py` has made them.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool_routers import Pool, choose, mean_interval, policies_for, pools
from benchmarks.replication.common import Array, Run, StoredFeatures, bundled, grouped_intervals, run_for
from benchmarks.replication.features import FILE
from benchmarks.replication.multiple_minds_candidates import LINEAR, candidates, leak
from benchmarks.replication.routellm_costs import decisions
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.embedders.cache import CachedEmbedder
from routellm_core.evaluation.pool_bounds import (
    best_single_column,
    fastest_right_seconds,
    majority_right,
    oracle_choices,
    reachable_scores,
    use_of,
)
from routellm_core.policies import PolicyContext
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import Router
from routellm_core.training.outcome_cluster import ClusterConfig, train_cluster
from routellm_core.training.outcome_linear import train_multilabel, train_separate

CLUSTERS = ClusterConfig(clusters=(16, 50), confidence=False, restarts=2)
RANDOM = "random_topk 0.6"
SIZES = (100, 200, 400, 800, 1600)


class Parts:
    """The pool, its two halves, and the models from the cheapest to the dearest."""

    def __init__(self, run: Run) -> None:
        run.table("llmrouter_9models")
        self.pool: Pool = pools(run.data)[0]
        table = self.pool.table
        if run.quick:
            table = table.select(np.arange(0, len(table), 8))
        split = np.array(table.split)
        self.train, self.dev = table.select(split == "train"), table.select(split == "dev")
        self.models = table.models
        self.sizes = dict(self.pool.sizes or {})
        self.by_price = sorted(range(len(self.models)), key=lambda c: self.sizes[self.models[c]])
        self.single = best_single_column(self.train.scores)


def routers(train: OutcomeTable) -> dict[str, Router]:
    """Train what the paper compares, on the library's embedding and on words."""
    return {
        "multilabel": train_multilabel(train, bundled(), LINEAR)[0],
        "separate": train_separate(train, bundled(), LINEAR)[0],
        "clusters, TF-IDF": train_cluster(train, "tfidf", CLUSTERS)[0],
        "clusters, embedding": train_cluster(train, bundled(), CLUSTERS)[0],
    }


def encoder_routers(train: OutcomeTable) -> dict[str, Router]:
    """Train the same on the vectors of the encoder."""
    encoder = StoredFeatures(FILE)
    return {
        "multilabel, encoder": train_multilabel(train, encoder, LINEAR)[0],
        "separate, encoder": train_separate(train, encoder, LINEAR)[0],
        "clusters, encoder": train_cluster(train, encoder, CLUSTERS)[0],
    }


def entry(parts: Parts, chosen: NDArray[np.intp]) -> dict[str, Any]:
    """Return what choices come to."""
    scores = parts.dev.scores
    reached = scores[np.arange(len(scores)), chosen]
    use = use_of(chosen, scores, parts.models, parameters=parts.sizes)
    favourite = max(use.calls, key=use.calls.__getitem__)
    cost = np.array([parts.sizes[model] for model in parts.models])[chosen]
    return {
        "quality": mean_interval(reached),
        "gain": mean_interval(reached - scores[:, parts.single]),
        "favourite": favourite,
        "favourite share": use.calls[favourite],
        "billions": use.parameters,
        "billions, right calls alone": float(cost[reached > 0.5].mean()),
    }


def measured(parts: Parts, trained: Mapping[str, Router]) -> dict[str, Any]:
    """Measure every router by every policy."""
    dev, models = parts.dev, parts.models
    prices = tuple(parts.sizes[model] for model in models)
    context = PolicyContext(candidates=models, models=models, prices=prices)

    found = {}
    for name, router in trained.items():
        scores = router.score(dev.prompts)
        ways = policies_for(router, parts.train, context, models[parts.single])
        chosen = {
            label: choose(policy, scores, threshold, parts.by_price) for label, (policy, threshold) in ways.items()
        }
        at = np.arange(len(dev))
        found[name] = {
            "classifier bound": mean_interval(reachable_scores(scores, dev.scores)),
            "random less argmax": mean_interval(dev.scores[at, chosen[RANDOM]] - dev.scores[at, chosen["argmax"]]),
            "policies": {label: entry(parts, picks) for label, picks in chosen.items()},
        }
    return found


def latency(parts: Parts) -> dict[str, Any]:
    """Measure how long the routers themselves take, over all held-out queries; differs from run to run."""
    fresh, found = BundledEmbedder(), {}
    for name, router in routers(parts.train).items():
        found[name] = decisions(partial(decide, router, fresh), parts.dev.prompts)
    return found


def decide(router: Any, fresh: BundledEmbedder, prompts: Sequence[str]) -> Any:
    """Score prompts without remembering what was embedded before."""
    embedder = fresh if isinstance(router.embedder, CachedEmbedder) else router.embedder
    return router.score_from_embeddings(embedder.embed(prompts))


def policies(parts: Parts) -> dict[str, Any]:
    """Measure bounds, baselines, and the routers that need no encoder."""
    dev, models, sizes = parts.dev, parts.models, parts.sizes
    prices = [sizes[model] for model in models]
    best, majority = dev.scores[:, parts.single], majority_right(dev.scores)
    return {
        "n": [len(parts.train), len(dev)],
        "single": models[parts.single],
        "singles": {model: {"quality": mean_interval(dev.column(model)), "billions": sizes[model]} for model in models},
        "oracle": entry(parts, oracle_choices(dev.scores, parts.by_price)),
        "oracle, cheapest right": fastest_right_seconds(dev.scores, prices),
        "majority": {"quality": mean_interval(majority), "gain": mean_interval(majority - best)},
        "random": {"quality": mean_interval(dev.scores.mean(axis=1)), "billions": float(np.mean(prices))},
        "unanswered": float((dev.scores.max(axis=1) <= 0.5).mean()),
        "routers": measured(parts, routers(parts.train)),
    }


def oracle_share(scores: Array, chosen: NDArray[np.intp]) -> Any:
    """Return what is reached as a share of the oracle, with its interval over prompts."""
    reached, best = scores[np.arange(len(scores)), chosen], scores.max(axis=1)
    draws = np.random.default_rng(0).integers(0, len(scores), (1000, len(scores)))
    ratio = reached[draws].mean(axis=1) / best[draws].mean(axis=1)
    low, high = np.quantile(ratio, [0.025, 0.975])
    return [float(reached.mean() / best.mean()), float(low), float(high)]


def training_size(parts: Parts) -> dict[str, Any]:
    """Train on ever more prompts, three draws each, and route by argmax."""
    found: dict[str, Any] = {}
    sizes = [size for size in SIZES if size < len(parts.train)] + [len(parts.train)]
    for name, make in (
        ("multilabel", lambda table: train_multilabel(table, bundled(), LINEAR)[0]),
        ("clusters, embedding", lambda table: train_cluster(table, bundled(), CLUSTERS)[0]),
    ):
        rows: dict[str, Any] = {}
        for size in sizes:
            shares = []
            for draw in range(3 if size < len(parts.train) else 1):
                drawn = np.random.default_rng(draw).permutation(len(parts.train))[:size]
                scores = make(parts.train.select(np.sort(drawn))).score(parts.dev.prompts)
                shares.append(oracle_share(parts.dev.scores, scores.argmax(axis=1)))
            rows[str(size)] = {
                "share": np.mean([share[0] for share in shares]),
                "first draw": shares[0],
                "draws": [s[0] for s in shares],
            }
        found[name] = rows
    best = np.full(len(parts.dev), parts.single)
    return {"routers": found, "best single": oracle_share(parts.dev.scores, best)}


def within(parts: Parts) -> dict[str, Any]:
    """Route within one benchmark at a time, as the paper does; and with one router for all, against the best model of each."""
    tasks, dev_tasks = np.array(parts.train.groups), np.array(parts.dev.groups)
    whole = train_multilabel(parts.train, bundled(), LINEAR)[0].score(parts.dev.prompts).argmax(axis=1)
    rows: dict[str, Any] = {}
    gains: dict[str, list[Array]] = {"one router a benchmark": [], "one router for all": [], "best single of all": []}
    groups: list[str] = []
    for task in np.unique(tasks):
        train, dev = parts.train.select(tasks == task), parts.dev.select(dev_tasks == task)
        if len(train) < 150 or len(dev) < 20:
            continue
        single = best_single_column(train.scores)
        picks = train_multilabel(train, bundled(), LINEAR)[0].score(dev.prompts).argmax(axis=1)
        at, safe = np.arange(len(dev)), dev.scores[:, single]
        found = {
            "one router a benchmark": dev.scores[at, picks] - safe,
            "one router for all": dev.scores[at, whole[dev_tasks == task]] - safe,
            "best single of all": dev.scores[:, parts.single] - safe,
        }
        for name, gain in found.items():
            gains[name].append(gain)
        groups += [str(task)] * len(dev)
        rows[str(task)] = {
            "n": [len(train), len(dev)],
            "single": parts.models[single],
            "best single": float(safe.mean()),
            "oracle": float(dev.scores.max(axis=1).mean()),
            "gains": {name: mean_interval(gain) for name, gain in found.items()},
        }
    columns = {name: np.concatenate(values) for name, values in gains.items()}
    return {"tasks": rows, "mean over tasks": grouped_intervals(columns, np.array(groups))}


def main() -> None:
    """Run all parts."""
    run = run_for(__doc__)
    parts = Parts(run)
    run.part("multiple_minds-candidates", lambda: candidates(parts.dev))
    run.part("multiple_minds-leak", lambda: leak(parts.train, parts.dev))
    run.part("multiple_minds-within", lambda: within(parts))
    run.part("multiple_minds-policies", lambda: policies(parts))
    run.part("multiple_minds-latency", lambda: latency(parts))
    run.part("multiple_minds-size", lambda: training_size(parts))
    if FILE.is_file() and not run.quick:
        run.part("multiple_minds-encoder", lambda: measured(parts, encoder_routers(parts.train)))


if __name__ == "__main__":
    main()
