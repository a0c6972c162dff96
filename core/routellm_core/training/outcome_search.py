"""What the trainers on outcomes share: settings are compared on prompts held out, and the best one is fitted to all."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import ConfigurationError
from routellm_core.policies import fit_closest, tune_thresholds
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.outcome import OutcomeRouter, Training
from routellm_core.training.measures import calibration_table
from routellm_core.training.outcome_confidence import learn_confidence
from routellm_core.training.outcome_data import (
    LabelConfig,
    OutcomeData,
    losses_by_model,
    mean_loss,
    plain,
    routing_quality,
)
from routellm_core.training.report import LossPoint, TrainingReport

S = TypeVar("S")
R = TypeVar("R", bound=OutcomeRouter)
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Search(Generic[S, R]):
    """How a router is trained.

    Attributes:
        name: The registered name of the router.
        settings: What is compared, one or more.
        fit: Fits a router to prompts with one setting; the router keeps the `Training`, None while settings are compared.
        choose: From the validation losses of each setting and model, shape (settings, m), and the mean outcome that choosing
            by argmax reaches with each, shape (settings,), to the setting that is kept; None takes the lowest mean loss.
        learns_confidence: Whether to learn S3's confidence, where the prompts have tasks.
        keeps_embeddings: Whether the router itself does, so that they need not be stored for the distance of tasks.
    """

    name: str
    settings: Sequence[S]
    fit: Callable[[OutcomeData, S, Training | None], R]
    choose: Callable[[Array, Array], S] | None = None
    learns_confidence: bool = True
    keeps_embeddings: bool = False

    def run(self, table: OutcomeTable, embedder: EmbedderLike, config: LabelConfig) -> tuple[R, TrainingReport]:
        """Train on a table.

        Args:
            table: Prompts and how well each model did on them.
            embedder: Embeds the prompts.
            config: Labels, validation share and seed.

        Raises:
            ConfigurationError: If there is nothing to compare or to learn from.
        """
        start = time.perf_counter()
        if not self.settings:
            raise ConfigurationError(f"training of {self.name!r} needs one setting or more to compare")
        data = OutcomeData.of(table, embedder, config)
        known, held = data.split(config.validation_fraction, config.seed)
        scores = [self.fit(known, setting, None).score_from_embeddings(held.embeddings) for setting in self.settings]
        losses = np.array([losses_by_model(predicted, held.labels) for predicted in scores])
        quality = np.array([routing_quality(predicted, held.labels) for predicted in scores])
        means = [mean_loss(predicted, held.labels) for predicted in scores]
        best = self.settings[int(np.argmin(means))] if self.choose is None else self.choose(losses, quality)
        if best in self.settings:
            step = list(self.settings).index(best)
            predicted = scores[step]
        else:  # put together from several
            step = len(self.settings)
            predicted = self.fit(known, best, None).score_from_embeddings(held.embeddings)
            means.append(mean_loss(predicted, held.labels))
        confidence = learn_confidence(data, lambda part: self.fit(part, best, None)) if self.learns_confidence else None
        labelled = ~np.isnan(held.labels)
        report = TrainingReport(
            router=self.name,
            config=plain(config) | ({"chosen": _plain_setting(best)} if len(self.settings) > 1 else {}),
            seed=config.seed,
            counts={
                "prompts": len(data),
                "models": len(data.models),
                "labels": int((~np.isnan(data.labels)).sum()),
                "tasks": 0 if data.groups is None else len(set(data.groups.tolist())),
                "validation prompts": len(held),
            },
            history=tuple(
                LossPoint(step=position, epoch=1.0, training=None, validation=loss)
                for position, loss in enumerate(means)
            ),
            baseline_loss=mean_loss(np.broadcast_to(known.mean_labels(), held.labels.shape), held.labels),
            validation_loss=means[step],
            best_step=step,
            seconds=time.perf_counter() - start,
            metrics={
                "mean outcome by argmax": routing_quality(predicted, held.labels),
                "mean outcome of the best single model": float(
                    np.nanmean(held.labels[:, int(np.argmax(known.mean_labels()))])
                ),
            },
            calibration=calibration_table(held.labels[labelled], predicted[labelled]),
        )
        training = Training(
            confidence=confidence,
            embeddings=None if confidence is None or self.keeps_embeddings else data.embeddings,
            model_thresholds=dict(zip(data.models, tune_thresholds(predicted, held.labels).tolist(), strict=True)),
            closest=fit_closest(predicted, held.labels),
            provenance=_provenance(table, report),
            metrics=report.card_metrics(),
        )
        return self.fit(data, best, training), report


def _provenance(table: OutcomeTable, report: TrainingReport) -> Mapping[str, Any]:
    source = {"source": dict(table.provenance)} if table.provenance else {}
    return {"table": table.name, **source, **report.card_provenance()}


def _plain_setting(setting: object) -> object:
    return list(setting) if isinstance(setting, tuple) else setting
