"""Policies that look at the scores of one call alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.policies.base import BOTH_KINDS, AnyNumber, ScoreKind, highest_first, require_threshold


class ThresholdPolicy:
    """Strong if and only if its win rate reaches the threshold (RouteLLM, arXiv 2406.18665, section 3.1).

    The candidates are (weak, strong), in this order.
    """

    name = "threshold"
    score_kinds: frozenset[ScoreKind] = frozenset({"win_rate"})
    uses_threshold = True

    def check(self, n_candidates: int) -> None:
        """Refuse anything but a pair."""
        if n_candidates != 2:
            raise ConfigurationError(
                f"policy 'threshold' chooses between two models, not {n_candidates}; for more, give a pool router and a "
                "policy such as 'cheapest_above', 'argmax' or 'cost_aware'"
            )

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Put strong (1) first if it reaches the threshold, else weak (0)."""
        return (1, 0) if scores[1] >= require_threshold(threshold, self.name) else (0, 1)


class ArgmaxPolicy(AnyNumber):
    """The model with the highest score, whatever it costs; of equal ones the cheaper."""

    name = "argmax"
    score_kinds = BOTH_KINDS
    uses_threshold = False

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Order by score, the highest first."""
        return highest_first(scores, by_price)


class CheapestAbovePolicy(AnyNumber):
    """The cheapest model whose score reaches the threshold; if none does, the one with the highest score."""

    name = "cheapest_above"
    score_kinds = BOTH_KINDS
    uses_threshold = True

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        """Put those that reach the threshold first, cheapest first; then the rest, the highest score first."""
        limit = require_threshold(threshold, self.name)
        good = [column for column in by_price if scores[column] >= limit]
        rest = [column for column in by_price if scores[column] < limit]
        return *good, *highest_first(scores, rest)
