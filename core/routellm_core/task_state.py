"""Choosing one model for a whole task (Shnitzer et al., arXiv 2309.15789): scores S1 to S3. Arrays in, arrays out.

A task is a set of prompts of one kind. With g the predicted correctness of a model on a prompt, and its vote 1 where g > 0.5:
S1 is the mean of g over the task, S2 the mean of the votes, and S3 trusts a vote only as far as the predictions have proved
right on other tasks that were as far from their training prompts: ``S3 = S2 p + (1 - S2)(1 - p)``.
"""

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError

Array = NDArray[np.float64]

VOTE = 0.5
"""A prediction above it is a vote that the model is right."""

NEIGHBOURS = 19
"""Over how many nearest training prompts the distance of a prompt is averaged."""

BANDWIDTH = 0.09
"""Of the Gaussian kernel over distances of tasks."""

FALLBACK = 0.6
"""How probable it must be that the model of the highest S3 is better than the best one on average."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskSummary:
    """What is known of a task from the prompts seen so far.

    Attributes:
        n: How many prompts; a fraction where old ones have faded.
        scores: The mean score of each candidate, S1; shape (m,).
        votes: The share of prompts on which each is expected to be right, S2; shape (m,).
        distance: The mean distance of the prompts from the training prompts; None if it is not known.
    """

    n: float
    scores: Array
    votes: Array
    distance: float | None = None

    @classmethod
    def of(cls, scores: ArrayLike, distances: ArrayLike | None = None) -> "TaskSummary":
        """Summarise the prompts of a task.

        Args:
            scores: Shape (n, m), in [0, 1].
            distances: Of each prompt from the training prompts, shape (n,); None if they are not known.

        Raises:
            ConfigurationError: If there is no prompt, or the shapes do not fit.
        """
        rows = np.asarray(scores, dtype=np.float64)
        far = None if distances is None else np.asarray(distances, dtype=np.float64)
        if rows.ndim != 2 or not len(rows) or (far is not None and far.shape != (len(rows),)):
            raise ConfigurationError(
                f"a task has scores of shape (n, m) with n of 1 or more and n distances, not {rows.shape} and "
                f"{None if far is None else far.shape}"
            )
        return cls(len(rows), rows.mean(axis=0), (rows > VOTE).mean(axis=0), None if far is None else float(far.mean()))


class TaskState:
    """The running summary of one chain's calls. Holds sums, never prompts; may be used by several threads at once.

    Args:
        window: How many prompts count: once so many were seen, older ones fade, so that a chain may change what it is about.

    Raises:
        ConfigurationError: If the window is less than 1.
    """

    def __init__(self, window: int = 1000) -> None:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ConfigurationError(f"window must be a whole number of 1 or more, not {window!r}")
        self._window = window
        self._lock = threading.Lock()
        self._n = 0.0
        self._sums: Array | None = None

    def observe(self, scores: Array, distance: float | None = None, *, keep: bool = True) -> TaskSummary:
        """Return the summary with one more prompt.

        Args:
            scores: Of the candidates on this prompt, shape (m,).
            distance: Of this prompt from the training prompts; None if it is not known.
            keep: Whether the prompt counts from now on too.

        Raises:
            ConfigurationError: If the scores are of another number of candidates than those before.
        """
        m = len(scores)
        row = np.concatenate([scores, scores > VOTE, [0.0 if distance is None else distance]])
        with self._lock:
            if self._sums is not None and len(self._sums) != len(row):
                raise ConfigurationError(f"this task has {(len(self._sums) - 1) // 2} candidates, not {m}")
            fade = 1.0 if self._n + 1.0 <= self._window else (self._window - 1.0) / self._n
            sums = row if self._sums is None else self._sums * fade + row
            n = self._n * fade + 1.0
            if keep:
                self._n, self._sums = n, sums
        means = sums / n
        return TaskSummary(n, means[:m], means[m : 2 * m], None if distance is None else float(means[-1]))

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"_window": self._window, "_n": self._n, "_sums": self._sums}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


@dataclass(frozen=True, slots=True, eq=False)
class TaskConfidence:
    """How often the votes of a router were right on tasks it had not seen, by their distance from what it had.

    Attributes:
        distances: Of each reference task from the prompts that were known, shape (t,).
        agreement: The share of right votes on each reference task for each model, in [0, 1]; NaN where the model was not run;
            shape (t, m).
        accuracies: The mean over tasks of each model's accuracy, shape (m,); tells the best model on average.
        bandwidth: Of the kernel.
        fallback: How probable it must be that a model is better than the best one on average, in [0, 1].
    """

    distances: Array
    agreement: Array
    accuracies: Array
    bandwidth: float = BANDWIDTH
    fallback: float = FALLBACK

    def __post_init__(self) -> None:
        t, m = len(self.distances), len(self.accuracies)
        if t < 1 or self.agreement.shape != (t, m):
            raise ConfigurationError(
                f"a task confidence has agreement of shape (tasks, models) with one task or more, not {self.agreement.shape} "
                f"for {t} distances and {m} accuracies"
            )
        if not self.bandwidth > 0 or not 0 <= self.fallback <= 1:
            raise ConfigurationError(
                f"bandwidth must be above 0 and fallback in [0, 1], not {self.bandwidth!r} and {self.fallback!r}"
            )

    def for_columns(self, columns: ArrayLike) -> "TaskConfidence":
        """Return the confidence for some of the models, in this order."""
        chosen = np.asarray(columns, dtype=np.intp)
        return TaskConfidence(
            self.distances, self.agreement[:, chosen], self.accuracies[chosen], self.bandwidth, self.fallback
        )

    def probabilities(self, distance: float) -> Array:
        """Return for each model how probably a vote is right on a task at this distance, shape (m,).

        A kernel regression (Nadaraya and Watson) over the reference tasks. Far from all of them the nearest decides, and 0.5
        stands for a model that was run on none.
        """
        exponents = -0.5 * ((distance - self.distances) / self.bandwidth) ** 2
        known = ~np.isnan(self.agreement)
        # The largest exponent of each model is taken out, so that the sum of the weights never vanishes.
        shifted = np.where(known, exponents[:, None], -np.inf)
        top = shifted.max(axis=0)
        weights = np.exp(shifted - np.where(np.isfinite(top), top, 0.0))
        total = weights.sum(axis=0)
        agreed = (weights * np.where(known, self.agreement, 0.0)).sum(axis=0)
        return np.where(total > 0, agreed / np.where(total > 0, total, 1.0), 0.5)


def task_scores(votes: ArrayLike, probabilities: ArrayLike) -> Array:
    """Return S3 = S2 p + (1 - S2)(1 - p), shape (m,).

    Args:
        votes: S2, in [0, 1].
        probabilities: p, how probably a vote is right, in [0, 1].
    """
    share, p = np.asarray(votes, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    return np.asarray(share * p + (1.0 - share) * (1.0 - p))


def probability_better(score_a: float, score_b: float, p_a: float, p_b: float, n: float) -> float:
    """Return how probably model a is right more often than model b on a task of n prompts.

    Each vote is right with probability p, independently, so both counts are sums of binomials; their difference is taken as
    normal, with a correction for continuity.

    Args:
        score_a: S3 of a.
        score_b: S3 of b.
        p_a: How probably a vote for or against a is right.
        p_b: The same of b.
        n: The number of prompts.
    """
    lead = n * (score_a - score_b) - 0.5
    deviation = math.sqrt(n * (p_a * (1.0 - p_a) + p_b * (1.0 - p_b)))
    if deviation == 0.0:
        return 1.0 if lead > 0 else 0.0
    return 0.5 * math.erfc(-lead / (deviation * math.sqrt(2.0)))


def confidence_thresholds(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Return for each model the negative entropy below which predictions are as many as the wrong ones.

    Average thresholded confidence (Garg et al., arXiv 2201.04234), on validation prompts of the training tasks.

    Args:
        scores: Predicted correctness, shape (n, m).
        labels: 1 right, 0 wrong, NaN unknown; shape (n, m).

    Returns:
        Shape (m,); minus infinity for a model that is never mistaken, or has no label.
    """
    certain = negative_entropy(scores)
    truth = np.asarray(labels, dtype=np.float64)
    limits = np.full(truth.shape[1], -np.inf)
    for column in range(truth.shape[1]):
        known = ~np.isnan(truth[:, column])
        wrong = ((np.asarray(scores)[known, column] > VOTE) != (truth[known, column] > VOTE)).sum()
        ordered = np.sort(certain[known, column])
        if wrong and wrong < len(ordered):
            limits[column] = (ordered[wrong - 1] + ordered[wrong]) / 2
        elif wrong:
            limits[column] = np.inf
    return limits


def thresholded_confidence(scores: ArrayLike, limits: ArrayLike) -> Array:
    """Return for each model the share of prompts on which its prediction is certain enough, an estimate of p; shape (m,).

    Args:
        scores: Predicted correctness on the new task, shape (n, m).
        limits: What `confidence_thresholds` returned.
    """
    return np.asarray((negative_entropy(scores) >= np.asarray(limits)).mean(axis=0))


def negative_entropy(scores: ArrayLike) -> Array:
    """Return g log g + (1 - g) log(1 - g) of every prediction: 0 where it is certain, -log 2 at 0.5."""
    g = np.clip(np.asarray(scores, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    return np.asarray(g * np.log(g) + (1.0 - g) * np.log1p(-g))
