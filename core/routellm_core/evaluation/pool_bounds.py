"""What a router among several models is compared with, and what its choices come to. Pure functions of arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError

Array = NDArray[np.float64]
Choices = NDArray[np.intp]
"""The column that each prompt goes to, shape (n,)."""


def oracle_choices(scores: ArrayLike, by_price: Sequence[int] | None = None) -> Choices:
    """Return the best model of each prompt in hindsight, of equally good ones the cheapest.

    Args:
        scores: Shape (n, m).
        by_price: The m columns, cheapest first; None takes their order.
    """
    values = _complete(scores)
    order = np.arange(values.shape[1]) if by_price is None else np.asarray(by_price)
    return np.asarray(order[values[:, order].argmax(axis=1)], dtype=np.intp)


def best_single_column(training_scores: ArrayLike) -> int:
    """Return the model with the highest mean on training prompts, where missing scores are left out."""
    values = np.asarray(training_scores, dtype=np.float64)
    known = ~np.isnan(values)
    means = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return int(np.where(known.any(axis=0), means, -np.inf).argmax())


def per_instance_choices(predicted: ArrayLike, training_means: ArrayLike, weight: float = 0.01) -> Choices:
    """Return the argmax of each prompt's predictions, with ties broken by how good a model is on average.

    The "MoE" baseline of Shnitzer et al. (arXiv 2309.15789).

    Args:
        predicted: Shape (n, m).
        training_means: The mean training score of each model, shape (m,).
        weight: How much that counts.
    """
    return np.asarray((np.asarray(predicted) + weight * np.asarray(training_means)).argmax(axis=1), dtype=np.intp)


def random_quality(scores: ArrayLike) -> float:
    """Return what choosing at random reaches: the mean of the models' means."""
    return float(_complete(scores).mean())


def classifier_bound(predicted: ArrayLike, scores: ArrayLike, thresholds: ArrayLike = 0.5) -> float:
    """Return what the best policy could reach that sends prompts only to models predicted to be right.

    The mean of `reachable_scores`, which see.
    """
    return float(reachable_scores(predicted, scores, thresholds).mean())


def reachable_scores(predicted: ArrayLike, scores: ArrayLike, thresholds: ArrayLike = 0.5) -> Array:
    """Return the best score of each prompt among the models that are predicted to get it right, shape (n,).

    The classifier upper bound of Srivatsa et al. (arXiv 2405.00467); a prompt that no model is predicted to get right counts 0.

    Args:
        predicted: Shape (n, m).
        scores: Shape (n, m), 0 or more.
        thresholds: Above which a model is predicted to be right; one number, or one per model.
    """
    values = _complete(scores)
    allowed = np.asarray(predicted, dtype=np.float64) > np.asarray(thresholds)
    if allowed.shape != values.shape:
        raise ConfigurationError(
            f"predicted and scores have shapes {allowed.shape} and {values.shape}, not one and the same"
        )
    return np.asarray(np.where(allowed, values, 0.0).max(axis=1))


def majority_quality(scores: ArrayLike) -> float:
    """Return the share of prompts that all models get right by majority; see `majority_right`."""
    return float(majority_right(scores).mean())


def majority_right(scores: ArrayLike) -> Array:
    """Return 1 for each prompt on which more than half of the models are right (above 0.5), else 0; shape (n,).

    A lower bound of the vote of all models: wrong answers may differ from each other. Where answers are at hand,
    `routellm_core.training.outcome_data.majority_label` counts their votes.
    """
    values = _complete(scores)
    return np.asarray((values > 0.5).sum(axis=1) > values.shape[1] / 2, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Use:
    """What a router's choices come to.

    Attributes:
        quality: The mean score.
        calls: Model -> its share of the prompts.
        price: The mean price of a call, in the unit of the prices; None if they are not known.
        parameters: The mean number of parameters of the model called, in their unit; None if they are not known.
        seconds: The mean latency over all prompts, right and wrong; None if it is not known.
    """

    quality: float
    calls: Mapping[str, float]
    price: float | None = None
    parameters: float | None = None
    seconds: float | None = None


def use_of(
    choices: ArrayLike,
    scores: ArrayLike,
    models: Sequence[str],
    *,
    prices: Mapping[str, float] | None = None,
    parameters: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> Use:
    """Add up choices.

    Args:
        choices: The column that each prompt goes to, shape (n,).
        scores: Shape (n, m).
        models: The m models.
        prices: Model -> the price of a call; None if not known.
        parameters: Model -> how many it has; None if not known.
        seconds: Model -> how long an answer takes; None if not known.

    Raises:
        ConfigurationError: If shapes do not fit, a score that counts is missing, or a model is missing in a mapping.
    """
    values, columns = np.asarray(scores, dtype=np.float64), np.asarray(choices, dtype=np.intp)
    if values.ndim != 2 or columns.shape != (len(values),) or values.shape[1] != len(models) or not len(values):
        raise ConfigurationError(
            f"choices and scores of {len(models)} models have shapes (n,) and (n, {len(models)}) with n of 1 or more, not "
            f"{columns.shape} and {values.shape}"
        )
    reached = values[np.arange(len(values)), columns]
    if np.isnan(reached).any():
        raise ConfigurationError("a prompt went to a model that was not run on it: take table.complete()")
    shares = np.bincount(columns, minlength=len(models)) / len(columns)

    def mean(facts: Mapping[str, float] | None, what: str) -> float | None:
        if facts is None:
            return None
        missing = [model for model in models if model not in facts]
        if missing:
            raise ConfigurationError(f"{what} has no number for {', '.join(map(repr, missing))}")
        return float(sum(share * facts[model] for share, model in zip(shares.tolist(), models, strict=True)))

    return Use(
        quality=float(reached.mean()),
        calls=dict(zip(models, shares.tolist(), strict=True)),
        price=mean(prices, "prices"),
        parameters=mean(parameters, "parameters"),
        seconds=mean(seconds, "seconds"),
    )


def fastest_right_seconds(scores: ArrayLike, seconds: ArrayLike) -> float:
    """Return the mean latency over all prompts of an oracle that calls the fastest right model, or the fastest if none is.

    Args:
        scores: Shape (n, m), right above 0.5.
        seconds: How long each model takes, shape (m,).
    """
    values, times = _complete(scores), np.asarray(seconds, dtype=np.float64)
    right = np.where(values > 0.5, times, np.inf).min(axis=1)
    return float(np.where(np.isfinite(right), right, times.min()).mean())


def _complete(scores: ArrayLike) -> Array:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or not values.size or np.isnan(values).any():
        raise ConfigurationError(
            f"scores must have the shape (n, m), with n and m of 1 or more and none missing (table.complete()), not "
            f"{values.shape}"
        )
    return values
