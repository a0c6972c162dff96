"""Upper bounds of cosines from half of the numbers or fewer: who is far away in a few directions is far away."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

FROM_NUMBERS = 1 << 22
"""How many numbers a set of vectors holds before bounds are worth their keep: 16 MB, more than caches hold."""

_SAMPLE = 8192
_KEPT_SHARE = 0.75
_ROUNDING = np.float32(1e-5)  # more than single precision loses of a squared length of 1


class CosineBounds:
    """Bounds the cosines of a query with n unit vectors without reading them whole.

    A vector v is split into its part h in the main directions of the set and the rest r at right angles to them. The cosine of v
    and w is then at most ``h_v . h_w + |r_v| |r_w|`` (Cauchy and Schwarz). Only h and |r| are kept and read.

    Args:
        vectors: Unit rows, or rows of zeros; shape (n, d).
        width: How many directions, from 1 to d.
    """

    def __init__(self, vectors: NDArray[np.float32], width: int) -> None:
        _, directions = _main_directions(vectors)
        self._basis = np.ascontiguousarray(directions[:, :width])
        self._parts = self._split(vectors)

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Self | None:
        """Return bounds from as few directions as tell most, at most half of them; None for a set too small to need any."""
        n, d = vectors.shape
        if n * d < FROM_NUMBERS or d < 16:
            return None
        shares, _ = _main_directions(vectors)
        return cls(vectors, min(int(np.searchsorted(np.cumsum(shares), _KEPT_SHARE)) + 1, d // 2))

    def of_queries(self, queries: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an upper bound of the cosine of every query with every vector, shape (q, n).

        Args:
            queries: Unit rows, or rows of zeros; shape (q, d).
            out: Where to write them, shape (q, n).
        """
        parts = self._split(queries)
        if len(queries) == 1:
            np.dot(self._parts, parts[0], out=out[0])
        else:
            np.matmul(parts, self._parts.T, out=out)
        return out

    def _split(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return h and, as the last number, |r| of every row, so that one product gives the bound."""
        heads = rows @ self._basis
        rests = np.square(rows).sum(axis=1) - np.square(heads).sum(axis=1)
        return np.column_stack([heads, np.sqrt(np.maximum(rests, np.float32(0.0)) + _ROUNDING)])


def _main_directions(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the directions in which a sample of the vectors is longest, shape (d, d), and the share of each, shape (d,)."""
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)].astype(np.float64)
    lengths, directions = np.linalg.eigh(sample.T @ sample)
    order = np.argsort(-lengths)
    total = lengths.sum()
    return lengths[order] / (total if total > 0 else 1.0), directions[:, order].astype(np.float32)
