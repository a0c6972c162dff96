"""`routellm evaluate`."""

import json
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from routellm_core.call_costs import RouterCost
from routellm_core.cli.named import PRICE_HELP, parse_named, parse_numbers, parse_prices
from routellm_core.cli.output import print_tables
from routellm_core.errors import ConfigurationError
from routellm_core.progress import progress_bar
from routellm_core.registry import load_router, router_names


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


def evaluate(
    router: Annotated[
        list[str],
        typer.Option(
            "--router",
            help=f"A name ({', '.join(router_names())}), a folder, or a Hub repository; give several to compare.",
        ),
    ],
    benchmark: Annotated[
        str,
        typer.Option(
            help="A table of outcomes (.csv, .jsonl, .parquet: prompt, score::<model>), or a name of `routellm benchmark list`."
        ),
    ],
    strong: Annotated[str | None, typer.Option(help="The column that is strong. Without it: a pool of models.")] = None,
    weak: Annotated[str | None, typer.Option(help="The column that is weak.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A column of the pool; without any: all that the routers know.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference", metavar="COLUMN=MODEL", help="Which model of the router a column is, where the names differ."
        ),
    ] = None,
    price: Annotated[list[str] | None, typer.Option("--price", metavar="COLUMN=PRICE", help=PRICE_HELP)] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameters", metavar="COLUMN=BILLIONS", help="How large the models of a pool are."),
    ] = None,
    seconds: Annotated[
        list[str] | None,
        typer.Option("--seconds", metavar="COLUMN=SECONDS", help="How long the models of a pool take for an answer."),
    ] = None,
    router_usd_per_hour: Annotated[
        float | None,
        typer.Option(
            help="What the machine costs that the routers run on, by the time that scoring takes here: counted in the savings."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only the rows of this split, such as dev.")] = None,
    keep_flagged: Annotated[
        bool, typer.Option("--keep-flagged", help="Keep rows that are marked as contaminated or improper.")
    ] = False,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="The routers on every pair of columns, in one table, instead.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=1, help="How many resamples the intervals are from.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
    cache: Annotated[
        str | None, typer.Option(help="The file that keeps the routers' scores; an interrupted run goes on from it.")
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep scores.")] = False,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
    out: Annotated[
        str | None,
        typer.Option(help="Also write report.html, result.json, figures.csv and the figures to this folder."),
    ] = None,
) -> None:
    """Measure routers on graded answers, with intervals, and against chance, prompt length and hindsight.

    [bold]APGR[/bold] is the mean share of the gap between the two models that routing recovers: 0.5 is chance. [bold]CPT50[/bold]
    is the share of strong calls that recovers half of the gap: lower is cheaper. Every number has its 95% interval over
    prompts; of two routers, look at the interval of their difference.

    Examples:
        routellm evaluate --router default --router length --benchmark outcomes.parquet --strong gpt-4 --weak mixtral

        routellm evaluate --router default --benchmark routellm-mmlu --out report

        routellm evaluate --router my-pool-router --benchmark outcomes.parquet --price small=0.2 --price large=2.5,10
    """
    from routellm_core.evaluation.benchmarks import known_benchmarks, load_benchmark
    from routellm_core.evaluation.evaluate import EXCLUDED_FLAGS
    from routellm_core.evaluation.fetch import default_folder
    from routellm_core.evaluation.scores import ScoreCache

    known = known_benchmarks().get(benchmark)
    if known is not None and strong is None and weak is None and not model and not transfer:
        strong, weak = known.strong, known.weak
    pair = strong is not None and weak is not None
    if not pair and (strong, weak) != (None, None):
        raise ConfigurationError("give both --strong and --weak for a pair, or neither for a pool")
    of_pool: dict[str, object] = {"--model": model, "--parameters": parameters, "--seconds": seconds}
    _refuse("for a pair, which --strong and --weak are", pair, of_pool)
    _refuse("for a pool", not pair and not transfer, {"--router-usd-per-hour": router_usd_per_hour})
    _refuse(
        "with --transfer",
        transfer,
        {"--out": out, "--price": price, "--router-usd-per-hour": router_usd_per_hour, **of_pool},
    )
    if out is not None and Path(out).exists() and not Path(out).is_dir():
        raise ConfigurationError(f"--out {out!r} is a file: name a folder")
    routers = {name: load_router(name) for name in dict.fromkeys(router)}
    table = load_benchmark(benchmark)
    rest = None
    if split is not None:
        table, rest = _split(table, split)
    shared: dict[str, Any] = {
        "references": dict(parse_named("--reference", text) for text in reference or ()),
        "resamples": bootstrap,
        "seed": seed,
        "cache": None if no_cache else ScoreCache(cache or default_folder() / "scores.sqlite"),
    }
    if transfer:
        _print_transfer(routers, table, strong, weak, shared, format)
        return
    shared |= {
        "exclude": () if keep_flagged else EXCLUDED_FLAGS,
        "prices": parse_prices(price),
    }
    if not pair:
        shared |= {
            "parameters": parse_numbers("--parameters", parameters),
            "seconds": parse_numbers("--seconds", seconds),
        }
    if router_usd_per_hour is not None:
        shared["router_costs"] = dict.fromkeys(routers, RouterCost(usd_per_hour=router_usd_per_hour))
    with ExitStack() as stack:
        shared["progress"] = stack.enter_context(progress_bar("Scoring"))
        result = _evaluate(routers, table, strong, weak, model, rest, shared)
    if out is not None:
        from routellm_core.evaluation.report import write_report

        write_report(result, out)
    if format is Format.json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        _print(result, out)


def _refuse(where: str, applies: bool, options: dict[str, object]) -> None:
    """Refuse options that would be taken no notice of."""
    given = [name for name, value in options.items() if value is not None]
    if applies and given:
        raise ConfigurationError(f"{given[0]} says nothing {where}: leave it out")


def _evaluate(
    routers: Any,
    table: Any,
    strong: str | None,
    weak: str | None,
    models: list[str] | None,
    rest: Any,
    shared: dict[str, Any],
) -> Any:
    from routellm_core.evaluation.evaluate import evaluate as evaluate_pair
    from routellm_core.evaluation.pool import evaluate_pool

    if strong is not None and weak is not None:
        return evaluate_pair(routers, table, strong=strong, weak=weak, **shared)
    return evaluate_pool(routers, table, models=models, selection=rest, **shared)


def _split(table: Any, split: str) -> tuple[Any, Any]:
    there = sorted(set(table.split or ()))
    if split not in there:
        raise ConfigurationError(f"--split {split!r}: the table has {', '.join(map(repr, there)) or 'no split'}")
    inside = [value == split for value in table.split]
    outside = [i for i, value in enumerate(inside) if not value]
    return table.select(inside), table.select(outside) if outside else None


def _print_transfer(
    routers: Any, table: Any, strong: str | None, weak: str | None, shared: dict[str, Any], format: Format
) -> None:
    from routellm_core.evaluation.tables import transfer_table
    from routellm_core.evaluation.transfer import transfer as transfer_routers

    pairs = None if strong is None or weak is None else [(strong, weak)]
    rows = transfer_routers(routers, table, pairs, **shared)
    if format is Format.json:
        typer.echo(json.dumps({"benchmark": table.name, "transfer": [row.to_dict() for row in rows]}))
    else:
        print_tables([transfer_table(rows)])


def _print(result: Any, out: str | None) -> None:
    from routellm_core.evaluation.tables import result_tables

    print_tables([table for table in result_tables(result) if table.title != "By group"])
    for why, count in result.excluded.items():
        typer.echo(f"{count} rows left out: {why}")
    for warning in result.warnings:
        typer.echo(f"warning: {warning}")
    if out is not None:
        typer.echo(f"written: {Path(out) / 'report.html'}")
