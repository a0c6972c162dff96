"""What every training on outcomes begins with: labels, embeddings, a split, and the loss of looking at no prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.embedders.base import Embedder, as_matrix
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.training.measures import log_loss, log_losses

Labels = Literal["graded", "threshold"]
"""Whether scores are learned as they are (regression), or as right and wrong."""


@dataclass(frozen=True, kw_only=True)
class LabelConfig:
    """How scores become what is learned.

    Attributes:
        labels: "graded" learns scores in [0, 1] as they are; "threshold" learns whether they are above one.
        threshold: Above which score an answer counts as right: one number, or one per task.
        validation_fraction: The share of the prompts that settings are tuned on, above 0 and up to 0.5; equal prompts stay
            together.
        seed: Of all draws.
    """

    labels: Labels = "graded"
    threshold: float | Mapping[str, float] = 0.5
    validation_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels not in get_args(Labels):
            raise ConfigurationError(f"labels must be one of {', '.join(get_args(Labels))}, not {self.labels!r}")
        if not 0 < self.validation_fraction <= 0.5:
            raise ConfigurationError(
                f"validation_fraction must be above 0 and up to 0.5, not {self.validation_fraction!r}"
            )


@dataclass(frozen=True, eq=False)
class OutcomeData:
    """Labelled prompts, ready to learn from.

    Attributes:
        prompts: n prompts.
        models: m models.
        labels: In [0, 1], NaN where a model was not run; shape (n, m).
        embeddings: Shape (n, d), of unit length.
        groups: The task of each; None if there are none.
        embedder: Who embedded them.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    labels: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    groups: NDArray[np.str_] | None
    embedder: Embedder

    @classmethod
    def of(cls, table: OutcomeTable, embedder: EmbedderLike, config: LabelConfig) -> "OutcomeData":
        """Make labels of a table's scores and embed its prompts.

        Raises:
            ConfigurationError: See `labelled_rows`.
        """
        rows, labels = labelled_rows(table, config)
        chosen = as_embedder(embedder)
        vectors = as_matrix(chosen.embed(rows.prompts), n=len(rows), dimension=chosen.dimension, embedder_id=chosen.id)
        groups = None if rows.groups is None else np.array(rows.groups)
        return cls(rows.prompts, rows.models, labels, vectors, groups, chosen)

    def __len__(self) -> int:
        return len(self.prompts)

    def select(self, rows: ArrayLike) -> "OutcomeData":
        """Return some rows, by indices or a mask."""
        chosen = np.asarray(rows)
        indices = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        groups = None if self.groups is None else self.groups[indices]
        prompts = tuple(self.prompts[i] for i in indices)
        return OutcomeData(prompts, self.models, self.labels[indices], self.embeddings[indices], groups, self.embedder)

    def split(self, fraction: float, seed: int) -> "tuple[OutcomeData, OutcomeData]":
        """Return training and validation prompts; equal prompts are never on both sides.

        Args:
            fraction: The share of distinct prompts in the second part; at least one prompt is in each.
            seed: Of the draw.

        Raises:
            ConfigurationError: If there are not two different prompts.
        """
        _check_prompts(self.prompts)
        first = {prompt: position for position, prompt in reversed(list(enumerate(self.prompts)))}
        which = np.array([first[prompt] for prompt in self.prompts])
        different = np.unique(which)
        n = len(different)
        drawn = different[np.random.default_rng(seed).permutation(n)[: min(max(1, round(fraction * n)), n - 1)]]
        held = np.isin(which, drawn)
        return self.select(~held), self.select(held)

    def mean_labels(self) -> NDArray[np.float64]:
        """Return the mean label of every model, shape (m,); 0.5 for one without any."""
        counts = (~np.isnan(self.labels)).sum(axis=0)
        return np.where(counts > 0, np.nansum(self.labels, axis=0) / np.maximum(counts, 1), 0.5)


def labelled_rows(table: OutcomeTable, config: LabelConfig) -> tuple[OutcomeTable, NDArray[np.float64]]:
    """Return the rows of a table that say something, n of them, and their labels, shape (n, m).

    Raises:
        ConfigurationError: If there is nothing to learn from, graded scores are not in [0, 1], or there are not two different
            prompts, one of which can be held out.
    """
    labels = make_labels(table, config)
    kept = ~np.isnan(labels).all(axis=1)
    missing = [model for column, model in enumerate(table.models) if np.isnan(labels[:, column]).all()]
    if not kept.any() or missing:
        raise ConfigurationError(
            f"table {table.name!r} has no score for {', '.join(missing) or 'any model'}: leave out such models, or route "
            "them by AssumedRouter"
        )
    rows = table.select(kept)
    _check_prompts(rows.prompts)
    return rows, labels[kept]


def _check_prompts(prompts: Sequence[str]) -> None:
    if len(set(prompts)) < 2:
        raise ConfigurationError("training needs two different prompts or more: one part is held out for validation")


def make_labels(table: OutcomeTable, config: LabelConfig) -> NDArray[np.float64]:
    """Return what is to be learned, in [0, 1], NaN where a model was not run; shape (n, m).

    Raises:
        ConfigurationError: If graded scores are not in [0, 1], or a task has no threshold.
    """
    if config.labels == "graded":
        outside = (table.scores < 0) | (table.scores > 1)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ConfigurationError(
                f"table {table.name!r}, row {row + 1}: the score {table.scores[row, column]:g} of {table.models[column]!r} is "
                'not in [0, 1]: scale the scores, or learn labels="threshold" with a threshold'
            )
        return table.scores
    limits: float | NDArray[np.float64]
    if isinstance(config.threshold, Mapping):
        missing = sorted(set(table.groups or ("",)) - set(config.threshold))
        if missing:
            raise ConfigurationError(f"threshold has no number for the tasks {', '.join(map(repr, missing))}")
        limits = np.array([config.threshold[task] for task in table.groups or ()])[:, None]
    else:
        limits = float(config.threshold)
    return np.where(np.isnan(table.scores), np.nan, table.scores > limits)


def labels_from_samples(samples: ArrayLike, *, share: float = 0.5) -> NDArray[np.float64]:
    """Return 1 where more than a share of a model's repeated answers were right, else 0.

    Args:
        samples: The score of each answer, right from 0.5 on, NaN where there is none; shape (n, m, k).
        share: In [0, 1). A half stands for the majority where wrong answers are not told apart; 0.75 of ten asks for eight.

    Returns:
        Shape (n, m); NaN where a model gave no answer.
    """
    values = np.asarray(samples, dtype=np.float64)
    counts = (~np.isnan(values)).sum(axis=2)
    right = (values >= 0.5).sum(axis=2)
    return np.where(counts > 0, right > share * counts, np.nan)


def majority_label(answers: Sequence[str], reference: str) -> int:
    """Return 1 if the most frequent of repeated answers is the reference (MAJ@k), else 0.

    Args:
        answers: The answers to one prompt; one that could not be read ("INVALID") counts as an answer. Of equally frequent ones
            the first given wins.
        reference: The right answer.

    Raises:
        ConfigurationError: If there is no answer.
    """
    if not answers:
        raise ConfigurationError("a majority needs one answer or more")
    counts: dict[str, int] = {}
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    return int(max(counts, key=counts.__getitem__) == reference)


def losses_by_model(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Return the mean log loss of each model over the labels that are known, in nats, shape (m,); NaN where none is."""
    truth = np.asarray(labels, dtype=np.float64)
    known = ~np.isnan(truth)
    losses = np.where(known, log_losses(np.where(known, truth, 0.0), scores), 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    return np.where(counts > 0, losses / np.maximum(counts, 1), np.nan)


def mean_loss(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean log loss over all labels that are known, in nats."""
    truth = np.asarray(labels, dtype=np.float64)
    known = ~np.isnan(truth)
    return log_loss(truth[known], np.asarray(scores)[known])


def routing_quality(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean label of the model with the highest score, over the prompts where it is known; NaN if there are none."""
    values, truth = np.asarray(scores), np.asarray(labels, dtype=np.float64)
    if not len(values):
        return float("nan")
    chosen = truth[np.arange(len(values)), values.argmax(axis=1)]
    known = ~np.isnan(chosen)
    return float(chosen[known].mean()) if known.any() else float("nan")


def plain(config: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON."""
    if not is_dataclass(config) or isinstance(config, type):
        raise ConfigurationError(f"a configuration is expected, not {config!r}")
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in asdict(config).items()}


def as_choices(value: int | Sequence[int], name: str) -> list[int]:
    """Return one whole number, or several to compare, as a list.

    Raises:
        ConfigurationError: If it is neither, or there is none.
    """
    choices = [value] if isinstance(value, int) else list(value) if isinstance(value, Sequence) else []
    if not choices or not all(isinstance(choice, int) and not isinstance(choice, bool) for choice in choices):
        raise ConfigurationError(f"{name} must be a whole number, or a list of some to compare, not {value!r}")
    return choices
