"""Similarity-weighted ranking of a pool of models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import aembed
from routellm_core.errors import ConfigurationError
from routellm_core.ratings import win_probability
from routellm_core.routers.base import PoolRouter
from routellm_core.texts import require_list

if TYPE_CHECKING:
    from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter


class SimilarityWeightedPool(PoolRouter):
    """Scores a pool by the win rate of each model's tier against the mean strength of the pool.

    Args:
        pair: The router whose battles are shared.
        models: Two or more of its known models or tiers, each once.
    """

    score_kind = "win_rate"
    name = "sw_ranking"

    def __init__(self, pair: "SimilarityWeightedRouter", models: Sequence[str | int]) -> None:
        self._models = tuple(map(name_of, require_list(models, what="models")))
        if len(models) < 2 or len(set(self._models)) != len(models):
            raise ConfigurationError(f"a pool has two or more different models, not {list(models)!r}")
        self._pair = pair
        self._columns = [pair.tier_of(model) for model in models]

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the pool."""
        return self._models

    def score_from_embeddings(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Score every model from the prompts' embeddings.

        Args:
            embeddings: Shape (n, dimension); any length, as only their direction counts.

        Returns:
            Shape (n, m), in [0, 1]; equal for models of one tier.
        """
        strengths = self._pair.tier_strengths_from_embeddings(embeddings)[:, self._columns]
        return win_probability(strengths, strengths.mean(axis=1, keepdims=True))

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Embed the prompts and score every model, shape (n, m)."""
        return self.score_from_embeddings(self._pair.needed_embedder().embed(prompts))

    async def ascore(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score without blocking the event loop while the prompts are embedded; see `score`."""
        return self.score_from_embeddings(await aembed(self._pair.needed_embedder(), prompts))


def name_of(model: str | int) -> str:
    """Return the name of a model or tier: tier 0 is "tier 0"."""
    return model if isinstance(model, str) else f"tier {model}"
