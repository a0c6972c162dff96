"""Prompts of an evaluation that are in the training data, found by their text and by their embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.normalise import normalise_text

SIMILARITY = 0.95
"""The cosine from which RouteLLM (arXiv 2406.18665, appendix B) takes two prompts for the same."""

_BLOCK = 1024


@dataclass(frozen=True)
class Contamination:
    """A prompt that is too close to one of the evaluation.

    Attributes:
        row: Which prompt, from 0.
        evaluation_row: The closest prompt of the evaluation, from 0.
        similarity: The cosine of the two; 1 where the texts are equal after `normalise_text`.
        found_by: "text" or "embedding".
    """

    row: int
    evaluation_row: int
    similarity: float
    found_by: Literal["text", "embedding"]


class EvaluationPrompts:
    """The prompts of an evaluation, embedded once, to hold others against.

    Args:
        prompts: n prompts.
        embedder: Who embeds; an embedder, or an embedding object of LangChain or LlamaIndex. None compares texts alone.
        similarity: The cosine in (0, 1] from which two prompts count as the same.

    Raises:
        ConfigurationError: If there are no prompts, or the similarity is out of range.
    """

    def __init__(
        self, prompts: Sequence[str], *, embedder: EmbedderLike | None = None, similarity: float = SIMILARITY
    ) -> None:
        if not prompts:
            raise ConfigurationError("the evaluation has no prompts")
        if not 0 < similarity <= 1:
            raise ConfigurationError(f"similarity must be in (0, 1], not {similarity!r}")
        self.similarity = float(similarity)
        self._texts: dict[str, int] = {}
        for row, prompt in enumerate(prompts):
            self._texts.setdefault(normalise_text(prompt), row)
        self._embedder: Embedder | None = None if embedder is None else as_embedder(embedder)
        self.embedder_id = None if self._embedder is None else self._embedder.id
        self._vectors = None if self._embedder is None else self._embedder.embed(list(prompts))

    def find(self, prompts: Sequence[str]) -> list[Contamination]:
        """Return those of m prompts that are in the evaluation, each with its closest one there, in order.

        It needs memory for 1,024 x n similarities, whatever m is.
        """
        found = {}
        rest = []
        for row, prompt in enumerate(prompts):
            same = self._texts.get(normalise_text(prompt))
            if same is None:
                rest.append(row)
            else:
                found[row] = Contamination(row, same, 1.0, "text")
        for start in range(0, len(rest) if self._embedder is not None else 0, _BLOCK):
            for match in self._close(prompts, rest[start : start + _BLOCK]):
                found[match.row] = match
        return [found[row] for row in sorted(found)]

    def _close(self, prompts: Sequence[str], rows: list[int]) -> list[Contamination]:
        if self._embedder is None or self._vectors is None:
            return []
        cosines = self._embedder.embed([prompts[row] for row in rows]) @ self._vectors.T
        closest = cosines.argmax(axis=1)
        values = cosines[np.arange(len(rows)), closest]
        return [
            Contamination(rows[i], int(closest[i]), min(float(values[i]), 1.0), "embedding")
            for i in np.flatnonzero(values >= np.float32(self.similarity)).tolist()
        ]


@dataclass(frozen=True, eq=False)
class Decontaminated:
    """What is left of a data set, and what went.

    Attributes:
        dataset: The battles whose prompt is not in the evaluation.
        found: The prompts that are; `row` counts the `prompts` of the data set that was given.
        dropped_battles: How many battles had one of them.
    """

    dataset: PreferenceDataset
    found: tuple[Contamination, ...]
    dropped_battles: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; prompts by their row."""
        return {
            "kept": len(self.dataset),
            "dropped": self.dropped_battles,
            "found": [vars(match) for match in self.found],
        }


def decontaminate(
    dataset: PreferenceDataset,
    evaluation_prompts: Sequence[str],
    *,
    embedder: EmbedderLike | None = None,
    similarity: float = SIMILARITY,
) -> Decontaminated:
    """Leave out the battles whose prompt is in an evaluation.

    Args:
        dataset: Battles.
        evaluation_prompts: What the router will be evaluated on.
        embedder: See `EvaluationPrompts`; None compares texts alone.
        similarity: See `EvaluationPrompts`.
    """
    found = EvaluationPrompts(evaluation_prompts, embedder=embedder, similarity=similarity).find(dataset.prompts)
    bad = np.zeros(len(dataset.prompts), np.bool_)
    bad[[match.row for match in found]] = True
    kept = ~bad[dataset.prompt_index]
    return Decontaminated(dataset.select(kept), tuple(found), int((~kept).sum()))
