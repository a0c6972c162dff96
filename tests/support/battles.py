"""Battles drawn from a model that is known, so that what a trainer learns can be compared with the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.preferences.battles import PreferenceDataset


class GivenVectors:
    """Embeds the prompt "17" as row 17 of a table."""

    def __init__(self, vectors: NDArray[np.float32], id: str = "given") -> None:  # noqa: A002
        self.vectors = vectors
        self.id = id
        self.dimension = vectors.shape[1]

    def embed(self, texts):
        return self.vectors[[int(text) for text in texts]]


@dataclass(frozen=True)
class KnownFactors:
    """A matrix factorisation of low rank with random parameters: the log-odds that model a beats b on prompt q.

    Attributes:
        embedder: Knows the prompts "0", "1", ….
        qualities: Shape (prompts, models).
    """

    embedder: GivenVectors
    qualities: NDArray[np.float64]

    @classmethod
    def draw(cls, *, n_models=10, n_prompts=2000, dimension=16, rank=4, sd=1.35, seed=0):
        generator = np.random.default_rng(seed)
        vectors = generator.normal(size=(n_prompts, dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        factors = generator.normal(size=(n_models, rank)) @ generator.normal(size=(rank, dimension))
        qualities = vectors @ factors.T
        qualities *= sd / np.std(qualities[:, :, None] - qualities[:, None, :])
        return cls(GivenVectors(vectors.astype(np.float32)), qualities)

    @property
    def models(self):
        return [f"model-{i:02d}" for i in range(self.qualities.shape[1])]

    def rates(self, prompt, a, b):
        return 1.0 / (1.0 + np.exp(self.qualities[prompt, b] - self.qualities[prompt, a]))

    def pairs(self, n, *, seed=0):
        """Draw prompts and two different models."""
        generator = np.random.default_rng([seed, 1])
        n_prompts, n_models = self.qualities.shape
        a = generator.integers(n_models, size=n)
        b = (a + generator.integers(1, n_models, size=n)) % n_models
        return generator.integers(n_prompts, size=n), a, b

    def battles(self, n, *, ties=0.0, seed=0):
        """Draw battles, of which a share are ties."""
        generator = np.random.default_rng([seed, 2])
        prompt, a, b = self.pairs(n, seed=seed)
        outcome = (generator.random(n) < self.rates(prompt, a, b)).astype(float)
        outcome[generator.random(n) < ties] = 0.5
        texts = [str(i) for i in range(len(self.qualities))]
        return PreferenceDataset.from_indices(texts, self.models, prompt, a, b, outcome)
