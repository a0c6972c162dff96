"""What the commands of `routellm data` have in common: how a report is printed."""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import typer

_MOST_ENTRIES = 12
_LONG = 60


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


def print_report(report: Mapping[str, Any], format: Format) -> None:
    """Print a report as JSON, or as a table of names and values in which long lists are cut."""
    if format is Format.json:
        typer.echo(json.dumps(report))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name, value in _lines(report):
        table.add_row(Text(name), Text(value))
    Console().print(table)


def _lines(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in report.items():
        label = f"{prefix}{name}"
        if isinstance(value, Mapping) and any(isinstance(inner, Mapping | list) for inner in value.values()):
            yield from _lines(value, f"{label}: ")
        else:
            yield label, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{name} {_text(inner)}" for name, inner in value.items()]
    if isinstance(value, list):
        shown = [_text(entry) for entry in value[:_MOST_ENTRIES]]
        if len(value) > _MOST_ENTRIES:
            shown.append(f"and {len(value) - _MOST_ENTRIES} more")
        return ("\n" if max(map(len, shown), default=0) > _LONG else ", ").join(shown) or "none"
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).encode("utf-8", "replace").decode()
