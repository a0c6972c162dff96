"""A checkpoint in a local folder."""

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from routellm_core.checkpoints.arrays import read_arrays
from routellm_core.checkpoints.card import render_card
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig
from routellm_core.checkpoints.model_folder import (
    MODEL_FILE_NAMES,
    MODEL_FOLDER,
    ModelFolder,
    is_model_config,
    read_json,
)
from routellm_core.checkpoints.published import is_published_layout, read_published, read_published_model
from routellm_core.errors import CheckpointFormatError, CheckpointNotFoundError

CONFIG_FILE = "config.json"
ARRAYS_FILE = "model.safetensors"
CARD_FILE = "README.md"


def read_folder(folder: str | os.PathLike[str], *, origin: str | None = None) -> Checkpoint:
    """Read a checkpoint, in our format or in a layout that lm-sys published.

    Args:
        folder: Where `config.json` is, with `model.safetensors` or, for a router that is a transformer, the folder `model/`.
        origin: What error messages call it; None takes the folder.

    Raises:
        CheckpointNotFoundError: If the folder or one of its files is missing.
        CheckpointFormatError: If a file is damaged or is something else.
    """
    path = Path(folder)
    origin = origin or str(folder)
    if not path.is_dir():
        raise CheckpointNotFoundError(f"{origin}: there is no such folder")
    _require(path / CONFIG_FILE, origin)
    config = read_json(path / CONFIG_FILE, origin)
    if is_model_config(config):
        return read_published_model(ModelFolder.find(path, origin=origin), origin=origin)
    if is_published_layout(config):
        _require(path / ARRAYS_FILE, origin)
        return read_published(config, read_arrays(path / ARRAYS_FILE, origin), origin=origin)
    if "format_version" not in config:
        _require(path / ARRAYS_FILE, origin)
        raise CheckpointFormatError(
            f"{origin}: {CONFIG_FILE} is neither a routellm-plugins checkpoint (no format_version) nor a layout that "
            "lm-sys published"
        )
    try:
        own = CheckpointConfig.from_dict(config)
    except CheckpointFormatError as error:
        raise CheckpointFormatError(f"{origin}: {error}") from error.__cause__
    if own.model_files:
        model = ModelFolder.find(path / MODEL_FOLDER, origin=f"{origin}/{MODEL_FOLDER}")
        if missing := sorted(set(own.model_files) - set(model.files)):
            raise CheckpointNotFoundError(f"{origin}: {MODEL_FOLDER}/ has no {', '.join(missing)}")
        return Checkpoint(config=own, model=model, origin=origin)
    _require(path / ARRAYS_FILE, origin)
    return Checkpoint(config=own, arrays=read_arrays(path / ARRAYS_FILE, origin), origin=origin)


def _require(file: Path, origin: str) -> None:
    if not file.is_file():
        raise CheckpointNotFoundError(
            f"{origin}: {file.name} is missing; a checkpoint has {CONFIG_FILE} and {ARRAYS_FILE}, or {CONFIG_FILE} and "
            f"the folder {MODEL_FOLDER}/ of a transformer"
        )


def write_folder(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> Path:
    """Write a checkpoint with its model card; each file appears whole or not at all.

    Args:
        checkpoint: What to store.
        folder: Made if it does not exist; files of the same names are replaced.

    Raises:
        CheckpointFormatError: If the configuration cannot be written as JSON; the folder is then left as it was.
    """
    from safetensors.numpy import save  # importing this package loads nothing but numpy

    model = checkpoint.model
    own = replace(checkpoint.config, model_files=() if model is None else model.files)
    try:
        config = json.dumps(own.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"parameters, provenance and metrics of a checkpoint must be plain JSON: {error}"
        ) from error
    contents = {CARD_FILE: render_card(own).encode(), CONFIG_FILE: config.encode()}
    if model is None:
        arrays = save({name: array.copy(order="C") for name, array in checkpoint.arrays.items()})
        contents = {ARRAYS_FILE: arrays, **contents}
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    copied = None if model is None else _copy_aside(model, path)
    # The configuration goes first and comes last: whatever happens, it never describes the weights of another router.
    (path / CONFIG_FILE).unlink(missing_ok=True)
    if copied is not None:
        _exchange(copied, path / MODEL_FOLDER)
        (path / ARRAYS_FILE).unlink(missing_ok=True)
    for name, content in contents.items():
        _replace(path / name, content)
    return path


def _copy_aside(model: ModelFolder, path: Path) -> Path:
    """Copy a model next to where it will be: the folder that is there may be the one it is copied from."""
    temporary = Path(tempfile.mkdtemp(dir=path, prefix=f".{MODEL_FOLDER}."))
    try:
        model.copy_to(temporary)
        temporary.chmod(0o755)  # a temporary folder is private to its owner; a checkpoint is to be shared
    except BaseException:
        shutil.rmtree(temporary)
        raise
    return temporary


def _exchange(new: Path, target: Path) -> None:
    """Move a model to its place; of what is there, only the files of another model go."""
    target.mkdir(exist_ok=True)
    for file in [*target.iterdir()]:
        if file.suffix == ".safetensors" or file.name in MODEL_FILE_NAMES:
            file.unlink()
    for file in [*new.iterdir()]:
        file.rename(target / file.name)
    new.rmdir()


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
