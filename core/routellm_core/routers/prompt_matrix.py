"""The embeddings of many prompts, and their cosines with others, in blocks."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError

_WIDENED_BYTES = 24 << 20
"""A block of float16 rows, widened to float32, for one product: threads meet after each, which costs on a busy machine."""

_WIDENED_ROWS = 256
"""So many rows are widened at a time: they stay in a processor's cache."""

_PRODUCT_BYTES = 64 << 20
"""The cosines of a batch of queries, which are in memory at once."""

_F16_BITS = np.int32(-0x70002000)  # the sign and the 15 other bits of a float16, moved to where float32 has them
_F16_SCALE = np.float32(2.0**112)  # the difference of the biases of their exponents


class PromptMatrix:
    """Embeddings, one row each. Nothing but the lengths of the rows is worked out beforehand, and no row is copied.

    Args:
        rows: Shape (u, d), finite: float32, which is multiplied as it is; or float16, in memory or memory-mapped, which is
            widened block by block. Other types are converted to float32.
        norms: The lengths of the rows, shape (u,); None measures them. A row of length 0 has cosine 0 with everything.

    Raises:
        ConfigurationError: If this is no table of finite numbers.
    """

    def __init__(self, rows: ArrayLike, norms: ArrayLike | None = None) -> None:
        given = rows if isinstance(rows, np.ndarray) else np.asarray(rows, dtype=np.float32)
        if given.ndim != 2 or 0 in given.shape:
            raise ConfigurationError(
                f"embeddings have shape {given.shape}; expected (n, dimension) with n of 1 or more"
            )
        kept = given.dtype in (np.float16, np.float32) and given.dtype.isnative and given.flags.c_contiguous
        self.rows: NDArray[Any] = given if kept else np.ascontiguousarray(given, dtype=np.float32)
        self.norms = self._measured() if norms is None else np.array(norms, dtype=np.float32)
        if self.norms.shape != (len(self.rows),) or not np.isfinite(self.norms).all():
            raise ConfigurationError("embeddings hold numbers that are not finite, or norms that are not theirs")
        # A length that float32 cannot divide by is no length.
        usable = self.norms > np.finfo(np.float32).tiny
        self._inverse_norms = np.divide(1.0, self.norms, out=np.zeros_like(self.norms), where=usable)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dimension(self) -> int:
        """The length of a row."""
        return int(self.rows.shape[1])

    @property
    def batch_size(self) -> int:
        """How many queries fit into one product."""
        return max(1, _PRODUCT_BYTES // (4 * len(self.rows)))

    def _blocks(self, size: int) -> list[slice]:
        return [slice(start, min(start + size, len(self.rows))) for start in range(0, len(self.rows), size)]

    def _measured(self) -> NDArray[np.float32]:
        blocks = (self.rows[block].astype(np.float64) for block in self._blocks(_WIDENED_ROWS))
        lengths = np.sqrt(np.concatenate([np.einsum("nd,nd->n", rows, rows) for rows in blocks]))
        return np.asarray(lengths, dtype=np.float32)

    def forget_copies(self) -> NDArray[np.intp]:
        """Give every row that equals an earlier one length 0, and return the first equal row of each, shape (u,)."""
        first: dict[bytes, int] = {}
        originals = np.empty(len(self.rows), dtype=np.intp)
        for i, row in enumerate(self.rows):
            originals[i] = first.setdefault(hashlib.blake2b(row.data, digest_size=16).digest(), i)
        copies = originals != np.arange(len(self.rows))
        self.norms[copies] = 0.0
        self._inverse_norms[copies] = 0.0
        return originals

    def cosines(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return the cosine of every vector with every row.

        Args:
            vectors: Shape (b, d); a vector of zeros has cosine 0 with everything.

        Returns:
            Shape (b, u).
        """
        wide = np.asarray(vectors, dtype=np.float64)
        norms = np.linalg.norm(wide, axis=1, keepdims=True)
        units = (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)
        products = self._products(units)
        products *= self._inverse_norms
        return products

    def _products(self, units: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.rows.dtype == np.float32:
            return np.asarray(units @ self.rows.T)
        products = np.empty((len(units), len(self.rows)), dtype=np.float32)
        blocks = self._blocks(max(1, _WIDENED_BYTES // (4 * self.dimension)))
        buffer = np.empty((blocks[0].stop, self.dimension), dtype=np.float32)
        for block in blocks:
            products[:, block] = units @ _widened(self.rows[block], buffer).T
        return products

    def nearest_other(self) -> NDArray[np.float32]:
        """Return each row's largest cosine with another row, shape (u,), taking u * u * d multiplications.

        Rows of length 0 are not compared: theirs is 0, and so it is where there is no other row.
        """
        counted = self._inverse_norms > 0
        best = np.full(len(self.rows), -np.inf, dtype=np.float32)
        size = max(1, min(2048, self.batch_size))
        for start in range(0, len(self.rows), size):
            mine = slice(start, start + size)
            # Cosines are symmetric: every block meets itself and those after it, and both sides learn from it.
            rest = PromptMatrix(self.rows[start:], np.where(counted, self.norms, 0.0)[start:])
            cosines = rest.cosines(self.rows[mine])
            cosines[:, ~counted[start:]] = -np.inf
            cosines[~counted[mine]] = -np.inf
            np.fill_diagonal(cosines, -np.inf)
            best[mine] = np.maximum(best[mine], cosines.max(axis=1))
            best[start:] = np.maximum(best[start:], cosines.max(axis=0))
        best[np.isneginf(best)] = 0.0
        return best


def _widened(rows: NDArray[np.float16], buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert finite float16 to float32 into a buffer, by bit operations that are vectorised; numpy's conversion is not."""
    for start in range(0, len(rows), _WIDENED_ROWS):
        part = rows[start : start + _WIDENED_ROWS]
        wide = buffer[start : start + len(part)]
        bits = wide.view(np.int32)
        np.copyto(bits, part.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _F16_BITS, out=bits)
        np.multiply(wide, _F16_SCALE, out=wide)
    return buffer[: len(rows)]
