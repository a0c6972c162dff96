"""Policies that weigh quality against money, or hold every model to a bar of its own."""

from collections.abc import Mapping, Sequence

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


class CostAwarePolicy(AnyNumber):
    """The model with the highest ``score - lambda * price``, where the dearest candidate has price 1.

    The threshold of the call or chain is lambda: how much score the price of the dearest candidate is worth. 0 is `argmax`; at
    1 a dearer model must be better by the whole difference in price.

    Args:
        prices: The price of each candidate on any common scale; None takes those of the plan.
    """

    name = "cost_aware"
    score_kinds = BOTH_KINDS
    uses_threshold = True

    def __init__(self, prices: ArrayLike | None = None) -> None:
        self._prices: NDArray[np.float64] | None = None
        if prices is not None:
            values = np.asarray(prices, dtype=np.float64)
            if values.ndim != 1 or not (np.isfinite(values).all() and (values >= 0).all()):
                raise ConfigurationError(f"prices must be numbers of 0 or more, one a candidate, not {prices!r}")
            self._prices = values / (values.max() or 1.0)

    def bind(self, context: PolicyContext) -> "CostAwarePolicy":
        """Take the prices of the plan, unless there are own ones."""
        if self._prices is not None:
            if len(self._prices) != len(context.candidates):
                raise ConfigurationError(
                    f"policy 'cost_aware' has {len(self._prices)} prices for the {len(context.candidates)} candidates "
                    f"{', '.join(context.candidates)}"
                )
            return self
        if context.prices is None:
            raise ConfigurationError(
                "policy 'cost_aware' needs the price of every candidate: give prices={name: price}"
            )
        return CostAwarePolicy(context.prices)

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order by score less lambda times price, the highest first."""
        weight = require_threshold(threshold, self.name)
        if self._prices is None:
            raise ConfigurationError("policy 'cost_aware' knows no prices: give CostAwarePolicy(prices)")
        return highest_first(scores - weight * self._prices, by_price)


class ModelThresholdsPolicy(AnyNumber):
    """The cheapest model whose score reaches a threshold of its own; if none does, the one that misses it least.

    Args:
        thresholds: For each candidate, or for each model of the router, the score from which on it is taken to be right, in
            [0, 1]; `tune_thresholds` finds them on validation prompts. None takes those that the router found in training.
    """

    name = "model_thresholds"
    score_kinds = BOTH_KINDS
    uses_threshold = False

    def __init__(self, thresholds: Mapping[str, float] | None = None) -> None:
        if thresholds is not None:
            wrong = {name: value for name, value in thresholds.items() if not 0.0 <= value <= 1.0}
            if wrong or not thresholds:
                raise ConfigurationError(
                    f"thresholds must be one number in [0, 1] a model, not {wrong or thresholds!r}"
                )
        self._thresholds = None if thresholds is None else dict(thresholds)
        self._limits: NDArray[np.float64] | None = None

    def bind(self, context: PolicyContext) -> "ModelThresholdsPolicy":
        """Find the threshold of every candidate."""
        known = context.model_thresholds if self._thresholds is None else self._thresholds
        if not known:
            raise ConfigurationError(
                "policy 'model_thresholds' needs a router whose training tuned them (knn, mlp, cluster, multilabel, separate), "
                "or ModelThresholdsPolicy({model: threshold})"
            )
        pairs = list(zip(context.candidates, context.models, strict=True))
        missing = [name for name, model in pairs if name not in known and model not in known]
        if missing:
            raise ConfigurationError(
                f"policy 'model_thresholds' has no threshold for {', '.join(map(repr, missing))}; it has some for "
                f"{', '.join(known)}"
            )
        bound = ModelThresholdsPolicy(known)
        bound._limits = np.array([known[name] if name in known else known[model] for name, model in pairs])
        return bound

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:  # noqa: ARG002
        """Put those that reach their thresholds first, cheapest first; then the rest, the least shortfall first."""
        if self._limits is None:
            raise ConfigurationError("policy 'model_thresholds' does not know the candidates: bind it to them first")
        margins = scores - self._limits
        good = [column for column in by_price if margins[column] >= 0]
        return *good, *highest_first(margins, [column for column in by_price if margins[column] < 0])


class GatedArgmaxPolicy(AnyNumber):
    """The model with the highest score if that reaches the threshold, else a default model.

    Args:
        default: Who takes the calls that no model is expected to get right; None is the dearest candidate.
    """

    name = "argmax_gated"
    score_kinds = BOTH_KINDS
    uses_threshold = True

    def __init__(self, default: str | None = None) -> None:
        self._default = default
        self._column: int | None = None

    def bind(self, context: PolicyContext) -> "GatedArgmaxPolicy":
        """Find the default among the candidates."""
        bound = GatedArgmaxPolicy(self._default)
        if self._default is not None:
            if self._default not in context.candidates:
                raise ConfigurationError(
                    f"default={self._default!r} of policy 'argmax_gated' is no candidate; there are: "
                    f"{', '.join(context.candidates)}"
                )
            bound._column = context.candidates.index(self._default)
        return bound

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        """Order by score, the highest first; with the default in front where nobody reaches the threshold."""
        gate = require_threshold(threshold, self.name)
        order = highest_first(scores, by_price)
        if scores[order[0]] >= gate:
            return order
        if self._default is not None and self._column is None:
            raise ConfigurationError("policy 'argmax_gated' does not know the candidates: bind it to them first")
        return first_of(by_price[-1] if self._column is None else self._column, order)


def tune_thresholds(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return for every model the threshold at which "right from here on" has the highest F1 on validation prompts.

    Args:
        scores: The router's, shape (n, m), in [0, 1].
        labels: 1 where the model was right, 0 where not, NaN where it was not run; shape (n, m).

    Returns:
        Shape (m,): the midpoint below the lowest score that still counts as right; 0.5 for a model that was never, or
        always, right, for which no threshold tells anything apart.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if values.ndim != 2 or values.shape != truth.shape:
        raise ConfigurationError(
            f"scores and labels must have one and the same shape (n, m), not {values.shape}, {truth.shape}"
        )
    return np.array([_best_f1(values[:, column], truth[:, column]) for column in range(values.shape[1])])


def _best_f1(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    known = ~np.isnan(labels)
    scores, right = scores[known], labels[known] > 0.5
    if not right.any() or right.all():
        return 0.5
    distinct, group = np.unique(-scores, return_inverse=True)  # the highest score first; equal ones go together
    counted = np.cumsum(np.bincount(group, minlength=len(distinct)))
    hits = np.cumsum(np.bincount(group, weights=right, minlength=len(distinct)))
    best = int(np.argmax(2 * hits / (counted + right.sum())))
    above, below = -distinct[best], -distinct[best + 1] if best + 1 < len(distinct) else 0.0
    return float(np.clip((above + below) / 2, 0.0, 1.0))
