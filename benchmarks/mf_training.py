"""Time the training of matrix factorisation next to routellm 0.2.0: same battles, same recipe, same number of epochs.

    benchmarks/peer/setup.sh
    python benchmarks/mf_training.py [--peer .venv-peer/bin/python] [--out docs/benchmarks/mf_training.md]

65,000 battles of 64 models are drawn from a known factorisation of rank 4, one in twenty held out by prompt, with embeddings of
256 dimensions (those of the embedded default) and of 1,536 (those of text-embedding-3-small, which the peer uses). Both train
the released recipe: dim 128, batches of 64, Adam at 3e-4, noise 0.1. Embeddings are at hand. The two take turns; the
time is that until a training first reaches the higher of the two losses that both reach at the end. This library's own recipe
is timed in the same way, with as many epochs, against the loss that the peer reaches. Exit code 1 if the smallest ratio of the
own recipe is below 5, or it does not get there.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from routellm_core.checkpoints.published import ARENA_MODELS
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.training.matrix_factorization import MatrixFactorizationConfig, train_matrix_factorization
from routellm_core.training.report import TrainingReport

BATTLES = 65_000
TARGET = 5.0
PEER_SCRIPT = Path(__file__).parent / "peer" / "mf_training.py"
EPOCHS = {256: 2, 1536: 1}


@dataclass(frozen=True)
class Rows:
    """Embeds the prompt "17" as row 17."""

    vectors: NDArray[np.float32]
    id: str = "given"

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.vectors[[int(text) for text in texts]]


def draw(dimension: int) -> tuple[Rows, PreferenceDataset]:
    """Draw battles on as many prompts from a factorisation of rank 4."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((BATTLES, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    k = len(ARENA_MODELS)
    qualities = vectors @ (generator.normal(size=(k, 4)) @ generator.normal(size=(4, dimension))).T.astype(np.float32)
    a = generator.integers(k, size=BATTLES)
    b = (a + generator.integers(1, k, size=BATTLES)) % k
    rows = np.arange(BATTLES)
    gap = qualities[rows, a] - qualities[rows, b]
    won = generator.random(BATTLES) < 1 / (1 + np.exp(-1.35 * gap / gap.std()))
    prompts = [str(row) for row in rows]
    return Rows(vectors), PreferenceDataset.from_indices(prompts, ARENA_MODELS, rows, a, b, won.astype(float))


def train_ours(
    embedder: Rows, training: PreferenceDataset, validation: PreferenceDataset, config: MatrixFactorizationConfig
) -> TrainingReport:
    vectors = embedder.embed([*training.prompts, *validation.prompts])
    _, report = train_matrix_factorization(training, embedder, config, validation=validation, embeddings=vectors)
    return report


def train_peer(python: Path, folder: Path, epochs: int, shape: tuple[int, ...]) -> list[dict[str, float]]:
    out = folder / "peer.json"
    environment = os.environ | {"EMBEDDINGS_SHAPE": ",".join(map(str, shape))}
    subprocess.run(
        [python, PEER_SCRIPT, folder, str(epochs), out], check=True, env=environment, stderr=subprocess.DEVNULL
    )
    history: list[dict[str, float]] = json.loads(out.read_text())
    return history


def write_for_peer(folder: Path, vectors: NDArray[np.float32], parts: dict[str, PreferenceDataset]) -> None:
    np.save(folder / "embeddings.npy", vectors)
    for name, part in parts.items():
        rows = [
            {"model_a": battle.model_a, "model_b": battle.model_b, "winner": battle.winner, "idx": int(battle.prompt)}
            for battle in part
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))


def seconds_to_loss(report: TrainingReport, goal: float) -> float:
    """Return the time after the first epoch of ours whose loss is at most the goal; infinite if there is none."""
    points = report.history[1:]
    reached = [i + 1 for i, point in enumerate(points) if point.validation <= goal]
    return report.seconds * reached[0] / len(points) if reached else math.inf


def compare(python: Path, dimension: int, repeats: int) -> dict[str, list[float]]:
    """Train alternately and return the times of each run and their ratios."""
    embedder, battles = draw(dimension)
    training, validation = battles.split(validation_fraction=0.05)
    epochs = EPOCHS[dimension]
    keys = ("peer", "ours", "ratio", "peer_loss", "ours_loss", "peer_best", "own", "own_ratio", "own_loss")
    found: dict[str, list[float]] = {key: [] for key in keys}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_for_peer(folder, embedder.vectors, {"training": training, "validation": validation})
        for repeat in range(repeats):
            released = MatrixFactorizationConfig.of_recipe("released", epochs=epochs, seed=repeat)
            report = train_ours(embedder, training, validation, released)
            theirs = train_peer(python, folder, epochs, embedder.vectors.shape)
            own = train_ours(embedder, training, validation, MatrixFactorizationConfig(epochs=epochs, seed=repeat))
            losses = [min(point.validation for point in trained.history[1:]) for trained in (report, own)]
            best = min(point["loss"] for point in theirs)
            goal = max(losses[0], best)
            ours = seconds_to_loss(report, goal)
            peer = next(point["seconds"] for point in theirs if point["loss"] <= goal)
            to_best = next(point["seconds"] for point in theirs if point["loss"] <= best)
            own_time = seconds_to_loss(own, best)
            values = (peer, ours, peer / ours, best, losses[0], to_best, own_time, to_best / own_time, losses[1])
            for key, value in zip(keys, values, strict=True):
                found[key].append(value)
            print(f"{dimension} dimensions: {dict(zip(keys, values, strict=True))}", file=sys.stderr)
    report = train_ours(embedder, training, validation, MatrixFactorizationConfig())
    found |= {"default": [report.seconds], "default_loss": [report.validation_loss or 0.0]}
    return found


def page(results: dict[int, dict[str, list[float]]]) -> str:
    def spread(values: list[float], digits: int = 1) -> str:
        return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    runs = len(next(iter(results.values()))["ratio"])
    setting = (
        f"`benchmarks/mf_training.py`: {BATTLES:,} battles of {len(ARENA_MODELS)} models drawn from a known factorisation, one "
        "in twenty held out by prompt; both train the released recipe on the same battles and embeddings for the same number "
        f"of epochs. Seconds until the validation loss that both reach; median (smallest to largest) of {runs} runs in turn. "
        f"Measured on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy "
        f"{version('numpy')}; the peer with torch on the CPU."
    )
    fairness = (
        "The peer's data set, loader, loop, loss and optimiser are its own (`benchmarks/peer/mf_training.py`); device, data and "
        "embeddings are given to it, and its validation loss is measured without the noise of training. The times include "
        "measuring the loss after each epoch, and for this library all that comes before the first: the split, the digest of the "
        "data, the look-up of the embeddings."
    )
    own_recipe = (
        "With this library's own recipe (`--recipe default`: rank 8, batches of 256, from Bradley-Terry) on the same data and "
        "for as many epochs: seconds until the loss that the peer reaches with its own."
    )
    lines = [
        "# Training matrix factorisation next to routellm 0.2.0",
        "",
        setting,
        "",
        "| dimensions | epochs | routellm 0.2.0, s | this library, s | ratio | losses of the two |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {dimension:,} | {EPOCHS[dimension]} | {spread(r['peer'])} | {spread(r['ours'], 2)} | **{spread(r['ratio'])}** | "
        f"{median(r['peer_loss']):.4f}, {median(r['ours_loss']):.4f} |"
        for dimension, r in results.items()
    ]
    lines += [
        "",
        fairness,
        "",
        own_recipe,
        "",
        "| dimensions | routellm 0.2.0, s | this library, s | ratio | losses of the two |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {d:,} | {spread(r['peer_best'])} | {spread(r['own'], 2)} | "
        f"**{spread(r['own_ratio'])}** | {median(r['peer_loss']):.4f}, {median(r['own_loss']):.4f} |"
        for d, r in results.items()
    ]
    lines += [
        "",
        "Trained on to its end by early stopping, that recipe reaches:",
        "",
        "| dimensions | seconds | validation loss |",
        "|---|---|---|",
    ]
    lines += [f"| {d:,} | {r['default'][0]:.1f} | {r['default_loss'][0]:.4f} |" for d, r in results.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peer", type=Path, default=Path(os.environ.get("ROUTELLM_PEER_PYTHON", ".venv-peer/bin/python"))
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dimension", type=int, action="append", choices=list(EPOCHS))
    parser.add_argument("--out", type=Path, help="the page to write")
    arguments = parser.parse_args()
    results = {d: compare(arguments.peer, d, arguments.repeats) for d in arguments.dimension or EPOCHS}
    text = page(results)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")
    sys.exit(any(min(result["own_ratio"]) < TARGET for result in results.values()))


if __name__ == "__main__":
    main()
