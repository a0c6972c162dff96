"""A checkpoint in a local folder."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from routellm_core.checkpoints.card import render_card
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig
from routellm_core.checkpoints.published import is_published_layout, read_published
from routellm_core.errors import CheckpointFormatError, CheckpointNotFoundError

CONFIG_FILE = "config.json"
ARRAYS_FILE = "model.safetensors"
CARD_FILE = "README.md"


def read_folder(folder: str | os.PathLike[str], *, origin: str | None = None) -> Checkpoint:
    """Read a checkpoint, in our format or in a layout that lm-sys published.

    Args:
        folder: Where `config.json` and `model.safetensors` are.
        origin: What error messages call it; None takes the folder.

    Raises:
        CheckpointNotFoundError: If the folder or one of the two files is missing.
        CheckpointFormatError: If a file is damaged or is something else.
    """
    path = Path(folder)
    origin = origin or str(folder)
    if not path.is_dir():
        raise CheckpointNotFoundError(f"{origin}: there is no such folder")
    for file in (CONFIG_FILE, ARRAYS_FILE):
        if not (path / file).is_file():
            raise CheckpointNotFoundError(
                f"{origin}: {file} is missing; a checkpoint has {CONFIG_FILE} and {ARRAYS_FILE}"
            )
    config = _read_config(path / CONFIG_FILE, origin)
    arrays = _read_arrays(path / ARRAYS_FILE, origin)
    if is_published_layout(config):
        return read_published(config, arrays, origin=origin)
    if "format_version" not in config:
        raise CheckpointFormatError(
            f"{origin}: {CONFIG_FILE} is neither a routellm-plugins checkpoint (no format_version) nor a layout that "
            "lm-sys published"
        )
    try:
        return Checkpoint(config=CheckpointConfig.from_dict(config), arrays=arrays, origin=origin)
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{origin}: {error}") from error.__cause__


def _read_config(path: Path, origin: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError; nested too deeply
        raise CheckpointFormatError(f"{origin}: {path.name} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointFormatError(f"{origin}: {path.name} must hold a JSON object, not {type(config).__name__}")
    return config


def _read_arrays(path: Path, origin: str) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError  # importing this package loads nothing but numpy
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointFormatError(f"{origin}: {path.name} is damaged or no safetensors file: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointFormatError(
            f"{origin}: {path.name} holds a number type that numpy lacks ({error}); store float32 or float16"
        ) from error


def write_folder(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> Path:
    """Write a checkpoint with its model card; each file appears whole or not at all.

    Args:
        checkpoint: What to store.
        folder: Made if it does not exist; files of the same names are replaced.

    Raises:
        CheckpointFormatError: If the configuration cannot be written as JSON; the folder is then left as it was.
    """
    from safetensors.numpy import save  # as above

    try:
        config = json.dumps(checkpoint.config.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"parameters, provenance and metrics of a checkpoint must be plain JSON: {error}"
        ) from error
    contents = {
        ARRAYS_FILE: save({name: array.copy(order="C") for name, array in checkpoint.arrays.items()}),
        CARD_FILE: render_card(checkpoint.config).encode(),
        CONFIG_FILE: config.encode(),
    }
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    # The configuration goes first and comes last: whatever happens, it never describes the arrays of another router.
    (path / CONFIG_FILE).unlink(missing_ok=True)
    for name, content in contents.items():
        _replace(path / name, content)
    return path


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(0o644)  # a temporary file is private to its owner; a checkpoint is to be shared
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
