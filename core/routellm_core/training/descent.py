"""Gradient descent on the factors of matrix factorisation: epochs, early stopping, a state to resume from."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.progress import progress_bar
from routellm_core.training.factors import Factors, Floats, Indices
from routellm_core.training.measures import log_loss, model_columns
from routellm_core.training.optimizers import Adam, Vector
from routellm_core.training.report import LossPoint
from routellm_core.training.resume import TrainingState

_NOISE_TABLE = 1 << 20


class DescentConfig(Protocol):
    """The settings that a descent reads; see `MatrixFactorizationConfig`."""

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def noise(self) -> float: ...  # noqa: D102
    @property
    def patience(self) -> int | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class EmbeddedBattles:
    """Battles as columns of numbers, n of them.

    Attributes:
        vectors: The embeddings of the prompts, shape (u, text_dim).
        rows: Which prompt, shape (n,).
        a: Which model, shape (n,).
        b: Which other model, shape (n,).
        outcome: Shape (n,); 1 where a wins, 0 where b wins, 0.5 for a tie.
        weight: Shape (n,); None weighs all alike.
    """

    vectors: Floats
    rows: Indices
    a: Indices
    b: Indices
    outcome: Floats
    weight: Floats | None

    @classmethod
    def of(cls, dataset: PreferenceDataset, models: Sequence[str], vectors: Floats, row_of: Mapping[str, int]) -> Self:
        """Look up models and prompts.

        Args:
            dataset: n battles.
            models: Every model there is.
            vectors: Embeddings, of which each prompt has a row.
            row_of: Prompt to row.
        """
        a, b = model_columns(dataset, models)
        row = np.array([row_of[prompt] for prompt in dataset.prompts], np.intp)
        weight = None if dataset.weight is None else dataset.weight.astype(np.float32)
        return cls(vectors, row[dataset.prompt_index], a, b, dataset.outcome.astype(np.float32), weight)

    def select(self, chosen: NDArray[Any]) -> Self:
        """Return some battles, by indices or a mask, in that order."""
        weight = None if self.weight is None else self.weight[chosen]
        return type(self)(self.vectors, self.rows[chosen], self.a[chosen], self.b[chosen], self.outcome[chosen], weight)

    def __len__(self) -> int:
        return len(self.rows)


class Descent:
    """Trains factors until the validation loss does not fall any more, and puts them back to where it was lowest.

    Whatever an epoch draws comes from the seed and its number, so that an epoch done again is the same epoch.

    Args:
        factors: Where to start; they are changed.
        training: The battles to learn from.
        validation: The battles to measure on.
        config: The settings.

    Attributes:
        factors: Those given.
        history: The losses before the first epoch and after each.
        best_step: How many updates had been done where the validation loss was lowest.
        seconds: How long it took, all parts of a resumed run together.
    """

    def __init__(
        self, factors: Factors, training: EmbeddedBattles, validation: EmbeddedBattles, config: DescentConfig
    ) -> None:
        self.factors = factors
        self._training = training
        self._validation = validation
        self._config = config
        self._adam = Adam(factors.values.size, learning_rate=config.learning_rate, weight_decay=config.weight_decay)
        self._best: Vector = factors.values.copy()
        self._noise = _noise_table(config, training)
        self.seconds = 0.0
        self.history = [LossPoint(step=0, epoch=0, training=None, validation=self._validation_loss())]

    @property
    def best_step(self) -> int:
        """The number of updates at the lowest validation loss; the first of equal ones."""
        return min(self.history, key=lambda point: point.validation).step

    def run(self, state: TrainingState | None, *, begun: float) -> None:
        """Train.

        Args:
            state: Where the run is kept; None keeps it nowhere.
            begun: When the run, or this part of it, began, by `time.perf_counter`.
        """
        stored = None if state is None else state.load()
        if stored is not None:
            self._restore(*stored)
        before = self.seconds
        epochs = self._config.epochs
        with progress_bar("Training mf", epochs, done=len(self.history) - 1) as advance:
            for epoch in range(len(self.history) - 1, epochs):
                if self._is_over():
                    break
                loss = self._epoch(epoch)
                steps = self.history[-1].step + -(-len(self._training) // self._config.batch_size)
                point = LossPoint(step=steps, epoch=epoch + 1, training=loss, validation=self._validation_loss())
                self.history.append(point)
                if self.best_step == steps:
                    self._best[:] = self.factors.values
                self.seconds = before + time.perf_counter() - begun
                advance(epoch + 1, remark=f"validation loss {point.validation:.4f}")
                if state is not None:
                    state.save(*self._state())
        self.seconds = before + time.perf_counter() - begun
        self.factors.values[:] = self._best

    def _is_over(self) -> bool:
        patience = self._config.patience
        losses = [point.validation for point in self.history]
        return patience is not None and len(losses) - 1 - losses.index(min(losses)) >= patience

    def _epoch(self, epoch: int) -> float:
        """Do one pass in a random order and return the mean training loss."""
        generator = np.random.default_rng([self._config.seed, epoch])
        battles = self._training.select(generator.permutation(len(self._training)))
        size = self._config.batch_size
        buffer = np.empty((min(size, len(battles)), battles.vectors.shape[1]), np.float32)
        total = 0.0
        for start in range(0, len(battles), size):
            part = slice(start, start + size)
            rows = battles.rows[part]
            vectors = buffer[: len(rows)]
            np.take(battles.vectors, rows, axis=0, out=vectors, mode="clip")  # any other mode copies once more
            if self._noise is not None:
                offset = int(generator.integers(len(self._noise) - vectors.size))
                vectors += self._noise[offset : offset + vectors.size].reshape(vectors.shape)
            weight = None if battles.weight is None else battles.weight[part]
            loss = self.factors.differentiate(vectors, battles.a[part], battles.b[part], battles.outcome[part], weight)
            self._adam.step(self.factors.values, self.factors.gradient)
            total += loss * len(rows)
        return total / len(battles)

    def _validation_loss(self) -> float:
        held_out = self._validation
        rates = self.factors.rates(held_out.vectors, held_out.rows, held_out.a, held_out.b)
        return log_loss(held_out.outcome, rates, held_out.weight)

    def _state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        arrays = {"values": self.factors.values, "best": self._best, **self._adam.state()}
        return arrays, {"seconds": self.seconds, "history": [asdict(point) for point in self.history]}

    def _restore(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
        self.factors.values[:] = arrays["values"]
        self._best[:] = arrays["best"]
        self._adam.restore(arrays)
        self.seconds = facts["seconds"]
        self.history = [LossPoint(**point) for point in facts["history"]]


def _noise_table(config: DescentConfig, battles: EmbeddedBattles) -> Vector | None:
    """Draw normal numbers once; every batch takes them from a random place on, as fresh ones would cost half of the time."""
    if not config.noise:
        return None
    generator = np.random.default_rng([config.seed, 2**32 - 1])
    size = max(_NOISE_TABLE, 4 * config.batch_size * battles.vectors.shape[1])
    return np.asarray(np.float32(config.noise) * generator.standard_normal(size, dtype=np.float32))
