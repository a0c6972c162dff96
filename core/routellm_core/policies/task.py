"""One model for all calls of a chain: S1, S2 and S3 of Shnitzer et al. (arXiv 2309.15789) as policies.

The engine gives them the summary of the chain's calls so far; without one, a call is a task of its own.
"""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.policies.base import AnyNumber, PolicyContext, ScoreKind, first_of, highest_first
from routellm_core.task_state import TaskConfidence, TaskSummary, probability_better, task_scores

_CORRECTNESS: frozenset[ScoreKind] = frozenset({"correctness"})


class _ForTasks(AnyNumber):
    score_kinds = _CORRECTNESS
    uses_threshold = False
    uses_distance = False

    @abstractmethod
    def order_for_task(self, task: TaskSummary, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order the candidates for a task."""

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Order the candidates for a task of this one call."""
        return self.order_for_task(TaskSummary.of(scores[None, :]), by_price)


class TaskMeanPolicy(_ForTasks):
    """S1: the model with the highest mean score over the calls of the chain."""

    name = "s1"

    def order_for_task(self, task: TaskSummary, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order by mean score, the highest first."""
        return highest_first(task.scores, by_price)


class TaskVotesPolicy(_ForTasks):
    """S2: the model that is expected to be right on the largest share of the chain's calls."""

    name = "s2"

    def order_for_task(self, task: TaskSummary, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order by the share of votes, the highest first."""
        return highest_first(task.votes, by_price)


class TaskConfidencePolicy(_ForTasks):
    """S3: as S2, where votes count as far as the router proved right on tasks equally far from its training prompts.

    If it is not probable enough that the model of the highest S3 beats the best model on average, the latter is taken.

    Args:
        confidence: For the candidates, in their order; None takes that of the plan's router.
    """

    name = "s3"
    uses_distance = True

    def __init__(self, confidence: TaskConfidence | None = None) -> None:
        self._confidence = confidence

    def bind(self, context: PolicyContext) -> "TaskConfidencePolicy":
        """Take the confidence of the router, unless there is an own one."""
        confidence = self._confidence or context.confidence
        if confidence is None:
            raise ConfigurationError(
                "policy 's3' needs a router that was trained on prompts with tasks (a column task or group), two tasks or "
                "more; 's1' and 's2' do without"
            )
        if len(confidence.accuracies) != len(context.candidates):
            raise ConfigurationError(
                f"policy 's3' has a confidence for {len(confidence.accuracies)} models, and there are "
                f"{len(context.candidates)} candidates"
            )
        return TaskConfidencePolicy(confidence)

    def order_for_task(self, task: TaskSummary, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order by S3, the highest first; with the best model on average in front where that is as good a guess."""
        confidence = self._confidence
        if confidence is None:
            raise ConfigurationError("policy 's3' has no confidence: bind it to a router that was trained with tasks")
        far = float(np.max(confidence.distances)) if task.distance is None else task.distance
        p = confidence.probabilities(far)
        scores = task_scores(task.votes, p)
        order = highest_first(scores, by_price)
        best, safe = order[0], highest_first(confidence.accuracies, by_price)[0]
        if best == safe:
            return order
        sure = probability_better(scores[best], scores[safe], p[best], p[safe], task.n)
        return order if sure >= confidence.fallback else first_of(safe, order)
