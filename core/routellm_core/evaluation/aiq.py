"""AIQ of RouterBench (arXiv 2403.12031): the mean quality under the non-decreasing hull of cost and quality."""

import math

import numpy as np
from numpy.typing import ArrayLike

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.curve import Array


def quality_hull(cost: ArrayLike, quality: ArrayLike) -> tuple[Array, Array]:
    """Return the non-decreasing concave hull of points: what mixing the points reaches at each cost.

    Between two points a share of the calls takes the one and the rest the other; to the right of the best point nothing more
    is gained.

    Args:
        cost: Mean cost per call of each operating point, shape (k,), in any unit.
        quality: Mean quality, shape (k,).

    Returns:
        Costs and qualities of the corners, both rising.

    Raises:
        ConfigurationError: If the shapes differ, there is no point, or a number is not finite.
    """
    x, y = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    if x.ndim != 1 or not x.size or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigurationError(
            f"cost and quality must be finite and of one length of at least 1, not of shapes {x.shape} and {y.shape}"
        )
    corners: list[tuple[float, float]] = []
    for c, q in sorted(zip(x.tolist(), y.tolist(), strict=True), key=lambda point: (point[0], -point[1])):
        if corners and q <= corners[-1][1]:
            continue  # dearer and no better
        while len(corners) > 1 and _is_under(corners[-2], corners[-1], (c, q)):
            corners.pop()
        corners.append((c, q))
    hull = np.array(corners)
    return hull[:, 0], hull[:, 1]


def average_improvement_in_quality(
    cost: ArrayLike, quality: ArrayLike, *, lowest_cost: float | None = None, highest_cost: float | None = None
) -> float:
    """Return AIQ: the mean height of the hull over a range of costs, in units of quality.

    For a pair with a fixed price a call, the unit of cost does not matter: the share of strong calls gives the same AIQ.
    Routers are comparable over the same range alone; RouterBench takes that of the models' costs.

    Args:
        cost: Mean cost per call of each operating point, shape (k,).
        quality: Mean quality, shape (k,).
        lowest_cost: Where the range begins; None takes the cheapest point's. No operating point may be dearer than it
            if it is to count from there on: below the cheapest point nothing can be bought.
        highest_cost: Where the range ends; None takes the dearest point's. The hull goes on flat to its right.

    Returns:
        NaN if the range is empty.

    Raises:
        ConfigurationError: If the range begins below the cheapest point.
    """
    x, y = quality_hull(cost, quality)
    low = float(x[0]) if lowest_cost is None else lowest_cost
    high = float(np.max(np.asarray(cost))) if highest_cost is None else highest_cost
    if low < x[0] - 1e-12 * max(1.0, abs(x[0])):
        raise ConfigurationError(f"lowest_cost={low!r} is below the cheapest operating point, {float(x[0])!r}")
    if not high > low:
        return math.nan
    at = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    return float(np.trapezoid(np.interp(at, x, y), at) / (high - low))


def _is_under(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Say whether the middle point is on or under the line from left to right."""
    return (middle[1] - left[1]) * (right[0] - left[0]) <= (right[1] - left[1]) * (middle[0] - left[0])
