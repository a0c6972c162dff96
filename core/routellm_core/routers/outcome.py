"""What the routers that are learned from outcomes share: they predict for every model whether it will be right."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.embedders.base import Embedder, aembed, as_matrix
from routellm_core.embedders.factory import matching_embedder
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.embedders.tfidf import TfidfEmbedder
from routellm_core.errors import CheckpointFormatError, ConfigurationError, RouterUnavailableError
from routellm_core.policies import Policy, PolicyContext, ScoreKind, TaskPolicy, get_policy
from routellm_core.policies.base import ContextPolicy
from routellm_core.routers.base import PoolRouter
from routellm_core.routers.index import ExactIndex, NeighbourIndex
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.task_state import NEIGHBOURS, TaskConfidence, TaskSummary


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a router remembers of its training beside its weights.

    Attributes:
        confidence: How far its predictions can be trusted on a new task; None if it was trained without tasks.
        embeddings: Of the training prompts, shape (n, dimension), for the distance of a task; None if there is no confidence.
        model_thresholds: For each model the score from which on it is best taken to be right; empty if not tuned.
        closest: The regression of the policy `closest`, weights and intercept, shape (m + 1,); None if not fitted.
        provenance: What it was trained on, for the model card.
        metrics: How well it does, for the model card.
    """

    confidence: TaskConfidence | None = None
    embeddings: NDArray[np.float32] | None = None
    model_thresholds: Mapping[str, float] = field(default_factory=dict)
    closest: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


class OutcomeRouter(PretrainedRouter, PoolRouter):
    """Predicts how well each model would answer, from the prompt's embedding.

    A subclass gives `_predict` and what is to be stored, and reads it back.

    Args:
        models: The m models, in the order of the columns.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        training: What it remembers of its training.

    Raises:
        ConfigurationError: If a model is named twice, or the confidence is for other models.
    """

    score_kind: ClassVar[ScoreKind] = "correctness"

    def __init__(self, models: Sequence[str], *, embedder: EmbedderLike, training: Training | None = None) -> None:
        self._models = tuple(models)
        if not self._models or len(set(self._models)) != len(self._models):
            raise ConfigurationError(f"models must be one or more different names, not {list(models)!r}")
        self.embedder = as_embedder(embedder)
        self._training = training or Training()
        self.confidence = self._training.confidence
        self.model_thresholds = dict(self._training.model_thresholds)
        self.closest = self._training.closest
        if self.confidence is not None and len(self.confidence.accuracies) != len(self._models):
            raise ConfigurationError(
                f"the confidence is for {len(self.confidence.accuracies)} models, the router has {len(self._models)}"
            )
        kept = self._training.embeddings
        self._seen: NeighbourIndex | None = None if kept is None else ExactIndex(kept)

    @property
    def models(self) -> tuple[str, ...]:
        """The models whose outcomes it was trained on."""
        return self._models

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was trained on."""
        return dict(self._training.provenance)

    @abstractmethod
    def _predict(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scores of checked embeddings, shape (n, m); a row may not depend on the others."""

    @abstractmethod
    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what the subclass stores: parameters, as plain JSON, and arrays."""

    @classmethod
    @abstractmethod
    def _restore(cls, checkpoint: Checkpoint, embedder: Embedder, training: Training) -> Self:
        """Make the router from what `_stored` returned."""

    def score_from_embeddings(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Score every model from the prompts' embeddings.

        Args:
            embeddings: Shape (n, dimension of the embedder), of unit length.

        Returns:
            Shape (n, m), in [0, 1].
        """
        return self._predict(self._checked(embeddings))

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Embed the prompts and score every model, shape (n, m)."""
        return self.score_from_embeddings(self.embedder.embed(prompts))

    async def ascore(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score without blocking the event loop while the prompts are embedded; see `score`."""
        return self.score_from_embeddings(await aembed(self.embedder, prompts))

    def distances_from_embeddings(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        """Return how far each prompt is from the training prompts: the mean cosine distance of its nearest 19, shape (n,).

        Raises:
            ConfigurationError: If the router was trained without tasks, and so keeps no training prompts.
        """
        return self._distances(self._checked(embeddings))

    def score_with_distance(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score every model and add each prompt's distance from the training prompts, shape (n, m + 1)."""
        embeddings = self._checked(self.embedder.embed(prompts))
        return np.column_stack([self._predict(embeddings), self._distances(embeddings)])

    def choose_for_task(
        self, prompts: Sequence[str], *, policy: str | Policy = "s3", by_price: Sequence[str] | None = None
    ) -> str:
        """Return the one model that should take all prompts of a task.

        Args:
            prompts: Prompts of one kind, the more the surer.
            policy: "s1", "s2", "s3", or such a policy.
            by_price: The models, cheapest first; of equally good ones the cheaper is taken. None takes the order of `models`.

        Raises:
            ConfigurationError: If there is no prompt, the policy is not one for tasks, or "s3" is asked of a router that was
                trained without tasks.
        """
        chosen = get_policy(policy)
        if isinstance(chosen, ContextPolicy):
            chosen = chosen.bind(
                PolicyContext(candidates=self._models, models=self._models, confidence=self.confidence)
            )
        if not isinstance(chosen, TaskPolicy):
            raise ConfigurationError(f"policy {chosen.name!r} chooses for one call; for a task there are s1, s2 and s3")
        order = range(len(self._models)) if by_price is None else [self._models.index(name) for name in by_price]
        embeddings = self._checked(self.embedder.embed(prompts))
        distances = self._distances(embeddings) if chosen.uses_distance else None
        task = TaskSummary.of(self._predict(embeddings), distances)
        return self._models[chosen.order_for_task(task, order)[0]]

    def _checked(self, embeddings: ArrayLike) -> NDArray[np.float32]:
        return as_matrix(
            embeddings, n=len(np.asarray(embeddings)), dimension=self.embedder.dimension, embedder_id=self.embedder.id
        )

    def _distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        if self._seen is None:
            raise ConfigurationError(
                f"router {self.name!r} was trained without tasks and does not know how far a prompt is from what it has seen"
            )
        return mean_distances(self._seen.search(embeddings, NEIGHBOURS)[1])

    def to_checkpoint(self) -> Checkpoint:
        """Return everything that is needed to make this router again."""
        parameters, arrays = self._stored()
        confidence, training = self.confidence, self._training
        if confidence is not None:
            parameters |= {"bandwidth": confidence.bandwidth, "fallback": confidence.fallback}
            known = ~np.isnan(confidence.agreement)
            arrays |= {
                "task_distances": confidence.distances,
                "task_agreement": np.where(known, confidence.agreement, 0.0),
                "task_known": known.astype(np.uint8),
                "task_accuracies": confidence.accuracies,
            }
        if training.embeddings is not None:
            arrays["training_embeddings"] = training.embeddings
        if training.model_thresholds:
            parameters["model_thresholds"] = dict(training.model_thresholds)
        if training.closest is not None:
            arrays["closest"] = training.closest
        if isinstance(self.embedder, TfidfEmbedder):
            arrays |= self.embedder.arrays()
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self._models,
                embedder=EmbedderSpec(id=self.embedder.id, dimension=self.embedder.dimension),
                parameters=parameters,
                provenance=dict(training.provenance),
                metrics=dict(training.metrics),
            ),
            arrays=arrays,
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> Self:
        """Make the router of a checkpoint."""
        config, origin = checkpoint.config, checkpoint.origin
        if config.embedder is None:
            raise CheckpointFormatError(f"{origin}: a {config.router} checkpoint names its embedder")
        if embedder is None and "tfidf_idf" in checkpoint.arrays:
            embedder = TfidfEmbedder.from_arrays(checkpoint.arrays)
        matching = matching_embedder(
            embedder, id=config.embedder.id, dimension=config.embedder.dimension, origin=origin
        )
        m, parameters = len(config.models), config.parameters
        confidence = None
        if "task_distances" in checkpoint.arrays:
            distances = checkpoint.array("task_distances", (None,))
            known = checkpoint.array("task_known", (len(distances), m)) > 0
            confidence = TaskConfidence(
                distances,
                np.where(known, checkpoint.array("task_agreement", (len(distances), m)), np.nan),
                checkpoint.array("task_accuracies", (m,)),
                number(checkpoint, "bandwidth"),
                number(checkpoint, "fallback"),
            )
        training = Training(
            confidence=confidence,
            embeddings=single(checkpoint, "training_embeddings", (None, matching.dimension))
            if "training_embeddings" in checkpoint.arrays
            else None,
            model_thresholds=dict(parameters.get("model_thresholds", {})),
            closest=checkpoint.array("closest", (m + 1,)) if "closest" in checkpoint.arrays else None,
            provenance=dict(config.provenance),
            metrics=dict(config.metrics),
        )
        try:
            return cls._restore(checkpoint, matching, training)
        except ConfigurationError as error:
            raise CheckpointFormatError(f"{origin}: {error}") from error

    @classmethod
    def by_name(cls, **options: Any) -> Self:  # noqa: ARG003  (what load_router passes to every router)
        """Refuse: there is none without training.

        Raises:
            RouterUnavailableError: Always; says how to train one.
        """
        raise RouterUnavailableError(
            f"router {cls.name!r} is learned from your own outcomes: routellm train --router {cls.name} --data TABLE --out "
            "FOLDER, then load FOLDER"
        )


def mean_distances(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean cosine distance of each query's neighbours, where an opposite is no farther than an unrelated one."""
    return np.asarray(1.0 - np.clip(cosines, 0.0, 1.0).mean(axis=1))


def row_products(rows: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Multiply (n, f) by the transpose of (h, f), such that no row depends on how many there are, as BLAS' do."""
    left, right = np.asarray(rows, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    return np.asarray(np.einsum("nf,hf->nh", left, right))


def number(checkpoint: Checkpoint, name: str) -> float:
    """Return a parameter of a checkpoint that must be a number.

    Raises:
        CheckpointFormatError: If it is missing or something else.
    """
    value = checkpoint.config.parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointFormatError(f"{checkpoint.origin}: parameter {name!r} must be a number, not {value!r}")
    return value


def single(checkpoint: Checkpoint, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Return one array in single precision as it is stored; else as `Checkpoint.array`, which would copy it in double."""
    array = checkpoint.arrays.get(name)
    if array is None or array.dtype != np.float32:
        return checkpoint.array(name, shape).astype(np.float32)
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = tuple("any" if n is None else n for n in shape)
        raise CheckpointFormatError(f"{checkpoint.origin}: array {name!r} has shape {array.shape}, expected {wanted}")
    if not np.isfinite(array).all():
        raise CheckpointFormatError(f"{checkpoint.origin}: array {name!r} holds numbers that are not finite")
    return array
