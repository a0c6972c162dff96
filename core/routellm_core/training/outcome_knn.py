"""Training of the router `knn`: an index of the prompts, and the choice of k on prompts held out."""

from collections.abc import Sequence
from dataclasses import dataclass

from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.index import IndexKind
from routellm_core.routers.knn import KNNRouter, Weights
from routellm_core.routers.outcome import Training
from routellm_core.training.outcome_data import LabelConfig, OutcomeData, as_choices
from routellm_core.training.outcome_search import Search
from routellm_core.training.report import TrainingReport


@dataclass(frozen=True, kw_only=True)
class KNNConfig(LabelConfig):
    """Settings of `train_knn`.

    Attributes:
        k: How many neighbours; several are compared by the log loss on validation prompts. The paper takes 5.
        weights: "similarity" or "uniform"; the paper takes uniform weights.
        shrinkage: How many neighbours a model's mean is worth; 0 in the paper.
        index: "exact" or "approximate"; None is exact up to a million prompts.
        keep_prompts: Store the training prompts' texts for `explain`; without them only similarity and outcomes are shown.
        confidence: Learn S3's confidence where the table has tasks.
    """

    k: int | Sequence[int] = (8, 16, 32, 64)
    weights: Weights = "similarity"
    shrinkage: float = 4.0
    index: IndexKind | None = None
    keep_prompts: bool = True
    confidence: bool = True


def train_knn(
    table: OutcomeTable, embedder: EmbedderLike, config: KNNConfig | None = None
) -> tuple[KNNRouter, TrainingReport]:
    """Train a nearest-neighbour router.

    Args:
        table: Prompts and how well each model did on them.
        embedder: Embeds the prompts.
        config: The settings; None takes the defaults.

    Raises:
        ConfigurationError: If a setting is out of range or there is nothing to learn from.
    """
    config = config or KNNConfig()

    def fit(data: OutcomeData, k: int, training: Training | None) -> KNNRouter:
        return KNNRouter(
            data.embeddings,
            data.labels,
            models=data.models,
            embedder=data.embedder,
            k=k,
            weights=config.weights,
            shrinkage=config.shrinkage,
            prompts=data.prompts if config.keep_prompts and training is not None else None,
            index=config.index if training is not None else "exact",
            training=training,
        )

    search = Search(
        name="knn",
        settings=as_choices(config.k, "k"),
        fit=fit,
        learns_confidence=config.confidence,
        keeps_embeddings=True,
    )
    return search.run(table, embedder, config)
