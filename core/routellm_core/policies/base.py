"""What a policy is, and what it may know about the candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError

if TYPE_CHECKING:
    from routellm_core.task_state import TaskConfidence, TaskSummary

ScoreKind = Literal["win_rate", "correctness"]
"""What a score means: the chance to win against the others, or the chance to answer correctly."""

BOTH_KINDS: frozenset[ScoreKind] = frozenset({"win_rate", "correctness"})


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


@dataclass(frozen=True, kw_only=True)
class PolicyContext:
    """What is fixed about the m candidates among which a policy chooses.

    Attributes:
        candidates: Their names.
        models: The model of the router that each stands for; for a pair router "weak" and "strong".
        prices: What a typical call costs on each, in US dollars; None if prices are not known.
        confidence: How far the router's predictions can be trusted on a new task; None if it was not trained with tasks.
        model_thresholds: Model of the router -> the score from which on it is taken to be right; empty if not tuned.
        closest: The weights of the policy `closest`, one a candidate, and its intercept, shape (m + 1,); None if the router has
            none, or the candidates are not exactly its models.
    """

    candidates: tuple[str, ...]
    models: tuple[str, ...]
    prices: tuple[float, ...] | None = None
    confidence: "TaskConfidence | None" = None
    model_thresholds: Mapping[str, float] = field(default_factory=dict)
    closest: NDArray[np.float64] | None = None


@runtime_checkable
class ContextPolicy(Policy, Protocol):
    """A policy that must know more of the candidates than their scores, such as their prices."""

    def bind(self, context: PolicyContext) -> Policy:
        """Return the policy for these candidates; called once, before the first call.

        Raises:
            ConfigurationError: If the context lacks what the policy needs.
        """
        ...


@runtime_checkable
class TaskPolicy(Policy, Protocol):
    """A policy that chooses by all calls of a chain so far instead of by one."""

    @property
    def uses_distance(self) -> bool:
        """Whether it needs to know how far the prompts are from the router's training prompts."""
        ...

    def order_for_task(self, task: "TaskSummary", by_price: Sequence[int]) -> tuple[int, ...]:
        """Order the candidates for the task of which these calls are a part; see `Policy.order`."""
        ...


class AnyNumber:
    """The `check` of policies that choose among any number of candidates."""

    def check(self, n_candidates: int) -> None:
        """Take any number of candidates."""


def require_threshold(threshold: float | None, policy: str) -> float:
    """Return the threshold of a policy that cannot do without.

    Raises:
        ConfigurationError: If there is none.
    """
    if threshold is None:
        raise ConfigurationError(f"policy {policy!r} needs a threshold in [0, 1]")
    return threshold


def highest_first(values: NDArray[np.float64], by_price: Sequence[int]) -> tuple[int, ...]:
    """Return the candidates by a value each, the highest first; of equal ones the cheaper first."""
    return tuple(sorted(by_price, key=lambda column: -values[column]))  # sorting is stable: cheapest first


def first_of(choice: int, order: Sequence[int]) -> tuple[int, ...]:
    """Return an order with one candidate moved to its front."""
    return choice, *(column for column in order if column != choice)
