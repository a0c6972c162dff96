"""Training of the router `cluster`: K-means on the training prompts alone, and smoothed outcomes per cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.embedders.tfidf import TfidfEmbedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.cluster import ClusterRouter
from routellm_core.routers.outcome import Training
from routellm_core.training.outcome_data import LabelConfig, OutcomeData, as_choices
from routellm_core.training.outcome_search import Search
from routellm_core.training.report import TrainingReport

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(LabelConfig):
    """Settings of `train_cluster`.

    Attributes:
        clusters: How many; several are compared on validation prompts by what choosing the best model of the cluster reaches.
        smoothing: How many prompts with the model's mean outcome are added to each cluster, 0 or more.
        min_size: Clusters of fewer training prompts are dissolved; at least 1.
        restarts: How often K-means begins anew; the run with the least inertia counts.
        iterations: Of K-means, at most.
        confidence: Learn S3's confidence where the table has tasks.
    """

    clusters: int | Sequence[int] = (8, 16, 32, 64)
    smoothing: float = 4.0
    min_size: int = 10
    restarts: int = 3
    iterations: int = 50
    confidence: bool = True

    def __post_init__(self) -> None:
        LabelConfig.__post_init__(self)
        if min(as_choices(self.clusters, "clusters")) < 1 or self.min_size < 1 or self.restarts < 1:
            raise ConfigurationError(
                f"clusters, min_size and restarts must be 1 or more, not {self.clusters!r}, {self.min_size!r}, {self.restarts!r}"
            )
        if not 0 <= self.smoothing < np.inf:
            raise ConfigurationError(f"smoothing must be 0 or more, not {self.smoothing!r}")


def train_cluster(
    table: OutcomeTable, embedder: EmbedderLike | Literal["tfidf"], config: ClusterConfig | None = None
) -> tuple[ClusterRouter, TrainingReport]:
    """Train a cluster router.

    Args:
        table: Prompts and how well each model did on them.
        embedder: Embeds the prompts; "tfidf" fits TF-IDF to them.
        config: The settings; None takes the defaults.

    Raises:
        ConfigurationError: If a setting is out of range or there is nothing to learn from.
    """
    config = config or ClusterConfig()
    if isinstance(embedder, str):
        if embedder not in get_args(Literal["tfidf"]):
            raise ConfigurationError(f"embedder must be an embedder or 'tfidf', not {embedder!r}")
        embedder = TfidfEmbedder.fit(table.prompts)
    sizes = as_choices(config.clusters, "clusters")

    def fit(data: OutcomeData, k: int, training: Training | None) -> ClusterRouter:
        centroids, counts, accuracies = cluster_outcomes(data.embeddings, data.labels, k, config)
        return ClusterRouter(
            centroids, accuracies, counts, models=data.models, embedder=data.embedder, training=training
        )

    search = Search(
        name="cluster",
        settings=sizes,
        fit=fit,
        choose=lambda _, quality: sizes[int(np.argmax(np.nan_to_num(quality, nan=-1.0)))],
        learns_confidence=config.confidence,
    )
    return search.run(table, embedder, config)


def cluster_outcomes(
    features: NDArray[np.float32], labels: Array, k: int, config: ClusterConfig
) -> tuple[NDArray[np.float32], NDArray[np.int64], Array]:
    """Return centroids (c, d), sizes (c,) and smoothed mean outcomes (c, m) of at most k clusters.

    Args:
        features: Shape (n, d).
        labels: In [0, 1], NaN where unknown; shape (n, m).
        k: How many clusters to begin with.
        config: The other settings.
    """
    runs = [
        k_means(features, k, seed=config.seed + run, iterations=config.iterations) for run in range(config.restarts)
    ]
    centroids = min(runs, key=lambda found: found[1])[0]
    while True:  # one at a time, the smallest first: its prompts may let another one live
        which = _nearest(features, centroids)[0]
        counts = np.bincount(which, minlength=len(centroids))
        if len(centroids) == 1 or counts.min() >= config.min_size:
            break
        centroids = np.delete(centroids, int(counts.argmin()), axis=0)
    known = ~np.isnan(labels)
    member = np.equal.outer(np.arange(len(centroids)), which).astype(np.float64)
    totals, sums = member @ known, member @ np.where(known, labels, 0.0)
    mean = np.where(known.any(axis=0), sums.sum(axis=0) / np.maximum(totals.sum(axis=0), 1), 0.5)
    weight = totals + config.smoothing
    accuracies = np.where(weight > 0, (sums + config.smoothing * mean) / np.where(weight > 0, weight, 1.0), mean)
    return centroids, counts.astype(np.int64), accuracies.clip(0.0, 1.0)


def k_means(
    features: NDArray[np.float32], k: int, *, seed: int, iterations: int = 50
) -> tuple[NDArray[np.float32], float]:
    """Cluster by Lloyd's algorithm from a k-means++ start.

    Args:
        features: Shape (n, d).
        k: How many; no more than there are different rows come back.
        seed: Of the start.
        iterations: At most.

    Returns:
        The centroids, shape (k, d), and the sum of the squared distances to them.
    """
    rng = np.random.default_rng(seed)
    norms = np.square(features).sum(axis=1, dtype=np.float64)
    centroids = _far_apart(features, norms, k, rng)
    which = np.full(len(features), -1)
    for _ in range(iterations):
        before, (which, _) = which, _nearest(features, centroids)
        if (which == before).all():
            break
        member = np.equal.outer(np.arange(len(centroids)), which).astype(np.float32)
        counts = member.sum(axis=1, keepdims=True)
        centroids = np.where(counts > 0, (member @ features) / np.maximum(counts, 1), centroids).astype(np.float32)
    return centroids, float((norms - 2 * _nearest(features, centroids)[1]).sum())


def _nearest(features: NDArray[np.float32], centroids: NDArray[np.float32]) -> tuple[NDArray[np.int64], Array]:
    """Return the nearest centroid of each row, and by how much: half the squared norm of the row less half the squared distance.

    By a fast product: which of two equally near centroids is taken does not matter in training.
    """
    scores = features @ centroids.T - 0.5 * np.square(centroids).sum(axis=1)
    return scores.argmax(axis=1).astype(np.int64), scores.max(axis=1).astype(np.float64)


def _far_apart(features: NDArray[np.float32], norms: Array, k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    chosen = [int(rng.integers(len(features)))]
    distances = np.full(len(features), np.inf)
    while len(chosen) < k:
        last = features[chosen[-1]]
        distances = np.minimum(distances, np.maximum(norms - 2 * (features @ last) + norms[chosen[-1]], 0.0))
        distances[distances < 1e-9] = 0.0
        total = distances.sum()
        if total == 0.0:  # every row equals a centroid
            break
        chosen.append(int(rng.choice(len(features), p=distances / total)))
    return features[chosen].copy()
