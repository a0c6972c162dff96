"""Policies: from the scores of one call to the order in which models are to be tried. Pure functions of arrays."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError

ScoreKind = Literal["win_rate", "correctness"]
"""What a score means: the chance to win against the others, or the chance to answer correctly."""

_BOTH: frozenset[ScoreKind] = frozenset({"win_rate", "correctness"})


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
    score_kinds: frozenset[ScoreKind] = frozenset({"win_rate"})
    uses_threshold = True

    def check(self, n_candidates: int) -> None:
        """Refuse anything but a pair."""
        if n_candidates != 2:
            others = ", ".join(repr(name) for name in POLICIES if name != self.name)
            raise ConfigurationError(
                f"policy 'threshold' chooses between two models, not {n_candidates}; for more, give a pool router and one "
                f"of the policies {others}"
            )

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Put strong (1) first if it reaches the threshold, else weak (0)."""
        return (1, 0) if scores[1] >= _required(threshold, self.name) else (0, 1)


class ArgmaxPolicy:
    """The model with the highest score, whatever it costs; of equal ones the cheaper."""

    name = "argmax"
    score_kinds = _BOTH
    uses_threshold = False

    def check(self, n_candidates: int) -> None:
        """Take any number of candidates."""

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Order by score, the highest first."""
        return tuple(sorted(by_price, key=lambda column: -scores[column]))  # sorting is stable: cheapest first


class CheapestAbovePolicy:
    """The cheapest model whose score reaches the threshold; if none does, the one with the highest score."""

    name = "cheapest_above"
    score_kinds = _BOTH
    uses_threshold = True

    def check(self, n_candidates: int) -> None:
        """Take any number of candidates."""

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        """Put those that reach the threshold first, cheapest first; then the rest, the highest score first."""
        limit = _required(threshold, self.name)
        good = [column for column in by_price if scores[column] >= limit]
        rest = [column for column in by_price if scores[column] < limit]
        return *good, *sorted(rest, key=lambda column: -scores[column])


def _required(threshold: float | None, policy: str) -> float:
    if threshold is None:
        raise ConfigurationError(f"policy {policy!r} needs a threshold in [0, 1]")
    return threshold


POLICIES: dict[str, type[Policy]] = {
    "threshold": ThresholdPolicy,
    "argmax": ArgmaxPolicy,
    "cheapest_above": CheapestAbovePolicy,
}
"""Every policy by its name."""


def get_policy(policy: str | Policy) -> Policy:
    """Return the policy of this name, or the policy itself.

    Raises:
        ConfigurationError: If there is no such policy.
    """
    if not isinstance(policy, str):
        if not hasattr(policy, "order"):
            raise ConfigurationError(f"policy must be a Policy or one of {', '.join(POLICIES)}, not {policy!r}")
        return policy
    if policy not in POLICIES:
        raise ConfigurationError(f"policy={policy!r} is unknown; there are: {', '.join(POLICIES)}")
    return POLICIES[policy]()
