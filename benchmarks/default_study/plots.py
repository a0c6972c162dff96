"""The figures of docs/results.md, as SVG, from the stored results."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.default_study.page_study import curves_of
from benchmarks.replication.plots import with_ends
from benchmarks.replication.writing import Stored
from routellm_core.evaluation.plots import COLOURS, GREY, LINES, MARKERS, STYLE

ROUTERS = ("default", "length", "oracle")


def draw(names: Iterable[str], stored: Stored, folder: Path) -> None:
    """Draw figures: the functions below, by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    style: Any = {**STYLE, "svg.hashsalt": "default"}  # else every run would name its clips anew
    for name in names:
        with mpl.rc_context(style):
            figure: Figure = globals()[name](stored)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, facecolor="white")


def curves(stored: Stored) -> Figure:
    """Quality at every share of strong calls, on three benchmarks."""
    figure = Figure(figsize=(9, 3.3))
    found = stored.result("beside-benchmarks")
    for axes, (name, one) in zip(figure.subplots(1, 3), found.items(), strict=True):
        for i, router in enumerate(ROUTERS):
            line, low, high = one["bands"][router]
            share = np.linspace(0, 1, len(line))
            axes.plot(share, line, label=router, color=COLOURS[i], linestyle=LINES[i], linewidth=1.4)
            if router == "default":
                axes.fill_between(share, low, high, color=COLOURS[i], alpha=0.15, linewidth=0)
        axes.plot([0, 1], [one["weak"][0], one["strong"][0]], color=GREY, linewidth=1, linestyle=":")
        axes.set_xlabel("share of strong calls")
        axes.set_title(f"{name}, {one['n']:,} prompts", fontsize=10)
    figure.axes[0].set_ylabel("quality")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure


def learning(stored: Stored) -> Figure:
    """APGR against labels."""
    figure = Figure(figsize=(7, 3.6))
    axes, bounds = figure.subplots(), stored.result("choices-table")["routers"]
    ticks = list(next(iter(curves_of(stored).values())))
    for i, (name, rows) in enumerate(curves_of(stored).items()):
        counts = list(rows)
        first, bars = with_ends([rows[count][0] for count in counts])
        means = [float(np.mean([draw[0] for draw in rows[count]])) for count in counts]
        place = np.array([ticks.index(count) for count in counts]) + 0.1 * (i - 1)
        axes.errorbar(place, first, bars, fmt="none", color=COLOURS[i], alpha=0.4, capsize=2, linewidth=1)
        axes.plot(place, means, label=name, color=COLOURS[i], marker=MARKERS[i], linewidth=1.2, markersize=4)
    axes.set_xticks(range(len(ticks)), [f"{int(count):,}" for count in ticks])
    for name, dashes in (("topic known", "--"), ("length", ":")):
        axes.axhline(bounds[name]["apgr"][0], color=GREY, linewidth=1, linestyle=dashes, label=name)
    axes.set_xlabel("labels of MMLU (none: MMLU-Pro alone)")
    axes.set_ylabel("APGR")
    axes.legend(fontsize=8, ncols=2)
    return figure


def tried(stored: Stored) -> Figure:
    """APGR of all that was tried."""
    found = stored.result("choices-table")
    rows = sorted(
        ((name, one["apgr"]) for name, one in found["routers"].items() if name != "oracle"), key=lambda row: row[1][0]
    )
    figure = Figure(figsize=(7.5, 0.8 + 0.2 * len(rows)))
    axes = figure.subplots()
    value, bars = with_ends([row[1] for row in rows])
    axes.errorbar(value, range(len(rows)), xerr=bars, fmt="o", markersize=3, color=COLOURS[0], linewidth=1)
    axes.axvline(found["routers"]["the shipped router"]["apgr"][0], color=COLOURS[1], linewidth=1)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=7)
    axes.set_xlabel("APGR on MMLU dev")
    return figure
