"""Reports: a folder with the result as JSON, CSV, figures, and one HTML page that needs nothing else."""

import csv
import io
import json
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from routellm_core._version import __version__
from routellm_core.evaluation.tables import Evaluation, TextTable, result_tables

_CAPTIONS = {
    "curve": "Quality at every share of strong calls. A router above the grey line of random routing knows something; above "
    "“length” it knows more than how long the prompt is.",
    "apgr": "APGR is the mean of the recovered gap over all shares of strong calls; 0.5 is chance.",
    "reliability": "On the diagonal a win rate of 0.7 means: strong is better in 7 of 10 prompts. Thresholds do not need that; "
    "reading a win rate as a probability does.",
    "groups": "The same router on each group alone. What a router gains by telling groups apart does not show here.",
    "quality": "Models alone, routers, and the oracle, which knows the best model for each prompt.",
    "frontier": "What each router reaches as cost counts more.",
}
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1f;--soft:#5d5d66;--line:#d9d9e0;--ground:#fff;--card:#f6f6f8}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8ec;--soft:#a2a2ad;--line:#3a3a42;--ground:#17171a;--card:#202024}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--card:#fff}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:0 auto;max-width:62rem;padding:2rem 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p,figcaption{color:var(--soft);margin:.25rem 0 .75rem;max-width:46rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.85rem}
th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{color:var(--soft);font-weight:600}
figure{margin:1.5rem 0;break-inside:avoid}figure svg{max-width:100%;height:auto;border-radius:6px}
.warning{border-left:3px solid #d55e00;background:var(--card);color:var(--ink);padding:.5rem .8rem;max-width:none}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;color:var(--soft);font-size:.85rem}
dd{margin:0;overflow-wrap:anywhere}
"""


def write_report(result: Evaluation, folder: str | os.PathLike[str]) -> list[Path]:
    """Write a result as `result.json`, `figures.csv`, `report.html`, and each figure as .png and .svg.

    Args:
        result: What `evaluate` or `evaluate_pool` returned.
        folder: Where to; made if it is not there, files of these names are replaced.

    Returns:
        The files.

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
    """
    from routellm_core.evaluation.plots import draw  # drawing needs an extra, the rest does not

    figures = draw(result)
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    texts = {
        "result.json": json.dumps(result.to_dict(), indent=2) + "\n",
        "figures.csv": to_csv(result),
        "report.html": to_html(result, {name: svg for name, (_, svg) in figures.items()}),
        **{f"{name}.svg": svg for name, (_, svg) in figures.items()},
    }
    for name, text in texts.items():
        (where / name).write_text(text, encoding="utf-8", newline="")
    for name, (png, _) in figures.items():
        (where / f"{name}.png").write_bytes(png)
    return sorted([*(where / name for name in texts), *(where / f"{name}.png" for name in figures)])


def to_csv(result: Evaluation) -> str:
    """Return every figure as a row: benchmark, group, router, figure, value, low, high, reason."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("benchmark", "group", "router", "figure", "value", "low", "high", "reason"))
    plain = result.to_dict()
    for group, router, figure, found in _figures(plain):
        numbers = ("" if found[key] is None else repr(float(found[key])) for key in ("value", "low", "high"))
        writer.writerow((plain["benchmark"], group, router, figure, *numbers, found.get("reason", "")))
    return buffer.getvalue()


def to_html(result: Evaluation, figures: dict[str, str]) -> str:
    """Return one page that loads nothing from elsewhere.

    Args:
        result: What `evaluate` or `evaluate_pool` returned.
        figures: Name -> SVG.
    """
    main, *others = result_tables(result)
    groups = [table for table in others if table.title == "By group"]
    title = f"{', '.join(result.routers)} on {result.benchmark}"
    notes = [f"{count} rows left out: {why}" for why, count in result.excluded.items()]
    about = {"prompts": f"{result.n:,}", **{key: str(value) for key, value in result.provenance.items()}}
    about |= {"left out": "; ".join(notes) or "nothing", "made with": f"routellm-plugins {__version__}"}
    shown = {name: _figure_html(name, svg) for name, svg in figures.items()}
    body = [
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in result.warnings),
        _table_html(main),
        *(shown[name] for name in shown if name != "groups"),
        *(_table_html(table) for table in others if table not in groups),
        *(shown[name] for name in shown if name == "groups"),
        *map(_table_html, groups),
        "<h2>About</h2>",
        "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in about.items()) + "</dl>",
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _figures(plain: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    sides = {
        **plain["routers"],
        **plain["baselines"],
        **plain["differences"],
        **{f"model {name}": {"quality": quality} for name, quality in plain.get("models", {}).items()},
    }
    for router, found in sides.items():
        yield from (("", router, key, value) for key, value in found.items() if _is_figure(value))
    for group, part in plain.get("groups", {}).items():
        for router, found in part["routers"].items():
            yield from ((group, router, key, value) for key, value in found.items() if _is_figure(value))


def _is_figure(value: object) -> bool:
    return isinstance(value, dict) and {"value", "low", "high"} <= value.keys()


def _table_html(table: TextTable) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return f'<h2>{escape(table.title)}</h2>{note}<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _figure_html(name: str, svg: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(_CAPTIONS[name])}</figcaption></figure>"
