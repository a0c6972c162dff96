"""Matrix factorisation (RouteLLM, arXiv 2406.18665, section 4.2), with numpy alone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.checkpoints.published import MF_REPO
from routellm_core.embedders.base import aembed
from routellm_core.embedders.factory import matching_embedder
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import (
    CheckpointError,
    CheckpointFormatError,
    ConfigurationError,
    EmbedderMismatchError,
    MissingDependencyError,
    RouterUnavailableError,
    UnknownModelError,
)
from routellm_core.routers.base import PairRouter, PoolRouter, index_of_model, pair_scores, sigmoid
from routellm_core.routers.pretrained import PretrainedRouter, fetch_checkpoint
from routellm_core.texts import require_list

_TIER = re.compile(r"tier (\d+)")


class MatrixFactorizationRouter(PretrainedRouter, PairRouter):
    r"""Factors preferences into an embedding per model and a projection of the prompt's embedding.

    The quality of model M on prompt q is ``w2 . (v_M * (W1 q + b))``, and the win rate of one model over another is the sigmoid
    of the difference of their qualities. For a pair this collapses to one vector, so a score costs one dot product.

    Args:
        model_embeddings: One row per model, shape (n_models, dim).
        output_weights: w2, shape (dim,).
        models: The n_models reference models, in the order of the rows.
        reference_strong: The strong model of the pair that is scored; or a tier, as "tier 0", which stands for the mean of its
            models' qualities.
        reference_weak: The weak one.
        embedder: Embeds the prompts: an embedder, or an embedding object of LangChain or LlamaIndex. Its vectors have the
            dimension the projection takes.
        text_projection: W1, shape (dim, text_dim); None where prompts are not projected, so that text_dim is dim.
        bias: b, shape (dim,), as in the paper; None for none, as in the released checkpoints.
        tiers: Model to tier, 0 the best, for some or all of the models; None if there are none.
        normalize_models: Scale each row of `model_embeddings` to length 1, as the released checkpoints need; the paper does not.
        thresholds: Calibrated thresholds of this pair; None if there are none.
        provenance: What it was trained on, for the model card.
        metrics: How well it does, for the model card.

    Raises:
        ConfigurationError: If shapes do not fit each other, or a model is named twice.
        UnknownModelError: If the pair is not among the models and tiers.

    Example:
        >>> router = MatrixFactorizationRouter.from_pretrained("routellm/mf_gpt4_augmented")  # doctest: +SKIP
        >>> router.for_pair("claude-2.1", "mistral-7b-instruct").strong_win_rate("Hi!")  # doctest: +SKIP
    """

    name = "mf"

    def __init__(
        self,
        model_embeddings: ArrayLike,
        output_weights: ArrayLike,
        *,
        models: Sequence[str],
        reference_strong: str,
        reference_weak: str,
        embedder: EmbedderLike,
        text_projection: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        tiers: Mapping[str, int] | None = None,
        normalize_models: bool = True,
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self._stored = _stored_arrays(model_embeddings, output_weights, text_projection, bias, n_models=len(models))
        self.known_models = tuple(models)
        if repeated := sorted({model for model in models if self.known_models.count(model) > 1}):
            raise ConfigurationError(f"models names {', '.join(map(repr, repeated))} more than once")
        self.tiers = dict(tiers or {})
        if strangers := sorted(set(self.tiers) - set(self.known_models)):
            raise ConfigurationError(f"tiers names {strangers[0]!r}, which is not among the models")
        self.normalize_models = normalize_models
        self.embedder = as_embedder(embedder)
        self.thresholds = thresholds
        self._provenance = dict(provenance or {})
        self._metrics = dict(metrics or {})
        self.reference_strong = reference_strong
        self.reference_weak = reference_weak
        self._directions, self._offsets = self._collapse()
        if self._directions.shape[1] != self.embedder.dimension:
            raise ConfigurationError(
                f"the router takes embeddings of {self._directions.shape[1]} dimensions, and embedder {self.embedder.id!r} "
                f"gives {self.embedder.dimension}"
            )
        if reference_strong == reference_weak:
            raise ConfigurationError(f"a pair has two different models, not {reference_strong!r} twice")
        strong = self._weights_of(reference_strong, role="reference_strong")
        weak = self._weights_of(reference_weak, role="reference_weak")
        self._pair_direction = (strong - weak) @ self._directions
        self._pair_offset = float((strong - weak) @ self._offsets)

    def _weights_of(self, name: str, *, role: str) -> NDArray[np.float64]:
        """Return how the known models average to a model or tier, shape (n_models,)."""
        tier = _TIER.fullmatch(name) if isinstance(name, str) else None
        if tier is None or name in self.known_models:
            index = index_of_model(name, self.known_models, role=role)
            return np.asarray(np.eye(1, len(self.known_models), index)[0])
        members = np.array([self.tiers.get(model) == int(tier[1]) for model in self.known_models], dtype=np.float64)
        if not members.any():
            there = ", ".join(f"'tier {number}'" for number in sorted(set(self.tiers.values()))) or "none"
            raise UnknownModelError(f"{role}={name!r} is no tier of this router; there are: {there}")
        return np.asarray(members / members.sum())

    def _collapse(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fold everything but the prompt into one vector and one number per model."""
        rows = self._stored["model_embeddings"]
        if self.normalize_models:
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.maximum(norms, 1e-12)
        weighted = rows * self._stored["output_weights"]
        projection, bias = self._stored.get("text_projection"), self._stored.get("bias")
        directions = weighted if projection is None else weighted @ projection
        offsets = np.zeros(len(rows)) if bias is None else weighted @ bias
        return directions, offsets

    def _checked(self, embeddings: ArrayLike) -> NDArray[np.float64]:
        vectors = np.asarray(embeddings, dtype=np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != self._directions.shape[1]:
            raise ConfigurationError(
                f"embeddings have shape {vectors.shape}, and this router takes (n, {self._directions.shape[1]})"
            )
        return vectors

    def model_qualities_from_embeddings(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the quality of every known model on every prompt, before the sigmoid.

        Args:
            embeddings: Shape (n, dimension of the embedder).

        Returns:
            Shape (n, n_models); only differences within a row mean something.
        """
        vectors = self._checked(embeddings)
        return np.asarray(np.einsum("nd,md->nm", vectors, self._directions) + self._offsets)

    def strong_win_rates_from_embeddings(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the strong win rate of every prompt from its embedding.

        Args:
            embeddings: Shape (n, dimension of the embedder), of unit length.

        Returns:
            Shape (n,), in [0, 1].
        """
        vectors = self._checked(embeddings)
        # Not a matrix product, which may round differently for another number of rows: a batch equals its single rows.
        return sigmoid(np.einsum("nd,d->n", vectors, self._pair_direction) + self._pair_offset)

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Embed the prompts and return their strong win rates, shape (n,)."""
        return self.strong_win_rates_from_embeddings(self.embedder.embed(prompts))

    async def ascore(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score without blocking the event loop while the prompts are embedded; see `score`."""
        return pair_scores(self.strong_win_rates_from_embeddings(await aembed(self.embedder, prompts)))

    def for_pair(self, strong: str, weak: str, *, references: Mapping[str, str] | None = None) -> Self:
        """Return a router for another pair of known models; thresholds are not carried over.

        Args:
            strong: A model of `known_models`, a tier ("tier 0"), or a name in `references`.
            weak: Another one.
            references: For models that the router does not know: the known model or the tier that stands for each.

        Raises:
            UnknownModelError: If one of them is not known; the message lists the names that are.
        """
        stand_ins = _checked_references(references, self.known_models)
        return self._with(reference_strong=stand_ins.get(strong, strong), reference_weak=stand_ins.get(weak, weak))

    def for_pool(
        self, models: Sequence[str], *, references: Mapping[str, str] | None = None
    ) -> "MatrixFactorizationPool":
        """Return a router among several known models.

        Args:
            models: Two or more, each a model of `known_models`, a tier ("tier 0"), or a name in `references`.
            references: For models that the router does not know: the known model or the tier that stands for each.

        Raises:
            UnknownModelError: If one of them is not known; the message lists the names that are.
        """
        return MatrixFactorizationPool(self, models, references=references)

    def _with(self, *, reference_strong: str, reference_weak: str) -> Self:
        stored = self._stored
        return type(self)(
            stored["model_embeddings"],
            stored["output_weights"],
            models=self.known_models,
            reference_strong=reference_strong,
            reference_weak=reference_weak,
            embedder=self.embedder,
            text_projection=stored.get("text_projection"),
            bias=stored.get("bias"),
            tiers=self.tiers,
            normalize_models=self.normalize_models,
            provenance=self._provenance,
        )

    def to_checkpoint(self) -> Checkpoint:
        """Return weights, models, pair and embedder as a checkpoint."""
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self.known_models,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                embedder=EmbedderSpec(id=self.embedder.id, dimension=self.embedder.dimension),
                parameters={
                    "normalize_models": self.normalize_models,
                    **({"tiers": self.tiers} if self.tiers else {}),
                },
                thresholds=self.thresholds,
                provenance=self._provenance,
                metrics=self._metrics,
            ),
            arrays=self._stored,
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> Self:
        """Make the router of a checkpoint, ours or the one that lm-sys published."""
        config, origin = checkpoint.config, checkpoint.origin
        spec = config.embedder
        if spec is None or config.reference_strong is None or config.reference_weak is None:
            raise CheckpointFormatError(f"{origin}: an mf checkpoint names its embedder and its reference pair")
        tiers = config.parameters.get("tiers", {})
        if not isinstance(tiers, dict) or not all(type(tier) is int for tier in tiers.values()):
            raise CheckpointFormatError(f"{origin}: parameter 'tiers' must map models to whole numbers")
        tier_names = {f"tier {tier}" for tier in tiers.values()}
        if not {config.reference_strong, config.reference_weak} <= {*config.models, *tier_names}:
            raise CheckpointFormatError(
                f"{origin}: the reference pair {config.reference_strong!r}, {config.reference_weak!r} is not among its models"
            )
        normalize_models = config.parameters.get("normalize_models")
        if type(normalize_models) is not bool:
            raise CheckpointFormatError(
                f"{origin}: parameter 'normalize_models' must be true or false, not {normalize_models!r}"
            )
        has_projection = "text_projection" in checkpoint.arrays
        output_weights = checkpoint.array("output_weights", (None,))
        dim = output_weights.shape[0]
        if not has_projection and dim != spec.dimension:
            raise CheckpointFormatError(
                f"{origin}: without a text_projection the embedder's {spec.dimension} dimensions must equal dim {dim}"
            )
        return cls(
            checkpoint.array("model_embeddings", (len(config.models), dim)),
            output_weights,
            models=config.models,
            reference_strong=config.reference_strong,
            reference_weak=config.reference_weak,
            embedder=matching_embedder(embedder, id=spec.id, dimension=spec.dimension, origin=origin),
            text_projection=checkpoint.array("text_projection", (dim, spec.dimension)) if has_projection else None,
            bias=checkpoint.array("bias", (dim,)) if "bias" in checkpoint.arrays else None,
            tiers=tiers,
            normalize_models=normalize_models,
            thresholds=config.thresholds,
            provenance=dict(config.provenance),
            metrics=dict(config.metrics),
        )

    @classmethod
    def by_name(cls, **options: Any) -> Self:
        """Load the checkpoint that lm-sys published; needs the Hub, the extra `openai` and, to embed, a key.

        Args:
            **options: Those of `from_pretrained`.

        Raises:
            RouterUnavailableError: If one of these is missing; names it, and the router that needs none of them.
            EmbedderMismatchError: If another embedder is given.
        """
        embedder = options.pop("embedder", None)
        instead = "the router 'default' needs no key, no network and no extra"
        try:
            checkpoint = fetch_checkpoint(MF_REPO, **options)
            router = cls.from_checkpoint(checkpoint, embedder=embedder)
            check_ready = getattr(router.embedder, "check_ready", None)
            if check_ready is not None:
                check_ready()
        except EmbedderMismatchError:
            raise
        except (CheckpointError, MissingDependencyError, ConfigurationError) as error:
            raise RouterUnavailableError(f"router 'mf' cannot be loaded: {error}; {instead}") from error
        return router


class MatrixFactorizationPool(PoolRouter):
    """Scores a pool by the win rate of each model against the mean quality of the pool.

    Args:
        pair: The router whose weights are shared.
        models: Two or more of its known models or tiers, or names in `references`, each once.
        references: For models that it does not know: the known model or the tier that stands for each.
    """

    score_kind = "win_rate"
    name = "mf"

    def __init__(
        self, pair: MatrixFactorizationRouter, models: Sequence[str], *, references: Mapping[str, str] | None = None
    ) -> None:
        if len(require_list(models, what="models")) < 2 or len(set(models)) != len(models):
            raise ConfigurationError(f"a pool has two or more different models, not {list(models)!r}")
        self._pair = pair
        self._models = tuple(models)
        stand_ins = _checked_references(references, pair.known_models)
        # (n_models of the pair router, m): how its models average to each of the pool
        self._weights = np.stack(
            [pair._weights_of(stand_ins.get(model, model), role="model") for model in models], axis=1
        )

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the pool."""
        return self._models

    def score_from_embeddings(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Score every model from the prompts' embeddings.

        Args:
            embeddings: Shape (n, dimension of the embedder), of unit length.

        Returns:
            Shape (n, m), in [0, 1].
        """
        qualities = self._pair.model_qualities_from_embeddings(embeddings)
        qualities = np.einsum("nk,km->nm", qualities, self._weights)  # as above: no matrix product
        return sigmoid(qualities - qualities.mean(axis=1, keepdims=True))

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Embed the prompts and score every model, shape (n, m)."""
        return self.score_from_embeddings(self._pair.embedder.embed(prompts))

    async def ascore(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score without blocking the event loop while the prompts are embedded; see `score`."""
        return self.score_from_embeddings(await aembed(self._pair.embedder, prompts))


def _checked_references(references: Mapping[str, str] | None, known: Sequence[str]) -> Mapping[str, str]:
    for name in references or {}:
        if name in known:
            raise ConfigurationError(f"references names {name!r}, which the router knows itself: leave it out")
    return references or {}


def _stored_arrays(
    model_embeddings: ArrayLike,
    output_weights: ArrayLike,
    text_projection: ArrayLike | None,
    bias: ArrayLike | None,
    *,
    n_models: int,
) -> dict[str, NDArray[np.float64]]:
    arrays = {
        "model_embeddings": np.asarray(model_embeddings, dtype=np.float64),
        "output_weights": np.asarray(output_weights, dtype=np.float64),
    }
    if text_projection is not None:
        arrays["text_projection"] = np.asarray(text_projection, dtype=np.float64)
    if bias is not None:
        arrays["bias"] = np.asarray(bias, dtype=np.float64)
    dim = arrays["output_weights"].shape[0] if arrays["output_weights"].ndim == 1 else -1
    wanted: dict[str, tuple[int | None, ...]] = {
        "model_embeddings": (n_models, dim),
        "output_weights": (dim,),
        "text_projection": (dim, None),
        "bias": (dim,),
    }
    for name, array in arrays.items():
        expected = wanted[name]
        if array.ndim != len(expected) or any(w not in (None, h) for w, h in zip(expected, array.shape, strict=True)):
            raise ConfigurationError(
                f"{name} has shape {array.shape}; with {n_models} models and output_weights of shape "
                f"{arrays['output_weights'].shape}, expected (n_models, dim), (dim,), (dim, text_dim) and (dim,)"
            )
        if not np.isfinite(array).all():
            raise ConfigurationError(f"{name} holds numbers that are not finite")
    return arrays
