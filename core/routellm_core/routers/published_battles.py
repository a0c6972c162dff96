"""The battles and embeddings that lm-sys published, and others that are stored the same way."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.checkpoints.datasets import download_tables
from routellm_core.checkpoints.hub import is_repo_id
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.preferences.battles import PreferenceDataset, read_battles

BATTLES = ("lmsys/lmsys-arena-human-preference-55k", "routellm/gpt4_judge_battles")
EMBEDDINGS = ("routellm/arena_battles_embeddings", "routellm/gpt4_judge_battles_embeddings")
PUBLISHED = {"battles": BATTLES, "embeddings": EMBEDDINGS}
EMBEDDER_ID, DIMENSION = "openai:text-embedding-3-small", 1536

MIN_CHARACTERS = 16
"""Battles with a shorter first turn have no row among the published embeddings."""

Source = str | os.PathLike[str]


def read_published_battles(
    battles: Source | Sequence[Source] = BATTLES,
    embeddings: Source | Sequence[Source] = EMBEDDINGS,
    *,
    dtype: str = "float32",
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> tuple[PreferenceDataset, NDArray[Any]]:
    """Read battles whose prompts have 16 characters or more, and the rows of their embeddings.

    Args:
        battles: Data sets on the Hub ("owner/name", or "owner/name@revision"), or files; see `read_battles` for the columns. They
            are read one after the other.
        embeddings: The same for the vectors, one row per battle that is kept: a .parquet file with a column `embeddings` of lists
            (needs the extra `eval`), or a .npy file, which is memory-mapped where it is the only one.
        dtype: What .parquet files are read as: "float32", or "float16" for half the memory.
        revision: Branch, tag or commit of those data sets that name none.
        token: A Hub token; None takes the stored one, False none.
        cache_dir: Where downloads are kept; None takes the Hub client's own cache.
        local_files_only: Do not reach for the network.

    Returns:
        The n battles that are kept, and their embeddings, shape (n, dimension).

    Raises:
        CheckpointError: If a data set cannot be fetched.
        ConfigurationError: If a file cannot be read, or battles and embeddings do not fit.
        MissingDependencyError: If the extra `eval` is needed and is not there.
    """
    if dtype not in ("float32", "float16"):
        raise ConfigurationError(f"dtype={dtype!r} must be 'float32' or 'float16'")

    def files(sources: Source | Sequence[Source]) -> list[Path]:
        listed = [sources] if isinstance(sources, str | os.PathLike) else sources
        return [file for source in listed for file in _files(source, revision, token, cache_dir, local_files_only)]

    every = PreferenceDataset.concat(read_battles(file) for file in files(battles))
    long_enough = np.array([len(prompt.strip()) >= MIN_CHARACTERS for prompt in every.prompts], dtype=np.bool_)
    kept = np.flatnonzero(long_enough[every.prompt_index])
    vectors = _vectors(files(embeddings), np.dtype(dtype))
    if len(vectors) != len(kept):
        raise ConfigurationError(
            f"there are {len(vectors):,} embeddings for {len(kept):,} battles (those of {len(every):,} with a prompt of "
            f"{MIN_CHARACTERS} characters or more): take the embeddings that belong to the battles, in the same order"
            + (f". {every.self_battles} battles of a model with itself were left out" if every.self_battles else "")
        )
    return every.select(kept), vectors


def _files(
    source: Source,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
) -> list[Path]:
    if Path(source).is_file():
        return [Path(source)]
    repo_id, _, pinned = str(source).partition("@")
    if not isinstance(source, str) or not is_repo_id(repo_id):
        raise ConfigurationError(f"{os.fspath(source)!r} is neither a file nor a Hub data set (owner/name)")
    return download_tables(
        repo_id, revision=pinned or revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
    )


def _vectors(files: list[Path], dtype: np.dtype[Any]) -> NDArray[Any]:
    parts = [np.load(file, mmap_mode="r") if file.suffix == ".npy" else _parquet_rows(file, dtype) for file in files]
    widths = {part.shape[1:] for part in parts}
    if len(widths) != 1 or len(widths.pop()) != 1:
        raise ConfigurationError(f"{', '.join(map(str, files))}: embeddings must be tables of one width")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _parquet_rows(file: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        from pyarrow import parquet  # only this kind of file needs it
    except ImportError as error:
        raise MissingDependencyError.for_extra("Reading embeddings from .parquet", "eval") from error
    with parquet.ParquetFile(file) as table:
        names = table.schema_arrow.names
        if "embeddings" not in names:
            raise ConfigurationError(f"{file} has no column 'embeddings'; it has: {', '.join(names)}")
        n, start = table.metadata.num_rows, 0
        rows = np.empty((n, 0), dtype)
        for batch in table.iter_batches(batch_size=4096, columns=["embeddings"]):
            lengths = np.unique(batch.column("embeddings").value_lengths().to_numpy(zero_copy_only=False))
            if start == 0 and len(lengths) == 1:
                rows = np.empty((n, int(lengths[0])), dtype)
            if lengths.tolist() != [rows.shape[1]]:
                raise ConfigurationError(
                    f"{file}: 'embeddings' has rows of different lengths, in or after row {start + 1}"
                )
            numbers = batch.column("embeddings").flatten().to_numpy(zero_copy_only=False)
            rows[start : start + batch.num_rows] = numbers.reshape(batch.num_rows, -1)
            start += batch.num_rows
    return rows
