"""Synthetic battles among models of known strength, with embeddings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter
from support.embedders import HashEmbedder


@dataclass(frozen=True)
class Arena:
    """The columns of a battle table, and what the battles were drawn from."""

    models: list[str]
    model_a: list[str]
    model_b: list[str]
    winner: list[str]
    embeddings: NDArray[np.float32]

    def router(self, **options) -> SimilarityWeightedRouter:
        """Make a router of them; the best and the worst model are its pair."""
        options = {"reference_strong": self.models[0], "reference_weak": self.models[-1], **options}
        embeddings = options.pop("embeddings", self.embeddings)
        return SimilarityWeightedRouter(self.model_a, self.model_b, self.winner, embeddings, **options)


def arena(seed: int = 0, *, k: int = 20, n: int = 1500, dimension: int = 16, ties: float = 0.2) -> Arena:
    """Draw battles in which strengths depend on the prompt, so that similar battles tell more than others.

    Args:
        seed: Another seed, another arena.
        k: Models, called m00 (the best on average), m01 and so on.
        n: Battles, each with a prompt of its own.
        dimension: Of the embeddings.
        ties: The share of ties.
    """
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, dimension)) + rng.normal(size=dimension)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    strengths = np.linspace(1.5, -1.5, k) + embeddings @ rng.normal(size=(dimension, k))
    a = rng.integers(0, k, n)
    b = (a + rng.integers(1, k, n)) % k
    chance = 1 / (1 + np.exp(strengths[np.arange(n), b] - strengths[np.arange(n), a]))
    won = np.where(rng.random(n) < chance, "model_a", "model_b")
    winner = np.where(rng.random(n) < ties, "tie", won)
    models = [f"m{i:02d}" for i in range(k)]
    names = np.array(models)
    return Arena(models, names[a].tolist(), names[b].tolist(), winner.tolist(), embeddings.astype(np.float32))


def small_router(seed: int = 0, **options) -> SimilarityWeightedRouter:
    """Make a router of a small arena with an embedder without a model."""
    return arena(seed, dimension=8).router(**{"embedder": HashEmbedder(8), "num_tiers": 6, **options})
