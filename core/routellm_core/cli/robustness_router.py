"""`routellm robustness router`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from routellm_core.cli.output import print_tables
from routellm_core.progress import progress_bar
from routellm_core.registry import load_router, router_names


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


def router(
    router: Annotated[
        list[str],
        typer.Option("--router", help=f"A name ({', '.join(router_names())}), a folder, or a Hub repository; repeat."),
    ],
    data: Annotated[str, typer.Option(help="A table of outcomes (.csv, .jsonl, .parquet: prompt, score::<model>).")],
    strong: Annotated[str, typer.Option(help="The column that is strong.")],
    weak: Annotated[str, typer.Option(help="The column that is weak.")],
    perturbation: Annotated[
        list[str] | None, typer.Option("--perturbation", help="Only this one, such as derange; repeat for more.")
    ] = None,
    strong_fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="What the thresholds are calibrated for.")
    ] = 0.5,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Also show each router the questions in their canonical form.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(min=1, help="How many resamples the intervals are from.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the perturbations and the resamples.")] = 0,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
    out: Annotated[
        str | None, typer.Option(help="Also write report.html, result.json and the figure to this folder (extra eval).")
    ] = None,
) -> None:
    """See which decisions of a router change when multiple-choice questions are put otherwise.

    The threshold is calibrated on the questions as they are. [bold]Flipped[/bold] is the share of decisions that change;
    [bold]change[/bold] is APGR with the perturbation less APGR without, on the same prompts. Prompts that are no multiple-choice
    questions, or that speak of the order of their choices ("all of the above"), are left out and counted.

    Examples:
        routellm robustness router --router default --data outcomes.parquet --strong gpt-4 --weak mixtral

        routellm robustness router --router my-router --canonical --data o.csv --strong big --weak small --out report
    """
    from routellm_core.preferences.outcomes import read_outcomes
    from routellm_core.robustness.canonical import CanonicalRouter
    from routellm_core.robustness.report import router_tables, write_router_report
    from routellm_core.robustness.routers import measure_routers

    routers = {name: load_router(name) for name in dict.fromkeys(router)}
    if canonical:
        routers |= {f"{name}+canonical": CanonicalRouter(one) for name, one in routers.items()}
    with progress_bar("Scoring") as advance:
        result = measure_routers(
            routers,
            read_outcomes(data),
            strong=strong,
            weak=weak,
            perturbations=perturbation or None,
            strong_fraction=strong_fraction,
            resamples=bootstrap,
            seed=seed,
            progress=advance,
        )
    if out is not None:
        write_router_report(result, out)
    if format is Format.json:
        typer.echo(json.dumps(result.to_dict()))
        return
    print_tables(router_tables(result))
    typer.echo(f"{result.n} questions")
    for why, count in result.left_out.items():
        typer.echo(f"{count} rows left out: {why}")
    if out is not None:
        typer.echo(f"written: {Path(out) / 'report.html'}")
