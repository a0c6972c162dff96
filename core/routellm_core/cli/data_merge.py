"""`routellm data merge`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from routellm_core.cli.data_output import Format, print_report
from routellm_core.errors import ConfigurationError
from routellm_core.progress import progress_bar


class LabelSource(StrEnum):
    """Who made labels."""

    human = "human"
    judge = "judge"
    gold = "gold"


def merge(
    data: Annotated[list[str], typer.Option(help="A table of battles or outcomes; repeat for more.")],
    out: Annotated[Path | None, typer.Option(help="The table to write; .csv, .jsonl or .parquet.")] = None,
    min_characters: Annotated[
        int, typer.Option(min=0, help="Leave out shorter prompts; RouteLLM's paper uses 16. 0 keeps all.")
    ] = 0,
    language: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep prompts of this language, such as en, or und for no hint; repeat for more. A simple rule."
        ),
    ] = None,
    keep_duplicates: Annotated[bool, typer.Option(help="Keep battles that repeat an earlier one.")] = False,
    source: Annotated[
        LabelSource | None,
        typer.Option(help="Who made labels that have no source; without it human, and gold for outcomes."),
    ] = None,
    margin: Annotated[float, typer.Option(help="Outcomes: scores that differ by this or less are a tie.")] = 0.0,
    field: Annotated[str, typer.Option(help="The column of the prompt.")] = "prompt",
    dry_run: Annotated[bool, typer.Option(help="Report, and write nothing.")] = False,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Merge battles from several tables into one, and say what was left out and why.

    Every published layout of Chatbot Arena data is read; of several turns the first of the user is the prompt. Outcomes become
    battles: on a prompt, the model with the higher score wins against every other. Tables larger than memory stream.

    Examples:
        routellm data merge --data arena.csv --data judged.jsonl --out battles.parquet --min-characters 16

        routellm data merge --data outcomes.csv --margin 0.1 --out battles.csv --dry-run
    """
    from routellm_core.preferences.cleaning import merge_battles

    if out is None and not dry_run:
        raise ConfigurationError("name the table to write with --out, or give --dry-run")
    read = 0
    with progress_bar("Merging") as advance:

        def count(rows: int) -> None:
            nonlocal read
            read += rows
            advance(read, None)

        reports = merge_battles(
            data,
            None if dry_run else out,
            min_characters=min_characters,
            languages=frozenset(language or ()),
            keep_duplicates=keep_duplicates,
            label_source=None if source is None else source.value,
            margin=margin,
            prompt_field=field,
            progress=count,
        )
    tables = [asdict(report) for report in reports]
    kept = sum(report.kept for report in reports)
    written = None if dry_run else str(out)
    if format is Format.json:
        print_report({"out": written, "kept": kept, "tables": tables}, format)
        return
    by_name = {f"{i}. {table.pop('table')}": table for i, table in enumerate(tables, start=1)}
    print_report({"out": written or "nothing (dry run)", "kept": kept, **by_name}, format)
