"""Training of the router `mlp`: a network that predicts every model's correctness."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.mlp import MLPRouter
from routellm_core.routers.outcome import Training
from routellm_core.task_state import confidence_thresholds
from routellm_core.training.outcome_data import LabelConfig, OutcomeData, mean_loss
from routellm_core.training.outcome_network import Layer, NetworkSettings, train_network
from routellm_core.training.outcome_search import Search
from routellm_core.training.report import LossPoint, TrainingReport


@dataclass(frozen=True, kw_only=True)
class MLPConfig(LabelConfig):
    """Settings of `train_mlp`; those that are not described here are those of `NetworkSettings`.

    Attributes:
        hidden: The widths of the hidden layers.
        confidence: Learn S3's confidence where the table has tasks; trains one network for every task.
    """

    hidden: Sequence[int] = (256,)
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    batch: int | None = 256
    epochs: int = 100
    patience: int = 10
    keep: Literal["best", "last"] = "best"
    confidence: bool = True

    def __post_init__(self) -> None:
        LabelConfig.__post_init__(self)
        self.network()

    def network(self) -> NetworkSettings:
        """Return the settings of the network itself."""
        return NetworkSettings(
            hidden=tuple(self.hidden),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch=self.batch,
            epochs=self.epochs,
            patience=self.patience,
            keep=self.keep,
            seed=self.seed,
        )

    @classmethod
    def of_the_paper(cls, *, seed: int = 42) -> Self:
        """Return the settings of Shnitzer et al. (arXiv 2309.15789, appendix C), for comparison."""
        return cls(
            hidden=(1500, 1500),
            learning_rate=1e-2,
            weight_decay=0.0,
            batch=None,
            epochs=100,
            patience=10,
            keep="last",
            validation_fraction=0.2,
            seed=seed,
        )


def train_mlp(
    table: OutcomeTable, embedder: EmbedderLike, config: MLPConfig | None = None
) -> tuple[MLPRouter, TrainingReport]:
    """Train a network; a part of the prompts it is given decides when to stop.

    Args:
        table: Prompts and how well each model did on them.
        embedder: Embeds the prompts.
        config: The settings; None takes the defaults.

    Raises:
        ConfigurationError: If a setting is out of range or there is nothing to learn from.
    """
    config = config or MLPConfig()
    settings = config.network()
    losses: list[float] = []

    def fit(data: OutcomeData, _: NetworkSettings, training: Training | None) -> MLPRouter:
        part, stop = data.split(config.validation_fraction, config.seed + 1)

        def router(layers: Sequence[Layer], certainty: np.ndarray | None = None) -> MLPRouter:
            return MLPRouter(layers, models=data.models, embedder=data.embedder, certainty=certainty, training=training)

        layers, history = train_network(
            part.embeddings, part.labels, settings, lambda now: mean_loss(_outputs(now, stop.embeddings), stop.labels)
        )
        losses[:] = history
        predicted = router(layers).score_from_embeddings(stop.embeddings)
        return router(layers, confidence_thresholds(predicted, stop.labels))

    search = Search(name="mlp", settings=[settings], fit=fit, learns_confidence=config.confidence)
    trained, report = search.run(table, embedder, config)
    passes = tuple(
        LossPoint(step=position, epoch=position + 1.0, training=None, validation=loss)
        for position, loss in enumerate(losses)
    )
    kept = int(np.argmin(losses)) if config.keep == "best" else len(losses) - 1
    return trained, replace(report, history=passes, best_step=kept)


def _outputs(layers: Sequence[Layer], features: np.ndarray) -> np.ndarray:
    values = features
    for position, (weights, bias) in enumerate(layers):
        values = (values if position == 0 else np.maximum(values, 0)) @ weights.T + bias
    return 0.5 * (1 + np.tanh(0.5 * values))
