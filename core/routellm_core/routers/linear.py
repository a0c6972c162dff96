"""Linear heads on an embedding: what `multilabel` and `separate` have in common."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint
from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import ConfigurationError
from routellm_core.routers.base import sigmoid
from routellm_core.routers.outcome import OutcomeRouter, Training, row_products


class LinearOutcomeRouter(OutcomeRouter):
    """One linear head per model.

    Args:
        weights: One row per model, shape (m, dimension of the embedder).
        intercepts: Shape (m,).
        models: The m models, in the order of the rows.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        training: What it remembers of its training.

    Raises:
        ConfigurationError: If the shapes do not fit.
    """

    def __init__(
        self,
        weights: ArrayLike,
        intercepts: ArrayLike,
        *,
        models: Sequence[str],
        embedder: EmbedderLike,
        training: Training | None = None,
    ) -> None:
        super().__init__(models, embedder=embedder, training=training)
        self._weights = np.asarray(weights, dtype=np.float32)
        self._intercepts = np.asarray(intercepts, dtype=np.float32)
        expected = (len(self.models), self.embedder.dimension)
        if self._weights.shape != expected or self._intercepts.shape != expected[:1]:
            raise ConfigurationError(
                f"weights and intercepts have shapes {expected} and {expected[:1]}, not {self._weights.shape} and "
                f"{self._intercepts.shape}"
            )

    def _logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        return row_products(embeddings, self._weights) + self._intercepts

    def _predict(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        return sigmoid(self._logits(embeddings))

    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"weights": self._weights, "intercepts": self._intercepts}

    @classmethod
    def _restore(cls, checkpoint: Checkpoint, embedder: Embedder, training: Training, **options: Any) -> Self:
        m = len(checkpoint.config.models)
        return cls(
            checkpoint.array("weights", (m, embedder.dimension)),
            checkpoint.array("intercepts", (m,)),
            models=checkpoint.config.models,
            embedder=embedder,
            training=training,
            **options,
        )
