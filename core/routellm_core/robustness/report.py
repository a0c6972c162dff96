"""Reports on robustness: a folder with the result as JSON, a figure, and one HTML page that needs nothing else."""

import json
import math
import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from routellm_core._version import __version__
from routellm_core.evaluation import report as pages
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.tables import TextTable, percent, plain
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.labels import label_variances, unreadable_shares
from routellm_core.robustness.metrics import kendall_tau, rank_displacement
from routellm_core.robustness.perturbations import PERTURBATIONS
from routellm_core.robustness.routers import TOLERANCE, RouterRobustness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def router_tables(result: RouterRobustness) -> list[TextTable]:
    """Return one table a router: what every perturbation does to its decisions and to its APGR."""
    return [
        TextTable(
            f"{router}: APGR {plain(result.apgr[router])} as it is",
            ("perturbation", "decisions flipped", "strong calls", "APGR", "change", "tau-b"),
            tuple(
                (
                    name,
                    percent(effect.flip_rate),
                    f"{100 * effect.strong_fraction:.1f}%",
                    plain(effect.apgr),
                    _signed(effect.change),
                    "n/a" if math.isnan(effect.tau) else f"{effect.tau:.3f}",
                )
                for name, effect in effects.items()
            ),
            "; ".join(f"{name}: {PERTURBATIONS[name].about}" for name in effects),
        )
        for router, effects in result.effects.items()
    ]


def label_tables(table: OutcomeTable) -> list[TextTable]:
    """Return the models' averaged scores, and how far single results differ."""
    unparsable = table.provenance.get("unparsable", {})
    rows = tuple(
        (
            model,
            f"{float(mean):.3f}",
            "n/a" if math.isnan(variance) else f"{float(variance):.3f}",
            str(unparsable.get(model, 0)),
        )
        for model, mean, variance in zip(table.models, _means(table), label_variances(table), strict=True)
    )
    note = (
        "Variance: of single results on one prompt; 0 where all agree, 0.25 or more where they are as good as chance. An answer "
        "that cannot be read counts as wrong in the mean."
    )
    found = label_ranking(table)
    if found is not None:
        tau = "n/a" if found["tau_b"] is None else f"{found['tau_b']:.3f}"
        moved = ", ".join(f"{model} {places:+d}" for model, places in found["displacement"].items())
        note += f" The ranking of the models by the first round ({found['first round']}) against that by the means: "
        note += f"tau-b {tau}, places moved {moved}."
    return [
        TextTable(f"{table.name}: {len(table):,} questions", ("model", "mean", "variance", "unparsable"), rows, note)
    ]


def label_ranking(table: OutcomeTable) -> dict[str, Any] | None:
    """Return how the ranking of models by one round of answers differs from that by the averaged labels, as plain JSON.

    Returns:
        Kendall's tau-b, null where all are tied, and by how many places each model falls; None for fewer than two models.
    """
    if table.samples is None or len(table.models) < 2:
        return None
    first = np.nan_to_num(table.samples[:, :, 0]).mean(axis=0)
    tau = kendall_tau(first, _means(table), variant="b")
    moved = rank_displacement(first, _means(table)).tolist()
    what = "one draw of demonstrations" if "demonstrations" in table.provenance else "the questions as they are"
    return {
        "first round": what,
        "tau_b": None if math.isnan(tau) else tau,
        "displacement": dict(zip(table.models, moved, strict=True)),
    }


def unreadable_warnings(table: OutcomeTable) -> list[str]:
    """Return a line for each model of whose answers too many cannot be read."""
    return [
        f"{model}: {100 * share:.1f}% of the answers cannot be read, and count as wrong"
        for model, share in unreadable_shares(table).items()
        if share > TOLERANCE
    ]


def write_router_report(result: RouterRobustness, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `result.json`, `report.html` and the figure of flip rates as .png and .svg.

    Args:
        result: What `measure_routers` returned.
        folder: Where to; made if it is not there, files of these names are replaced.

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
    """
    title = f"{', '.join(result.effects)} on {result.benchmark}, put otherwise"
    worst = [
        f"{router}: {name} flips {percent(effect.flip_rate)} of the decisions"
        for router, effects in result.effects.items()
        for name, effect in effects.items()
        if effect.flip_rate.value > TOLERANCE
    ]
    about = {
        "questions": f"{result.n:,}",
        "left out": "; ".join(f"{count} {why}" for why, count in result.left_out.items()),
        "strong, weak": f"{result.strong}, {result.weak}",
        "threshold": f"calibrated for {100 * result.strong_fraction:g}% of strong calls on the questions as they are",
        **{key: str(value) for key, value in result.settings.items()},
    }
    caption = (
        "Decisions that change, with 95% intervals over prompts, and the change in APGR. At 0 a router does not move."
    )
    return _write(
        folder, title, router_tables(result), result.to_dict(), lambda: _draw_routers(result), caption, about, worst
    )


def write_label_report(table: OutcomeTable, folder: str | os.PathLike[str]) -> list[Path]:
    """Write `result.json`, `report.html` and the figure of single rounds and their mean as .png and .svg.

    Args:
        table: What `permutation_labels` or `demonstration_labels` returned.
        folder: Where to; see `write_router_report`.

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
    """
    about = {key: str(value) for key, value in table.provenance.items()}
    result = {
        "name": table.name,
        "n": len(table),
        "models": dict(zip(table.models, _means(table), strict=True)),
        "ranking": label_ranking(table),
        "provenance": dict(table.provenance),
    }
    caption = "Each mark is one round of all questions; the line is their mean. Far marks: the labels hang on how it was asked."
    warnings = unreadable_warnings(table)
    return _write(
        folder,
        f"Labels: {table.name}",
        label_tables(table),
        result,
        lambda: _draw_labels(table),
        caption,
        about,
        warnings,
    )


def _write(
    folder: str | os.PathLike[str],
    title: str,
    tables: Sequence[TextTable],
    result: dict[str, Any],
    make: "Callable[[], Figure]",
    caption: str,
    about: dict[str, str],
    warnings: Sequence[str],
) -> list[Path]:
    from routellm_core.evaluation import plots  # drawing needs an extra, the rest does not

    png, svg = plots._png(make), plots._svg(make, "robustness")
    about = {**about, "made with": f"routellm-plugins {__version__}"}
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in warnings),
        f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>",
        *map(pages._table_html, tables),
        "<h2>About</h2>",
        "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in about.items()) + "</dl>",
    ]
    html = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{pages._STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    texts = {
        "result.json": json.dumps(result, indent=2, allow_nan=False) + "\n",
        "report.html": html,
        "robustness.svg": svg,
    }
    for name, text in texts.items():
        (where / name).write_text(text, encoding="utf-8", newline="")
    (where / "robustness.png").write_bytes(png)
    return sorted(where / name for name in (*texts, "robustness.png"))


def _draw_routers(result: RouterRobustness) -> "Figure":
    from matplotlib.figure import Figure

    names = list(next(iter(result.effects.values())))
    height = 1.4 + len(names) * (0.2 + 0.16 * len(result.effects))
    figure = Figure(figsize=(8.4, height))
    left, right = figure.subplots(1, 2, sharey=True)
    _marks(left, result, lambda effect: _scaled(effect.flip_rate))
    _marks(right, result, lambda effect: effect.change)
    left.axvline(100 * TOLERANCE, linestyle=":", color="#808080")
    right.axvline(0, linestyle=":", color="#808080")
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("decisions flipped, %")
    right.set_xlabel("change in APGR")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _marks(axes: "Axes", result: RouterRobustness, value: Callable[[Any], Interval]) -> None:
    from routellm_core.evaluation.plots import COLOURS, MARKERS

    for index, (router, effects) in enumerate(result.effects.items()):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        for row, effect in enumerate(effects.values()):
            found = value(effect)
            at = row + 0.14 * (index - (len(result.effects) - 1) / 2)
            axes.plot([found.low, found.high], [at, at], color=colour, linewidth=1.5)
            axes.plot(found.value, at, marker, color=colour, markersize=5, label=router if row == 0 else None)


def _draw_labels(table: OutcomeTable) -> "Figure":
    from matplotlib.figure import Figure

    from routellm_core.evaluation.plots import COLOURS

    figure = Figure(figsize=(7.2, 1.2 + 0.5 * len(table.models)))
    axes: Axes = figure.add_subplot()
    samples = table.samples if table.samples is not None else table.scores[:, :, None]
    for row, mean in enumerate(_means(table)):
        rounds = [float(r[~_isnan(r)].mean()) for r in samples[:, row].T if not _isnan(r).all()]
        axes.plot(rounds, [row] * len(rounds), "o", color=COLOURS[0], alpha=0.6)
        axes.plot([mean, mean], [row - 0.25, row + 0.25], color=COLOURS[1], linewidth=2)
    axes.set_yticks(range(len(table.models)), table.models)
    axes.set_ylim(len(table.models) - 0.5, -0.5)
    axes.set_xlabel("share of right answers")
    return figure


def _means(table: OutcomeTable) -> list[float]:
    columns = [column[~_isnan(column)] for column in table.scores.T]
    return [float(column.mean()) if column.size else math.nan for column in columns]


def _isnan(values: Any) -> Any:
    return values != values


def _scaled(figure: Interval) -> Interval:
    return Interval(100 * figure.value, 100 * figure.low, 100 * figure.high)


def _signed(figure: Interval) -> str:
    if math.isnan(figure.value):
        return "n/a"
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}]"
