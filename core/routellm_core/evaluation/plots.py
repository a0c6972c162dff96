"""Figures of results, as PNG and SVG; the one module that imports matplotlib (extra `eval`).

Series differ in line and marker as well as in colour, so a print in black and white can be read. The SVG follows the reader's
light or dark scheme; the PNG has a white ground.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from routellm_core.errors import MissingDependencyError
from routellm_core.evaluation.bootstrap import GRID
from routellm_core.evaluation.evaluate import LENGTH, ORACLE, RANDOM, PairEvaluation
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.pool import PoolEvaluation

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter
except ImportError as error:
    raise MissingDependencyError.for_extra("Drawing figures", "eval") from error

# Told apart by the colour-blind, on white and on black.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#b0559a",
    "#b8860b",
    "#3a9bdc",
)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
GREY = "#808080"
INK = "#010203"  # stands for the reader's text colour in SVG
MOST_GROUPS = 40

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
}
_SCHEMES = (
    "<style>svg{color:#1b1b1f;background:#fff}"
    "@media (prefers-color-scheme:dark){svg{color:#e8e8ec;background:#17171a}}"
    "@media print{svg{color:#000;background:#fff}}</style>"
)


def draw(result: PairEvaluation | PoolEvaluation) -> dict[str, tuple[bytes, str]]:
    """Draw every figure of a result.

    Returns:
        Name -> (PNG, SVG).
    """
    makers: dict[str, Callable[[], Figure]]
    if isinstance(result, PairEvaluation):
        makers = {
            "curve": lambda: _curve(result),
            "apgr": lambda: _apgr(result),
            "reliability": lambda: _reliability(result),
        }
        if result.groups:
            makers["groups"] = lambda: _groups(result)
    else:
        makers = {"quality": lambda: _pool_quality(result)}
        if result.frontier:
            makers["frontier"] = lambda: _frontier(result)
    return {name: (_png(make), _svg(make, name)) for name, make in makers.items()}


@contextmanager
def _style(ink: str, salt: str = "routellm") -> Iterator[None]:
    inked: dict[str, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink
    )
    settings: Any = {**STYLE, **inked, "svg.hashsalt": salt}
    with mpl.rc_context(settings):
        yield


def _png(make: Callable[[], Figure]) -> bytes:
    with _style("#1b1b1f"):
        buffer = io.BytesIO()
        make().savefig(buffer, format="png", dpi=160, facecolor="white")
        return buffer.getvalue()


def _svg(make: Callable[[], Figure], name: str) -> str:
    with _style(INK, name):
        buffer = io.StringIO()
        make().savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(INK, "currentColor")
    text = text[text.index("<svg") :]
    end = text.index(">") + 1
    return text[:end] + _SCHEMES + text[end:]


def _look(index: int) -> dict[str, Any]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)]}


def _curve(result: PairEvaluation) -> Figure:
    figure = Figure(figsize=(7.2, 5.2))
    axes: Axes = figure.add_subplot()
    found = result.bootstrap
    for name, dashes in ((ORACLE, (0, (1, 2))), (LENGTH, (0, (6, 2))), (RANDOM, "-")):
        axes.plot(GRID, found.bands[name][0], color=GREY, linestyle=dashes, linewidth=1.2, label=name)
    for index, name in enumerate(result.routers):
        quality, low, high = found.bands[name]
        look = _look(index)
        label = f"{name}: APGR {found.figures[name]['apgr']}"
        axes.fill_between(GRID, low, high, color=look["color"], alpha=0.18, linewidth=0)
        axes.plot(GRID, quality, linewidth=2, label=label, **look)
        for level in (50, 80):
            share = found.figures[name].get(f"cpt{level}")
            if share is not None and not math.isnan(share.value):
                height = float(np.interp(share.value, GRID, quality))
                axes.plot(share.value, height, MARKERS[index % len(MARKERS)], color=look["color"], markersize=7)
                above = index % 2 == 0  # neighbours' labels go to opposite sides of their curves
                axes.annotate(
                    f"CPT{level} {100 * share.value:.0f}%",
                    (share.value, height),
                    xytext=(-7, 7 + 5 * index) if above else (7, -8 - 5 * index),
                    textcoords="offset points",
                    ha="right" if above else "left",
                    fontsize=8,
                )
    for model, quality in ((result.strong, found.strong), (result.weak, found.weak)):
        axes.axhline(quality.value, color=GREY, linewidth=0.8, alpha=0.7)
        axes.annotate(
            model, (1.0, quality.value), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8, color=GREY
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("strong calls")
    axes.set_ylabel("mean quality")
    axes.set_title(f"{result.benchmark}, {result.n:,} prompts, 95% bands", loc="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _apgr(result: PairEvaluation) -> Figure:
    names = [*result.routers, LENGTH, ORACLE]
    figure = Figure(figsize=(7.2, 0.9 + 0.4 * (len(names) + 1)))
    axes: Axes = figure.add_subplot()
    for row, name in enumerate(names):
        colour = COLOURS[row % len(COLOURS)] if name in result.routers else GREY
        _interval_mark(axes, result.bootstrap.figures[name]["apgr"], row, colour, MARKERS[row % len(MARKERS)])
    _interval_mark(axes, result.random_single, len(names), GREY, "x")
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names) + 1), [*names, "one random order"])
    axes.invert_yaxis()
    axes.set_xlabel("APGR")
    axes.set_title("APGR with 95% intervals", loc="left", fontsize=11)
    return figure


def _interval_mark(axes: Axes, figure: Interval, row: float, colour: str, marker: str) -> None:
    if math.isnan(figure.value):
        return
    axes.plot([figure.low, figure.high], [row, row], color=colour, linewidth=2)
    axes.plot(figure.value, row, marker, color=colour, markersize=7)


def _reliability(result: PairEvaluation) -> Figure:
    figure = Figure(figsize=(5.2, 4.8))
    axes: Axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="calibrated")
    for index, name in enumerate(result.routers):
        bins = result.reliability[name].bins
        look = _look(index)
        for b in bins:
            axes.plot([b.predicted, b.predicted], [b.low, b.high], color=look["color"], linewidth=1, alpha=0.6)
        axes.plot(
            [b.predicted for b in bins],
            [b.observed for b in bins],
            marker=MARKERS[index % len(MARKERS)],
            label=f"{name}: error {result.reliability[name].expected_calibration_error:.3f}",
            **look,
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("win rate the router gives")
    axes.set_ylabel("how often strong was better (ties half)")
    axes.set_title("Are the win rates probabilities?", loc="left", fontsize=11)
    axes.legend(loc="upper left", fontsize=8)
    return figure


def _groups(result: PairEvaluation) -> Figure:
    parts = sorted(result.groups.items(), key=lambda item: -item[1]["n"])[:MOST_GROUPS]
    figure = Figure(figsize=(7.2, 1.0 + 0.26 * len(parts)))
    axes: Axes = figure.add_subplot()
    step = 0.6 / max(1, len(result.routers))
    for index, router in enumerate(result.routers):
        for row, (_, part) in enumerate(parts):
            values = part["routers"][router]["apgr"]
            if values["value"] is not None and values["low"] is not None:
                mark = Interval(values["value"], max(values["low"], -1.0), min(values["high"], 2.0))
                at = row + step * (index - (len(result.routers) - 1) / 2)
                _interval_mark(axes, mark, at, COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
        axes.plot([], [], MARKERS[index % len(MARKERS)], color=COLOURS[index % len(COLOURS)], label=router)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(parts)), [f"{name} ({part['n']})" for name, part in parts], fontsize=8)
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_xlim(-0.5, 1.5)
    axes.set_xlabel("APGR")
    axes.set_title("By group, the largest first (long intervals are cut)", loc="left", fontsize=11)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _pool_quality(result: PoolEvaluation) -> Figure:
    marks = {**result.qualities, **{name: figures["quality"] for name, figures in result.routers.items()}}
    marks["oracle"] = result.baselines["oracle"]["quality"]
    ordered = sorted(marks.items(), key=lambda item: item[1].value if not math.isnan(item[1].value) else -math.inf)
    figure = Figure(figsize=(7.2, 1.0 + 0.32 * len(ordered)))
    axes: Axes = figure.add_subplot()
    routers = list(result.routers)
    for row, (name, quality) in enumerate(ordered):
        colour, marker = (COLOURS[routers.index(name) % len(COLOURS)], "s") if name in routers else (GREY, "o")
        _interval_mark(axes, quality, row, colour, marker)
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=8)
    axes.set_xlabel("mean quality, 95% intervals")
    axes.set_title(f"{result.benchmark}, {result.n:,} prompts", loc="left", fontsize=11)
    return figure


def _frontier(result: PoolEvaluation) -> Figure:
    figure = Figure(figsize=(7.2, 4.6))
    axes: Axes = figure.add_subplot()
    for index, (name, points) in enumerate(result.frontier.items()):
        axes.plot(
            [1000 * cost for cost, _ in points],
            [quality for _, quality in points],
            marker=MARKERS[index % len(MARKERS)],
            markersize=4,
            label=f"{name}: AIQ {result.routers[name]['aiq']}",
            **_look(index),
        )
    for name in ("best_single", "cheapest", "oracle"):
        figures = result.baselines[name]
        at = (1000 * figures["mean_cost"].value, figures["quality"].value)
        axes.plot(*at, "x", color=GREY, markersize=8)
        axes.annotate(name.replace("_", " "), at, xytext=(6, -3), textcoords="offset points", fontsize=8, color=GREY)
    axes.set_xlabel("US dollars per 1,000 calls")
    axes.set_ylabel("mean quality")
    axes.set_title("Quality against cost, at rising regard for cost", loc="left", fontsize=11)
    axes.legend(loc="lower right", fontsize=8)
    return figure
