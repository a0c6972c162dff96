"""Tokens and pairs of neighbouring tokens of prompts, hashed into the columns of a sparse matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.bundled import bundled_tokens, vocabulary_size

Array = NDArray[np.float64]

BIGRAMS = 1 << 16
"""Into how many columns pairs of neighbouring tokens are hashed."""


@dataclass(frozen=True)
class SparseRows:
    """A matrix of n rows that are mostly 0, in compressed rows.

    Attributes:
        indptr: Where each row begins, and the end; shape (n + 1,).
        columns: Shape (z,).
        values: Shape (z,).
        width: The number of columns.
    """

    indptr: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: Array
    width: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def times(self, vector: Array) -> Array:
        """Return the product with a vector, shape (n,)."""
        return np.bincount(self._rows(), self.values * vector[self.columns], len(self)).astype(np.float64)

    def transposed_times(self, vector: Array) -> Array:
        """Return the product of the transposed with a vector of shape (n,), shape (width,)."""
        return np.bincount(self.columns, self.values * vector[self._rows()], self.width).astype(np.float64)

    def rows(self, kept: NDArray[np.bool_]) -> "SparseRows":
        """Return the rows that are kept."""
        of = np.repeat(kept, np.diff(self.indptr))
        indptr = np.concatenate([[0], np.cumsum(np.diff(self.indptr)[kept])])
        return SparseRows(indptr, self.columns[of], self.values[of], self.width)

    def _rows(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))


def ngram_width() -> int:
    """Return the number of columns of `ngrams`: one for each token, and those of the pairs."""
    return vocabulary_size() + BIGRAMS


def ngrams(prompts: Sequence[str]) -> SparseRows:
    """Return 1 + the logarithm of how often each token and each pair of neighbours is in n prompts."""
    return ngrams_of_tokens(bundled_tokens(prompts))


def ngrams_of_tokens(tokenized: Sequence[Sequence[int]]) -> SparseRows:
    """Return `ngrams` of n prompts that `bundled_tokens` has split."""
    first_of_pairs = vocabulary_size()
    width = first_of_pairs + BIGRAMS
    n = len(tokenized)
    ids = np.fromiter(chain.from_iterable(tokenized), np.int64)
    # Any fixed mixing does; what is stored depends on this one.
    pairs = (ids[:-1] * 1_000_003 + ids[1:] * 7_919 + 12_345) % 2_147_483_647 % BIGRAMS + first_of_pairs
    if n > 1:
        row = np.repeat(np.arange(n), np.fromiter(map(len, tokenized), np.int64, n))
        pairs = (row[:-1] * width + pairs)[row[:-1] == row[1:]]
        ids = row * width + ids
    found, counts = _counted(np.concatenate([ids, pairs]))
    indptr = np.searchsorted(found, np.arange(n + 1) * width)
    return SparseRows(indptr, found % width, 1.0 + np.log(counts), width)


def _counted(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `np.unique(keys, return_counts=True)`, sooner for the few keys of one prompt; the keys are sorted in place."""
    keys.sort()
    new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    first = np.flatnonzero(new)
    ends = np.empty_like(first)
    ends[:-1], ends[-1:] = first[1:], len(keys)
    return keys[first], ends - first


def inverse_frequencies(rows: SparseRows) -> Array:
    """Return log((1 + n) / (1 + rows with it)) + 1 for each column, 0 where it is in fewer than two rows; shape (width,)."""
    having = np.bincount(rows.columns, minlength=rows.width)
    return np.where(having >= 2, np.log((1.0 + len(rows)) / (1.0 + having)) + 1.0, 0.0)


def weighted_products(rows: SparseRows, table: NDArray[np.floating[Any]]) -> Array:
    """Return the products of `weighted` rows with k vectors, shape (n, k), in one pass.

    Args:
        rows: n rows.
        table: The frequencies and the k vectors, column by column, shape (width, 1 + k): what a token needs lies together.
    """
    found = table[rows.columns].astype(np.float64)
    values = rows.values * found[:, 0]
    found[:, 0] = values
    found *= values[:, None]
    filled = np.flatnonzero(rows.indptr[1:] > rows.indptr[:-1])
    sums = np.zeros((len(rows), table.shape[1]))
    if len(filled):
        sums[filled] = np.add.reduceat(found, rows.indptr[filled], axis=0)
    lengths = np.sqrt(sums[:, :1])
    return np.asarray(sums[:, 1:] / np.where(lengths > 0, lengths, 1.0))


def weighted(rows: SparseRows, frequencies: Array) -> SparseRows:
    """Multiply the columns by their weights and bring the rows to length 1; a row without any known column stays 0."""
    values = rows.values * frequencies[rows.columns]
    of = rows._rows()
    lengths = np.sqrt(np.bincount(of, values**2, len(rows)))
    return SparseRows(rows.indptr, rows.columns, values / np.where(lengths > 0, lengths, 1.0)[of], rows.width)
