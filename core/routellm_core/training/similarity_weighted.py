"""Build the index of similarity-weighted ranking from battles, and measure it on battles held out."""

import time
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import as_matrix
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import win_probability
from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter
from routellm_core.training.held_out import BattleSplit, finish
from routellm_core.training.measures import log_loss
from routellm_core.training.report import LossPoint, TrainingReport

_PAPERS_TIERS = 10


@dataclass(frozen=True, kw_only=True)
class SimilarityWeightedConfig:
    """Settings of `train_similarity_weighted`.

    Attributes:
        num_tiers: Into how many tiers the models are cut; None takes the paper's ten, or one a model where there are fewer.
        gamma: A battle weighs gamma ** (1 + similarity); 1 or more, 10 in the paper.
        validation_fraction: The share of the distinct prompts that is held out, in (0, 1).
        reference_strong: The strong model of the pair the router scores; None: see `reference_pair`.
        reference_weak: The weak one.
        seed: Of the split.
    """

    num_tiers: int | None = None
    gamma: float = 10.0
    validation_fraction: float = 0.05
    reference_strong: str | None = None
    reference_weak: str | None = None
    seed: int = 0


def train_similarity_weighted(
    dataset: PreferenceDataset,
    embedder: EmbedderLike,
    config: SimilarityWeightedConfig | None = None,
    *,
    validation: PreferenceDataset | None = None,
    embeddings: NDArray[np.float32] | None = None,
) -> tuple[SimilarityWeightedRouter, TrainingReport]:
    """Embed the prompts of battles and build the index; nothing is iterated, so that there is nothing to resume.

    Ties count half; battles within a tier say nothing and are left out.

    Args:
        dataset: Battles; their weights count.
        embedder: Embeds their prompts: an embedder, or an embedding object of LangChain or LlamaIndex.
        config: The settings; None takes the defaults.
        validation: Battles to hold out, on other prompts; None draws them from `dataset`.
        embeddings: The vectors of `dataset.prompts`, shape (u, dimension), with `validation.prompts` after them if those are
            given; None embeds them.

    Raises:
        ConfigurationError: If there is nothing to learn from, or a setting is out of range.
        UnknownModelError: If a model of the pair has no battle.

    Warns:
        UserWarning: If both models of the pair are in one tier, so that every win rate is 0.5.
    """
    config = config or SimilarityWeightedConfig()
    chosen, begun = as_embedder(embedder), time.perf_counter()
    split = BattleSplit.of(dataset, validation, config)
    training, held_out = split.training, split.validation
    prompts = (*training.prompts, *held_out.prompts)
    if embeddings is not None:
        given = dataset.prompts if validation is None else (*dataset.prompts, *validation.prompts)
        if len(embeddings) != len(given):
            raise ConfigurationError(f"there are {len(embeddings):,} embeddings for {len(given):,} prompts")
        row_of = {prompt: row for row, prompt in enumerate(given)}
        embeddings = embeddings[[row_of[prompt] for prompt in prompts]]
    vectors = as_matrix(
        chosen.embed(prompts) if embeddings is None else embeddings,
        n=len(prompts),
        dimension=chosen.dimension,
        embedder_id=chosen.id,
    )
    known, unseen = np.split(vectors, [len(training.prompts)])
    router = SimilarityWeightedRouter.from_battles(
        training,
        chosen,
        embeddings=known,
        reference_strong=split.strong,
        reference_weak=split.weak,
        num_tiers=min(_PAPERS_TIERS, len(training.models)) if config.num_tiers is None else config.num_tiers,
        gamma=config.gamma,
    )
    rates = _rates(router, held_out, unseen)
    win_rates = router.strong_win_rates_from_embeddings(unseen)
    loss = log_loss(held_out.outcome, rates, held_out.weight)
    return finish(
        router,
        split.held_out(),
        rates=rates,
        strong_win_rates=dict(zip(held_out.prompts, win_rates.tolist(), strict=True)),
        counts=split.counts(),
        config=asdict(config),
        seed=config.seed,
        history=[LossPoint(step=0, epoch=0, training=None, validation=loss)],
        best_step=0,
        seconds=time.perf_counter() - begun,
    )


def _rates(
    router: SimilarityWeightedRouter, battles: PreferenceDataset, vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return how likely model_a wins each battle, shape (n,); a model that is in no tier counts as average."""
    strengths = router.tier_strengths_from_embeddings(vectors)
    padded = np.column_stack([strengths, strengths.mean(axis=1)])
    tier = np.array([router.tiers.get(model, strengths.shape[1]) for model in battles.models])
    rows = battles.prompt_index
    return win_probability(padded[rows, tier[battles.model_a]], padded[rows, tier[battles.model_b]])
