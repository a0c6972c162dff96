"""Measure similarity-weighted ranking: time per prompt beside the bare matrix product and routellm 0.2.0, and memory.

    python benchmarks/similarity_weighted.py [--peer-python .venv-peer/bin/python] [--out docs/benchmarks/similarity_weighted.md]
        [--battles 55000] [--mapped-battles 165000] [--dimension 1536]

`benchmarks/peer/setup.sh` makes the peer's environment; without it its rows are left out. Battles are synthetic: 64 models, a
fifth of them ties, random unit vectors. Embedding a prompt is part of no time. Each time is the median over the runs of one
process, with the smallest and the largest; the peer runs right after, in a process of its own. Memory is the peak of a fresh
process that loads a stored router, whose matrix is memory-mapped, and scores one prompt and then 64. Exit code 1 if a target is
missed.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from routellm_core import load_router
from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter

RUNS = 15
BATCH = 64
STRONG, WEAK = "model-00", "model-40"
PEER_SCRIPT = Path(__file__).parent / "peer" / "sw_forward.py"

Row = tuple[str, str, str]
"""What, measured, target."""


@dataclass(frozen=True)
class Battles:
    """The columns of a table of battles."""

    model_a: np.ndarray
    model_b: np.ndarray
    winner: np.ndarray
    embeddings: np.ndarray

    def router(self) -> SimilarityWeightedRouter:
        """Make a router of them."""
        return SimilarityWeightedRouter(
            self.model_a.tolist(),
            self.model_b.tolist(),
            self.winner.tolist(),
            self.embeddings,
            reference_strong=STRONG,
            reference_weak=WEAK,
        )


def battles(n: int, dimension: int, dtype: type[np.floating[Any]], *, seed: int = 0, n_models: int = 64) -> Battles:
    """Draw battles among models of known strength; vectors have cosines around 0.2, as those of texts have."""
    rng = np.random.default_rng(seed)
    embeddings = np.empty((n, dimension), dtype)
    centre = rng.normal(size=dimension).astype(np.float32) * 0.5
    for start in range(0, n, 5000):
        rows = rng.normal(size=(min(5000, n - start), dimension)).astype(np.float32) + centre
        embeddings[start : start + 5000] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    a = rng.integers(0, n_models, n)
    b = (a + rng.integers(1, n_models, n)) % n_models
    strengths = np.linspace(2, -2, n_models)
    won = rng.random(n) < 1 / (1 + np.exp(strengths[b] - strengths[a]))
    winner = np.where(rng.random(n) < 0.2, "tie", np.where(won, "model_a", "model_b"))
    names = np.array([f"model-{i:02d}" for i in range(n_models)])
    return Battles(names[a], names[b], winner, embeddings)


def queries(n: int, dimension: int) -> np.ndarray:
    rows = np.random.default_rng(99).normal(size=(n, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def timed(calls: dict[str, Callable[[], object]], runs: int = RUNS) -> dict[str, list[float]]:
    """Time several calls in turn, so that what disturbs one disturbs all; milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(runs + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if run >= 2:  # the first two warm up
                times[name].append((time.perf_counter() - start) * 1000)
    return times


def spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def verdict(held: bool, target: str) -> str:
    return f"{target}: {'held' if held else 'missed'}"


def speed(n: int, dimension: int, peer_python: str | None) -> list[Row]:
    """Compare ours with the bare product of the same numbers and with the peer, in float32."""
    drawn = battles(n, dimension, np.float32)
    asked = queries(BATCH, dimension)
    router, rows, asked32 = drawn.router(), drawn.embeddings, asked.astype(np.float32)
    times = timed(
        {
            "bare 1": lambda: rows @ asked32[0],
            "ours 1": lambda: router.strong_win_rates_from_embeddings(asked[:1]),
            "bare 64": lambda: asked32 @ rows.T,
            "ours 64": lambda: router.strong_win_rates_from_embeddings(asked),
        }
    )
    median = {name: statistics.median(values) for name, values in times.items()}
    twice_1, twice_64 = median["ours 1"] / median["bare 1"], median["ours 64"] / median["bare 64"]
    per_query = {name: [value / BATCH for value in times[f"{name} 64"]] for name in ("bare", "ours")}
    size = f"{n:,} x {dimension:,} float32"
    table = [
        (f"{size}, one prompt, bare product, ms", spread(times["bare 1"]), "-"),
        (f"{size}, one prompt, ms", spread(times["ours 1"]), "-"),
        ("the same, times the bare product", f"{twice_1:.2f}", verdict(twice_1 <= 2, "2")),
        (f"{size}, batch of {BATCH}, bare product, ms a prompt", spread(per_query["bare"], 2), "-"),
        (f"{size}, batch of {BATCH}, ms a prompt", spread(per_query["ours"], 2), "-"),
        ("the same, times the bare product", f"{twice_64:.2f}", verdict(twice_64 <= 2, "2")),
        ("prompts/s in the batch", f"{1000 * BATCH / median['ours 64']:,.0f}", "-"),
    ]
    if peer_python is None:
        return table
    peer_ms, peer_mb = ask_peer(drawn, asked[:4], peer_python)
    for name, ours, target in (
        ("one prompt", times["ours 1"], 30),
        (f"a prompt in a batch of {BATCH}", per_query["ours"], 300),
    ):
        ratio = statistics.median(peer_ms) / statistics.median(ours)
        low, high = min(peer_ms) / max(ours), max(peer_ms) / min(ours)
        table.append(
            (
                f"times faster than routellm 0.2.0, {name}",
                f"{ratio:.0f} ({low:.0f} to {high:.0f})",
                verdict(ratio >= target, str(target)),
            )
        )
    return [
        (f"routellm 0.2.0, {n:,} x {dimension:,}, one prompt (it takes no batches), ms", spread(peer_ms), "-"),
        ("routellm 0.2.0, prompts/s", f"{1000 / statistics.median(peer_ms):.1f}", "-"),
        ("routellm 0.2.0, peak resident memory, MB", f"{peer_mb:,.0f}", "-"),
        ("routellm 0.2.0 needs", "torch, transformers, datasets, scikit-learn; OpenAI embeddings", "-"),
        *table,
    ]


def ask_peer(drawn: Battles, asked: np.ndarray, peer_python: str, repeat: int = 3) -> tuple[list[float], float]:
    """Return how long the peer takes for each query, in milliseconds, and its peak resident memory, in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "embeddings.npy", drawn.embeddings)
        np.savez(
            folder / "input.npz",
            model_a=drawn.model_a,
            model_b=drawn.model_b,
            winner=drawn.winner,
            queries=asked,
            pairs=np.array([(STRONG, WEAK)]),
        )
        command = [peer_python, str(PEER_SCRIPT), "input.npz", "embeddings.npy", "output.npz", "--repeat", str(repeat)]
        environment = {"PATH": os.environ["PATH"], "HOME": name, "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, cwd=folder, env=environment, check=True)
        with np.load(folder / "output.npz") as answers:
            return [float(seconds) * 1000 for seconds in answers["seconds"].ravel()], float(answers["peak_mb"])


def use_stored(n: int, dimension: int, dtype: str) -> tuple[float, float, list[float], list[float]]:
    """Store a router, and load and use it in a fresh process.

    Returns:
        Peak resident memory in MB; and in seconds how long it takes to load it, to score one prompt and to score a batch.
    """
    with tempfile.TemporaryDirectory() as name:
        for arguments in (["--store", name, str(n), str(dimension), dtype], ["--use", name, str(dimension)]):
            run = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    peak_mb, loading, *times = map(float, run.stdout.split())
    return peak_mb, loading, times[: len(times) // 2], times[len(times) // 2 :]


def memory(n: int, mapped: int, dimension: int) -> list[Row]:
    """Measure the memory of both matrices, and the times of the one that is memory-mapped in float16."""
    float32_mb, *_ = use_stored(n, dimension, "float32")
    peak_mb, loading, one, batch = use_stored(mapped, dimension, "float16")
    size = f"{mapped:,} x {dimension:,} float16, memory-mapped"
    return [
        (f"{n:,} x {dimension:,} float32, stored and loaded, peak resident memory, MB", f"{float32_mb:.0f}", "-"),
        (f"{size}, peak resident memory, MB", f"{peak_mb:.0f}", verdict(peak_mb < 700, "700")),
        (f"{size}, loading, s", f"{loading:.2f}", "-"),
        (f"{size}, one prompt, s", spread(one, 2), verdict(max(one) < 1, "1")),
        (f"{size}, batch of {BATCH}, s", spread(batch, 2), verdict(max(batch) < 2, "2")),
        ("needs", "numpy, an embedding per prompt; extra `eval` to read the published data sets once", "-"),
    ]


def store(folder: str, n: int, dimension: int, dtype: str) -> None:
    battles(n, dimension, np.float16 if dtype == "float16" else np.float32).router().save_pretrained(folder)


def use(folder: str, dimension: int) -> None:
    """Print the peak resident memory in MB and seconds: of loading, of one prompt (five times), of a batch (five times)."""
    start = time.perf_counter()
    router = load_router(folder)
    loading = time.perf_counter() - start
    assert isinstance(router, SimilarityWeightedRouter)
    seconds = []
    for n in (1, BATCH):
        asked = queries(n, dimension)
        for _ in range(5):
            start = time.perf_counter()
            router.strong_win_rates_from_embeddings(asked)
            seconds.append(time.perf_counter() - start)
    # VmHWM, not getrusage: that one starts with the peak of the process this one was forked from.
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(peak_kb / 1024, loading, *seconds)


def page(table: Sequence[Row]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("routellm-plugins", "numpy"))
    machine = f"{platform.machine()} ({os.cpu_count()} cores), Python {platform.python_version()}"
    about = (
        f"`python benchmarks/similarity_weighted.py`, {datetime.now(UTC):%Y-%m-%d}, {machine}, {packages}. Medians, in brackets "
        "the smallest and the largest run; vectors are given, so embedding is part of no time. A ratio to routellm 0.2.0 is of "
        "the medians, in brackets of the two worst and the two best runs."
    )
    lines = ["# Similarity-weighted ranking", "", about, "", "| what | measured | target |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=55_000)
    parser.add_argument("--mapped-battles", type=int, default=165_000)
    parser.add_argument("--dimension", type=int, default=1536)
    parser.add_argument("--peer-python", default=os.environ.get("ROUTELLM_PEER_PYTHON"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--store", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--use", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store:
        store(options.store[0], int(options.store[1]), int(options.store[2]), options.store[3])
        return 0
    if options.use:
        use(options.use[0], int(options.use[1]))
        return 0
    table = speed(options.battles, options.dimension, options.peer_python) + memory(
        options.battles, options.mapped_battles, options.dimension
    )
    text = page(table)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return int(any(target.endswith("missed") for *_, target in table))


if __name__ == "__main__":
    sys.exit(main())
