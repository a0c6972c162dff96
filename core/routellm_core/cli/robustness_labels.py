"""`routellm robustness labels`."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routellm_core.cli.named import parse_named
from routellm_core.cli.output import print_tables
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.progress import progress_bar

if TYPE_CHECKING:
    from routellm_core.robustness.items import Item


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


class Average(StrEnum):
    """What results are averaged over."""

    permutations = "permutations"
    demonstrations = "demonstrations"


class Scoring(StrEnum):
    """How answers are read."""

    symbol = "symbol"
    hybrid = "hybrid"
    cloze = "cloze"


class Normalisation(StrEnum):
    """What log-likelihoods of texts are divided by."""

    chars = "chars"
    tokens = "tokens"
    bytes = "bytes"
    none = "none"


def labels(
    data: Annotated[
        str,
        typer.Option(help="The questions: prompt and gold, or question, choices and gold columns; perhaps id, group."),
    ],
    out: Annotated[Path, typer.Option(help="The table of outcomes to write; .csv, .jsonl or .parquet.")],
    local: Annotated[
        list[str] | None,
        typer.Option("--local", metavar="NAME=PATH", help="A causal model: a folder or Hub repository (extra torch)."),
    ] = None,
    remote: Annotated[
        list[str] | None,
        typer.Option(
            "--remote", metavar="NAME=MODEL", help="A model behind an OpenAI-compatible endpoint (extra openai)."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The endpoint of --remote; without it OPENAI_BASE_URL, or OpenAI itself.")
    ] = None,
    average: Annotated[
        Average, typer.Option(help="Over all cyclic orders of the choices, or over draws of mixed demonstrations.")
    ] = Average.permutations,
    rule: Annotated[
        Scoring | None, typer.Option(help="Without it symbol for permutations and hybrid for demonstrations.")
    ] = None,
    normalisation: Annotated[
        Normalisation, typer.Option(help="What log-likelihoods of texts are divided by.")
    ] = Normalisation.chars,
    draws: Annotated[int, typer.Option(min=1, help="Demonstrations: how often each question is asked.")] = 4,
    shots: Annotated[int, typer.Option(min=1, help="Demonstrations: how many before each question.")] = 5,
    pool: Annotated[
        int, typer.Option(min=1, help="Demonstrations: how many questions are kept for them, of each group in turn.")
    ] = 20,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions that a local model reads at once.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the demonstrations, and of which questions they are drawn from.")] = 0,
    report: Annotated[
        str | None, typer.Option(help="Also write report.html, result.json and the figure to this folder (extra eval).")
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Make outcomes that do not hang on how a multiple-choice question was put.

    Every question is asked several times, and its score is the share of right answers; one that cannot be read is wrong.
    [bold]permutations[/bold] asks it in every
    cyclic order of its choices; [bold]demonstrations[/bold] behind several draws of answered questions, a trivial one and one of
    another group among them. The table trains and evaluates routers like any other; how it was made is written beside it.

    An endpoint allows the rule symbol alone: it gives no likelihoods of given texts.

    Examples:
        routellm robustness labels --data questions.jsonl --local small=./smol --local big=org/model --out outcomes.jsonl

        routellm robustness labels --data q.csv --remote big=gpt-4.1 --out outcomes.csv --report report
    """
    from routellm_core.preferences.outcomes import write_outcomes
    from routellm_core.preferences.tables import check_table_name
    from routellm_core.robustness.demonstrations import split_pool
    from routellm_core.robustness.files import read_items
    from routellm_core.robustness.items import select_items
    from routellm_core.robustness.labels import demonstration_labels, permutation_labels, prompt_templates
    from routellm_core.robustness.report import label_ranking, label_tables, unreadable_warnings, write_label_report

    if not (local or remote):
        raise ConfigurationError("there is no model to ask: name one with --local NAME=PATH or --remote NAME=MODEL")
    if rule is None:
        rule = Scoring.symbol if average is Average.permutations else Scoring.hybrid
    if remote and rule is not Scoring.symbol:
        raise ConfigurationError(
            f"rule {rule.value!r} cannot be had of --remote: take --rule symbol, or --local models alone"
        )
    check_table_name(out)
    found = select_items(read_items(data))
    if average is Average.demonstrations and found.items and len(found) <= pool:
        raise ConfigurationError(
            f"--pool keeps {pool} questions for demonstrations: there are {len(found)}, none is left"
        )
    models = [*_local(local or (), batch_size, normalisation.value), *_remote(remote or (), base_url)]
    asked: Sequence[Item] = found.items
    with progress_bar("Asking") as advance:
        if average is Average.permutations:
            table = permutation_labels(asked, models, rule=rule.value, progress=advance)
        else:
            shown, asked = split_pool(found.items, pool, seed=seed)
            table = demonstration_labels(
                asked, models, shown, rule=rule.value, shots=shots, draws=draws, seed=seed, progress=advance
            )
    templates = prompt_templates(asked, rule.value)
    write_outcomes(table, out, in_rows=[{"prompt template": template} for template in templates])
    for warning in unreadable_warnings(table):
        typer.echo(f"warning: {warning}", err=True)
    if report is not None:
        write_label_report(table, report)
    if format is Format.json:
        told = {
            "out": str(out),
            **found.to_dict(),
            "ranking": label_ranking(table),
            "provenance": dict(table.provenance),
        }
        typer.echo(json.dumps(told, allow_nan=False))
        return
    print_tables(label_tables(table))
    typer.echo(f"{found.unreadable} rows left out: no multiple-choice question")
    typer.echo(f"{found.order_dependent} rows left out: choices depend on their order")
    typer.echo(f"written: {out}")


def _local(named: Any, batch_size: int, normalisation: Any) -> list[Any]:
    if not named:
        return []
    from routellm_core.robustness.likelihood import CausalScorer  # the extra torch
    from routellm_core.robustness.scoring import LikelihoodModel

    pairs = [parse_named("--local", text) for text in named]
    return [
        LikelihoodModel(CausalScorer(path, batch_size=batch_size, name=name), normalisation=normalisation)
        for name, path in pairs
    ]


def _remote(named: Any, base_url: str | None) -> list[Any]:
    if not named:
        return []
    from routellm_core.robustness.endpoint import EndpointModel

    pairs = [parse_named("--remote", text) for text in named]

    try:
        import openai  # only an endpoint needs it
    except ImportError as error:
        raise MissingDependencyError.for_extra("A remote model", "openai") from error
    try:
        client = openai.OpenAI(base_url=base_url)
    except openai.OpenAIError as error:
        raise ConfigurationError(
            "--remote needs a key: set OPENAI_API_KEY (to anything, for a server of yours)"
        ) from error
    return [EndpointModel(client, model, name=name) for name, model in pairs]
