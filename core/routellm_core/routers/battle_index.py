"""Battles that can be weighted by how similar their prompts are to another one."""

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.ratings import bradley_terry
from routellm_core.routers.prompt_matrix import PromptMatrix

SameTier = Literal["drop", "routellm"]
Normalizer = Literal["user_query", "train_query"]

SMALLEST_NORMALIZER = 1e-6
"""Below it a similarity is rounding, and dividing by it would be noise."""


class BattleIndex:
    r"""The battles of a similarity-weighted router, by tier, and the strengths of the tiers for any prompt.

    A battle on prompt q' weighs ``gamma ** (1 + S(q, q'))`` for prompt q, where S is the cosine of the two over the normaliser:
    for "user_query" the largest cosine of q with any training prompt, for "train_query" that of q' with any other training
    prompt. A normaliser that is not above 0 is replaced by 1, so that the order of the similarities stays.

    Args:
        prompts: The embeddings of the training prompts, u rows.
        rows: The row of each battle's prompt, shape (n,).
        tier_a: The tier of each battle's first model, shape (n,), in [0, n_tiers).
        tier_b: The tier of its second model, shape (n,).
        outcome: Shape (n,): 1 where the first won, 0 where the second did, 0.5 for a tie.
        weights: What each battle counts before any similarity, shape (n,); None counts each once.
        n_tiers: T.
        same_tier: What a battle within a tier does: "drop", nothing, since it says nothing about tiers; "routellm", what it does
            in the released code of RouteLLM: there it is a battle of the tier, in the place of `model_b`, against a player of
            fixed strength 0, which pulls every tier towards 0.
        normalizer: See above.
        gamma: 1 or more; 1 weighs all battles alike.
        nearest: What `prompts.nearest_other()` returned; None works it out if it is needed.

    Raises:
        ConfigurationError: If an option is unknown or `gamma` is out of range.
    """

    def __init__(
        self,
        prompts: PromptMatrix,
        rows: NDArray[np.integer[Any]],
        tier_a: NDArray[np.integer[Any]],
        tier_b: NDArray[np.integer[Any]],
        outcome: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
        *,
        n_tiers: int,
        same_tier: SameTier,
        normalizer: Normalizer,
        gamma: float,
        nearest: NDArray[np.float32] | None = None,
    ) -> None:
        for name, value, allowed in (
            ("same_tier", same_tier, get_args(SameTier)),
            ("normalizer", normalizer, get_args(Normalizer)),
        ):
            if value not in allowed:
                raise ConfigurationError(f"{name}={value!r} must be {' or '.join(map(repr, allowed))}")
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 1 <= gamma < np.inf:
            raise ConfigurationError(f"gamma={gamma!r} must be a finite number of 1 or more")
        self.prompts = prompts
        self.normalizer = normalizer
        self.nearest: NDArray[np.float32] | None = None
        self._log_gamma = np.float32(np.log(gamma))
        if normalizer == "train_query":
            self.nearest = prompts.nearest_other() if nearest is None else nearest
            self._exponents = self._log_gamma / _positive(self.nearest)
        self._n_tiers = n_tiers
        self._n_players = n_tiers + (same_tier == "routellm")
        within = tier_a == tier_b
        kept = np.flatnonzero(~within) if same_tier == "drop" else np.arange(len(within))
        # A cell is a pair of players and an outcome; the battles of one cell stand together.
        first = np.where(within, n_tiers, tier_a).astype(np.intp)
        cells = ((first * self._n_players + tier_b) * 3 + np.rint(2 * outcome).astype(np.intp))[kept]
        order = np.argsort(cells, kind="stable")
        self._cells, self._starts = np.unique(cells[order], return_index=True)
        self._rows = rows[kept][order].astype(np.intp)
        self._weights = None if weights is None else weights[kept][order]

    def similarities(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Return S of every vector and training prompt, shape (b, u), times the logarithm of gamma."""
        scaled = self.prompts.cosines(vectors)
        if self.normalizer == "train_query":
            scaled *= self._exponents
        else:
            scaled *= self._log_gamma / _positive(scaled.max(axis=1, keepdims=True))
        return scaled

    def weighted_wins(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the wins between every two players, ties half, weighted for each vector; shape (b, players, players).

        Each vector's are divided by the largest weight, which no fit notices.
        """
        players = self._n_players
        sums = np.zeros((len(vectors), players, players, 3))
        if self._cells.size:
            by_cell = sums.reshape(len(vectors), -1)
            for exponents, cells in zip(self.similarities(vectors), by_cell, strict=True):
                exponents -= exponents.max()
                weights = np.exp(exponents, out=exponents)[self._rows]
                weights = weights if self._weights is None else weights * self._weights
                cells[self._cells] = np.add.reduceat(weights, self._starts, dtype=np.float64)
        halves = 0.5 * sums[..., 1]
        return np.asarray(sums[..., 2] + halves + np.swapaxes(sums[..., 0] + halves, 1, 2))

    def strengths(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the strength of every tier for each vector.

        Args:
            vectors: Shape (b, d).

        Returns:
            Shape (b, T), natural-log scale; only differences within a row mean something.
        """
        size = self.prompts.batch_size
        parts = [self.weighted_wins(vectors[start : start + size]) for start in range(0, len(vectors), size)]
        if not parts:
            return np.zeros((0, self._n_tiers))
        return bradley_terry(np.concatenate(parts))[:, : self._n_tiers]


def _positive(normalizers: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(normalizers > SMALLEST_NORMALIZER, normalizers, np.float32(1.0))
