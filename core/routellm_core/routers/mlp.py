"""A feed-forward network from a prompt's embedding to the correctness of every model; numpy alone."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint
from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import ConfigurationError
from routellm_core.routers.base import sigmoid
from routellm_core.routers.outcome import OutcomeRouter, Training, number, row_products
from routellm_core.task_state import thresholded_confidence


class MLPRouter(OutcomeRouter):
    """Hidden layers with ReLU, and one sigmoid per model.

    Args:
        layers: From the input to the output, each (weights of shape (out, in), bias of shape (out,)).
        models: The m models, in the order of the outputs.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        certainty: What `confidence_thresholds` found on validation prompts, shape (m,); None if not estimated.
        training: What it remembers of its training.

    Raises:
        ConfigurationError: If the shapes do not fit each other.
    """

    name = "mlp"

    def __init__(
        self,
        layers: Sequence[tuple[ArrayLike, ArrayLike]],
        *,
        models: Sequence[str],
        embedder: EmbedderLike,
        certainty: ArrayLike | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(models, embedder=embedder, training=training)
        self._layers = [(np.asarray(w, dtype=np.float32), np.asarray(b, dtype=np.float32)) for w, b in layers]
        width = self.embedder.dimension
        for weights, bias in self._layers:
            if weights.ndim != 2 or weights.shape[1] != width or bias.shape != (len(weights),):
                raise ConfigurationError(
                    f"a layer after {width} numbers has weights of shape (out, {width}) and a bias of shape (out,), not "
                    f"{weights.shape} and {bias.shape}"
                )
            width = len(weights)
        if not self._layers or width != len(self.models):
            raise ConfigurationError(
                f"the last layer has one output for each of {len(self.models)} models, not {width}"
            )
        self._certainty = None if certainty is None else np.asarray(certainty, dtype=np.float64)
        if self._certainty is not None and self._certainty.shape != (len(self.models),):
            raise ConfigurationError(f"certainty has one number per model, not the shape {self._certainty.shape}")

    def _predict(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        values: NDArray[Any] = embeddings
        for position, (weights, bias) in enumerate(self._layers):
            values = row_products(values if position == 0 else np.maximum(values, 0.0), weights) + bias
        return sigmoid(values)

    def thresholded_confidence(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Estimate for each model how often its votes are right on a new task, from how certain they are, shape (m,).

        Average thresholded confidence; an alternative to the distance of the task.

        Args:
            prompts: Of the task, one or more.

        Raises:
            ConfigurationError: If it was not estimated in training, or there is no prompt.
        """
        if self._certainty is None or not len(prompts):
            raise ConfigurationError(
                "thresholded confidence needs a prompt, and a router whose training kept prompts for validation"
            )
        return thresholded_confidence(self.score(prompts), self._certainty)

    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {}
        for position, (weights, bias) in enumerate(self._layers):
            arrays |= {f"weights_{position}": weights, f"bias_{position}": bias}
        if self._certainty is not None:
            # A threshold of no prediction, or of all, is stored as a number beyond those that negative entropies have.
            arrays["certainty"] = np.clip(self._certainty, -1.0, 1.0)
        return {"layers": len(self._layers)}, arrays

    @classmethod
    def _restore(cls, checkpoint: Checkpoint, embedder: Embedder, training: Training) -> Self:
        layers = []
        width: int = embedder.dimension
        for position in range(int(number(checkpoint, "layers"))):
            weights = checkpoint.array(f"weights_{position}", (None, width))
            width = len(weights)
            layers.append((weights, checkpoint.array(f"bias_{position}", (width,))))
        has_certainty = "certainty" in checkpoint.arrays
        return cls(
            layers,
            models=checkpoint.config.models,
            embedder=embedder,
            certainty=checkpoint.array("certainty", (len(checkpoint.config.models),)) if has_certainty else None,
            training=training,
        )
