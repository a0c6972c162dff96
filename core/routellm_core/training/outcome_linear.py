"""Training of `multilabel` and `separate`: linear heads on an embedding, masked where outcomes are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import sigmoid
from routellm_core.routers.multilabel import Head, MultilabelRouter, softmax
from routellm_core.routers.outcome import Training
from routellm_core.routers.separate import SeparateRouter
from routellm_core.training.outcome_data import LabelConfig, OutcomeData
from routellm_core.training.outcome_search import Search
from routellm_core.training.report import TrainingReport

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LinearConfig(LabelConfig):
    """Settings of `train_multilabel` and `train_separate`.

    Attributes:
        penalties: Weights of the squared norm to compare on validation prompts; each above 0.
        head: For `train_multilabel`: "multilabel", or "multiclass" for the chance of each model to be the best one.
        confidence: Learn S3's confidence where the table has tasks; not for "multiclass", whose scores are not of correctness.
    """

    penalties: Sequence[float] = (0.3, 1.0, 3.0, 10.0, 30.0)
    head: Head = "multilabel"
    confidence: bool = True

    def __post_init__(self) -> None:
        LabelConfig.__post_init__(self)
        if not self.penalties or not all(0 < penalty < np.inf for penalty in self.penalties):
            raise ConfigurationError(f"penalties must be one or more numbers above 0, not {self.penalties!r}")


def train_multilabel(
    table: OutcomeTable, embedder: EmbedderLike, config: LinearConfig | None = None
) -> tuple[MultilabelRouter, TrainingReport]:
    """Train one classifier for all models, with one penalty for all.

    Args:
        table: Prompts and how well each model did on them.
        embedder: Embeds the prompts; a fine-tuned encoder where there is one.
        config: The settings; None takes the defaults.

    Raises:
        ConfigurationError: If a setting is out of range or there is nothing to learn from.
    """
    config = config or LinearConfig()
    several = config.head == "multiclass"

    def fit(data: OutcomeData, penalty: float, training: Training | None) -> MultilabelRouter:
        weights = fit_linear(data.embeddings, data.labels, penalty, head=config.head)
        return MultilabelRouter(
            weights[:, :-1],
            weights[:, -1],
            models=data.models,
            embedder=data.embedder,
            head=config.head,
            training=training,
        )

    penalties = list(config.penalties)
    search = Search(
        name="multilabel",
        settings=penalties,
        fit=fit,
        choose=(lambda _, quality: penalties[int(np.argmax(quality))]) if several else None,
        learns_confidence=config.confidence and not several,
    )
    return search.run(table, embedder, config)


def train_separate(
    table: OutcomeTable, embedder: EmbedderLike, config: LinearConfig | None = None
) -> tuple[SeparateRouter, TrainingReport]:
    """Train one classifier per model, each with the penalty that suits it.

    Args:
        table: Prompts and how well each model did on them.
        embedder: Embeds the prompts.
        config: The settings; None takes the defaults.

    Raises:
        ConfigurationError: If a setting is out of range or there is nothing to learn from.
    """
    config = config or LinearConfig()
    if config.head != "multilabel":
        raise ConfigurationError(f"separate classifiers have no head {config.head!r}: that is for train_multilabel")
    m = len(table.models)

    def fit(data: OutcomeData, penalties: tuple[float, ...], training: Training | None) -> SeparateRouter:
        weights = np.empty((m, data.embeddings.shape[1] + 1))
        for penalty in set(penalties):
            columns = np.flatnonzero(np.array(penalties) == penalty)
            weights[columns] = fit_linear(data.embeddings, data.labels[:, columns], penalty)
        return SeparateRouter(
            weights[:, :-1], weights[:, -1], models=data.models, embedder=data.embedder, training=training
        )

    def choose(losses: Array, quality: Array) -> tuple[float, ...]:  # noqa: ARG001  (each model by its own loss)
        best = np.where(np.isnan(losses), np.inf, losses).argmin(axis=0)
        return tuple(config.penalties[position] for position in best)

    search = Search(
        name="separate",
        settings=[(penalty,) * m for penalty in config.penalties],
        fit=fit,
        choose=choose,
        learns_confidence=config.confidence,
    )
    return search.run(table, embedder, config)


def fit_linear(features: NDArray[np.float32], labels: Array, penalty: float, *, head: Head = "multilabel") -> Array:
    """Fit a linear head, by Newton steps with a bound of the Hessian (Böhning 1992) and Nesterov's momentum.

    The bound is the same for all models and all steps, so that one matrix is inverted, and a step is two products.

    Args:
        features: Shape (n, d).
        labels: In [0, 1], NaN where unknown; shape (n, m). For "multiclass" the highest ones of a prompt share its mass.
        penalty: The weight of the squared norm of the coefficients, above 0; intercepts are free.
        head: What is fitted.

    Returns:
        Coefficients and, last, the intercept; shape (m, d + 1). Zeros for a model without a label.
    """
    seen = ~np.isnan(labels).all(axis=1)
    labels = labels[seen]
    x = np.column_stack([features[seen], np.ones(len(labels))]).astype(np.float64)
    known = ~np.isnan(labels)
    if head == "multiclass":
        filled = np.where(known, labels, -np.inf)
        best = (filled == filled.max(axis=1, keepdims=True)) & known
        y, link, curvature = best / best.sum(axis=1, keepdims=True), softmax, 0.5
    else:
        y, link, curvature = np.where(known, labels, 0.0), sigmoid, 0.25
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = 1e-4  # the intercept is as good as free, and finite where all answers are right
    inverse = np.linalg.inv(curvature * (x.T @ x) + np.diag(ridge))
    found = np.zeros((labels.shape[1], x.shape[1]))
    ahead, momentum = found, 1.0
    for _ in range(1000):
        error = np.where(
            known, link(np.where(known, x @ ahead.T, -np.inf)) - y, 0.0
        )  # those not run compete for nothing
        gradient = error.T @ x + ridge * ahead
        new = ahead - gradient @ inverse
        if ((new - ahead) * gradient).sum() > -1e-7 * len(x):  # what the next steps may gain, in nats
            return new
        if ((ahead - new) * (new - found)).sum() > 0:  # the momentum has gone too far
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - found)
        found, momentum = new, following
    return found
