"""What an embedder is, and which one a checkpoint asks for."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import EmbedderMismatchError, EmbeddingError


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors of unit length.

    May also offer `async def aembed(self, texts)`, which asynchronous calls then await instead of using a thread.
    """

    @property
    def id(self) -> str:
        """What the vectors depend on: vectors of embedders with the same id can be compared."""
        ...

    @property
    def dimension(self) -> int:
        """The length of the vectors."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension), each row of length 1, or 0 where a text holds no known token."""
        ...


async def aembed(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed without blocking the event loop: by the embedder's own `aembed`, else in a thread.

    Args:
        embedder: Who embeds.
        texts: n texts.
    """
    own = getattr(embedder, "aembed", None)
    vectors: NDArray[np.float32] = await (asyncio.to_thread(embedder.embed, texts) if own is None else own(texts))
    return vectors


def encodable(text: str) -> str:
    """Return the text with a question mark for every lone surrogate, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def as_matrix(vectors: Any, *, n: int, dimension: int | None, embedder_id: str) -> NDArray[np.float32]:
    """Check what an embedder returned and return it as one array, shape (n, dimension).

    Args:
        vectors: What should have shape (n, dimension).
        n: How many texts were embedded.
        dimension: The expected length; None if it is not known yet.
        embedder_id: Who returned them, for the error.

    Raises:
        EmbeddingError: If the shape is another one, or a number is not finite.
    """
    try:
        rows = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(f"embedder {embedder_id!r} returned no table of numbers: {error}") from error
    if rows.ndim != 2 or rows.shape[0] != n or dimension not in (None, rows.shape[1]):
        expected = (n, "any" if dimension is None else dimension)
        raise EmbeddingError(f"embedder {embedder_id!r} returned vectors of shape {rows.shape}, expected {expected}")
    if not np.isfinite(rows).all():
        raise EmbeddingError(f"embedder {embedder_id!r} returned numbers that are not finite")
    return rows


def as_unit_rows(vectors: Any, *, n: int, dimension: int | None, embedder_id: str) -> NDArray[np.float32]:
    """Check what a model returned and scale every row to length 1; rows of zeros stay; see `as_matrix`."""
    rows = as_matrix(vectors, n=n, dimension=dimension, embedder_id=embedder_id)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)


def check_match(embedder: Embedder, *, id: str, dimension: int, origin: str) -> None:  # noqa: A002
    """Refuse an embedder other than the one a checkpoint was trained with.

    Args:
        embedder: The one given.
        id: The embedder of the checkpoint.
        dimension: The length of its vectors.
        origin: What the error calls the checkpoint.

    Raises:
        EmbedderMismatchError: If id or dimension differ; names both sides.
    """
    if embedder.id != id or embedder.dimension != dimension:
        raise EmbedderMismatchError(
            f"{origin} was trained with embedder {id!r} ({dimension} dimensions) and cannot score vectors of "
            f"{embedder.id!r} ({embedder.dimension} dimensions): give that embedder, or train a router with yours"
        )
