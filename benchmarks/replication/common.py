"""What the experiments share: inputs, stored results, features of an encoder kept in a file.

Every experiment is one module, run from the root of the repository:

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.replication.multiple_minds [--results FOLDER] [--fresh] [--quick]

It writes one JSON file a part into the folder of results. A part whose file is there is not computed again, so a run that was
broken off goes on where it was. `python -m benchmarks.replication` runs all of them and writes docs/replication.md.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool_routers import mean_interval
from benchmarks.replication.writing import RESULTS
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.embedders.cache import CachedEmbedder
from routellm_core.evaluation.interval import Interval

__all__ = ["Array", "Run", "StoredFeatures", "bundled", "grouped_intervals", "mean_interval", "plain", "run_for"]

Array = NDArray[np.float64]
SEED = 0


@dataclass
class Run:
    """One run of an experiment.

    Attributes:
        data: The folder of the input tables.
        results: Where results are kept.
        quick: Compute on a small part of everything, to try the scripts; never for the page.
        only: Compute no part whose name holds none of these; empty for all.
        inputs: The tables that were read, by name.
    """

    data: Path
    results: Path
    quick: bool = False
    only: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)

    def table(self, name: str) -> Path:
        """Return the path of an input table, and note that it was read."""
        path = self.data / f"{name}.parquet"
        if name not in self.inputs:
            self.inputs[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return path

    def part(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a part of the results: from its file, or else computed and stored; None where it was not asked for."""
        path = self.results / f"{name}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))["result"]
        if self.only and not any(text in name for text in self.only):
            return None
        start = time.process_time()
        result = plain(compute())
        seconds = round(time.process_time() - start, 1)
        stored = {"inputs": dict(sorted(self.inputs.items())), "cpu_seconds": seconds, "result": result}
        self.results.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
        print(f"{name}: {seconds} s of CPU", flush=True)
        return result


def run_for(description: str | None, arguments: Sequence[str] | None = None) -> Run:
    """Read the command line that all experiments have in common."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the results are kept, as JSON")
    parser.add_argument("--fresh", action="store_true", help="compute again what is there")
    parser.add_argument("--quick", action="store_true", help="a small part of everything, to try the script")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="compute these parts alone")
    options = parser.parse_args(arguments)
    data = os.environ.get("ROUTELLM_OUTCOME_DATA")
    if not data:
        raise SystemExit("set ROUTELLM_OUTCOME_DATA to the folder of the tables")
    if options.quick and options.results == RESULTS:
        raise SystemExit("--quick needs --results: it is not for the page")
    if options.fresh:
        for path in options.results.glob(f"{Path(sys.argv[0]).stem}-*.json"):
            if not options.only or any(text in path.stem for text in options.only):
                path.unlink()
    return Run(Path(data), options.results, options.quick, tuple(options.only))


def plain(value: Any) -> Any:
    """Return plain JSON: intervals as lists of three, numbers with six digits, None for NaN."""
    if isinstance(value, Interval):
        return [plain(value.value), plain(value.low), plain(value.high)]
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def grouped_intervals(columns: Mapping[str, Array], groups: NDArray[Any], resamples: int = 1000) -> dict[str, Interval]:
    """Return for each column the mean over groups of their means, with its 95% interval; prompts are drawn within groups.

    All columns see the same draws, so a column of differences is paired.
    """
    rng = np.random.default_rng(SEED)
    values = np.stack(list(columns.values()), axis=1)
    drawn, exact = np.zeros((resamples, values.shape[1])), np.zeros(values.shape[1])
    parts = [values[groups == group] for group in np.unique(groups)]
    for part in parts:
        n = len(part)
        rows = rng.integers(0, n, (resamples, n)) + np.arange(resamples)[:, None] * n
        counts = np.bincount(rows.ravel(), minlength=resamples * n).reshape(resamples, n)
        drawn += counts @ part / n
        exact += part.mean(axis=0)
    low, high = np.quantile(drawn / len(parts), [0.025, 0.975], axis=0)
    return {
        name: Interval(float(exact[i] / len(parts)), float(low[i]), float(high[i])) for i, name in enumerate(columns)
    }


@cache
def bundled() -> CachedEmbedder:
    """Return the embedding that comes with the library, remembering what it has embedded."""
    return CachedEmbedder(BundledEmbedder(), max_entries=200_000)


class StoredFeatures:
    """The vectors of an encoder, from a file that `features.py` wrote.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self._vectors = stored["vectors"].astype(np.float32)
            self._row = {key: row for row, key in enumerate(stored["keys"].tolist())}
            self.id = str(stored["id"])
        self.dimension = int(self._vectors.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Look the vectors up, shape (n, dimension); a text that was not embedded is a KeyError."""
        return np.asarray(self._vectors[[self._row[key_of(text)] for text in texts]])


def key_of(text: str) -> str:
    """Return the key of a text in a file of features."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
