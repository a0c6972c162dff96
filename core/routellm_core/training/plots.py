"""The learning curve and the calibration of a training run as images; needs matplotlib, extra `eval`."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from routellm_core.errors import MissingDependencyError
from routellm_core.training.report import TrainingReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEARNING_CURVE_FILE = "learning_curve.png"
CALIBRATION_FILE = "calibration.png"

_SAME_LOSS = 1e-3  # relative: between the loss while training and that of the router, which differ by rounding alone


def save_plots(report: TrainingReport, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Draw the learning curve and the calibration into a folder.

    Args:
        report: What a trainer returned.
        folder: Made if it does not exist.

    Returns:
        The two files.

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which keeps figures and may ask for a display
    except ImportError as error:
        raise MissingDependencyError.for_extra("Plots", "eval") from error
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = []
    for name, draw in ((LEARNING_CURVE_FILE, draw_learning_curve), (CALIBRATION_FILE, draw_calibration)):
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw(report, figure.add_subplot())
        files.append(Path(folder) / name)
        figure.savefig(files[-1], dpi=150)
    return files[0], files[1]


def draw_learning_curve(report: TrainingReport, axes: "Axes") -> None:
    """Draw the losses over the steps and the step that was kept.

    Beside them the loss of the best that knows no prompt, where it is of the same kind: some trainers lower another loss than
    that of win rates, such as the one over three labels.
    """
    steps = [point.step for point in report.history]
    trained = [(point.step, point.training) for point in report.history if point.training is not None]
    if trained:
        axes.plot(*zip(*trained, strict=True), label="training", color="tab:gray")
    axes.plot(steps, [point.validation for point in report.history], marker=".", label="validation", color="tab:blue")
    of_win_rates = _is_of_win_rates(report)
    if report.baseline_loss is not None and of_win_rates:
        axes.axhline(report.baseline_loss, linestyle="--", color="tab:orange", label="knows no prompt")
    axes.axvline(report.best_step, linestyle=":", color="tab:green", label="kept")
    loss = "log loss" if of_win_rates else "loss that training lowers"
    axes.set(title=f"{report.router}: learning curve", xlabel="step", ylabel=loss)
    axes.legend()


def _is_of_win_rates(report: TrainingReport) -> bool:
    """Tell whether the losses over time are of the kind of the report's own: at the step that was kept they are then equal."""
    kept = [point.validation for point in report.history if point.step == report.best_step]
    loss = report.validation_loss
    return loss is not None and bool(kept) and math.isclose(kept[0], loss, rel_tol=_SAME_LOSS)


def draw_calibration(report: TrainingReport, axes: "Axes") -> None:
    """Draw observed against predicted win rates; the larger a point, the more rows."""
    axes.plot([0, 1], [0, 1], linestyle="--", color="tab:gray")
    largest = max((row.count for row in report.calibration), default=1)
    axes.scatter(
        [row.predicted for row in report.calibration],
        [row.observed for row in report.calibration],
        s=[20 + 60 * row.count / largest for row in report.calibration],
        color="tab:blue",
    )
    axes.set(title=f"{report.router}: calibration", xlabel="predicted", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
