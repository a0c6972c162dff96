"""The heads that the study tries, each as a way to fit win rates to the scores of both sides."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.default_study.data import Array
from benchmarks.default_study.features import DesignOf, FastRows, Features, Reads, logistic
from benchmarks.default_study.measure import STRENGTHS, Candidate, Rows
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import sigmoid
from routellm_core.training.logistic import Design, fit_logistic
from routellm_core.training.outcome_cluster import ClusterConfig, train_cluster
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.outcome_mlp import MLPConfig, train_mlp

TARGETS: dict[str, Callable[[Array], Array]] = {
    "win rate": lambda scores: (1.0 + scores[:, 1] - scores[:, 0]) / 2.0,
    "needs the strong": lambda scores: scores[:, 1] * (1.0 - scores[:, 0]),
    "weak alone": lambda scores: 1.0 - scores[:, 0],
}
"""What a single regression learns; scores are weak first."""


class Problem:
    """The prompts of a study, training and held-out ones together, and the scores that are known.

    Args:
        features: Of all n prompts.
        scores: Weak and strong, shape (n, 2); those of held-out rows are never read.
        weight: Of each row, shape (n,); None weighs all alike.
        allowed: Which rows a fit may use, shape (n,); None allows all training rows.
    """

    def __init__(self, features: Features, scores: Array, weight: Array | None = None) -> None:
        self.features, self.scores, self.weight = features, scores, weight

    def heads(
        self, name: str, reads: Reads, about: str = "features", only: NDArray[np.bool_] | None = None
    ) -> Candidate:
        """Return two heads of correctness; `only` marks the rows that may be trained on."""

        def fit(train: Rows, fold: int | None, strength: float) -> Callable[[Rows], Array]:
            kept = train if only is None else train[only[train]]
            of = DesignOf(self.features, reads, kept, fold)
            design, weight = of.rows(kept), self._weight(kept)
            weak, strong = (logistic(design, self.scores[kept, side], strength, weight) for side in range(2))

            def predict(rows: Rows) -> Array:
                those = of.rows(rows)
                return 0.5 + 0.5 * (strong(those) - weak(those))

            return predict

        return Candidate(name, about, fit, strengths_of(reads), "distilled" in reads.kinds)

    def single(self, name: str, reads: Reads, target: str, about: str = "heads") -> Candidate:
        """Return one regression on one of `TARGETS`."""

        def fit(train: Rows, fold: int | None, strength: float) -> Callable[[Rows], Array]:
            of = DesignOf(self.features, reads, train, fold)
            head = logistic(of.rows(train), TARGETS[target](self.scores[train]), strength, self._weight(train))
            return lambda rows: head(of.rows(rows))

        return Candidate(name, about, fit, strengths_of(reads), "distilled" in reads.kinds)

    def ordinal(self, name: str, reads: Reads) -> Candidate:
        """Return proportional odds over weak better, tie and strong better: one slope, two intercepts."""

        def fit(train: Rows, fold: int | None, strength: float) -> Callable[[Rows], Array]:
            of = DesignOf(self.features, reads, train, fold)
            design, gain = of.rows(train), self.scores[train, 1] - self.scores[train, 0]
            target = np.concatenate([gain > -0.25, gain > 0.25]).astype(float)
            theta, intercept = fit_logistic(_twice(design), target, strength)
            step, slope = float(theta[0]) * _FREE_STEP, theta[1:]

            def predict(rows: Rows) -> Array:
                logits = of.rows(rows).times(slope) + intercept
                return np.asarray((sigmoid(logits) + sigmoid(logits + step)) / 2.0)

            return predict

        return Candidate(name, "heads", fit, strengths_of(reads))

    def of_library(self, name: str, kind: str, vectors: str) -> Candidate:
        """Return a trainer of the library that learns all models of a table: "knn", "cluster" or "mlp"."""

        def fit(train: Rows, fold: int | None, _: float) -> Callable[[Rows], Array]:
            embedder = Looked(self.features, vectors, fold)
            table = OutcomeTable(prompts=tuple(map(str, train)), models=("weak", "strong"), scores=self.scores[train])
            router = (
                train_knn(table, embedder, KNNConfig(k=(16, 64, 128), confidence=False))
                if kind == "knn"
                else train_cluster(table, embedder, ClusterConfig(clusters=(32, 64), restarts=1, confidence=False))
                if kind == "cluster"
                else train_mlp(table, embedder, MLPConfig(hidden=(64,), weight_decay=1e-2, confidence=False))
            )[0]

            def predict(rows: Rows) -> Array:
                found = np.asarray(router.score(list(map(str, rows))), dtype=np.float64)
                return 0.5 + 0.5 * (found[:, 1] - found[:, 0])

            return predict

        return Candidate(name, "heads", fit, strengths=(1.0,), of_folds=vectors == "distilled")

    def tuned(self, name: str) -> Candidate:
        """Return the fine-tuned MiniLM with its own heads."""

        def fit(_: Rows, fold: int | None, __: float) -> Callable[[Rows], Array]:
            def predict(rows: Rows) -> Array:
                weak, strong = sigmoid(self.features.tuned[fold or 0][rows]).T
                return np.asarray(0.5 + 0.5 * (strong - weak))

            return predict

        return Candidate(name, "features", fit, strengths=(1.0,), of_folds=True)

    def guessed_topic(self, name: str, vectors: str, topics: NDArray[np.str_]) -> Candidate:
        """Return the mean outcome of topics, weighted by how near a prompt is to the mean of each."""

        def fit(train: Rows, fold: int | None, sharpness: float) -> Callable[[Rows], Array]:
            dense = self.features.dense(vectors, fold)
            win = TARGETS["win rate"](self.scores[train])
            known = np.unique(topics[train])
            means = np.stack([dense[train][topics[train] == topic].mean(axis=0) for topic in known])
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            values = np.array([win[topics[train] == topic].mean() for topic in known])

            def predict(rows: Rows) -> Array:
                near = 10.0 * sharpness * (dense[rows] @ means.T)
                shares = np.exp(near - near.max(axis=1, keepdims=True))
                return np.asarray((shares @ values) / shares.sum(axis=1))

            return predict

        return Candidate(name, "heads", fit)

    def _weight(self, rows: Rows) -> Array | None:
        return None if self.weight is None else self.weight[rows]


def strengths_of(reads: Reads) -> Sequence[float]:
    """Return the strengths to choose from: with tokens the one of the shipped router, as these fits take long."""
    return (1.0,) if "tokens" in reads.kinds else STRENGTHS


class Looked:
    """Vectors that are there already; a prompt is the number of its row.

    Args:
        features: Where they are.
        kind: Which.
        fold: The fold that is left out.
    """

    def __init__(self, features: Features, kind: str, fold: int | None) -> None:
        self._vectors = features.dense(kind, fold).astype(np.float32)
        self.id, self.dimension = f"{kind}-{fold}", int(self._vectors.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of rows."""
        return np.asarray(self._vectors[[int(text) for text in texts]])


_FREE_STEP = 10.0
"""The column that tells the two thresholds apart is this large, so that the penalty hardly touches it."""


def _twice(design: Design) -> Design:
    """Return the rows at the threshold of a tie, and again at that of a win with a column that marks the first ones."""
    n = len(design)
    mark = np.concatenate([np.full(n, _FREE_STEP), np.zeros(n)])[:, None]
    sparse = design.sparse
    if sparse is not None:
        sparse = FastRows(
            np.concatenate([sparse.indptr, sparse.indptr[1:] + sparse.indptr[-1]]),
            np.tile(sparse.columns, 2),
            np.tile(sparse.values, 2),
            sparse.width,
        )
    return Design(np.concatenate([mark, np.tile(design.dense, (2, 1))], axis=1), sparse)
