"""What the candidates read of prompts, and how logistic heads are fitted to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped,unused-ignore]

from benchmarks.default_study.data import TUNED_FOLDS, WORK, Array
from benchmarks.default_study.measure import Rows
from benchmarks.replication.common import key_of
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.routers.base import sigmoid
from routellm_core.routers.default import scaled_statistics
from routellm_core.routers.prompt_features import STATISTICS, prompt_statistics
from routellm_core.routers.prompt_ngrams import SparseRows, inverse_frequencies, ngrams, weighted
from routellm_core.routers.prompt_reading import read
from routellm_core.training.logistic import Design, fit_logistic

SCALES = {"statistics": 0.2, "embedding": 0.7, "minilm": 1.4, "distilled": 0.7}
"""How far each kind is spread beside token vectors of length 1; the first two as in the shipped router."""

FREE = ("formula", "log code characters", "log numbers", "asks how or why", "asks for a text")
"""The statistics that the shipped router reads of open questions."""


@dataclass(frozen=True)
class Reads:
    """What a design is made of.

    Attributes:
        kinds: Of "statistics", "embedding", "tokens", "minilm", "distilled".
        statistics: The names of those that are read; None reads all.
        extra: Whether the further column, if there is one, is read.
    """

    kinds: tuple[str, ...]
    statistics: Sequence[str] | None = None
    extra: bool = False


class Features:
    """All that can be read of n prompts.

    Args:
        prompts: The prompts.
        extra: A further column, shape (n,); None for none.
    """

    def __init__(self, prompts: Sequence[str], extra: Array | None = None) -> None:
        self.readings = [read(prompt) for prompt in prompts]
        self.texts = [reading.text for reading in self.readings]
        self.statistics = prompt_statistics(self.readings)
        self.extra = extra

    @cached_property
    def embedding(self) -> Array:
        """The embedding that comes with the library, shape (n, 240)."""
        return np.asarray(BundledEmbedder().embed(self.texts), dtype=np.float64)

    @cached_property
    def counts(self) -> SparseRows:
        """Hashed tokens and pairs of tokens."""
        return ngrams(self.texts)

    @cached_property
    def minilm(self) -> Array:
        """The vectors of MiniLM as it is, NaN for what was not embedded, shape (n, 384)."""
        return np.array(_looked_up(WORK / "minilm.npz", "vectors", self.texts))

    @cached_property
    def distilled(self) -> list[Array]:
        """The static embeddings distilled from the models that were fine-tuned without a fold, NaN as above."""
        return [_looked_up(WORK / f"distilled-{fold}.npz", "vectors", self.texts) for fold in range(TUNED_FOLDS)]

    @cached_property
    def tuned(self) -> list[Array]:
        """The logits of the fine-tuned models, NaN where a model was not asked, shape (n, 2) each."""
        return [_looked_up(WORK / f"tuned-{fold}.npz", "logits", self.texts) for fold in range(TUNED_FOLDS)]

    def dense(self, kind: str, fold: int | None) -> Array:
        """Return the columns of a dense kind."""
        if kind == "distilled":
            if fold is None:
                raise ValueError("what is distilled is there for each fold alone")
            return self.distilled[fold]
        return np.asarray(getattr(self, kind))


def _looked_up(path: Path, name: str, texts: Sequence[str]) -> Array:
    """Return what a file has on texts, NaN where it has nothing, shape (n, d)."""
    with np.load(path) as stored:
        known = dict(zip(stored["keys"].tolist(), stored[name].astype(np.float64), strict=True))
    nothing = np.full(len(next(iter(known.values()))), np.nan)
    return np.array([known.get(key_of(text), nothing) for text in texts])


@dataclass(frozen=True)
class DesignOf:
    """The design of a candidate, its scales and token weights taken from the training rows.

    Attributes:
        features: Of all prompts.
        reads: What is read.
        train: The training rows.
        fold: The fold that is left out.
    """

    features: Features
    reads: Reads
    train: Rows
    fold: int | None

    def rows(self, rows: Rows) -> Design:
        """Return the columns of some rows."""
        columns = [np.zeros((len(rows), 0))]
        for kind in self.reads.kinds:
            if kind == "statistics":
                columns.append(SCALES[kind] * self._statistics(rows))
            elif kind != "tokens":
                columns.append(SCALES[kind] * self.features.dense(kind, self.fold)[rows])
        if self.reads.extra and self.features.extra is not None:
            of_train = self.features.extra[self.train]
            columns.append(((self.features.extra[rows] - of_train.mean()) / of_train.std())[:, None] * 0.5)
        sparse = None
        if "tokens" in self.reads.kinds:
            sparse = FastRows.of(weighted(_rows(self.features.counts, rows), self._frequencies))
        return Design(np.concatenate(columns, axis=1), sparse)

    def _statistics(self, rows: Rows) -> Array:
        center, spread = (
            self.features.statistics[self.train].mean(axis=0),
            self.features.statistics[self.train].std(axis=0),
        )
        says = spread > 1e-6
        used = says & [self.reads.statistics is None or name in self.reads.statistics for name in STATISTICS]
        scale = np.where(says, spread, 1.0)
        return np.asarray(scaled_statistics(self.features.statistics[rows], center, scale) * used)

    @cached_property
    def _frequencies(self) -> Array:
        return inverse_frequencies(_rows(self.features.counts, self.train))


class FastRows(SparseRows):
    """The same rows, multiplied by scipy, several times as fast."""

    @classmethod
    def of(cls, rows: SparseRows) -> "FastRows":
        """Take the rows over."""
        return cls(rows.indptr, rows.columns, rows.values, rows.width)

    @cached_property
    def _matrix(self) -> Any:
        return csr_array((self.values, self.columns, self.indptr), shape=(len(self), self.width))

    @cached_property
    def _transposed(self) -> Any:
        return self._matrix.T.tocsr()

    def times(self, vector: Array) -> Array:
        """Return the product with a vector, shape (n,)."""
        return np.asarray(self._matrix @ vector)

    def transposed_times(self, vector: Array) -> Array:
        """Return the product of the transposed with a vector of shape (n,), shape (width,)."""
        return np.asarray(self._transposed @ vector)


def _rows(counts: SparseRows, rows: NDArray[np.intp]) -> SparseRows:
    """Return rows in any order, also more than once."""
    lengths = np.diff(counts.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    at = np.repeat(counts.indptr[rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
    return SparseRows(indptr, counts.columns[at], counts.values[at], counts.width)


def logistic(design: Design, target: Array, strength: float, weight: Array | None = None) -> "Head":
    """Fit one logistic regression."""
    return Head(*fit_logistic(design, target, strength, weight))


@dataclass(frozen=True)
class Head:
    """A logistic regression."""

    theta: Array
    intercept: float

    def __call__(self, design: Design) -> Array:
        """Return probabilities, shape (n,)."""
        return sigmoid(design.times(self.theta) + self.intercept)
