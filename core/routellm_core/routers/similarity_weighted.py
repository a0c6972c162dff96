"""Similarity-weighted ranking (RouteLLM, arXiv 2406.18665, section 4.2): a fit per prompt, and no training."""

import copy
import re
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.checkpoints.published import REFERENCE_STRONG, REFERENCE_WEAK
from routellm_core.embedders.base import Embedder, aembed
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
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import win_probability
from routellm_core.routers.base import PairRouter, pair_scores
from routellm_core.routers.battle_index import BattleIndex, Normalizer, SameTier
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.routers.published_battles import DIMENSION, EMBEDDER_ID, PUBLISHED, read_published_battles
from routellm_core.routers.rated_battles import RatedBattles
from routellm_core.routers.similarity_weighted_pool import SimilarityWeightedPool, name_of

DEFAULT_NORMALIZER: Normalizer = "user_query"

_TIER = re.compile(r"tier (\d+)")


class SimilarityWeightedRouter(PretrainedRouter, PairRouter):
    """Rates tiers of models for each prompt, by a Bradley-Terry fit in which battles on similar prompts weigh more.

    Models are rated over all battles and cut into tiers; a prompt's win rate is that of the strong model's tier over the weak
    one's. Battles whose embeddings are equal share a row. A score moves by less than 1e-6 with the batch it is computed in, as
    matrix products round differently for other sizes.

    Args:
        model_a: The first model of each battle, n names.
        model_b: The second one.
        winner: "model_a", "model_b", "tie", or "tie (bothbad)", which is a tie.
        embeddings: One row for each battle's prompt, shape (n, dimension): float32, used as it is and not copied; or float16,
            half as large, in memory or as a `numpy.memmap`, which stays on disk.
        embedder: Embeds the prompts to score: an embedder, or an embedding object of LangChain or LlamaIndex, the one that made
            `embeddings`; None where only vectors are scored.
        reference_strong: The strong model of the pair that is scored; or a tier, by its number (0 is the best) or as "tier 0".
        reference_weak: The weak one.
        num_tiers: How many tiers, from 1 to the number of models.
        same_tier: What a battle within a tier does: "drop", nothing; "routellm", what it does in the released code, where it
            pulls the tier's rating towards the others' (for comparisons with that code).
        normalizer: What the cosine of two prompts is divided by: "user_query", the largest one of the prompt to score with any
            training prompt (the released code); "train_query", the largest one of the training prompt with another (the paper),
            for which all rows are multiplied with all, once.
        gamma: A battle weighs gamma ** (1 + similarity); 1 or more.
        weights: What each battle counts besides, n numbers of 0 or more; None counts each once.
        thresholds: Calibrated thresholds of this pair; None if there are none.
        provenance: Where the battles come from, for the model card.
        metrics: How well it does, for the model card.

    Attributes:
        tiers: The tier of each model; 0 is the best.

    Raises:
        ConfigurationError: If lengths do not fit, a label or an option is unknown, or there are fewer models than tiers.
        UnknownModelError: If the pair is not among the models or tiers.

    Warns:
        UserWarning: If both models of the pair are in one tier, so that every win rate is 0.5.

    Example:
        >>> battles = read_battles("battles.csv")  # doctest: +SKIP
        >>> router = SimilarityWeightedRouter.from_battles(
        ...     battles, embedder, reference_strong="gpt-4", reference_weak=2
        ... )  # doctest: +SKIP
    """

    name = "sw_ranking"
    tiers: dict[str, int]

    def __init__(
        self,
        model_a: Sequence[str],
        model_b: Sequence[str],
        winner: Sequence[str],
        embeddings: ArrayLike,
        embedder: EmbedderLike | None = None,
        *,
        reference_strong: str | int,
        reference_weak: str | int,
        num_tiers: int = 10,
        same_tier: SameTier = "drop",
        normalizer: Normalizer = DEFAULT_NORMALIZER,
        gamma: float = 10,
        weights: ArrayLike | None = None,
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        battles = RatedBattles.from_names(model_a, model_b, winner, embeddings, num_tiers=num_tiers, weights=weights)
        self._set_up(
            battles,
            None if embedder is None else as_embedder(embedder),
            same_tier=same_tier,
            normalizer=normalizer,
            gamma=gamma,
            thresholds=thresholds,
            provenance=provenance,
            metrics=metrics,
        )
        self._set_pair(reference_strong, reference_weak)

    @classmethod
    def from_battles(
        cls,
        battles: PreferenceDataset,
        embedder: EmbedderLike | None = None,
        *,
        embeddings: ArrayLike | None = None,
        reference_strong: str | int,
        reference_weak: str | int,
        num_tiers: int = 10,
        same_tier: SameTier = "drop",
        normalizer: Normalizer = DEFAULT_NORMALIZER,
        gamma: float = 10,
        **options: Any,
    ) -> Self:
        """Make a router from a table of battles.

        Args:
            battles: The battles; their weights count.
            embedder: Embeds the prompts of the battles and those to score; None where only vectors are scored.
            embeddings: One row for each of `battles.prompts`, shape (u, dimension); None embeds them.
            reference_strong: See the class, like what follows.
            reference_weak: The weak one.
            num_tiers: How many tiers.
            same_tier: What a battle within a tier does.
            normalizer: What the cosine of two prompts is divided by.
            gamma: A battle weighs gamma ** (1 + similarity).
            **options: `thresholds`, `provenance` and `metrics` of the class.

        Raises:
            ConfigurationError: If there is neither an embedder nor a row for each prompt; else like the class.
        """
        chosen = None if embedder is None else as_embedder(embedder)
        if embeddings is None and chosen is None:
            raise ConfigurationError("give an embedder, or embeddings=: the vectors of battles.prompts")
        vectors = np.asanyarray(chosen.embed(battles.prompts) if embeddings is None and chosen else embeddings)
        if len(vectors) != len(battles.prompts):
            raise ConfigurationError(f"there are {len(vectors):,} embeddings for {len(battles.prompts):,} prompts")
        rated = RatedBattles.rate(
            battles.models,
            np.stack([battles.model_a, battles.model_b], axis=1),
            battles.outcome,
            vectors,
            num_tiers=num_tiers,
            rows=battles.prompt_index,
            weights=battles.weight,
        )
        router = cls.__new__(cls)
        router._set_up(rated, chosen, same_tier=same_tier, normalizer=normalizer, gamma=gamma, **options)
        router._set_pair(reference_strong, reference_weak)
        return router

    def _set_up(
        self,
        battles: RatedBattles,
        embedder: Embedder | None,
        *,
        same_tier: SameTier,
        normalizer: Normalizer,
        gamma: float,
        nearest: NDArray[np.float32] | None = None,
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        """Do what does not depend on the pair."""
        if embedder is not None and embedder.dimension != battles.prompts.dimension:
            raise ConfigurationError(
                f"the embeddings have {battles.prompts.dimension} dimensions, and embedder {embedder.id!r} gives "
                f"{embedder.dimension}"
            )
        self.embedder = embedder
        self.tiers = dict(zip(battles.models, battles.tiers.tolist(), strict=True))
        self.thresholds = thresholds
        self._battles = battles
        self._parameters = {"same_tier": same_tier, "normalizer": normalizer, "gamma": gamma}
        self._provenance = dict(provenance or {})
        self._metrics = dict(metrics or {})
        self._index = BattleIndex(
            battles.prompts,
            battles.rows,
            battles.tiers[battles.pairs[:, 0]],
            battles.tiers[battles.pairs[:, 1]],
            battles.outcomes,
            battles.weights,
            n_tiers=battles.num_tiers,
            same_tier=same_tier,
            normalizer=normalizer,
            gamma=gamma,
            nearest=nearest,
        )

    def _set_pair(self, strong: str | int, weak: str | int) -> None:
        self._strong_tier = self.tier_of(strong, role="reference_strong")
        self._weak_tier = self.tier_of(weak, role="reference_weak")
        self.reference_strong, self.reference_weak = name_of(strong), name_of(weak)
        if self.reference_strong == self.reference_weak:
            raise ConfigurationError(f"a pair has two different models or tiers, not {strong!r} twice")
        if self._strong_tier == self._weak_tier:
            warnings.warn(
                f"{self.reference_strong!r} and {self.reference_weak!r} are both in tier {self._strong_tier}: every strong "
                "win rate is 0.5; choose another pair, or more tiers",
                UserWarning,
                stacklevel=3,
            )

    @property
    def known_models(self) -> tuple[str, ...]:
        """The models of the battles, sorted."""
        return self._battles.models

    @property
    def ratings(self) -> dict[str, float]:
        """The rating of each model over all battles, on the Elo scale with mean 1000."""
        return self._battles.ratings()

    def tier_of(self, model: str | int, *, role: str = "model") -> int:
        """Return the tier of a model, or of a tier itself.

        Args:
            model: A model of `known_models`; or a tier, by its number or as "tier 0".
            role: What it was given as, for the error.

        Raises:
            UnknownModelError: If it is none of these.
        """
        number = _TIER.fullmatch(model) if isinstance(model, str) and model not in self.tiers else None
        tier = self.tiers.get(model) if isinstance(model, str) else model
        tier = int(number[1]) if number else tier
        if isinstance(tier, bool) or not isinstance(tier, int | np.integer) or not 0 <= tier < self._battles.num_tiers:
            raise UnknownModelError(
                f"{role}={model!r} is not a reference model of this router, nor a tier from 0 to "
                f"{self._battles.num_tiers - 1}; it knows: {', '.join(self.known_models)}"
            )
        return int(tier)

    def tier_strengths_from_embeddings(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the strength of every tier on every prompt, natural-log scale.

        Args:
            embeddings: Shape (n, dimension); any length, as only their direction counts.

        Returns:
            Shape (n, number of tiers); only differences within a row mean something.
        """
        return self._index.strengths(self._checked(embeddings))

    def strong_win_rates_from_embeddings(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the strong win rate of every prompt from its embedding.

        Args:
            embeddings: Shape (n, dimension); any length, as only their direction counts.

        Returns:
            Shape (n,), in [0, 1].
        """
        vectors = self._checked(embeddings)
        if self._strong_tier == self._weak_tier:
            return np.full(len(vectors), 0.5)
        strengths = self._index.strengths(vectors)
        return win_probability(strengths[:, self._strong_tier], strengths[:, self._weak_tier])

    def _checked(self, embeddings: ArrayLike) -> NDArray[np.floating[Any]]:
        vectors = np.asarray(embeddings)
        dimension = self._battles.prompts.dimension
        if vectors.ndim != 2 or vectors.shape[1] != dimension or not np.issubdtype(vectors.dtype, np.floating):
            raise ConfigurationError(
                f"embeddings have shape {vectors.shape} and type {vectors.dtype}, and this router takes floating-point numbers "
                f"of shape (n, {dimension})"
            )
        if not np.isfinite(vectors).all():
            raise ConfigurationError("embeddings hold numbers that are not finite")
        return vectors

    def needed_embedder(self) -> Embedder:
        """Return the embedder.

        Raises:
            ConfigurationError: If there is none.
        """
        if self.embedder is None:
            raise ConfigurationError(
                "this router has no embedder and cannot score prompts: give it one as embedder=, or score vectors with "
                "strong_win_rates_from_embeddings (score_from_embeddings of a pool)"
            )
        return self.embedder

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Embed the prompts and return their strong win rates, shape (n,)."""
        return self.strong_win_rates_from_embeddings(self.needed_embedder().embed(prompts))

    async def ascore(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score without blocking the event loop while the prompts are embedded; see `score`."""
        return pair_scores(self.strong_win_rates_from_embeddings(await aembed(self.needed_embedder(), prompts)))

    def for_pair(self, strong: str | int, weak: str | int) -> Self:
        """Return a router for another pair, which shares the battles; thresholds are not carried over.

        Args:
            strong: A model of `known_models`; or a tier, by its number or as "tier 0".
            weak: Another one.

        Raises:
            UnknownModelError: If one of them is not known.

        Warns:
            UserWarning: If both are in one tier.
        """
        other = copy.copy(self)
        other.__dict__.pop("fingerprint", None)
        other.thresholds = None
        other._metrics = {}
        other._set_pair(strong, weak)
        return other

    def for_pool(self, models: Sequence[str | int]) -> SimilarityWeightedPool:
        """Return a router among several models or tiers.

        Args:
            models: Two or more models of `known_models`, or tiers, by number or as "tier 0".

        Raises:
            UnknownModelError: If one of them is not known.
        """
        return SimilarityWeightedPool(self, models)

    def to_checkpoint(self) -> Checkpoint:
        """Return battles, embeddings, tiers, pair and embedder as a checkpoint."""
        nearest = self._index.nearest
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self.known_models,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                embedder=None
                if self.embedder is None
                else EmbedderSpec(id=self.embedder.id, dimension=self.embedder.dimension),
                parameters=self._parameters,
                thresholds=self.thresholds,
                provenance=self._provenance,
                metrics=self._metrics,
            ),
            arrays=self._battles.arrays() | ({} if nearest is None else {"nearest_cosines": nearest}),
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> Self:
        """Make the router of a checkpoint; one that was stored without an embedder takes any of its dimension."""
        config, origin = checkpoint.config, checkpoint.origin
        if config.reference_strong is None or config.reference_weak is None:
            raise CheckpointFormatError(f"{origin}: an sw_ranking checkpoint names its reference pair")
        battles = RatedBattles.from_checkpoint(checkpoint)
        chosen = None if embedder is None else as_embedder(embedder)
        if config.embedder is not None:
            spec = config.embedder
            chosen = matching_embedder(embedder, id=spec.id, dimension=spec.dimension, origin=origin)
        nearest = None
        if config.parameters.get("normalizer") == "train_query":
            nearest = checkpoint.array("nearest_cosines", (len(battles.prompts),)).astype(np.float32)
        options: dict[str, Any] = {key: config.parameters.get(key) for key in ("same_tier", "normalizer", "gamma")}
        router = cls.__new__(cls)
        try:
            router._set_up(
                battles,
                chosen,
                **options,
                nearest=nearest,
                thresholds=config.thresholds,
                provenance=dict(config.provenance),
                metrics=dict(config.metrics),
            )
            router._set_pair(config.reference_strong, config.reference_weak)
        except ConfigurationError as error:
            raise CheckpointFormatError(f"{origin}: {error}") from error
        return router

    @classmethod
    def by_name(
        cls,
        *,
        embedder: EmbedderLike | None = None,
        reference_strong: str | int = REFERENCE_STRONG,
        reference_weak: str | int = REFERENCE_WEAK,
        num_tiers: int = 10,
        same_tier: SameTier = "drop",
        normalizer: Normalizer = DEFAULT_NORMALIZER,
        gamma: float = 10,
        **sources: Any,
    ) -> Self:
        """Make the router of the battles that lm-sys published.

        Needs the Hub, the extras `eval` and `openai` and, to embed, a key. Save the router: from its folder it is loaded at once,
        without the network, and its embeddings are memory-mapped.

        Args:
            embedder: What embeds the prompts to score; None makes the one of the published embeddings. With other
                `embeddings=`, None means that only vectors are scored.
            reference_strong: See the class, like what follows.
            reference_weak: The weak one.
            num_tiers: How many tiers.
            same_tier: What a battle within a tier does.
            normalizer: What the cosine of two prompts is divided by.
            gamma: A battle weighs gamma ** (1 + similarity).
            **sources: `battles`, `embeddings`, `dtype`, `revision`, `token`, `cache_dir` and `local_files_only` of
                `read_published_battles`.

        Raises:
            RouterUnavailableError: If one of these is missing; names it, and the router that needs none of them.
            EmbedderMismatchError: If another embedder is given for the published embeddings.
        """
        own_vectors = "embeddings" in sources
        try:
            chosen = None if own_vectors and embedder is None else cls._embedder_by_name(embedder, own_vectors)
            battles, vectors = read_published_battles(**sources)
        except EmbedderMismatchError:
            raise
        except (CheckpointError, MissingDependencyError, ConfigurationError) as error:
            raise RouterUnavailableError(
                f"router 'sw_ranking' cannot be loaded: {error}; the router 'default' needs no key, no network and no extra"
            ) from error
        rated = RatedBattles.rate(
            battles.models,
            np.stack([battles.model_a, battles.model_b], axis=1),
            battles.outcome,
            vectors,
            num_tiers=num_tiers,
            weights=battles.weight,
        )
        provenance = {key: str(sources.get(key, default)) for key, default in PUBLISHED.items()}
        router = cls.__new__(cls)
        router._set_up(rated, chosen, same_tier=same_tier, normalizer=normalizer, gamma=gamma, provenance=provenance)
        router._set_pair(reference_strong, reference_weak)
        return router

    @staticmethod
    def _embedder_by_name(embedder: EmbedderLike | None, own_vectors: bool) -> Embedder:
        if own_vectors and embedder is not None:
            return as_embedder(embedder)
        chosen = matching_embedder(
            embedder, id=EMBEDDER_ID, dimension=DIMENSION, origin="the published set of embeddings"
        )
        check_ready = getattr(chosen, "check_ready", None)
        if check_ready is not None:
            check_ready()
        return chosen
