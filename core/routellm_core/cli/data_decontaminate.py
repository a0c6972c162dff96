"""`routellm data decontaminate`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from routellm_core.cli.data_output import Format, print_report
from routellm_core.cli.named_embedder import CACHE_HELP, named_embedder, refuse_cache
from routellm_core.errors import ConfigurationError
from routellm_core.progress import progress_bar


def decontaminate(
    data: Annotated[str, typer.Option(help="The table to clean: battles, outcomes or answers.")],
    against: Annotated[list[str], typer.Option(help="A table with the prompts of an evaluation; repeat for more.")],
    out: Annotated[Path | None, typer.Option(help="The table to write; .csv, .jsonl or .parquet.")] = None,
    embedder: Annotated[
        str,
        typer.Option(help="default (embedded), none (texts alone), openai:MODEL or sentence-transformers:MODEL."),
    ] = "default",
    embedding_cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help=CACHE_HELP)] = None,
    similarity: Annotated[
        float, typer.Option(help="The cosine, in (0, 1], from which two prompts count as the same.")
    ] = 0.95,
    field: Annotated[str, typer.Option(help="The column of the prompt.")] = "prompt",
    against_field: Annotated[str, typer.Option(help="The column of the prompt in the evaluations.")] = "prompt",
    report: Annotated[
        Path | None, typer.Option(help="Write the whole report, with every dropped row, here (JSON).")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Report, and write no table.")] = False,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Leave out rows whose prompt is in an evaluation, and say which ones and why.

    A prompt goes if its text is the same but for case, width and white space, or if the [bold]cosine[/bold] of the embeddings
    reaches the similarity. RouteLLM's paper uses 0.95 with text-embedding-3-small. The embedded default sees words and not their
    order, so it also finds prompts that differ in a number: read the report.

    Examples:
        routellm data decontaminate --data battles.jsonl --against mmlu.parquet --out clean.jsonl --report dropped.json

        routellm data decontaminate --data battles.jsonl --against gsm8k.csv --embedder none --dry-run --format json

        routellm data decontaminate --data battles.jsonl --against mmlu.csv --embedder openai:text-embedding-3-small
        --embedding-cache vectors --out clean.jsonl
    """
    from routellm_core.preferences.cleaning import decontaminate_table
    from routellm_core.preferences.partial_files import check_writable

    if out is None and not dry_run:
        raise ConfigurationError("name the table to write with --out, or give --dry-run")
    for option, file in (("--report", report), ("--out", None if dry_run else out)):
        if file is not None:
            check_writable(file, what=option)
    if embedder == "none":
        refuse_cache(embedding_cache, "--embedder none, which embeds nothing")
        chosen = None
    else:
        chosen = named_embedder(embedder, also=("none",), cache=embedding_cache)
    read = 0
    with progress_bar("Comparing") as advance:

        def count(rows: int) -> None:
            nonlocal read
            read += rows
            advance(read, None)

        result = decontaminate_table(
            data,
            against,
            None if dry_run else out,
            embedder=chosen,
            similarity=similarity,
            prompt_field=field,
            evaluation_field=against_field,
            progress=count,
        ).to_dict()
    result["out"] = None if dry_run else str(out)
    if report is not None:
        try:
            report.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"--report {str(report)!r} cannot be written: {error.strerror}") from error
    if format is Format.table:
        result["found"] = [
            f"{m['row']} = {m['evaluation_row']} ({m['found_by']}, {m['similarity']:.3f})" for m in result["found"]
        ]
    print_report(result, format)
