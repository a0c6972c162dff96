"""`routellm estimate`."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import yaml

from routellm_core.call_costs import RouterCost
from routellm_core.cli.named import PRICE_HELP, parse_prices
from routellm_core.config import load_config
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.evaluation.interval import Interval
from routellm_core.pricing import Price, look_up_price
from routellm_core.savings import WORTH_USD, SavingsEstimate, ThresholdCost, estimate_savings
from routellm_core.traffic import DecisionRecords, read_decisions


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


def estimate(
    log: Annotated[Path, typer.Option(help="The decision log; the files it was renamed to are read too.")],
    prices: Annotated[
        Path | None,
        typer.Option(
            help="The configuration file, or a YAML file of its own with a price a model, in US dollars per million tokens."
        ),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PRICE", help=f"{PRICE_HELP} Wins over --prices."),
    ] = None,
    chain: Annotated[str | None, typer.Option(help="Only calls of this chain.")] = None,
    router_usd_per_hour: Annotated[
        float | None,
        typer.Option(help="What the machine costs that the router runs on, by the time that scoring took."),
    ] = None,
    router_requests_per_second: Annotated[
        float | None, typer.Option(help="How many prompts that machine scores, instead of the times in the log.")
    ] = None,
    router_usd_per_million_tokens: Annotated[
        float | None, typer.Option(help="What a paid embedding of the prompts costs.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="How many days the log is of; without it, from its first to its last call.")
    ] = None,
    worth: Annotated[
        float, typer.Option(help="What a month must save, in US dollars, for routing to be worth it.")
    ] = WORTH_USD,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Say what a month of logged traffic costs, what it would cost at other thresholds, and whether routing is worth it.

    Without routing, the calls that the router decides go to the strong model. Not routing yet? Log with [bold]threshold 0[/bold]:
    every call still goes to strong, and is scored. Money is all that a log can tell: what the cheaper answers are worth shows
    [bold]routellm calibrate --quality[/bold] on graded answers.

    Examples:
        routellm estimate --log decisions.jsonl --prices routing.yaml

        routellm estimate --log decisions.jsonl --price strong=10,30 --price weak=0.24 --format json
    """
    records = read_decisions(log)
    if chain is not None:
        records = records.of_chain(chain)
    known = _read_prices(prices) | parse_prices(price)
    given = (router_usd_per_hour, router_requests_per_second, router_usd_per_million_tokens)
    cost = None
    if any(value is not None for value in given):
        cost = RouterCost(
            usd_per_hour=router_usd_per_hour or 0.0,
            requests_per_second=router_requests_per_second,
            usd_per_million_tokens=router_usd_per_million_tokens or 0.0,
        )
    result = estimate_savings(records, _with_list_prices(records, known), router=cost, days=days, worth_usd=worth)
    if format is Format.json:
        typer.echo(json.dumps({"log": str(log), **result.to_dict()}))
    else:
        _print_table(result)


def _read_prices(path: Path | None) -> dict[str, Price]:
    if path is None:
        return {}
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--prices {str(path)!r} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--prices {str(path)!r} is not YAML: {type(error).__name__}") from None
    if isinstance(data, dict) and {"models", "chains"} <= data.keys():
        return load_config(path).prices()
    if not isinstance(data, dict) or not data:
        raise ConfigurationError(f"--prices {str(path)!r} must be a configuration file, or have a price a model")
    try:
        return {str(name): Price.parse(value) for name, value in data.items()}
    except ConfigurationError as error:
        raise ConfigurationError(f"--prices {str(path)!r}: {error}") from None


def _with_list_prices(records: DecisionRecords, known: dict[str, Price]) -> dict[str, Price]:
    """Look up what has no price yet; names of candidates may be those of models."""
    named = {name for row in records for name in (row.choice, row.strong, row.weak) if name is not None}
    missing = sorted(named - known.keys())
    for name in missing:
        try:
            found = None if name in ("strong", "weak") else look_up_price(name)
        except MissingDependencyError:
            found = None
        if found is None:
            raise ConfigurationError(
                f"there is no price of {name!r}: give --price {name}=INPUT,OUTPUT in US dollars per million tokens, --price "
                f"{name}=list:MODEL, or the configuration with --prices"
            )
        known[name] = found
    return known


def _print_table(result: SavingsEstimate) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "threshold",
        "strong calls",
        "$ a month",
        "saved $ (95% interval)",
        "saved",
        title=f"30 days of such traffic ({result.calls} calls in {result.days:.1f} days)",
        caption=f"without routing ${_money(result.without_routing_usd)}; the router ${result.router_usd:,.2f}",
    )
    rows: Sequence[tuple[str, ThresholdCost]] = [
        ("as it was", result.actual),
        *((f"{one.threshold:.4f}", one) for one in result.thresholds),
    ]
    for name, one in rows:
        table.add_row(
            name,
            f"{one.strong_fraction:.0%}",
            f"{one.usd.value:,.2f}",
            _money(one.saved_usd),
            f"{one.saved_fraction.value:.0%}",
        )
    Console().print(table)
    typer.echo(result.verdict)
    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _money(amount: Interval) -> str:
    return f"{amount.value:,.2f} [{amount.low:,.2f}, {amount.high:,.2f}]"
