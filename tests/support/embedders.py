"""Embedders without a model: the vector of a text is drawn from its digest."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def vector_of(text: str, dimension: int) -> NDArray[np.float32]:
    """Return the vector that stands for a text; not of unit length."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest)).normal(size=dimension).astype(np.float32)


class HashEmbedder:
    """Gives every text a unit vector of its own, the same in every process.

    Attributes:
        calls: The batches embedded so far.
    """

    def __init__(self, dimension: int = 8, *, id: str | None = None) -> None:  # noqa: A002
        self.dimension = dimension
        self.id = id or f"hash-{dimension}"
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        rows = np.stack([vector_of(text, self.dimension) for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class AsyncHashEmbedder(HashEmbedder):
    """The same, which embeds asynchronously alone."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise AssertionError("aembed must be used in asynchronous calls")

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().embed(texts)
