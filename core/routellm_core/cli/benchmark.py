"""`routellm benchmark list`, `fetch` and `run`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from routellm_core.cli.named import PRICE_HELP, parse_prices
from routellm_core.cli.output import print_tables
from routellm_core.errors import ConfigurationError
from routellm_core.pricing import Price
from routellm_core.progress import progress_bar

benchmark = typer.Typer(
    name="benchmark",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Get a benchmark that others published, or make one of your own prompts and models.",
)


@benchmark.command("list")
def list_benchmarks() -> None:
    """Show the benchmarks that can be fetched by name."""
    from routellm_core.evaluation.benchmarks import known_benchmarks
    from routellm_core.evaluation.tables import TextTable

    rows = tuple(
        (
            name,
            known.title,
            f"{known.rows:,}",
            known.strong,
            known.weak,
            known.licence,
            f"{known.repository} @{known.commit[:7]}",
        )
        for name, known in known_benchmarks().items()
    )
    print_tables([TextTable("Benchmarks", ("name", "what", "rows", "strong", "weak", "licence", "source"), rows)])


@benchmark.command()
def fetch(
    name: Annotated[str, typer.Argument(help="One of `routellm benchmark list`.")],
    out: Annotated[str, typer.Option(help="The table to write: .csv, .jsonl or .parquet.")],
) -> None:
    """Download a published benchmark, check it, and write it as one table of outcomes.

    Examples:
        routellm benchmark fetch routellm-mmlu --out mmlu.parquet
    """
    from routellm_core.evaluation.benchmarks import fetch_benchmark
    from routellm_core.preferences.outcomes import write_outcomes
    from routellm_core.preferences.tables import check_table_name

    target = check_table_name(out)
    table = fetch_benchmark(name, progress=True)
    typer.echo(f"{write_outcomes(table, target)}: {len(table)} prompts, {len(table.models)} models")


@benchmark.command()
def run(
    data: Annotated[
        str,
        typer.Option(help="The questions: .csv, .jsonl or .parquet with prompt and reference (and prompt_id, task)."),
    ],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="NAME[=MODEL][@URL]",
            help="A chat model: its name in the table, what the server calls it, and where.",
        ),
    ],
    grader: Annotated[str, typer.Option(help="multiple-choice, number, or exact.")],
    out: Annotated[str, typer.Option(help="The table to write; the answers go beside it, and are read back to go on.")],
    samples: Annotated[int, typer.Option(min=1, help="How many answers of each model to each question.")] = 1,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Of the sampling; without it the server's.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of an answer.")] = None,
    instruction: Annotated[
        str | None, typer.Option(help="A system message for the models; routers do not see it.")
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="NAME=PRICE", help=PRICE_HELP),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many calls are under way at once.")] = 8,
    field: Annotated[str, typer.Option(help="The column that holds the prompt.")] = "prompt",
    reference_field: Annotated[str, typer.Option(help="The column that holds the right answer.")] = "reference",
) -> None:
    """Ask chat models your questions, keep every answer, grade them, and write a benchmark.

    The models are behind OpenAI-compatible addresses; the key is taken from OPENAI_API_KEY. A run that is broken off goes on
    where it was when the same command is given again.

    Examples:
        routellm benchmark run --data q.jsonl --grader number --out mine.jsonl --model local=llama3@http://localhost:11434/v1

        routellm benchmark run --data q.csv --grader multiple-choice --samples 10 --temperature 0.7 --model big --out mine.jsonl
    """
    from routellm_core.evaluation.generate import run_benchmark
    from routellm_core.preferences.outcomes import write_outcomes
    from routellm_core.preferences.tables import check_table_name

    target = check_table_name(out)
    prices = parse_prices(price)
    models = [_model(text, prices) for text in model]
    unused = [name for name in prices if name not in {m.name for m in models}]
    if unused:
        raise ConfigurationError(f"--price {unused[0]!r}: no --model has that name")
    with progress_bar("Asking") as told:
        made = run_benchmark(
            _questions(data, field, reference_field),
            models,
            target.with_name(target.stem + ".answers.jsonl"),
            grader=grader,
            samples=samples,
            temperature=temperature,
            max_tokens=max_tokens,
            instruction=instruction,
            concurrency=concurrency,
            name=target.stem,
            progress=told,
        )
    write_outcomes(made.table, target)
    majorities = target.with_name(target.stem + ".majority.jsonl")
    majorities.write_text("".join(json.dumps(asdict(row)) + "\n" for row in made.majorities), encoding="utf-8")
    typer.echo(
        json.dumps(
            {"table": str(target), "answers": str(made.answers), "majorities": str(majorities)}
            | {"models": {name: asdict(count) for name, count in made.counts.items()}}
        )
    )


def _questions(data: str, field: str, reference_field: str) -> list[Any]:
    from routellm_core.evaluation.generate import Question
    from routellm_core.preferences.tables import Table

    questions: list[Any] = []
    for batch in Table(data).batches((field, reference_field), ("prompt_id", "task", "group")):
        for index, row in batch.rows():
            number = len(questions) + 1
            if not isinstance(row[field], str) or row[reference_field] is None:
                raise ConfigurationError(f"{batch.where(index)}: {field!r} and {reference_field!r} must be text")
            questions.append(
                Question(
                    id=str(row["prompt_id"]) if row["prompt_id"] is not None else f"q{number:06d}",
                    prompt=row[field],
                    reference=str(row[reference_field]),
                    group=str(row["task"] or row["group"] or ""),
                )
            )
    return questions


def _model(text: str, prices: dict[str, Price]) -> Any:
    from routellm_core.evaluation.generate import ChatModel

    named, _, url = text.partition("@http")
    name, _, served = named.partition("=")
    if not name:
        raise ConfigurationError(f"--model {text!r} must be NAME, NAME=MODEL, or either with @URL behind it")
    return ChatModel(name=name, model=served or name, base_url=f"http{url}" if url else None, price=prices.get(name))
