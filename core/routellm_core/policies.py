"""Policies: from the scores of one call to the order in which models are to be tried. Pure functions of arrays."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError

ScoreKind = Literal["win_rate", "correctness"]
"""What a score means: the chance to win against the others, or the chance to answer correctly."""


class Policy(Protocol):
    """Orders the candidates of one call, the choice first."""

    @property
    def name(self) -> str:
        """How the configuration and the decision call this policy."""
        ...

    @property
    def score_kinds(self) -> frozenset[ScoreKind]:
        """What the scores may mean for this policy to make sense."""
        ...

    @property
    def uses_threshold(self) -> bool:
        """Whether `order` needs a threshold."""
        ...

    def check(self, n_candidates: int) -> None:
        """Refuse a number of candidates this policy cannot choose among.

        Raises:
            ConfigurationError: If it cannot.
        """
        ...

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order the candidates.

        Args:
            scores: Shape (m,), in [0, 1].
            threshold: In [0, 1]; None if the policy has none.
            by_price: The m candidates, cheapest first.

        Returns:
            All m candidates; the first is the choice, the others are its alternatives.
        """
        ...


class ThresholdPolicy:
    """Strong if and only if its win rate reaches the threshold (RouteLLM, arXiv 2406.18665, section 3.1).

    The candidates are (weak, strong), in this order.
    """

    name = "threshold"
    score_kinds: frozenset[ScoreKind] = frozenset({"win_rate", "correctness"})
    uses_threshold = True

    def check(self, n_candidates: int) -> None:
        """Refuse anything but a pair."""
        if n_candidates != 2:
            raise ConfigurationError(
                f"policy 'threshold' chooses between two models, not {n_candidates}; for more, give a pool router and "
                f"one of the policies {', '.join(repr(name) for name in POLICIES if name != self.name) or '(none yet)'}"
            )

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Put strong (1) first if it reaches the threshold, else weak (0)."""
        if threshold is None:
            raise ConfigurationError("policy 'threshold' needs a threshold")
        return (1, 0) if scores[1] >= threshold else (0, 1)


POLICIES: dict[str, type[Policy]] = {"threshold": ThresholdPolicy}
"""Every policy by its name."""


def get_policy(policy: str | Policy) -> Policy:
    """Return the policy of this name, or the policy itself.

    Raises:
        ConfigurationError: If there is no such policy.
    """
    if not isinstance(policy, str):
        return policy
    if policy not in POLICIES:
        raise ConfigurationError(f"policy={policy!r} is unknown; there are: {', '.join(sorted(POLICIES))}")
    return POLICIES[policy]()
