"""Logistic regression with a ridge penalty on dense and sparse columns, by Newton's method; numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.routers.base import sigmoid
from routellm_core.routers.prompt_ngrams import SparseRows

Array = NDArray[np.float64]

_NEWTON_STEPS = 50
_CONJUGATE_STEPS = 200
_TOLERANCE = 1e-8


@dataclass(frozen=True, eq=False)
class Design:
    """The columns of n rows.

    Attributes:
        dense: Shape (n, f).
        sparse: n rows of further columns; None for none.
    """

    dense: Array
    sparse: SparseRows | None = None

    def __len__(self) -> int:
        return len(self.dense)

    @property
    def width(self) -> int:
        """The number of columns."""
        return int(self.dense.shape[1]) + (0 if self.sparse is None else self.sparse.width)

    def times(self, vector: Array) -> Array:
        """Return the product with a vector, shape (n,)."""
        first, rest = np.split(vector, [self.dense.shape[1]])
        product = self.dense @ first
        return np.asarray(product if self.sparse is None else product + self.sparse.times(rest))

    def transposed_times(self, vector: Array) -> Array:
        """Return the product of the transposed with a vector of shape (n,)."""
        first = self.dense.T @ vector
        return first if self.sparse is None else np.concatenate([first, self.sparse.transposed_times(vector)])

    def rows(self, kept: NDArray[np.bool_]) -> "Design":
        """Return the rows that are kept."""
        return Design(self.dense[kept], None if self.sparse is None else self.sparse.rows(kept))


def fit_logistic(
    design: Design | Array, target: Array, strength: float, weight: Array | None = None
) -> tuple[Array, float]:
    """Fit a logistic regression to targets in [0, 1].

    Each Newton step is solved by conjugate gradients, so no matrix of columns times columns is ever made.

    Args:
        design: The columns; an array of shape (n, f) stands for dense ones.
        target: Shape (n,).
        strength: Inverse regularisation: half the squared norm of the weights is divided by it; the intercept is free.
        weight: Of each row, shape (n,); None weighs all alike.

    Returns:
        The weights, shape (f,), and the intercept.
    """
    x = design if isinstance(design, Design) else Design(np.asarray(design, dtype=np.float64))
    counts = np.ones(len(x)) if weight is None else weight
    theta = np.zeros(x.width)
    mean = np.clip(np.average(target, weights=counts), 1e-4, 1 - 1e-4)
    intercept = float(np.log(mean / (1 - mean)))

    def loss_at(theta: Array, intercept: float) -> float:
        logits = x.times(theta) + intercept
        fit = (counts * (np.logaddexp(0.0, logits) - target * logits)).sum()
        return float(fit + 0.5 * theta @ theta / strength + 0.5e-9 * intercept**2)

    loss = loss_at(theta, intercept)
    first = None
    for _ in range(_NEWTON_STEPS):
        rate = sigmoid(x.times(theta) + intercept)
        slope = x.transposed_times(counts * (rate - target)) + theta / strength
        slope_0 = float((counts * (rate - target)).sum() + 1e-9 * intercept)  # finite where all targets are 1
        size = float(np.sqrt(slope @ slope + slope_0**2))
        first = size if first is None else first
        if size <= _TOLERANCE * max(first, 1e-12):
            break
        curvature = counts * rate * (1.0 - rate)
        step, step_0 = _newton_step(x, curvature, slope, slope_0, strength)
        share = 1.0
        for _ in range(_NEWTON_STEPS):  # a full step from far away can overshoot
            after = loss_at(theta - share * step, intercept - share * step_0)
            if after <= loss + 1e-12 * (1.0 + abs(loss)):
                break
            share /= 2.0
        theta, intercept = theta - share * step, intercept - share * step_0
        if loss - after <= 1e-10 * (1.0 + abs(loss)):
            break
        loss = after
    return theta, intercept


def _newton_step(x: Design, curvature: Array, slope: Array, slope_0: float, strength: float) -> tuple[Array, float]:
    """Solve for the step, the intercept eliminated, by conjugate gradients."""
    total = float(curvature.sum()) + 1e-9
    rest = slope - x.transposed_times(curvature) * (slope_0 / total)
    step, direction = np.zeros_like(rest), rest.copy()
    squared = float(rest @ rest)
    end = 1e-8 * squared
    for _ in range(_CONJUGATE_STEPS):
        if squared <= end:
            break
        moved = x.times(direction)
        moved = moved - float(curvature @ moved) / total
        curved = x.transposed_times(curvature * moved) + direction / strength
        length = squared / float(direction @ curved)
        step += length * direction
        rest -= length * curved
        squared, before = float(rest @ rest), squared
        direction = rest + (squared / before) * direction
    return step, (slope_0 - float(curvature @ x.times(step))) / total
