"""Texts as two arrays, because a checkpoint holds arrays."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_texts(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes of all texts in a row, and where each ends."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


def unpack_texts(blob: NDArray[Any], ends: NDArray[Any]) -> list[str]:
    """Return what `pack_texts` packed.

    Raises:
        ValueError: If the arrays were not made by it.
    """
    data, bounds = blob.astype(np.uint8).tobytes(), [0, *ends.astype(np.int64).tolist()]
    if bounds != sorted(bounds) or bounds[-1] != len(data):
        raise ValueError("the ends of the texts do not fit their bytes")
    parts = pairwise(bounds)
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in parts]
