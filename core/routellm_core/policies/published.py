"""The policies of Srivatsa et al. (arXiv 2405.00467) that are more than an argmax.

Their best model per cluster is the policy `argmax` on a `cluster` router, whose scores are the clusters' accuracies.
"""

import zlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.policies.base import (
    BOTH_KINDS,
    AnyNumber,
    PolicyContext,
    first_of,
    highest_first,
    require_threshold,
)


class RandomTopKPolicy(AnyNumber):
    """One of the k models with the highest scores, at random, where none is above the threshold; else the highest.

    The draw depends on the scores and the seed alone, so that the same prompt goes to the same model, in any process.

    Args:
        k: Among how many; the paper takes 3, and a threshold of 0.6.
        seed: Of the draws.
    """

    name = "random_topk"
    score_kinds = BOTH_KINDS
    uses_threshold = True

    def __init__(self, k: int = 3, seed: int = 0) -> None:
        if k < 1:
            raise ConfigurationError(f"k must be 1 or more, not {k!r}")
        self._k, self._seed = k, seed

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        """Put the model drawn first, then the others by score."""
        limit = require_threshold(threshold, self.name)
        order = highest_first(scores, by_price)
        if scores[order[0]] > limit:
            return order
        digest = zlib.crc32(np.ascontiguousarray(scores, dtype=np.float64).tobytes())
        drawn = np.random.default_rng([self._seed, digest]).integers(min(self._k, len(order)))
        return first_of(order[int(drawn)], order)


class ClosestPolicy(AnyNumber):
    """The model whose score is closest to the score that a regression expects of a model that is right.

    The regression predicts, from the scores of a prompt, the score of the first model that answers it correctly. The
    authors' code takes the model with the highest ``score - expected`` instead, which for any expectation is the
    argmax of the scores; `signed=True` is that variant, for comparison.

    Args:
        weights: One per candidate, shape (m,); None takes the regression that the router fitted in training.
        intercept: Added to the weighted scores.
        signed: Take the highest difference instead of the smallest distance.
    """

    name = "closest"
    score_kinds = BOTH_KINDS
    uses_threshold = False

    def __init__(self, weights: ArrayLike | None = None, intercept: float = 0.0, *, signed: bool = False) -> None:
        self.weights = None if weights is None else np.asarray(weights, dtype=np.float64)
        given = np.zeros(1) if self.weights is None else self.weights
        if given.ndim != 1 or not np.isfinite(given).all() or not np.isfinite(intercept):
            raise ConfigurationError("weights must be finite numbers, one a candidate, and intercept a finite number")
        self.intercept = float(intercept)
        self._signed = signed

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, *, signed: bool = False) -> Self:
        """Fit the regression by least squares on training prompts.

        Args:
            scores: See `fit_closest`.
            labels: See `fit_closest`.
            signed: See the class.
        """
        *weights, intercept = fit_closest(scores, labels)
        return cls(weights, float(intercept), signed=signed)

    def bind(self, context: PolicyContext) -> "ClosestPolicy":
        """Take the regression of the router, unless there is an own one."""
        if self.weights is not None:
            return self
        if context.closest is None:
            raise ConfigurationError(
                "policy 'closest' needs a router whose training fitted it (knn, mlp, cluster, multilabel, separate) to exactly "
                "these candidates, or ClosestPolicy.fit(scores, labels)"
            )
        return ClosestPolicy(context.closest[:-1], float(context.closest[-1]), signed=self._signed)

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Order by distance from the expected score, the closest first."""
        if self.weights is None:
            raise ConfigurationError(
                "policy 'closest' has no regression: bind it to a router that was trained with one"
            )
        if len(scores) != len(self.weights):
            raise ConfigurationError(f"policy 'closest' was fitted to {len(self.weights)} models, not {len(scores)}")
        difference = scores - (scores @ self.weights + self.intercept)
        return highest_first(difference if self._signed else -np.abs(difference), by_price)


def fit_closest(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return the weights and the intercept of `ClosestPolicy`, fitted by least squares to labelled prompts, shape (m + 1,).

    Args:
        scores: The router's, shape (n, m), in the order of the candidates.
        labels: 1 where the model was right, NaN where it was not run, shape (n, m). Where none was right, 0.5 is expected.
    """
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(labels) > 0.5
    if values.ndim != 2 or values.shape != right.shape or not len(values):
        raise ConfigurationError(
            f"scores and labels must have one shape (n, m) with n of 1 or more, not {values.shape}, {right.shape}"
        )
    first = values[np.arange(len(values)), right.argmax(axis=1)]
    target = np.where(right.any(axis=1), first, 0.5)
    design = np.column_stack([values, np.ones(len(values))])
    return np.asarray(np.linalg.lstsq(design, target, rcond=None)[0])
