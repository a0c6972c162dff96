"""Clusters of prompts: a model will do on a prompt as it did on the training prompts of the same cluster."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint
from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import ConfigurationError
from routellm_core.routers.outcome import OutcomeRouter, Training, row_products


class ClusterRouter(OutcomeRouter):
    """Scores a prompt by the outcomes of its nearest cluster; with the policy `argmax`, the best model of each cluster.

    Args:
        centroids: Shape (k, dimension of the embedder).
        accuracies: The mean outcome of each model in each cluster, in [0, 1]; shape (k, m).
        sizes: How many training prompts each cluster has, shape (k,).
        models: The m models, in the order of the columns.
        embedder: Embeds the prompts: an embedder, a `TfidfEmbedder`, or an embedding object of LangChain or LlamaIndex.
        training: What it remembers of its training.

    Raises:
        ConfigurationError: If the shapes do not fit, or an accuracy is not in [0, 1].
    """

    name = "cluster"

    def __init__(
        self,
        centroids: ArrayLike,
        accuracies: ArrayLike,
        sizes: ArrayLike,
        *,
        models: Sequence[str],
        embedder: EmbedderLike,
        training: Training | None = None,
    ) -> None:
        super().__init__(models, embedder=embedder, training=training)
        self.centroids = np.asarray(centroids, dtype=np.float32)
        self.accuracies = np.asarray(accuracies, dtype=np.float64)
        self.sizes = np.asarray(sizes, dtype=np.int64)
        k = len(self.centroids)
        if (
            k < 1
            or self.centroids.shape != (k, self.embedder.dimension)
            or self.accuracies.shape != (k, len(self.models))
            or self.sizes.shape != (k,)
        ):
            raise ConfigurationError(
                f"centroids, accuracies and sizes have shapes (k, {self.embedder.dimension}), (k, {len(self.models)}) and (k,) "
                f"with k of 1 or more, not {self.centroids.shape}, {self.accuracies.shape} and {self.sizes.shape}"
            )
        if not ((self.accuracies >= 0) & (self.accuracies <= 1)).all():
            raise ConfigurationError("accuracies must be in [0, 1]")

    def clusters_from_embeddings(self, embeddings: ArrayLike) -> NDArray[np.int64]:
        """Return the cluster of each prompt, shape (n,)."""
        return nearest_centroids(self._checked(embeddings), self.centroids)

    def _predict(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.accuracies[nearest_centroids(embeddings, self.centroids)]

    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"centroids": self.centroids, "accuracies": self.accuracies, "sizes": self.sizes}

    @classmethod
    def _restore(cls, checkpoint: Checkpoint, embedder: Embedder, training: Training) -> Self:
        centroids = checkpoint.array("centroids", (None, embedder.dimension))
        return cls(
            centroids,
            checkpoint.array("accuracies", (len(centroids), len(checkpoint.config.models))),
            checkpoint.array("sizes", (len(centroids),)),
            models=checkpoint.config.models,
            embedder=embedder,
            training=training,
        )


def nearest_centroids(rows: ArrayLike, centroids: ArrayLike) -> NDArray[np.int64]:
    """Return for each row the centroid at the smallest Euclidean distance, of equally near ones the first; shape (n,)."""
    centers = np.asarray(centroids, dtype=np.float64)
    half = 0.5 * np.square(centers).sum(axis=1)
    return np.asarray(np.argmax(row_products(rows, centers) - half, axis=1), dtype=np.int64)
