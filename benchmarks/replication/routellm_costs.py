"""RouteLLM's Tables 6 and 7: what calls are saved, and what a decision costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.replication.common import mean_interval
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.evaluation.metrics import cost_saving_ratio
from routellm_core.routers.base import PairRouter

BATCH = 64


def savings(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost-saving ratios of Table 6 from the stored tables: chance's CPT over the best router's."""
    found: dict[str, Any] = {}
    for benchmark, table in tables.items():
        found[benchmark] = {}
        for level in (50, 80):
            shares = {name: row[f"cpt{level}"] for name, row in table["routers"].items()}
            length = shares.pop("length")
            best = min(shares, key=lambda name: shares[name][0] if shares[name][0] is not None else 9.0)
            found[benchmark][f"cpt{level}"] = {
                "router": best,
                "ratio": ratio(level, shares[best]),
                "ratio of length": ratio(level, length),
                "points": [None if share is None else level - 100 * share for share in ends(shares[best])],
            }
    return found


def ends(share: Sequence[float | None]) -> list[float | None]:
    """Return a share with its ends in the order of what it saves."""
    return [share[0], share[2], share[1]]


def ratio(level: int, share: Sequence[float | None]) -> list[float | None]:
    """Return how many times fewer strong calls a router needs than chance."""
    return [cost_saving_ratio(level / 100, [one]) if one else None for one in ends(share)]


def decisions(decide: Callable[[Sequence[str]], Any], prompts: Sequence[str]) -> dict[str, Any]:
    """Measure the processor time of decisions in milliseconds a prompt: over all prompts one by one, and in batches."""
    alone = []
    for prompt in prompts:
        start = time.process_time()
        decide([prompt])
        alone.append(1000 * (time.process_time() - start))
    start = time.process_time()
    for at in range(0, len(prompts), BATCH):
        decide(prompts[at : at + BATCH])
    return {
        "n": len(prompts),
        "alone": mean_interval(np.array(alone)),
        "alone, 95% below": float(np.quantile(alone, 0.95)),
        "batch": 1000 * (time.process_time() - start) / len(prompts),
    }


def overhead(routers: Mapping[str, PairRouter], prompts: Sequence[str]) -> dict[str, Any]:
    """Measure decisions of routers that read embeddings, embedding included."""
    fresh = BundledEmbedder()

    def of(router: Any) -> Callable[[Sequence[str]], Any]:
        return lambda texts: router.strong_win_rates_from_embeddings(fresh.embed(texts))

    return {name: decisions(of(router), prompts) for name, router in routers.items()}
