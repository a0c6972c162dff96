"""How much a perturbation moves: accuracies, recalls of options, rankings and decisions. Pure functions of arrays."""

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError


def accuracy(gold: Sequence[Hashable], predicted: Sequence[Hashable | None]) -> float:
    """Return the share of right answers; an answer that is None is wrong.

    Raises:
        ConfigurationError: If lengths differ, or there is no answer.
    """
    _check_lengths(gold, predicted)
    return float(np.mean([g == p for g, p in zip(gold, predicted, strict=True)]))


def delta_accuracy(baseline: float, perturbed: float) -> float:
    """Return by how many points accuracy changes: 100 (perturbed - baseline).

    Args:
        baseline: The accuracy without the perturbation, in [0, 1].
        perturbed: With it.
    """
    return 100.0 * (perturbed - baseline)


def recalls(
    gold: Sequence[Hashable], predicted: Sequence[Hashable | None], options: Sequence[Hashable]
) -> NDArray[np.float64]:
    """Return, for every option, the share of the items whose right answer it is that are answered right.

    Args:
        gold: The right options of n items.
        predicted: The options that were chosen; None for an answer that cannot be read.
        options: k options.

    Returns:
        Shape (k,); NaN for an option that is never right.
    """
    _check_lengths(gold, predicted)
    hits = [[p == g for g, p in zip(gold, predicted, strict=True) if g == option] for option in options]
    return np.array([np.mean(found) if found else math.nan for found in hits])


def recall_std(
    gold: Sequence[Hashable],
    predicted: Sequence[Hashable | None],
    options: Sequence[Hashable] | None = None,
) -> float:
    """Return RStd, the population standard deviation of the options' recalls in percent: 0 for a model without a bias.

    Args:
        gold: The right options (positions or symbols) of n items.
        predicted: The options that were chosen; None for an answer that cannot be read.
        options: All options; None takes those that occur.

    Returns:
        NaN if an option is never right, or there is but one, as where all right answers stand at one position: there is no
        recall to compare.
    """
    if options is None:
        options = list(dict.fromkeys([*gold, *(p for p in predicted if p is not None)]))
    if len(options) < 2:
        return math.nan
    return float(np.std(100.0 * recalls(gold, predicted, options)))


def kendall_tau(a: ArrayLike, b: ArrayLike, *, variant: Literal["a", "b"] = "a") -> float:
    """Return Kendall's rank correlation of two lists of scores.

    Args:
        a: Scores, shape (n,).
        b: Other scores of the same things, shape (n,).
        variant: "a" is plain tau, (concordant - discordant) / (n (n - 1) / 2), by which the paper's figures are made; "b"
            corrects for ties.

    Returns:
        In [-1, 1]. NaN for fewer than two things, and for "b" where all of a list are tied.

    Raises:
        ConfigurationError: If shapes differ, a score is NaN, or the variant is unknown.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ConfigurationError(f"two lists of the same length are needed, not the shapes {x.shape} and {y.shape}")
    if np.isnan(x).any() or np.isnan(y).any():
        raise ConfigurationError("a score is NaN: leave out what has none")
    if variant not in ("a", "b"):
        raise ConfigurationError(f"variant must be 'a' or 'b', not {variant!r}")
    n = len(x)
    balance = tied_x = tied_y = 0
    for i in range(n - 1):  # rows of the matrix of pairs: it need not fit into memory
        dx, dy = np.sign(x[i + 1 :] - x[i]), np.sign(y[i + 1 :] - y[i])
        balance += int(dx @ dy)
        tied_x += int((dx == 0).sum())
        tied_y += int((dy == 0).sum())
    pairs = n * (n - 1) // 2
    possible = float(pairs) if variant == "a" else math.sqrt((pairs - tied_x) * (pairs - tied_y))
    return balance / possible if possible else math.nan


def ranks(scores: ArrayLike) -> NDArray[np.int64]:
    """Return places, the highest score first, from 1; equal scores share the best of their places."""
    values = np.asarray(scores, np.float64)
    return np.asarray(1 + (values[None, :] > values[:, None]).sum(axis=1), np.int64)


def rank_displacement(a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
    """Return by how many places each thing moves from one list of scores to the other; the paper gives the largest.

    Returns:
        Shape (n,); above 0 is a fall.
    """
    return ranks(b) - ranks(a)


def flip_rate(baseline: ArrayLike, perturbed: ArrayLike, threshold: float) -> float:
    """Return the share of decisions that change.

    Args:
        baseline: Strong win rates of n prompts.
        perturbed: Of the same prompts, perturbed.
        threshold: The strong model is chosen at or above it, in both.
    """
    return float(np.mean(flips(baseline, perturbed, threshold)))


def flips(baseline: ArrayLike, perturbed: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Return which decisions change, shape (n,); see `flip_rate`."""
    before, after = np.asarray(baseline, np.float64), np.asarray(perturbed, np.float64)
    if before.ndim != 1 or before.shape != after.shape or not before.size:
        raise ConfigurationError(
            f"win rates of the same prompts are needed, not shapes {before.shape} and {after.shape}"
        )
    return np.asarray((before >= threshold) != (after >= threshold))


def _check_lengths(gold: Sequence[Hashable], predicted: Sequence[Hashable | None]) -> None:
    if len(gold) != len(predicted) or not gold:
        raise ConfigurationError(f"there must be one answer an item, not {len(predicted)} answers of {len(gold)} items")
