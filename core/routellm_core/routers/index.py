"""Nearest neighbours by cosine: exact with numpy, or approximate through a library for very large sets."""

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.routers.cosine_bounds import CosineBounds

IndexKind = Literal["exact", "approximate"]
"""How neighbours are found."""

EXACT_UP_TO = 1_000_000
"""How many vectors are searched exactly unless asked otherwise."""

_BLOCK = 1 << 25  # similarities that are held at once: 128 MB; every block of queries reads all vectors again
_SHORT = 1 << 14  # so many numbers are partitioned whole as fast as by their stripes
_STRIPES = 64
_FEW, _FEW_OF = 256, 64  # candidates, of so many vectors one, whose cosines cost little beside one more product
_FEW_QUERIES = 8  # that are compared at once: with more, calculating takes longer than reading the vectors


class NeighbourIndex(Protocol):
    """Finds the vectors nearest to others."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The vectors, scaled to length 1, shape (n, d)."""
        ...

    def search(self, queries: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k nearest vectors of each query.

        Args:
            queries: Shape (q, d), of any length.
            k: How many; no more than there are come back.

        Returns:
            Their positions and cosines, the nearest first and of equally near ones the first; both of shape (q, min(k, n)). What
            is found for a query does not depend on the others.
        """
        ...


class ExactIndex:
    """Compares with every vector.

    Matrix products round differently for other numbers of rows, so they only preselect, with room for their error; the cosines
    that are returned, and the order, come from one double-precision sum per pair. For a few queries only as much of a large set
    is read as tells which vectors may be among the nearest (`CosineBounds`); where that leaves too many, all of it.

    Args:
        vectors: Shape (n, d), of any length; rows of zeros are near to nothing.

    Raises:
        ConfigurationError: If there is no vector.
    """

    def __init__(self, vectors: ArrayLike) -> None:
        self.vectors = unit_rows(vectors)
        if self.vectors.ndim != 2 or not len(self.vectors):
            raise ConfigurationError(f"an index has vectors of shape (n, d), n of 1 or more, not {self.vectors.shape}")
        # What two products of the same unit vectors may differ by, in whatever order they were summed.
        self._slack = np.float32(2 * (self.vectors.shape[1] + 2) * np.finfo(np.float32).eps)
        self._bounds = CosineBounds.of(self.vectors)

    def search(self, queries: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the k nearest vectors of each query; see `NeighbourIndex.search`."""
        rows = unit_rows(queries)
        n = len(self.vectors)
        k = min(k, n)
        positions, cosines = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
        step = max(1, min(len(rows), _BLOCK // n))
        held = np.empty((step, n), dtype=np.float32)
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            for row, candidates in enumerate(self._candidates(block, k, held[: len(block)]), start):
                positions[row], cosines[row] = rank(self.vectors, rows[row], candidates, k)
        return positions, cosines

    def _candidates(self, block: NDArray[np.float32], k: int, held: NDArray[np.float32]) -> Iterator[NDArray[np.int64]]:
        """Yield for each query the positions among which its k nearest surely are."""
        if self._bounds is not None and len(block) <= _FEW_QUERIES:
            for query, upper in zip(block, self._bounds.of_queries(block, held), strict=True):
                yield self._within_bounds(query, upper, k)
            return
        if len(block) == 1:
            np.dot(self.vectors, block[0], out=held[0])
        else:
            np.matmul(block, self.vectors.T, out=held)
        for similar in held:
            yield self._preselect(similar, k)

    def _within_bounds(self, query: NDArray[np.float32], upper: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        # The k-th cosine of any k vectors is no more than that of the nearest: a limit for the bounds.
        _, near = rank(self.vectors, query, self._preselect(upper, k), k)
        left = np.flatnonzero(upper >= np.float32(near[-1]) - self._slack)
        if len(left) > max(_FEW, len(upper) // _FEW_OF):
            return self._preselect(self.vectors @ query, k)
        return left[self._preselect(self.vectors[left] @ query, k)]

    def _preselect(self, similar: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Return the few positions among which the k largest of n numbers surely are."""
        n = len(similar)
        if n <= _SHORT:
            return np.flatnonzero(similar >= np.partition(similar, n - k)[n - k] - self._slack)
        height = max(1, min(_STRIPES, n // (4 * k)))
        width = n // height
        stripes, rest = similar[: height * width].reshape(height, width), similar[height * width :]
        # The k-th largest of the columns' maxima is no more than the k-th largest number, and quickly found.
        tops = np.concatenate([stripes.max(axis=0), rest])
        limit = np.partition(tops, len(tops) - k)[-k] - self._slack
        columns = np.flatnonzero(tops[:width] >= limit)
        high, column = np.nonzero(stripes[:, columns] >= limit)
        left = np.flatnonzero(rest >= limit) + height * width
        return np.concatenate([high * width + columns[column], left])


class ApproximateIndex:
    """Walks a graph of neighbours (HNSW, by the library usearch, extra `index`), for sets too large to be compared with.

    Args:
        vectors: As for `ExactIndex`.
        graph: The graph as `graph()` returned it, of all vectors or of the first ones, to which the others are added; None builds
            it, which takes minutes for a million vectors.
        expansion: How many vectors are looked at in a search; more find more of the true neighbours and take longer.

    Raises:
        MissingDependencyError: If usearch is not installed.
        ConfigurationError: If the graph is of more vectors than there are.
    """

    def __init__(self, vectors: ArrayLike, *, graph: NDArray[np.uint8] | None = None, expansion: int = 128) -> None:
        try:
            from usearch.index import Index
        except ImportError as error:
            raise MissingDependencyError.for_extra("An approximate index", "index") from error
        self.vectors = unit_rows(vectors)
        self._index: Any = Index(
            ndim=self.vectors.shape[1], metric="ip", dtype="f32", expansion_add=expansion, expansion_search=expansion
        )
        if graph is not None:
            self._index.load(graph.tobytes())
        known, n = len(self._index), len(self.vectors)
        if known > n:
            raise ConfigurationError(f"the graph is of {known} vectors, and there are {n}")
        if known < n:
            self._index.add(np.arange(known, n), self.vectors[known:])

    def graph(self) -> NDArray[np.uint8]:
        """Return the graph, to be stored: built again it would come out differently."""
        return np.frombuffer(bytes(self._index.save()), dtype=np.uint8)

    def search(self, queries: ArrayLike, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find about the k nearest vectors of each query; see `NeighbourIndex.search`."""
        rows = unit_rows(queries)
        k = min(k, len(self.vectors))
        positions, cosines = np.empty((len(rows), k), np.int64), np.empty((len(rows), k))
        for row, query in enumerate(rows):
            found = self._index.search(query, k).keys.astype(np.int64)
            positions[row], cosines[row] = rank(self.vectors, query, found, k)
        return positions, cosines


def build_index(
    vectors: ArrayLike, kind: IndexKind | None = None, *, graph: NDArray[np.uint8] | None = None
) -> NeighbourIndex:
    """Make an index.

    Args:
        vectors: Shape (n, d).
        kind: None is exact up to a million vectors.
        graph: The graph of an approximate index that was stored.

    Raises:
        ConfigurationError: If there is no such kind.
        MissingDependencyError: If it is approximate and its library is not installed.
    """
    if kind not in (None, "exact", "approximate"):
        raise ConfigurationError(f"index must be 'exact', 'approximate' or None, not {kind!r}")
    if kind == "approximate" or (kind is None and len(np.asarray(vectors)) > EXACT_UP_TO):
        return ApproximateIndex(vectors, graph=graph)
    return ExactIndex(vectors)


def unit_rows(vectors: ArrayLike) -> NDArray[np.float32]:
    """Return every row in single precision, scaled to length 1; rows of zeros stay."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.square(rows, dtype=np.float32).sum(axis=1, keepdims=True))
    if (np.abs(lengths - 1.0) < 1e-6).all():
        return rows
    return np.asarray(rows / np.where(lengths > 0, lengths, np.float32(1.0)), dtype=np.float32)


def rank(
    vectors: NDArray[np.float32], query: NDArray[np.float32], candidates: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the k candidates with the highest cosines, and these, from sums in double precision."""
    cosines = (vectors[candidates].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    best = np.lexsort((candidates, -cosines))[:k]
    return candidates[best], cosines[best]
