"""Measure the nearest-neighbour router: 100,000 prompts of 256 dimensions, 20 models.

    python benchmarks/knn_speed.py [--prompts 100000] [--approximate] [--out docs/benchmarks/knn_speed.md]

Compares with the bare product followed by `argpartition`, and, with `--approximate` (extra `index`), measures how far the
approximate index agrees with the exact one. Vectors are drawn around 200 topics, as prompts lie in clusters. Run it on an idle
machine. Exit code 1 if a target is missed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routellm_core.routers.index import ApproximateIndex, ExactIndex, unit_rows
from routellm_core.routers.knn import KNNRouter

DIMENSION, MODELS, K, BATCH = 256, 20, 32, 256
MOST_MS_ONE, MOST_MS_IN_BATCH, MOST_SECONDS_TO_BUILD, MOST_TIMES_BARE = 8.0, 0.8, 10.0, 1.5


class _NoEmbedder:
    id = "given"
    dimension = DIMENSION

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError(f"{len(texts)} texts: vectors are given here")


def topics_around(n: int, rng: np.random.Generator, centers: NDArray[np.float32]) -> NDArray[np.float32]:
    noise = rng.normal(size=(n, DIMENSION)).astype(np.float32) / np.float32(np.sqrt(DIMENSION))
    return unit_rows(centers[rng.integers(len(centers), size=n)] + noise)


def milliseconds(run: Callable[[int], object], times: int) -> tuple[float, float]:
    """Return the median and the worst of ten runs, after one to warm up."""
    run(0)
    taken = []
    for position in range(times):
        start = time.perf_counter()
        run(position + 1)
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken), max(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--approximate", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    centers = unit_rows(rng.normal(size=(200, DIMENSION)))
    vectors = topics_around(options.prompts, rng, centers)
    queries = topics_around(BATCH * 12, rng, centers)
    outcomes = (rng.random((options.prompts, MODELS)) < 0.5).astype(np.float32)

    start = time.perf_counter()
    names = [f"model-{column}" for column in range(MODELS)]
    router = KNNRouter(vectors, outcomes, models=names, embedder=_NoEmbedder(), k=K, index="exact")
    router.score_from_embeddings(queries[:1])
    built = time.perf_counter() - start

    def bare_one(position: int) -> object:
        return np.argpartition(vectors @ queries[position], -K)[-K:]

    def bare_batch(position: int) -> object:
        block = queries[BATCH * (position % 12) :][:BATCH]
        return np.argpartition(block @ vectors.T, -K, axis=1)[:, -K:]

    def ours_batch(position: int) -> object:
        return router.score_from_embeddings(queries[BATCH * (position % 12) :][:BATCH])

    # The two sides take turns, so that neither has the machine at another time.
    one, single = (
        milliseconds(lambda p: router.score_from_embeddings(queries[p : p + 1]), 100),
        milliseconds(bare_one, 100),
    )
    batch, product = milliseconds(ours_batch, 8), milliseconds(bare_batch, 4)
    rows = [
        ("one query, ms", one[0], single[0], MOST_MS_ONE),
        (f"a query in a batch of {BATCH}, ms", batch[0] / BATCH, product[0] / BATCH, MOST_MS_IN_BATCH),
    ]
    lines = [
        "# Speed of the router `knn`",
        "",
        (
            f"Written by `benchmarks/knn_speed.py`: {options.prompts:,} prompts, {DIMENSION} dimensions, {MODELS} models, "
            f"k = {K}, median; scores of all models included, embedding not."
        ),
        "",
        "| | router | bare product and argpartition | ratio | target |",
        "|---|---|---|---|---|",
    ]
    missed = built > MOST_SECONDS_TO_BUILD
    for label, ours, bare, most in rows:
        missed |= ours > most or ours > MOST_TIMES_BARE * bare
        lines.append(
            f"| {label} | {ours:.3f} | {bare:.3f} | {ours / bare:.2f} | under {most}, at most {MOST_TIMES_BARE} times |"
        )
    lines += [f"| index built, s | {built:.2f} | | | under {MOST_SECONDS_TO_BUILD:.0f} |", ""]
    if options.approximate:
        lines += approximate(vectors, queries[:1000], outcomes)
    page = "\n".join(lines) + "\n"
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")
    sys.exit(1 if missed and options.prompts == 100_000 else 0)


def approximate(vectors: NDArray[np.float32], queries: NDArray[np.float32], outcomes: NDArray[np.float32]) -> list[str]:
    start = time.perf_counter()
    index = ApproximateIndex(vectors)
    built = time.perf_counter() - start
    true, _ = ExactIndex(vectors).search(queries, K)
    start = time.perf_counter()
    found, _ = index.search(queries, K)
    taken = 1000 * (time.perf_counter() - start) / len(queries)
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), true.tolist(), strict=True)])
    same = np.mean(outcomes[found].mean(axis=1).argmax(axis=1) == outcomes[true].mean(axis=1).argmax(axis=1))
    return [
        "## The approximate index (extra `index`)",
        "",
        (
            f"{len(queries):,} queries, one at a time: {taken:.3f} ms each, built in {built:.1f} s. It finds {recall:.1%} of "
            f"the true {K} neighbours, and the model with the highest score is the same for {same:.1%} of the queries "
            "(outcomes here are random, so that scores are close: with real outcomes more agree)."
        ),
        "",
    ]


if __name__ == "__main__":
    main()
