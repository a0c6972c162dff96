"""Adam on one flat float32 vector, with numpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_BLOCK = 32768


class Adam:
    """Adam with bias correction and L2 penalty (Kingma and Ba 2015; `torch.optim.Adam` computes the same).

    Args:
        size: n, how many parameters there are.
        learning_rate: Above 0.
        weight_decay: The L2 penalty, added to the gradient; 0 for none.
        betas: The decay of the two running means.
        epsilon: Keeps the division finite.
    """

    def __init__(
        self,
        size: int,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self._learning_rate = learning_rate
        self._weight_decay = np.float32(weight_decay)
        self._betas = betas
        self._epsilon = epsilon
        self._mean: Vector = np.zeros(size, np.float32)
        self._square: Vector = np.zeros(size, np.float32)
        self._scratch: Vector = np.empty(min(size, _BLOCK), np.float32)
        self._steps = 0

    def step(self, parameters: Vector, gradient: Vector) -> None:
        """Move the parameters in place; the gradient is used up.

        Args:
            parameters: Shape (n,).
            gradient: Shape (n,).
        """
        self._steps += 1
        first, second = self._betas
        # Both running means are kept without the factor 1 - beta; it and the bias corrections are in rate and epsilon.
        root = float(np.sqrt((1.0 - second**self._steps) / (1.0 - second)))
        rate = np.float32(self._learning_rate * root * (1.0 - first) / (1.0 - first**self._steps))
        epsilon = np.float32(self._epsilon * root)
        for start in range(0, len(parameters), _BLOCK):  # a block and its four companions stay in the cache
            block = slice(start, start + _BLOCK)
            self._step_block(parameters[block], gradient[block], self._mean[block], self._square[block], rate, epsilon)

    def _step_block(
        self, parameters: Vector, gradient: Vector, mean: Vector, square: Vector, rate: np.float32, epsilon: np.float32
    ) -> None:
        first, second = self._betas
        scratch = self._scratch[: len(parameters)]
        if self._weight_decay:
            np.multiply(parameters, self._weight_decay, out=scratch)
            gradient += scratch
        mean *= np.float32(first)
        mean += gradient
        square *= np.float32(second)
        np.multiply(gradient, gradient, out=gradient)
        square += gradient
        np.sqrt(square, out=scratch)
        scratch += epsilon
        np.divide(mean, scratch, out=scratch)
        scratch *= rate
        parameters -= scratch

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a resumed run needs."""
        return {"mean": self._mean, "square": self._square, "steps": np.array([self._steps])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state` returned."""
        self._mean[:] = state["mean"]
        self._square[:] = state["square"]
        self._steps = int(state["steps"][0])
