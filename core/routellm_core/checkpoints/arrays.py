"""The arrays of a safetensors file; large ones stay on disk until they are read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import CheckpointFormatError

MAPPED_BYTES = 32 << 20
"""From this size on an array is mapped into memory, read-only."""

_MAPPED_TYPES: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def read_arrays(path: Path, origin: str) -> dict[str, NDArray[Any]]:
    """Read a safetensors file.

    Args:
        path: The file.
        origin: What error messages call the checkpoint.

    Raises:
        CheckpointFormatError: If it is damaged, or holds a number type that numpy lacks.
    """
    from safetensors import SafetensorError, safe_open  # importing this package loads nothing but numpy

    try:
        with safe_open(path, framework="numpy") as file:  # checks the header and every offset
            mapped = _mapped(path)
            return {name: mapped[name] if name in mapped else file.get_tensor(name) for name in file.offset_keys()}
    except SafetensorError as error:
        raise CheckpointFormatError(f"{origin}: {path.name} is damaged or no safetensors file: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:
        raise CheckpointFormatError(
            f"{origin}: {path.name} holds a number type that numpy lacks ({error}); store float32 or float16"
        ) from error


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """Map the large arrays. The file starts with the length of its JSON header, which tells where each array is."""
    if path.stat().st_size < MAPPED_BYTES:
        return {}
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    mapped: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        start, end = entry.get("data_offsets", (0, 0))  # "__metadata__" has none
        dtype = _MAPPED_TYPES.get(entry.get("dtype"))
        if dtype is not None and end - start >= MAPPED_BYTES:
            mapped[name] = np.memmap(path, dtype, "r", offset=8 + length + start, shape=tuple(entry["shape"]))
    return mapped
