"""From battles to ratings and tiers: Bradley-Terry with ties, the Elo scale, one-dimensional clustering.

Strengths are on the natural-log scale: the win rate of one player over another is the logistic function of the difference of
their strengths. Only differences mean something, so the strengths of a fit have mean 0.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError

RIDGE = 1e-9
"""Small enough to leave win rates alone (about 1e-8), large enough to keep a player that never lost finite."""

_MAX_ITERATIONS = 200
_STEP_TOLERANCE = 1e-11
_LARGEST_STEP = 4.0
_SAFE_STEP = 0.25


def pair_statistics(
    model_a: ArrayLike,
    model_b: ArrayLike,
    outcome: ArrayLike,
    n_models: int,
    weights: ArrayLike | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count battles and wins between every two models, which is all that a Bradley-Terry fit needs to know.

    Args:
        model_a: Index of the first model of each battle, shape (n,), in [0, n_models).
        model_b: Index of the second one, shape (n,). A battle of a model with itself says nothing and is left out.
        outcome: What the first one got, shape (n,), in [0, 1]: 1 for a win, 0 for a loss, 0.5 for a tie.
        n_models: k, the number of models.
        weights: What a battle counts, 0 or more: shape (n,), or (B, n) for B weightings at once; None counts each once.

    Returns:
        `(counts, wins)`, each of shape (k, k), or (B, k, k) for B weightings. `wins[i, j]` is what i won against j, ties
        half; `counts = wins + wins.T`.

    Raises:
        ConfigurationError: If shapes do not fit, or an index, an outcome or a weight is out of range.
    """
    a, b, y = _checked_battles(model_a, model_b, outcome, n_models)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.ndim not in (1, 2) or w.shape[-1] != len(y):
        raise ConfigurationError(
            f"weights have shape {w.shape}; with {len(y)} battles they are ({len(y)},) or (B, {len(y)})"
        )
    if not (np.isfinite(w).all() and (w >= 0).all()):
        raise ConfigurationError("weights must be finite and 0 or more")
    different = a != b
    a, b, y, w = a[different], b[different], y[different], w[..., different]
    forth, back, size = a * n_models + b, b * n_models + a, n_models * n_models
    rows = [
        np.bincount(forth, row * y, minlength=size) + np.bincount(back, row * (1.0 - y), minlength=size)
        for row in np.atleast_2d(w)
    ]
    wins = np.reshape(rows, (*w.shape[:-1], n_models, n_models))
    return wins + np.swapaxes(wins, -1, -2), wins


def _checked_battles(
    model_a: ArrayLike, model_b: ArrayLike, outcome: ArrayLike, n_models: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    a, b, y = np.asarray(model_a), np.asarray(model_b), np.asarray(outcome, dtype=np.float64)
    if not a.shape == b.shape == y.shape or y.ndim != 1:
        raise ConfigurationError(
            f"model_a, model_b and outcome have one entry per battle, not shapes {a.shape}, {b.shape} and {y.shape}"
        )
    for name, index in (("model_a", a), ("model_b", b)):
        if index.size and not np.issubdtype(index.dtype, np.integer):
            raise ConfigurationError(f"{name} must hold whole numbers, not {index.dtype}")
        if index.size and not (index.min() >= 0 and index.max() < n_models):
            raise ConfigurationError(f"{name} goes from {index.min()} to {index.max()}, outside of [0, {n_models})")
    wrong = y[~((y >= 0) & (y <= 1))]
    if wrong.size:
        raise ConfigurationError(f"outcome {wrong[0]!r} is not in [0, 1]: 1 is a win of model_a, 0 a loss, 0.5 a tie")
    return a.astype(np.intp), b.astype(np.intp), y


def bradley_terry(wins: ArrayLike, *, ridge: float = RIDGE) -> NDArray[np.float64]:
    """Fit Bradley-Terry strengths by Newton's method, in float64.

    The fit does not depend on the scale of the wins. The ridge decides what the battles leave open: a player that never lost,
    or never won, gets a finite strength; groups that never met are each centred at 0; a player without battles gets 0.

    Args:
        wins: What each player won against each other one, shape (k, k), or (B, k, k) for B fits at once; 0 or more. The
            diagonal is not read.
        ridge: Penalty on the squared strengths, relative to the mean number of battles per player; more than 0.

    Returns:
        Strengths with mean 0, shape (k,) or (B, k).

    Raises:
        ConfigurationError: If `wins` is not square, negative or not finite, or `ridge` is not above 0.
    """
    given = np.array(wins, dtype=np.float64)
    if given.ndim not in (2, 3) or given.shape[-1] != given.shape[-2] or given.shape[-1] == 0:
        raise ConfigurationError(f"wins have shape {given.shape}; expected (k, k) or (B, k, k) with k of 1 or more")
    if not (np.isfinite(given).all() and (given >= 0).all()):
        raise ConfigurationError("wins must be finite and 0 or more")
    if not (np.isfinite(ridge) and ridge > 0):
        raise ConfigurationError(f"ridge={ridge!r} must be above 0, such as {RIDGE}")
    k = given.shape[-1]
    stack = given.reshape(-1, k, k)
    stack[:, range(k), range(k)] = 0.0
    total = stack.sum(axis=(1, 2), keepdims=True)
    stack *= k / np.where(total > 0, total, 1.0)
    return _newton(stack, ridge).reshape(given.shape[:-1])


def _newton(wins: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Maximise the penalised likelihood of each of B win matrices, shape (B, k, k); a fit that is done is left alone."""
    n_fits, k, _ = wins.shape
    strengths = np.zeros((n_fits, k))
    counts = wins + np.swapaxes(wins, 1, 2)
    # Differences of strengths do not see the direction of equal shifts; a constant there keeps the system regular.
    regular = ridge * np.eye(k) + 1.0 / k
    active = np.arange(n_fits)
    for _ in range(_MAX_ITERATIONS):
        if not active.size:
            break
        theta, n = strengths[active], counts[active]
        expected = win_probability(theta[:, :, None], theta[:, None, :])
        gradient = (wins[active] - n * expected).sum(axis=2) - ridge * theta
        information = n * expected * (1.0 - expected)
        hessian = regular - information
        hessian[:, range(k), range(k)] += information.sum(axis=2)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        largest = np.abs(step).max(axis=1)
        # A step from far away can overshoot. A small one cannot: it changes no curvature by more than a factor of e^0.5.
        step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(largest, 1e-300))[:, None]
        far = np.flatnonzero(largest > _SAFE_STEP)
        moved = theta + step
        moved[far] = _descended(theta[far], step[far], wins[active[far]], ridge)
        strengths[active] = moved
        active = active[largest > _STEP_TOLERANCE * (1.0 + np.abs(theta).max(axis=1))]
    return np.asarray(strengths - strengths.mean(axis=1, keepdims=True))


def _descended(
    theta: NDArray[np.float64], step: NDArray[np.float64], wins: NDArray[np.float64], ridge: float
) -> NDArray[np.float64]:
    """Take the step, halved until the penalised loss does not rise."""
    before = _loss(theta, wins, ridge)
    allowed = before + 1e-12 * (1.0 + np.abs(before))
    moved = theta + step
    for _ in range(30):
        rose = _loss(moved, wins, ridge) > allowed
        if not rose.any():
            break
        step = np.where(rose[:, None], 0.5 * step, step)
        moved = np.where(rose[:, None], theta + step, moved)
    return moved


def _loss(theta: NDArray[np.float64], wins: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    losses = wins * np.logaddexp(0.0, theta[:, None, :] - theta[:, :, None])
    return np.asarray(losses.sum(axis=(1, 2)) + 0.5 * ridge * (theta**2).sum(axis=1))


def win_probability(strength_a: ArrayLike, strength_b: ArrayLike) -> NDArray[np.float64]:
    """Return how likely a beats b, a tie counted half; any shapes that broadcast."""
    difference = np.subtract(strength_a, strength_b, dtype=np.float64)
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * difference)))


def elo_ratings(
    strengths: ArrayLike, *, initial: float = 1000.0, anchor: tuple[int, float] | None = None
) -> NDArray[np.float64]:
    """Put strengths on the Elo scale, where 400 points are odds of 10 to 1.

    Args:
        strengths: Natural-log scale, any shape; the last axis is the players'.
        initial: The rating of strength 0.
        anchor: `(index, rating)` of a player whose rating is fixed, by a shift of all; None shifts nothing.

    Returns:
        The same shape.
    """
    ratings: NDArray[np.float64] = np.asarray(strengths, dtype=np.float64) * (400.0 / np.log(10.0)) + initial
    if anchor is not None:
        index, rating = anchor
        ratings += rating - ratings[..., index, None]
    return ratings


def assign_tiers(ratings: ArrayLike, n_tiers: int, *, weighted: bool = False) -> NDArray[np.int64]:
    """Cut ratings into tiers of consecutive ones that vary as little as possible within, by dynamic programming.

    Of equally good cuts the one with the smaller upper tiers is taken. Every tier has a member.

    Args:
        ratings: One per player, shape (k,); higher is better.
        n_tiers: How many tiers, in [1, k].
        weighted: False sums the population variances of the tiers, as RouteLLM does; True weighs each with the size of its
            tier, which is the squared error (Fisher, Jenks).

    Returns:
        The tier of each player, shape (k,); 0 is the best.

    Raises:
        ConfigurationError: If there are fewer players than tiers, their number is not whole, or a rating is not finite.
    """
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ConfigurationError(f"ratings must be finite, one per player, not of shape {values.shape}")
    k = len(values)
    if isinstance(n_tiers, bool) or not isinstance(n_tiers, int | np.integer):
        raise ConfigurationError(f"num_tiers={n_tiers!r} must be a whole number")
    if not 1 <= n_tiers <= k:
        raise ConfigurationError(f"{k} rated models cannot fill {n_tiers} tiers: num_tiers must be in [1, {k}]")
    order = np.argsort(-values, kind="stable")
    costs = _segment_costs(values[order], weighted=weighted)
    best, cuts = costs[0], []
    for _ in range(n_tiers - 1):
        # through[l, j]: the best cut of 0..l into the tiers so far, and l + 1..j as one more
        through = np.full((k, k), np.inf)
        through[:-1] = best[:-1, None] + costs[1:]
        cuts.append(through.argmin(axis=0))
        best = through.min(axis=0)
    tiers = np.empty(k, dtype=np.int64)
    end = k
    for tier in range(n_tiers - 1, 0, -1):
        start = int(cuts[tier - 1][end - 1]) + 1
        tiers[order[start:end]] = tier
        end = start
    tiers[order[:end]] = 0
    return tiers


def _segment_costs(values: NDArray[np.float64], *, weighted: bool) -> NDArray[np.float64]:
    """Return the cost of the segment i..j of sorted values, shape (k, k); infinite for j < i."""
    k = len(values)
    costs = np.full((k, k), np.inf)
    for i in range(k):
        from_first: NDArray[Any] = values[i:] - values[i]  # equal ratings then cost exactly 0
        sizes = np.arange(1, k - i + 1)
        variance = np.cumsum(from_first**2) / sizes - (np.cumsum(from_first) / sizes) ** 2
        costs[i, i:] = np.maximum(variance, 0.0) * (sizes if weighted else 1)
    return costs
