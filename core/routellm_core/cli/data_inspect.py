"""`routellm data inspect`."""

from typing import Annotated

import typer

from routellm_core.cli.data_output import Format, print_report


def inspect(
    data: Annotated[str, typer.Option(help="The table: .csv, .jsonl, .parquet, or hf://datasets/owner/name/file.")],
    field: Annotated[str, typer.Option(help="The column of the prompt.")] = "prompt",
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Check every row of a table and say what is in it.

    Of battles: how often each side wins, who made the labels, repeated and short prompts, languages, and the models'
    [bold]tiers[/bold] with what they do to the sparsity of the labels. Of outcomes: every model's mean score. Of answers: how
    many there are.

    Examples:
        routellm data inspect --data battles.csv

        routellm data inspect --data hf://datasets/lmsys/lmsys-arena-human-preference-55k/train.csv --format json
    """
    from routellm_core.preferences.inspection import inspect_table

    print_report(inspect_table(data, prompt_field=field), format)
