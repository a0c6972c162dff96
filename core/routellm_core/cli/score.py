"""`routellm score`."""

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import typer

from routellm_core.calibration import validate_threshold
from routellm_core.cli.prompts import read_prompts
from routellm_core.errors import ConfigurationError
from routellm_core.registry import load_router, router_names
from routellm_core.routers.base import PairRouter, Router

_CHUNK = 256


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    jsonl = "jsonl"


def score(
    prompts: Annotated[list[str] | None, typer.Argument(metavar="[PROMPT]...", help="Prompts to score.")] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help="More prompts: .txt or - for standard input (a prompt a line), .jsonl, .csv, or .parquet (extra eval).",
        ),
    ] = None,
    field: Annotated[
        str, typer.Option(help="The field of .jsonl, .csv and .parquet that holds the prompt.")
    ] = "prompt",
    router: Annotated[
        str, typer.Option(help=f"A name ({', '.join(router_names())}), a folder, or a Hub repository (org/name).")
    ] = "default",
    threshold: Annotated[
        float | None,
        typer.Option(help="Strong from this win rate on, in 0..1. Without it: the router's value for half the calls."),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", help="A table to read, or JSON lines to process.")
    ] = Format.table,
) -> None:
    """Show where prompts would go, and how sure the router is, without calling any model.

    A [bold]strong win rate[/bold] of 0.8 says: with probability 0.8 the strong model's answer is the better one. Strong is
    chosen if and only if the win rate reaches the threshold, so a [bold]higher threshold is cheaper[/bold].

    Examples:
        routellm score 'What is the capital of France?'

        routellm score --file prompts.jsonl --format jsonl --threshold 0.6

        cat questions.txt | routellm score --file - --router length
    """
    texts = read_prompts(prompts or [], file, field)
    loaded = load_router(router)
    rows = (
        _pair_rows(loaded, texts, threshold) if isinstance(loaded, PairRouter) else _pool_rows(loaded, texts, threshold)
    )
    if format is Format.jsonl:
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")  # in ASCII: a prompt may hold what the terminal cannot encode
    else:
        _print_table(list(rows))


def _chunks(texts: list[str]) -> Iterable[list[str]]:
    from rich.console import Console
    from rich.progress import track  # drawing is not needed to import the command line

    chunks = [texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK)]
    console = Console(stderr=True)
    return track(chunks, "Scoring", console=console, transient=True, disable=not console.is_terminal or len(chunks) < 2)


def _pair_rows(router: PairRouter, texts: list[str], threshold: float | None) -> Iterable[dict[str, Any]]:
    if threshold is None and router.thresholds is not None:
        threshold = router.thresholds.threshold_for(0.5)
    if threshold is None:
        raise ConfigurationError(f"router {router.name!r} is not calibrated: give a --threshold in 0..1")
    limit = validate_threshold(threshold, name="--threshold")
    for chunk in _chunks(texts):
        for prompt, win_rate in zip(chunk, router.strong_win_rates(chunk).tolist(), strict=True):
            yield {
                "prompt": prompt,
                "router": router.name,
                "strong_win_rate": win_rate,
                "threshold": limit,
                "choice": "strong" if win_rate >= limit else "weak",
            }


def _pool_rows(router: Router, texts: list[str], threshold: float | None) -> Iterable[dict[str, Any]]:
    if threshold is not None:
        raise ConfigurationError(
            f"router {router.name!r} chooses among {len(router.models)} models: it takes no --threshold"
        )
    for chunk in _chunks(texts):
        for prompt, scores in zip(chunk, router.score(chunk).tolist(), strict=True):
            by_model = dict(zip(router.models, scores, strict=True))
            yield {
                "prompt": prompt,
                "router": router.name,
                "scores": by_model,
                "choice": max(by_model, key=by_model.__getitem__),
            }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    pair = "strong_win_rate" in rows[0]
    caption = f"router {rows[0]['router']}" + (f", threshold {rows[0]['threshold']:.4f}" if pair else "")
    columns = ("strong win rate", "choice") if pair else ("scores, the choice first",)
    table = Table("prompt", *columns, caption=Text(caption))
    for row in rows:
        cells = (f"{row['strong_win_rate']:.4f}", row["choice"]) if pair else (_by_score(row["scores"]),)
        table.add_row(Text(_short(row["prompt"])), *map(Text, cells))
    Console().print(table)


def _by_score(scores: dict[str, float]) -> str:
    """Return a line a model, the best first: as columns, many models would leave no room for their names."""
    return "\n".join(f"{scores[model]:.4f} {model}" for model in sorted(scores, key=lambda model: -scores[model]))


def _short(prompt: str, width: int = 60) -> str:
    line = " ".join(prompt.encode("utf-8", "replace").decode().split())
    return line if len(line) <= width else line[: width - 1] + "…"
