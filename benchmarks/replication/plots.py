"""The figures of the page, as SVG, from the stored results."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.replication.writing import Stored, Triple
from routellm_core.evaluation.plots import COLOURS, GREY, LINES, MARKERS, STYLE

SHOWN = ("mf, arena", "sw_ranking, arena", "mf, arena + judge + gold", "sw_ranking, arena + judge + gold", "length")


def draw(names: Iterable[str], stored: Stored, folder: Path) -> None:
    """Draw figures: the functions below, by their names with hyphens."""
    folder.mkdir(parents=True, exist_ok=True)
    style: Any = {**STYLE, "svg.hashsalt": "replication"}  # else every run would name its clips anew
    for name in names:
        with mpl.rc_context(style):
            figure = Figure(figsize=(9, 3.4))
            globals()[name.replace("-", "_")](figure, stored)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, facecolor="white")


def _finish(axes: Axes, x: str, y: str, title: str = "") -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10)


def with_ends(values: Sequence[Triple]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return values, shape (n,), and how far the ends of their intervals are from them, (2, n); NaN, undrawn, for None."""
    value, low, high = np.array(values, dtype=float).T
    return value, np.abs(np.stack([value - low, high - value]))


def curves(figure: Figure, stored: Stored) -> None:
    """Quality at every share of strong calls, on three benchmarks."""
    tables = stored.result("routellm-tables")
    names = ("MMLU", "GSM8K", "MT-Bench")
    for axes, benchmark in zip(figure.subplots(1, 3), names, strict=True):
        found = tables[benchmark]
        share = np.linspace(0, 1, len(found["bands"]["length"][0]))
        for i, name in enumerate(SHOWN):
            line, low, high = found["bands"][name]
            axes.plot(share, line, label=name, color=COLOURS[i], linestyle=LINES[i], linewidth=1.4)
            if i >= 3:
                axes.fill_between(share, low, high, color=COLOURS[i], alpha=0.12, linewidth=0)
        axes.plot([0, 1], [found["weak"][0], found["strong"][0]], color=GREY, linewidth=1, linestyle=":")
        _finish(axes, "share of strong calls", "quality", f"{benchmark}, {found['n']} prompts")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)


def labels(figure: Figure, stored: Stored) -> None:
    """APGR against labels of the benchmark's own kind."""
    found = stored.result("routellm-labels")
    for axes, (benchmark, part) in zip(figure.subplots(1, 2), found.items(), strict=True):
        for i, router in enumerate(("mf", "sw_ranking", "mf, labels alone", "knn, labels alone")):
            split = [(name.rsplit(" ", 2), value) for name, value in part["apgr"].items()]
            rows = [(key, value) for key, value in split if key[0] == router]
            points = [(int(key[1]), value) for key, value in rows if key[2] == "0"]
            counts = [count for count, _ in points]
            middle, bars = with_ends([value for _, value in points])
            place = np.arange(len(counts)) + (1 if counts[0] else 0) + 0.08 * (i - 1)
            axes.errorbar(
                place, middle, bars, label=router, color=COLOURS[i], marker=MARKERS[i], capsize=2, linewidth=1
            )
            others = [(int(key[1]), value[0]) for key, value in rows if key[2] != "0" and value[0] is not None]
            axes.scatter(
                [place[counts.index(c)] for c, _ in others],
                [v for _, v in others],
                s=12,
                facecolors="none",
                edgecolors=COLOURS[i],
            )
        counts = sorted({int(name.rsplit(" ", 2)[1]) for name in part["apgr"] if name.startswith("mf ")})
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.axhline(0.5, color=GREY, linewidth=1)
        axes.axhline(part["apgr"]["length"][0], color=GREY, linewidth=1, linestyle="--", label="length")
        _finish(axes, f"labels of {benchmark}", "APGR", f"{benchmark}, {part['n']} prompts")
    figure.axes[0].legend(fontsize=8)


def similarity(figure: Figure, stored: Stored) -> None:
    """APGR against the similarity of benchmark and training data."""
    near, tables = stored.result("routellm-similarity"), stored.result("routellm-tables")
    axes = figure.subplots()
    for i, benchmark in enumerate(tables):
        for j, router in enumerate(("mf", "sw_ranking")):
            x = [near[data][benchmark][0] for data in near]
            y = [tables[benchmark]["routers"][f"{router}, {data}"]["apgr"] for data in near]
            middle, bars = with_ends(y)
            style = "none" if j else COLOURS[i]
            axes.errorbar(
                x,
                middle,
                bars,
                fmt=MARKERS[i],
                color=COLOURS[i],
                markerfacecolor=style,
                label=f"{benchmark}, {router}",
                linewidth=0.7,
            )
    axes.axhline(0.5, color=GREY, linewidth=1)
    axes.legend(fontsize=8, ncols=2)
    _finish(axes, "similarity of benchmark to training prompts", "APGR")


def few_labels(figure: Figure, stored: Stored) -> None:
    """Quality of the pick against labels of the new task."""
    axes = figure.subplots()
    runs = [stored.result(f"benchmark_datasets-labels-{i}") for i in range(2)]
    for i, part in enumerate(pool for one in runs if one for pool in one["pools"]):
        counts = [int(count) for count in part["reached"]]
        gains = np.array(list(part["gain over none"].values()), dtype=float)
        axes.plot(counts, gains[:, 0], label=part["pool"], color=COLOURS[i], marker=MARKERS[i], linewidth=1.2)
        axes.fill_between(counts, gains[:, 1], gains[:, 2], color=COLOURS[i], alpha=0.12, linewidth=0)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.legend(fontsize=8)
    _finish(axes, "labelled prompts of the new task", "gain over no label")


def error_of_p(figure: Figure, stored: Stored) -> None:
    """The gain of S3 over the best model on average, against how wrong p is; a point a task."""
    axes = figure.subplots()
    for i in range(4):
        part = stored.result(f"benchmark_datasets-tasks-{i}")
        if part is None:
            continue
        tasks = part["tasks"].values()
        axes.scatter(
            [t["error of p"] for t in tasks],
            [t["gain of S3"] for t in tasks],
            label=part["pool"],
            color=COLOURS[i],
            marker=MARKERS[i],
            s=22,
        )
    axes.axhline(0, color=GREY, linewidth=1)
    axes.legend(fontsize=8)
    _finish(axes, "mean error of p on the task", "gain of S3 over the best on average")


def training_size(figure: Figure, stored: Stored) -> None:
    """The share of the oracle against training prompts."""
    found, axes = stored.result("multiple_minds-size"), figure.subplots()
    for i, (name, rows) in enumerate(found["routers"].items()):
        axes.plot(
            [int(n) for n in rows],
            [row["share"] for row in rows.values()],
            label=name,
            color=COLOURS[i],
            marker=MARKERS[i],
        )
        for n, row in rows.items():
            axes.scatter([int(n)] * len(row["draws"]), row["draws"], s=10, facecolors="none", edgecolors=COLOURS[i])
    axes.axhline(found["best single"][0], color=GREY, linestyle="--", label="best single model")
    axes.set_xscale("log")
    axes.legend(fontsize=8)
    _finish(axes, "training prompts", "share of the oracle's quality")


def leak(figure: Figure, stored: Stored) -> None:
    """Quality, and calls to the candidate that has seen the training prompts."""
    found = stored.result("multiple_minds-leak")["rows"]
    shares = [float(share) for share in found]
    first, second = figure.subplots(1, 2)
    quality = np.array([row["quality"] for row in found.values()])
    first.errorbar(
        shares, quality[:, 0], np.abs(quality[:, :1] - quality[:, 1:]).T, color=COLOURS[0], marker="o", capsize=2
    )
    second.plot(shares, [row["sent to it"] for row in found.values()], color=COLOURS[1], marker="s")
    _finish(first, "share of training prompts known by heart", "quality on held-out prompts")
    _finish(second, "share of training prompts known by heart", "calls to that candidate")
