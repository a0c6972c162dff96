"""What a training run did and how well its router does: JSON for programs, a few lines for the model card."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from routellm_core.errors import ConfigurationError

REPORT_FILE = "training_report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class LossPoint:
    """The losses at one moment of a training run, mean log loss in nats.

    Attributes:
        step: How many updates were done; for a method without updates, which attempt this is.
        epoch: How many passes over the training part were done.
        training: On the training part, as seen while training; None if it was not measured.
        validation: On the validation part.
    """

    step: int
    epoch: float
    training: float | None
    validation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationBin:
    """The validation rows whose predicted probability falls between two numbers.

    Attributes:
        low: The smallest prediction in the bin.
        high: The largest one.
        count: How many rows.
        predicted: The mean prediction.
        observed: The mean outcome, a tie counted half.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingReport:
    """What a trainer returns beside its router.

    Attributes:
        router: The registered name of the router.
        config: Every setting of the trainer, as plain JSON.
        seed: What all that is random came from.
        counts: Sizes of the data: battles or prompts, models, ties, training and validation parts.
        history: The losses over time; one point for a method that is not iterative.
        baseline_loss: The loss on the validation part of the best that knows no prompt, fitted to the training part:
            Bradley-Terry for battles, each model's mean for outcomes. None if there is no validation part.
        validation_loss: The loss on the validation part of the router that was kept; None if there is none.
        best_step: The step the router was taken from.
        seconds: How long the run took, embedding included; of a resumed run, all its parts.
        metrics: Further figures on the validation part, as plain JSON.
        calibration: Predicted probabilities against outcomes on the validation part.
    """

    router: str
    config: Mapping[str, Any]
    seed: int
    counts: Mapping[str, int]
    history: tuple[LossPoint, ...]
    baseline_loss: float | None
    validation_loss: float | None
    best_step: int
    seconds: float
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: tuple[CalibrationBin, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self) | {
            "history": [asdict(point) for point in self.history],
            "calibration": [asdict(row) for row in self.calibration],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ConfigurationError: If it is something else.
        """
        try:
            history = tuple(LossPoint(**point) for point in data["history"])
            calibration = tuple(CalibrationBin(**row) for row in data["calibration"])
            return cls(**{**data, "history": history, "calibration": calibration})
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"this is not a training report: {error}") from error

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the report to `training_report.json` in a folder, which is made if it does not exist."""
        path = Path(folder) / REPORT_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read `training_report.json` from a folder.

        Raises:
            ConfigurationError: If there is none, or it is something else.
        """
        path = Path(folder) / REPORT_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{path} holds no training report: {error}") from error
        return cls.from_dict(data)

    def card_provenance(self) -> dict[str, Any]:
        """Return what the model card says of how the router was made."""
        config = {name: value for name, value in self.config.items() if value is not None}
        return {"data": dict(self.counts), "settings": config, "seed": self.seed, "steps": self.best_step}

    def card_metrics(self) -> dict[str, Any]:
        """Return what the model card says of how well the router does."""
        losses = {
            "log loss on the validation part": self.validation_loss,
            "log loss of the best that knows no prompt": self.baseline_loss,
        }
        return {name: loss for name, loss in losses.items() if loss is not None} | dict(self.metrics)
