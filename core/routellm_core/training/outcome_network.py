"""Feed-forward networks on embeddings, trained with numpy by Adam; missing labels are masked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.training.optimizers import Adam

Single = NDArray[np.float32]
Layer = tuple[Single, Single]
"""Weights of shape (out, in) and a bias of shape (out,)."""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """How a network is trained.

    Attributes:
        hidden: The widths of the hidden layers; none is a linear model.
        learning_rate: Of Adam.
        weight_decay: The L2 penalty of Adam, per step.
        batch: How many prompts a step sees; None sees all.
        epochs: How many passes at most.
        patience: After how many passes without a lower validation loss to stop.
        keep: Which weights to return: of the "best" pass or of the "last".
        seed: Of weights and order.
    """

    hidden: Sequence[int] = (256,)
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    batch: int | None = 256
    epochs: int = 100
    patience: int = 10
    keep: Literal["best", "last"] = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {"epochs": self.epochs, "patience": self.patience, "batch": 1 if self.batch is None else self.batch}
        whole |= {f"hidden[{position}]": width for position, width in enumerate(self.hidden)}
        for name, value in whole.items():
            if value < 1:
                raise ConfigurationError(f"{name} must be 1 or more, not {value!r}")
        if not 0 < self.learning_rate < np.inf or not 0 <= self.weight_decay < np.inf:
            raise ConfigurationError(
                f"learning_rate must be above 0 and weight_decay 0 or more, not {self.learning_rate!r} and {self.weight_decay!r}"
            )


def train_network(
    features: Single,
    labels: ArrayLike,
    settings: NetworkSettings,
    validation: Callable[[Sequence[Layer]], float] | None = None,
) -> tuple[list[Layer], list[float]]:
    """Train a network.

    Args:
        features: Shape (n, d).
        labels: In [0, 1], NaN where unknown; shape (n, m).
        settings: How.
        validation: From layers to the validation loss; None trains for all epochs.

    Returns:
        The layers, and the validation loss after every pass.
    """
    truth = np.asarray(labels, dtype=np.float32)
    known = ~np.isnan(truth)
    truth = np.where(known, truth, np.float32(0))
    rng = np.random.default_rng(settings.seed)
    flat, layers = _initial([features.shape[1], *settings.hidden, truth.shape[1]], rng)
    gradient = np.empty_like(flat)
    views = _views(gradient, layers)
    adam = Adam(flat.size, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
    best, best_loss, since, losses = flat.copy(), np.inf, 0, []
    n = len(features)
    step = n if settings.batch is None else settings.batch
    for _ in range(settings.epochs):
        order = rng.permutation(n)
        for start in range(0, n, step):
            rows = order[start : start + step]
            _backpropagate(features[rows], truth[rows], known[rows], layers, views)
            adam.step(flat, gradient)
        if validation is not None:
            losses.append(validation(layers))
            if losses[-1] < best_loss:
                best[:], best_loss, since = flat, losses[-1], 0
            else:
                since += 1
            if since >= settings.patience:
                break
    if validation is not None and settings.keep == "best":
        flat[:] = best
    return [(weights.copy(), bias.copy()) for weights, bias in layers], losses


def _initial(widths: Sequence[int], rng: np.random.Generator) -> tuple[Single, list[Layer]]:
    flat = np.concatenate(
        [
            np.concatenate([rng.uniform(-1, 1, out * into) * np.sqrt(6 / into) / 2, np.zeros(out)])
            for into, out in pairwise(widths)
        ]
    ).astype(np.float32)
    shapes = [(np.empty((out, into)), np.empty(out)) for into, out in pairwise(widths)]
    return flat, _views(flat, shapes)


def _views(flat: Single, like: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> list[Layer]:
    layers, at = [], 0
    for weights, bias in like:
        middle, end = at + weights.size, at + weights.size + bias.size
        layers.append((flat[at:middle].reshape(weights.shape), flat[middle:end]))
        at = end
    return layers


def _backpropagate(
    x: Single, y: Single, known: NDArray[np.bool_], layers: Sequence[Layer], gradients: Sequence[Layer]
) -> None:
    """Write the gradient of the mean loss of a batch into `gradients`."""
    inputs = [x]
    for weights, bias in layers[:-1]:
        inputs.append(np.maximum(inputs[-1] @ weights.T + bias, 0))
    weights, bias = layers[-1]
    logits = inputs[-1] @ weights.T + bias
    error = np.where(known, 0.5 * (1 + np.tanh(0.5 * logits)) - y, np.float32(0)) / np.float32(max(known.sum(), 1))
    for position in reversed(range(len(layers))):
        to_weights, to_bias = gradients[position]
        to_weights[:] = error.T @ inputs[position]
        to_bias[:] = error.sum(axis=0)
        if position:
            error = (error @ layers[position][0]) * (inputs[position] > 0)
