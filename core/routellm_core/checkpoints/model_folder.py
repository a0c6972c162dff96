"""A transformer's folder: `config.json`, safetensors in one file or in shards, and the files of its tokenizer.

Beside a router's own `config.json` it is the subfolder `model/`: both formats call their configuration `config.json`, and so
each keeps its name and either can be read alone, ours by this library and the other by everything that reads transformers.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Self

from routellm_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError

MODEL_FOLDER = "model"
MODEL_CONFIG = "config.json"
WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PROMPT_FILES = ("system_ft_v5.txt", "classifier_ft_v5.txt")
"""The prompt of RouteLLM's causal router, which its repository may carry."""

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "sentencepiece.bpe.model", "spiece.model",
)  # fmt: skip
MODEL_FILE_NAMES = frozenset({MODEL_CONFIG, WEIGHTS_INDEX, *TOKENIZER_FILES, *PROMPT_FILES})
"""What a model's files are called, but for the weights, all of which end in .safetensors."""

_VOCABULARIES = {*TOKENIZER_FILES} - {
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "merges.txt",
}  # fmt: skip
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.(?:json|safetensors|txt|model|jinja)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_model_config(config: Mapping[str, Any]) -> bool:
    """Say whether a `config.json` is that of a transformer, not of a router."""
    return isinstance(config.get("model_type"), str) and "format_version" not in config


def is_safe_name(name: object) -> bool:
    """Say whether a file of a model folder may be called so: a plain name, of a kind that holds no code."""
    return isinstance(name, str) and _SAFE_NAME.fullmatch(name) is not None


def weight_files(offered: Collection[str], read_index: Callable[[], Mapping[str, Any]], *, origin: str) -> list[str]:
    """Return the files that hold the weights: one file, or the index and its shards.

    Args:
        offered: The names there are.
        read_index: Returns the content of `model.safetensors.index.json`; called only if that file is needed.
        origin: What errors call the folder or repository.

    Raises:
        CheckpointFormatError: If there are only pickles, or the index is not what it should be.
        CheckpointNotFoundError: If there are no weights, or a shard is missing.
    """
    if WEIGHTS in offered:
        return [WEIGHTS]
    if WEIGHTS_INDEX not in offered:
        raise missing_weights(offered, WEIGHTS, origin=origin)
    weight_map = read_index().get("weight_map")
    shards = sorted(set(weight_map.values())) if isinstance(weight_map, dict) and weight_map else []
    if not shards or not all(is_safe_name(name) and name.endswith(".safetensors") for name in shards):
        raise CheckpointFormatError(f"{origin}: {WEIGHTS_INDEX} has no weight_map that names .safetensors files")
    if absent := [name for name in shards if name not in offered]:
        raise CheckpointNotFoundError(f"{origin}: {', '.join(absent)} missing, which {WEIGHTS_INDEX} names")
    return [WEIGHTS_INDEX, *shards]


def missing_weights(offered: Collection[str], wanted: str, *, origin: str) -> CheckpointError:
    """Return the error for a folder or repository without a file, which says so if there are only pickles."""
    suffixes = {PurePosixPath(name).suffix.lower() for name in offered}
    pickles = sorted(name for name in offered if PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES)
    if pickles and ".safetensors" not in suffixes:
        return CheckpointFormatError(
            f"{origin} offers its weights only as pickle ({', '.join(pickles[:5])}). Pickle can run any code and is "
            "never loaded here. If you trust the file, convert it once with "
            '`safetensors.torch.save_file(torch.load(FILE, weights_only=True), "model.safetensors")` '
            "and load the folder that has the result and config.json"
        )
    names = sorted(offered)
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    return CheckpointNotFoundError(f"{origin} has no {wanted}; it has: {listed or 'no files'}")


def companion_files(offered: Collection[str]) -> list[str]:
    """Return what a model needs beside its weights: configuration, tokenizer and prompt, as far as they are there."""
    return [name for name in (MODEL_CONFIG, *TOKENIZER_FILES, *PROMPT_FILES) if name in offered]


@dataclass(frozen=True)
class ModelFolder:
    """A transformer on disk. It is read once, and must stay as it is while a router that was made of it is to be stored.

    Attributes:
        path: The folder.
        files: Names of the files that belong to the model.
        stamps: Size and time of each file when it was found, to notice a change.
    """

    path: Path
    files: tuple[str, ...]
    stamps: tuple[tuple[int, int], ...]

    @classmethod
    def find(cls, path: Path, *, origin: str | None = None) -> Self:
        """Find the files of a model; nothing but the index of its shards is read.

        Raises:
            CheckpointNotFoundError: If the folder, its configuration, weights or tokenizer are missing.
            CheckpointFormatError: If it offers its weights only as pickle.
        """
        origin = origin or str(path)
        if not path.is_dir():
            raise CheckpointNotFoundError(f"{origin}: there is no such folder")
        offered = {file.name for file in path.iterdir() if file.is_file()}
        if MODEL_CONFIG not in offered:
            raise CheckpointNotFoundError(f"{origin}: {MODEL_CONFIG} is missing")
        weights = weight_files(offered, lambda: read_json(path / WEIGHTS_INDEX, origin), origin=origin)
        files = tuple(sorted({*companion_files(offered), *weights}))
        return cls(path=path, files=files, stamps=tuple(_stamp(path / name) for name in files))

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a vocabulary."""
        return not _VOCABULARIES.isdisjoint(self.files)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The content of `config.json`."""
        return read_json(self.path / MODEL_CONFIG, str(self.path))

    def text(self, name: str) -> str | None:
        """Return a text file of the folder; None if it is not there."""
        return (self.path / name).read_text(encoding="utf-8") if name in self.files else None

    @cached_property
    def digest(self) -> str:
        """A digest of the content of all files, computed once.

        The Hub's cache names a large file by its SHA-256, which is then taken from the name; others are read.
        """
        listing = [(name, _content_digest(self.path / name)) for name in self.files]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def copy_to(self, folder: Path) -> None:
        """Copy the files into an empty folder.

        Raises:
            CheckpointError: If a file is not any more what it was when the model was loaded.
        """
        for name, stamp in zip(self.files, self.stamps, strict=True):
            source = self.path / name
            if not source.is_file() or _stamp(source) != stamp:
                raise CheckpointError(
                    f"{str(source)!r} was changed or removed since the router was loaded, so it cannot be stored from there: "
                    "load it again"
                )
            shutil.copy2(source, folder / name)


def read_json(path: Path, origin: str) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        CheckpointFormatError: If it holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError; nested too deeply
        raise CheckpointFormatError(f"{origin}: {path.name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointFormatError(f"{origin}: {path.name} must hold a JSON object, not {type(content).__name__}")
    return content


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _content_digest(path: Path) -> str:
    target = path.resolve()
    if target.parent.name == "blobs" and _SHA256.fullmatch(target.name):
        return target.name
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
