"""Time the training of matrix factorisation next to routellm 0.2.0: same battles, same recipe, same number of epochs.

    benchmarks/peer/setup.sh
    python benchmarks/mf_training.py [--peer .venv-peer/bin/python] [--out docs/benchmarks/mf_training.md]

65,000 battles of 64 models are drawn from a known factorisation of rank 4, one in twenty held out by prompt, with embeddings of
256 dimensions (those of the embedded default) and of 1,536 (those of text-embedding-3-small, which the peer uses). Both train
the released recipe: dim 128, batches of 64, Adam at 3e-4, noise 0.1. Embeddings are at hand. The two take turns; the
time is that until a training first reaches the higher of the two losses that both reach at the end. Exit code 1 if the
smallest ratio is below 5 by more than a tenth.
"""

import argparse
import json
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


def seconds_to(losses: list[float], seconds: list[float], goal: float) -> float:
    """Return the time after the first epoch whose loss is at most the goal."""
    return next(s for loss, s in zip(losses, seconds, strict=True) if loss <= goal)


def compare(python: Path, dimension: int, repeats: int) -> dict[str, list[float]]:
    """Train alternately and return the times of each run and their ratios."""
    embedder, battles = draw(dimension)
    training, validation = battles.split(validation_fraction=0.05)
    epochs = EPOCHS[dimension]
    keys = ("peer", "ours", "ratio", "peer_loss", "ours_loss")
    found: dict[str, list[float]] = {key: [] for key in keys}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_for_peer(folder, embedder.vectors, {"training": training, "validation": validation})
        for repeat in range(repeats):
            released = MatrixFactorizationConfig.of_recipe("released", epochs=epochs, seed=repeat)
            report = train_ours(embedder, training, validation, released)
            theirs = train_peer(python, folder, epochs, embedder.vectors.shape)
            own_losses = [point.validation for point in report.history[1:]]
            own_seconds = [report.seconds * (i + 1) / epochs for i in range(epochs)]
            peer_losses, peer_seconds = [p["loss"] for p in theirs], [p["seconds"] for p in theirs]
            goal = max(min(own_losses), min(peer_losses))
            ours, peer = seconds_to(own_losses, own_seconds, goal), seconds_to(peer_losses, peer_seconds, goal)
            values = (peer, ours, peer / ours, min(peer_losses), min(own_losses))
            for key, value in zip(keys, values, strict=True):
                found[key].append(value)
            print(f"{dimension} dimensions: {peer:.2f} s, {ours:.2f} s, ratio {peer / ours:.1f}", file=sys.stderr)
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
        "With this library's own recipe instead of the released one, trained once to its end by early stopping:",
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
    sys.exit(any(min(result["ratio"]) < 0.9 * TARGET for result in results.values()))


if __name__ == "__main__":
    main()
