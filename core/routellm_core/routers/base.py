"""What a router is: prompts in, one score per model out."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.errors import UnknownModelError
from routellm_core.policies import ScoreKind
from routellm_core.task_state import TaskConfidence


class Router(ABC):
    """Scores how well each of its models would answer a prompt.

    A router is stateless and batch first: the score of a prompt does not depend on what else is in the batch,
    nor on earlier calls. It may be called from several threads at once. A router that waits for the network
    may also offer `async def ascore(self, prompts)`; the engine then awaits it instead of using a thread.
    """

    score_kind: ClassVar[ScoreKind]
    """What the numbers of `score` mean."""

    name: str = ""
    """How decisions and logs call this router; the registry name where there is one."""

    thresholds: ThresholdTable | None = None
    """The calibrated thresholds; None if this router has not been calibrated."""

    confidence: TaskConfidence | None = None
    """How far its predictions can be trusted on a new task, over `models`; None if that was not learned. A router that has one
    also has `score_with_distance(prompts)`: its scores and, in one more column, each prompt's distance from its training prompts,
    in [0, 1]."""

    model_thresholds: Mapping[str, float] = {}
    """For each model the score from which on it is taken to be right, for the policy `model_thresholds`; empty if not tuned."""

    closest: NDArray[np.float64] | None = None
    """The regression of the policy `closest`: one weight for each of `models`, and the intercept; None if not fitted."""

    assumed: Mapping[str, str] = {}
    """The models whose scores were not learned from labels of their own, each with what they rest on instead."""

    @property
    @abstractmethod
    def models(self) -> tuple[str, ...]:
        """The reference models, in the order of the columns of `score`."""

    @abstractmethod
    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score every model on every prompt.

        Args:
            prompts: n texts.

        Returns:
            Shape (n, m) over `models`, in [0, 1].
        """

    @cached_property
    def fingerprint(self) -> str:
        """Identify what the scores depend on, so that a cache never mixes two routers.

        Two routers with the same fingerprint give the same scores. The default is unique to the instance.
        """
        return f"{type(self).__qualname__}:{uuid.uuid4().hex}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or 'unnamed'!r} over {len(self.models)} models>"


class PairRouter(Router):
    """A router between a strong and a weak model."""

    score_kind: ClassVar[ScoreKind] = "win_rate"

    reference_strong: str = "strong"
    """The strong model this router was trained on; not necessarily the one being routed to."""

    reference_weak: str = "weak"
    """The weak model this router was trained on."""

    @property
    def models(self) -> tuple[str, ...]:
        """The reference pair, weak first."""
        return self.reference_weak, self.reference_strong

    @abstractmethod
    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Estimate the chance that the strong model's answer is the better one.

        Args:
            prompts: n texts.

        Returns:
            Shape (n,), in [0, 1]; a tie counts half.
        """

    def strong_win_rate(self, prompt: str) -> float:
        """Estimate the strong win rate of one prompt."""
        return float(self.strong_win_rates([prompt])[0])

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return `[1 - p, p]` over (weak, strong) for every prompt, shape (n, 2)."""
        return pair_scores(self.strong_win_rates(prompts))


@runtime_checkable
class AnyPairRouter(Protocol):
    """A router that compares any two of the models that it knows."""

    def for_pair(self, strong: str, weak: str) -> PairRouter:
        """Return a router for another pair, without thresholds."""
        ...


class PoolRouter(Router):
    """A router among any number of models."""


def pair_scores(strong_win_rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn strong win rates, shape (n,), into scores over (weak, strong), shape (n, 2)."""
    scores = np.empty((len(strong_win_rates), 2))
    np.subtract(1.0, strong_win_rates, out=scores[:, 0])
    scores[:, 1] = strong_win_rates
    return scores


def index_of_model(model: str, models: Sequence[str], *, role: str) -> int:
    """Return the column of a reference model.

    Args:
        model: The name to look up.
        models: The names the router knows.
        role: What the name was given as, for the error ("reference_strong").

    Raises:
        UnknownModelError: If the router does not know it; the message lists the names it knows.
    """
    try:
        return list(models).index(model)
    except ValueError:
        known = ", ".join(models)
        raise UnknownModelError(
            f"{role}={model!r} is not a reference model of this router; it knows: {known}"
        ) from None


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logistic function of every number, without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
