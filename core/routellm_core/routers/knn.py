"""Nearest neighbours: a model will do on a prompt as it did on the training prompts most like it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint
from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.packed import pack_texts, unpack_texts
from routellm_core.routers.index import ApproximateIndex, IndexKind, NeighbourIndex, build_index
from routellm_core.routers.outcome import OutcomeRouter, Training, mean_distances, number, single
from routellm_core.task_state import NEIGHBOURS

Weights = Literal["uniform", "similarity"]
"""How much a neighbour counts: all the same, or by its cosine."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training prompt that a score rests on.

    Attributes:
        prompt: Its text; None if the router was stored without texts.
        similarity: Its cosine with the prompt that was scored.
        outcomes: How each model did on it, in [0, 1]; models that were not run on it are left out.
    """

    prompt: str | None
    similarity: float
    outcomes: dict[str, float]


class KNNRouter(OutcomeRouter):
    """Averages the outcomes of the k nearest training prompts, for all models at once.

    The score of model m is ``(sum_j w_j y_jm + c a_m) / (sum_j w_j + c)`` over the neighbours j on which it was run: y is its
    outcome, w the weight of the neighbour, a the mean outcome of the model over all training prompts, and c the shrinkage, how
    many neighbours that mean is worth.

    Args:
        embeddings: Of the n training prompts, shape (n, dimension of the embedder).
        outcomes: In [0, 1], NaN where a model was not run; shape (n, m).
        models: The m models.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        k: How many neighbours.
        weights: "similarity" or "uniform".
        shrinkage: c, 0 or more. With 0, a model that was run on no neighbour still gets its mean.
        prompts: The n training prompts, for `explain`; None keeps none.
        index: "exact" or "approximate" (extra `index`); None is exact up to a million prompts.
        training: What it remembers of its training.

    Raises:
        ConfigurationError: If shapes do not fit, or a number is out of range.
        MissingDependencyError: If the index is approximate and its library is not installed.
    """

    name = "knn"

    def __init__(
        self,
        embeddings: ArrayLike,
        outcomes: ArrayLike,
        *,
        models: Sequence[str],
        embedder: EmbedderLike,
        k: int = 32,
        weights: Weights = "similarity",
        shrinkage: float = 4.0,
        prompts: Sequence[str] | None = None,
        index: IndexKind | NeighbourIndex | None = None,
        training: Training | None = None,
    ) -> None:
        super().__init__(models, embedder=embedder, training=training)
        self._index = build_index(embeddings, index) if index is None or isinstance(index, str) else index
        results = np.asarray(outcomes, dtype=np.float32)
        expected = (len(self._index.vectors), len(self.models))
        if results.shape != expected or self._index.vectors.shape[1] != self.embedder.dimension:
            raise ConfigurationError(
                f"embeddings and outcomes have shapes {self._index.vectors.shape} and {results.shape}; with {len(self.models)} "
                f"models and an embedder of {self.embedder.dimension} dimensions expected are (n, {self.embedder.dimension}) "
                f"and (n, {len(self.models)})"
            )
        self._known = (~np.isnan(results)).astype(np.float32)
        self._outcomes = np.where(self._known > 0, results, np.float32(0))
        if not ((self._outcomes >= 0) & (self._outcomes <= 1)).all():
            raise ConfigurationError("outcomes must be in [0, 1], or NaN where a model was not run")
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ConfigurationError(f"k must be a whole number of 1 or more, not {k!r}")
        if weights not in get_args(Weights):
            raise ConfigurationError(f"weights must be one of {', '.join(get_args(Weights))}, not {weights!r}")
        if not 0 <= shrinkage < np.inf:
            raise ConfigurationError(f"shrinkage must be a number of 0 or more, not {shrinkage!r}")
        if prompts is not None and len(prompts) != len(results):
            raise ConfigurationError(f"there are {len(prompts)} prompts for {len(results)} embeddings")
        self.k, self.weights, self.shrinkage = k, weights, float(shrinkage)
        self._prompts = None if prompts is None else tuple(prompts)

    def __len__(self) -> int:
        """Return the number of training prompts."""
        return len(self._outcomes)

    @cached_property
    def mean_outcomes(self) -> NDArray[np.float64]:
        """The mean outcome of each model over the training prompts it was run on, shape (m,); 0.5 for one never run."""
        counts = self._known.sum(axis=0, dtype=np.float64)
        sums = self._outcomes.sum(axis=0, dtype=np.float64)
        return np.where(counts > 0, sums / np.maximum(counts, 1), 0.5)

    def _predict(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        return self._average(*self._index.search(embeddings, self.k))

    def _average(self, positions: NDArray[np.int64], cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.maximum(cosines, 0.0) if self.weights == "similarity" else np.ones_like(cosines)
        sums, totals = np.empty((len(positions), len(self.models))), np.empty((len(positions), len(self.models)))
        for row, (at, weight) in enumerate(zip(positions, weights, strict=True)):  # products of one shape round alike
            sums[row], totals[row] = weight @ self._outcomes[at], weight @ self._known[at]
        shrunk = totals + self.shrinkage
        mean = self.mean_outcomes
        return np.where(shrunk > 0, (sums + self.shrinkage * mean) / np.where(shrunk > 0, shrunk, 1.0), mean).clip(
            0.0, 1.0
        )

    def _distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        return mean_distances(self._index.search(embeddings, NEIGHBOURS)[1])

    def score_with_distance(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score every model and add each prompt's distance from the training prompts, shape (n, m + 1)."""
        embeddings = self._checked(self.embedder.embed(prompts))
        positions, cosines = self._index.search(embeddings, max(self.k, NEIGHBOURS))
        scores = self._average(positions[:, : self.k], cosines[:, : self.k])
        return np.column_stack([scores, mean_distances(cosines[:, :NEIGHBOURS])])

    def explain(self, prompt: str, *, k: int | None = None) -> list[Neighbour]:
        """Return the training prompts that the scores of a prompt rest on, the nearest first.

        Args:
            prompt: The prompt.
            k: How many; None returns all that count.
        """
        found = self._index.search(self._checked(self.embedder.embed([prompt])), self.k if k is None else k)
        return [
            Neighbour(
                prompt=None if self._prompts is None else self._prompts[position],
                similarity=float(cosine),
                outcomes={
                    model: float(self._outcomes[position, column])
                    for column, model in enumerate(self.models)
                    if self._known[position, column]
                },
            )
            for position, cosine in zip(found[0][0].tolist(), found[1][0].tolist(), strict=True)
        ]

    def with_examples(self, prompts: Sequence[str], outcomes: ArrayLike) -> Self:
        """Return a router that also knows a few labelled prompts, such as the first ones of a new task.

        Args:
            prompts: n prompts.
            outcomes: In [0, 1], NaN where a model was not run; shape (n, m).
        """
        rows = np.asarray(outcomes, dtype=np.float32)
        if rows.shape != (len(prompts), len(self.models)):
            raise ConfigurationError(
                f"outcomes of {len(prompts)} prompts and {len(self.models)} models have the shape "
                f"({len(prompts)}, {len(self.models)}), not {rows.shape}"
            )
        kept = None if self._prompts is None else (*self._prompts, *prompts)
        vectors = np.concatenate([self._index.vectors, self._checked(self.embedder.embed(prompts))])
        index: NeighbourIndex | IndexKind = "exact"
        if isinstance(self._index, ApproximateIndex):
            index = ApproximateIndex(vectors, graph=self._index.graph())
        return type(self)(
            vectors,
            np.concatenate([np.where(self._known > 0, self._outcomes, np.nan), rows]),
            models=self.models,
            embedder=self.embedder,
            k=self.k,
            weights=self.weights,
            shrinkage=self.shrinkage,
            prompts=kept,
            index=index,
            training=replace(self._training, provenance={**self._training.provenance, "examples added": len(prompts)}),
        )

    def _stored(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {
            "embeddings": self._index.vectors,
            "outcomes": self._outcomes,
            "known": self._known.astype(np.uint8),
        }
        if self._prompts is not None:
            arrays["prompts"], arrays["prompt_ends"] = pack_texts(self._prompts)
        kind = "exact"
        if isinstance(self._index, ApproximateIndex):
            kind, arrays["graph"] = "approximate", self._index.graph()
        return {"k": self.k, "weights": self.weights, "shrinkage": self.shrinkage, "index": kind}, arrays

    @classmethod
    def _restore(cls, checkpoint: Checkpoint, embedder: Embedder, training: Training) -> Self:
        m, parameters, arrays = len(checkpoint.config.models), checkpoint.config.parameters, checkpoint.arrays
        embeddings = single(checkpoint, "embeddings", (None, embedder.dimension))
        outcomes = single(checkpoint, "outcomes", (len(embeddings), m))
        known = checkpoint.array("known", outcomes.shape) > 0
        prompts = None
        if "prompts" in arrays and "prompt_ends" in arrays:
            try:
                prompts = unpack_texts(arrays["prompts"], arrays["prompt_ends"])
            except ValueError as error:
                raise CheckpointFormatError(f"{checkpoint.origin}: {error}") from error
        kind = parameters.get("index")
        index: NeighbourIndex | IndexKind = "exact"
        if kind == "approximate":
            index = ApproximateIndex(embeddings, graph=arrays.get("graph"))
        return cls(
            embeddings,
            np.where(known, outcomes, np.nan),
            models=checkpoint.config.models,
            embedder=embedder,
            k=int(number(checkpoint, "k")),
            weights=parameters.get("weights", ""),
            shrinkage=number(checkpoint, "shrinkage"),
            prompts=prompts,
            index=index,
            training=training,
        )
