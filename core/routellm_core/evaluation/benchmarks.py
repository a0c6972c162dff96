"""Benchmarks by name or by file, as tables of outcomes."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.fetch import default_folder, fetch_files
from routellm_core.evaluation.published import merge_turns, read_mt_bench, read_routellm_responses
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownBenchmark:
    """A benchmark that is published elsewhere; nothing of it comes with the library.

    Attributes:
        title: What it is.
        repository: The GitHub repository that has it.
        commit: Of the repository.
        layout: How its files are read.
        files: Their paths; `*` stands for any text.
        contaminated: The path of the list of prompts that stand in training data.
        strong: The strong model's column.
        weak: The weak model's column.
        licence: Of the files.
        rows: How many there are, before any is left out.
        prompt: What the prompt column holds.
        scoring: How answers were scored.
    """

    title: str
    repository: str
    commit: str
    layout: str
    files: tuple[str, ...]
    contaminated: str
    strong: str
    weak: str
    licence: str
    rows: int
    prompt: str
    scoring: str


@cache
def known_benchmarks() -> Mapping[str, KnownBenchmark]:
    """Return the benchmarks that can be fetched by name."""
    text = (Path(__file__).parent / "known_benchmarks.json").read_text(encoding="utf-8")
    return {
        name: KnownBenchmark(**{**entry, "files": tuple(entry["files"])}) for name, entry in json.loads(text).items()
    }


def fetch_benchmark(
    name: str, *, folder: str | os.PathLike[str] | None = None, progress: bool = False, **addresses: str
) -> OutcomeTable:
    """Fetch a published benchmark and read it; what is fetched already is not fetched again.

    Args:
        name: One of `known_benchmarks()`.
        folder: Where files are kept; None takes the user's cache folder, or $ROUTELLM_CACHE.
        progress: Draw progress bars.
        **addresses: `api` and `raw`, for a mirror.

    Raises:
        ConfigurationError: If there is no such benchmark.
        MissingDependencyError: If the extra `eval` is not installed.
        CheckpointDownloadError: If it cannot be fetched.
    """
    known = known_benchmarks().get(name)
    if known is None:
        raise ConfigurationError(f"there is no benchmark {name!r}; there are: {', '.join(known_benchmarks())}")
    where = default_folder() / "benchmarks" if folder is None else Path(folder)
    files = fetch_files(
        known.repository, known.commit, [*known.files, known.contaminated], where, progress=progress, **addresses
    )
    contaminated = files.pop(known.contaminated)
    table = _LAYOUTS[known.layout](known, files, contaminated, name)
    told = {
        "source": f"{known.repository} @{known.commit[:7]}",
        "licence": known.licence,
        "prompt": known.prompt,
        "scoring": known.scoring,
    }
    return replace(table, provenance={**table.provenance, **told})


def load_benchmark(name_or_path: str | os.PathLike[str], **fetching: Any) -> OutcomeTable:
    """Return a benchmark: one of the known ones by name, or a table of outcomes.

    Args:
        name_or_path: One of `known_benchmarks()`; or a .csv, .jsonl or .parquet file, see `read_outcomes`. Rows that are
            turns of one conversation (ids ending in -t1, -t2) are merged: the first turn is routed, all are scored.
        **fetching: Options of `fetch_benchmark`.

    Raises:
        ConfigurationError: If it is neither, or the file is no table of outcomes.
    """
    if isinstance(name_or_path, str) and name_or_path in known_benchmarks():
        return fetch_benchmark(name_or_path, **fetching)
    return merge_turns(read_outcomes(name_or_path))


def _read_routellm(known: KnownBenchmark, files: Mapping[str, Path], contaminated: Path, name: str) -> OutcomeTable:  # noqa: ARG001
    return read_routellm_responses(list(files.values()), contaminated=contaminated, name=name)


def _read_mt_bench(known: KnownBenchmark, files: Mapping[str, Path], contaminated: Path, name: str) -> OutcomeTable:
    questions, judgements = (files[path] for path in known.files)
    return read_mt_bench(questions, judgements, contaminated=contaminated, name=name)


_LAYOUTS: dict[str, Callable[[KnownBenchmark, Mapping[str, Path], Path, str], OutcomeTable]] = {
    "routellm-responses": _read_routellm,
    "mt-bench": _read_mt_bench,
}
