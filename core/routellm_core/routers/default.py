"""The default router: two correctness heads on the bundled embedding. No key, no network, no torch."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.folder import read_folder
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.embedders.base import Embedder, as_matrix
from routellm_core.embedders.factory import matching_embedder
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.routers.base import PairRouter, sigmoid
from routellm_core.routers.pretrained import PretrainedRouter

ASSET = Path(__file__).parent.parent / "assets" / "default"


class DefaultRouter(PretrainedRouter, PairRouter):
    """Estimates for a typical strong and a typical weak model whether each would answer correctly.

    Each head is a logistic regression on the prompt's embedding and the logarithm of its length. With a = P(strong is right) and
    b = P(weak is right), taken as independent given the prompt, the strong win rate is
    ``a (1 - b) + 1/2 (a b + (1 - a)(1 - b)) = (1 + a - b) / 2``: a tie counts half.

    Args:
        weights: The rows of the two heads, weak first; shape (2, dimension of the embedder + 1). The last column is for
            the natural logarithm of 1 + the number of characters.
        intercepts: Shape (2,), weak first.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        reference_strong: What the strong head was trained on, in words.
        reference_weak: What the weak head was trained on, in words.
        thresholds: Calibrated thresholds; None if there are none.
        provenance: What it was trained on, for the model card.
        metrics: How well it does, for the model card.

    Raises:
        ConfigurationError: If the shapes do not fit the embedder.

    Example:
        >>> router = DefaultRouter.by_name()
        >>> 0 <= router.strong_win_rate("What is the capital of France?") <= 1
        True
    """

    name = "default"

    def __init__(
        self,
        weights: ArrayLike,
        intercepts: ArrayLike,
        *,
        embedder: EmbedderLike,
        reference_strong: str = "strong",
        reference_weak: str = "weak",
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.embedder = as_embedder(embedder)
        self._weights = np.asarray(weights, dtype=np.float32)
        self._intercepts = np.asarray(intercepts, dtype=np.float32)
        expected = (2, self.embedder.dimension + 1)
        if self._weights.shape != expected or self._intercepts.shape != (2,):
            raise ConfigurationError(
                f"with an embedder of {self.embedder.dimension} dimensions, weights and intercepts have shapes {expected} and "
                f"(2,), not {self._weights.shape} and {self._intercepts.shape}"
            )
        self.reference_strong = reference_strong
        self.reference_weak = reference_weak
        self.thresholds = thresholds
        self._provenance = dict(provenance or {})
        self._metrics = dict(metrics or {})

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Embed the prompts and return their strong win rates, shape (n,)."""
        features = default_features(self.embedder, prompts).astype(np.float64)
        # Not a matrix product, which may round differently for another number of rows: a batch equals its single rows.
        logits = np.einsum("nf,hf->nh", features, self._weights.astype(np.float64)) + self._intercepts
        weak_right, strong_right = sigmoid(logits).T
        return np.asarray((1.0 + strong_right - weak_right) / 2.0)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was trained on."""
        return dict(self._provenance)

    def to_checkpoint(self) -> Checkpoint:
        """Return the two heads as a checkpoint."""
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self.models,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                embedder=EmbedderSpec(id=self.embedder.id, dimension=self.embedder.dimension),
                thresholds=self.thresholds,
                provenance=self._provenance,
                metrics=self._metrics,
            ),
            arrays={"weights": self._weights, "intercepts": self._intercepts},
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> Self:
        """Make the router of a checkpoint."""
        config, origin = checkpoint.config, checkpoint.origin
        spec = config.embedder
        if spec is None or config.reference_strong is None or config.reference_weak is None:
            raise CheckpointFormatError(f"{origin}: a default checkpoint names its embedder and its reference pair")
        return cls(
            checkpoint.array("weights", (2, spec.dimension + 1)),
            checkpoint.array("intercepts", (2,)),
            embedder=matching_embedder(embedder, id=spec.id, dimension=spec.dimension, origin=origin),
            reference_strong=config.reference_strong,
            reference_weak=config.reference_weak,
            thresholds=config.thresholds,
            provenance=dict(config.provenance),
            metrics=dict(config.metrics),
        )

    @classmethod
    def by_name(cls, **options: Any) -> Self:
        """Load the weights that come with the package.

        Args:
            **options: `embedder`, which must be the one it was trained with.
        """
        return cls.from_checkpoint(_shipped(), **options)


@cache
def _shipped() -> Checkpoint:
    return read_folder(ASSET, origin="the default router")


def default_features(embedder: Embedder, prompts: Sequence[str]) -> NDArray[np.float32]:
    """Return what the heads see of n prompts: embedding and log length, shape (n, dimension + 1)."""
    lengths = np.fromiter((len(prompt) for prompt in prompts), dtype=np.float32, count=len(prompts))
    vectors = as_matrix(embedder.embed(prompts), n=len(prompts), dimension=embedder.dimension, embedder_id=embedder.id)
    return np.column_stack([vectors, np.log1p(lengths)])
