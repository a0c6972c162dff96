"""Battles with the embeddings of their prompts, and the tiers of their models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.checkpoints.format import Checkpoint
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.ratings import assign_tiers, bradley_terry, elo_ratings, pair_statistics
from routellm_core.routers.prompt_matrix import PromptMatrix

_OUTCOMES = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}


@dataclass(frozen=True, eq=False)
class RatedBattles:
    """What a similarity-weighted router knows.

    Attributes:
        models: k names, sorted.
        prompts: The embeddings, u rows.
        rows: Shape (n,), the row of each battle's prompt.
        pairs: Shape (n, 2), indices into `models`.
        outcomes: Shape (n,): 1 where the first model won, 0 where the second did, 0.5 for a tie.
        weights: Shape (n,); None counts each battle once.
        wins: Shape (k, k), what each model won against each other one.
        tiers: Shape (k,), in [0, num_tiers); 0 is the best.
    """

    models: tuple[str, ...]
    prompts: PromptMatrix
    rows: NDArray[np.int32]
    pairs: NDArray[np.int32]
    outcomes: NDArray[np.float64]
    weights: NDArray[np.float64] | None
    wins: NDArray[np.float64]
    tiers: NDArray[np.int64]

    @classmethod
    def rate(
        cls,
        models: Sequence[str],
        pairs: NDArray[np.integer[Any]],
        outcomes: NDArray[np.float64],
        embeddings: ArrayLike,
        *,
        num_tiers: int,
        rows: NDArray[np.integer[Any]] | None = None,
        weights: ArrayLike | None = None,
    ) -> Self:
        """Rate the models and cut them into tiers; let equal embeddings share a row.

        Args:
            models: See the attributes, like `pairs`, `outcomes` and `weights`.
            pairs: Indices into `models`.
            outcomes: Of each battle.
            embeddings: One row per battle, or those that `rows` points to. Not copied, unless rows are equal: then the distinct
                ones are, but for a `numpy.memmap`, which stays where it is.
            num_tiers: How many tiers.
            rows: The row of each battle's prompt; None for one row per battle.
            weights: Of each battle.
        """
        prompts = PromptMatrix(embeddings)
        first_equal = prompts.forget_copies()
        shared = first_equal if rows is None else first_equal[rows]
        distinct = np.unique(first_equal)
        if len(distinct) < len(prompts) and not isinstance(prompts.rows, np.memmap):
            prompts = PromptMatrix(prompts.rows[distinct], prompts.norms[distinct])
            shared = np.searchsorted(distinct, shared)
        _, wins = pair_statistics(pairs[:, 0], pairs[:, 1], outcomes, len(models), weights)
        return cls(
            models=tuple(models),
            prompts=prompts,
            rows=shared.astype(np.int32),
            pairs=pairs.astype(np.int32),
            outcomes=outcomes,
            weights=None if weights is None else np.array(weights, dtype=np.float64),
            wins=wins,
            tiers=assign_tiers(bradley_terry(wins), num_tiers),
        )

    @classmethod
    def from_names(
        cls,
        model_a: Sequence[str],
        model_b: Sequence[str],
        winner: Sequence[str],
        embeddings: ArrayLike,
        *,
        num_tiers: int,
        weights: ArrayLike | None = None,
    ) -> Self:
        """Rate the models of battles whose models and winners are given by name; see `rate`.

        Raises:
            ConfigurationError: If the columns are not equally long, or a winner is unknown.
        """
        vectors = np.asanyarray(embeddings)
        lengths = {"model_a": len(model_a), "model_b": len(model_b), "winner": len(winner), "embeddings": len(vectors)}
        if len(set(lengths.values())) > 1:
            counted = ", ".join(f"{length:,} of {name}" for name, length in lengths.items())
            raise ConfigurationError(f"every battle has one of each, and there are {counted}")
        models, index = np.unique(np.array([*model_a, *model_b], dtype=np.str_), return_inverse=True)
        labels = [str(label) for label in winner]
        unknown = [label for label in dict.fromkeys(labels) if label not in _OUTCOMES]
        if unknown:
            row, allowed = labels.index(unknown[0]), ", ".join(map(repr, _OUTCOMES))
            raise ConfigurationError(f"winner[{row}] is {unknown[0]!r}, and not one of {allowed}")
        outcomes = np.array([_OUTCOMES[label] for label in labels], dtype=np.float64)
        return cls.rate(
            [str(model) for model in models],
            index.reshape(2, -1).T,
            outcomes,
            vectors,
            num_tiers=num_tiers,
            weights=weights,
        )

    @property
    def num_tiers(self) -> int:
        """How many tiers there are."""
        return int(self.tiers.max()) + 1

    def ratings(self) -> dict[str, float]:
        """Return the rating of each model over all battles, on the Elo scale with mean 1000."""
        return dict(zip(self.models, elo_ratings(bradley_terry(self.wins)).tolist(), strict=True))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint stores."""
        stored: dict[str, NDArray[Any]] = {
            "embeddings": self.prompts.rows,
            "embedding_norms": self.prompts.norms,
            "battle_rows": self.rows,
            "battle_models": self.pairs,
            "battle_outcomes": self.outcomes.astype(np.float32),
            "counts": self.wins,
            "tiers": self.tiers,
        }
        return stored if self.weights is None else {**stored, "battle_weights": self.weights}

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Read what `arrays` returned; nothing is computed again, and the embeddings are not copied.

        Raises:
            CheckpointFormatError: If an array is missing or is not what it must be.
        """
        origin, models = checkpoint.origin, checkpoint.config.models
        k = len(models)
        tiers = _indices(checkpoint, "tiers", (k,), k)
        if k == 0 or len(np.unique(tiers)) != tiers.max() + 1:
            raise CheckpointFormatError(f"{origin}: array 'tiers' must use every tier from 0 on")
        outcomes = checkpoint.array("battle_outcomes", (None,))
        n = len(outcomes)
        if not np.isin(outcomes, (0.0, 0.5, 1.0)).all():
            raise CheckpointFormatError(f"{origin}: array 'battle_outcomes' must hold 0, 0.5 and 1 alone")
        if "embeddings" not in checkpoint.arrays:
            raise CheckpointFormatError(f"{origin}: model.safetensors has no array 'embeddings'")
        rows = checkpoint.arrays["embeddings"]
        norms = checkpoint.array("embedding_norms", (None,))
        try:
            prompts = PromptMatrix(rows, norms)
        except ConfigurationError as error:
            raise CheckpointFormatError(f"{origin}: {error}") from error
        return cls(
            models=models,
            prompts=prompts,
            rows=_indices(checkpoint, "battle_rows", (n,), len(prompts)).astype(np.int32),
            pairs=_indices(checkpoint, "battle_models", (n, 2), k).astype(np.int32),
            outcomes=outcomes,
            weights=checkpoint.array("battle_weights", (n,)) if "battle_weights" in checkpoint.arrays else None,
            wins=checkpoint.array("counts", (k, k)),
            tiers=tiers,
        )


def _indices(checkpoint: Checkpoint, name: str, shape: tuple[int, ...], size: int) -> NDArray[np.int64]:
    values = checkpoint.array(name, shape)
    indices = values.astype(np.int64)
    if (indices != values).any() or (values.size and not (values.min() >= 0 and values.max() < size)):
        raise CheckpointFormatError(f"{checkpoint.origin}: array {name!r} must hold whole numbers in [0, {size})")
    return indices
