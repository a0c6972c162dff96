"""Outcomes of three models of which each is good at one topic, and an embedder that sees the topic."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_core.preferences.outcomes import OutcomeTable
from support.embedders import vector_of

TOPICS = ("algebra", "poetry", "python")
MODELS = ("mathematician", "poet", "programmer")
"""In the order of the topics that they are good at."""


class TopicEmbedder:
    """Gives a text the direction of the topics it names, and a little of its own."""

    id = "topics"
    dimension = 8

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            own = vector_of(text, self.dimension)
            row += 0.3 * own / np.linalg.norm(own)
            for topic in TOPICS:
                if topic in text:
                    own = vector_of(topic, self.dimension)
                    row += own / np.linalg.norm(own)
            row /= np.linalg.norm(row)
        return rows


def topic_table(n: int = 120, *, seed: int = 0, missing: float = 0.0, noise: float = 0.1) -> OutcomeTable:
    """Return n prompts, task by task; the model of the topic is right but for the noise, the others are wrong but for it."""
    rng = np.random.default_rng(seed)
    topics = [TOPICS[row * len(TOPICS) // n] for row in range(n)]
    prompts = tuple(f"question {seed}.{row} of {topic}" for row, topic in enumerate(topics))
    right = np.array([[topic == own for own in TOPICS] for topic in topics])
    scores = np.where(rng.random(right.shape) < noise, ~right, right).astype(np.float64)
    scores[rng.random(scores.shape) < missing] = np.nan
    return OutcomeTable(
        prompts=prompts, models=MODELS, scores=scores, groups=tuple(topics), name="topics", provenance={"seed": seed}
    )
