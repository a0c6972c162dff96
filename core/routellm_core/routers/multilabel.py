"""One classifier for all models (Srivatsa et al., arXiv 2405.00467): an encoder with a head of one output per model."""

from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint
from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import ConfigurationError
from routellm_core.policies import ScoreKind
from routellm_core.routers.linear import LinearOutcomeRouter
from routellm_core.routers.outcome import Training

Head = Literal["multilabel", "multiclass"]
"""Whether each model is judged by itself (sigmoids), or they compete for being the best (softmax)."""


class MultilabelRouter(LinearOutcomeRouter):
    """All models are fitted together.

    Args:
        weights: One row per model, shape (m, dimension of the embedder).
        intercepts: Shape (m,).
        models: The m models, in the order of the rows.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        head: With "multiclass" scores are the chances to be the best model, which add up to 1, and `score_kind` is "win_rate".
        training: What it remembers of its training.

    Raises:
        ConfigurationError: If the shapes do not fit, or there is no such head.
    """

    name = "multilabel"

    def __init__(
        self,
        weights: ArrayLike,
        intercepts: ArrayLike,
        *,
        models: Sequence[str],
        embedder: EmbedderLike,
        head: Head = "multilabel",
        training: Training | None = None,
    ) -> None:
        super().__init__(weights, intercepts, models=models, embedder=embedder, training=training)
        if head not in get_args(Head):
            raise ConfigurationError(f"head must be one of {', '.join(get_args(Head))}, not {head!r}")
        self.head = head
        kind: ScoreKind = "correctness" if head == "multilabel" else "win_rate"
        self.score_kind = kind  # type: ignore[misc]  # of the class for all other routers

    def _predict(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.head == "multilabel":
            return super()._predict(embeddings)
        return softmax(self._logits(embeddings))

    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        parameters, arrays = super()._stored()
        return {**parameters, "head": self.head}, arrays

    @classmethod
    def _restore(cls, checkpoint: Checkpoint, embedder: Embedder, training: Training, **options: Any) -> Self:
        return super()._restore(
            checkpoint, embedder, training, head=checkpoint.config.parameters.get("head", ""), **options
        )


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares of each row of shape (n, m) that are proportional to the exponentials, without overflow."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
