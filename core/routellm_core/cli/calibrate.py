"""`routellm calibrate`."""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdCalibration, ThresholdTable, calibrate_threshold
from routellm_core.cli.prompts import read_prompts
from routellm_core.config_edit import write_threshold
from routellm_core.drift import score_drift
from routellm_core.errors import CalibrationError, ConfigurationError
from routellm_core.evaluation.scores import score_prompts
from routellm_core.preferences.outcomes import read_outcomes
from routellm_core.progress import progress_bar
from routellm_core.quality import QualityCalibration, calibrate_quality
from routellm_core.registry import load_router, router_names
from routellm_core.routers.base import PairRouter
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.traffic import DecisionRecords, read_decisions

Rates = NDArray[np.float64]


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


def calibrate(
    router: Annotated[
        str | None,
        typer.Option(
            help=f"A name ({', '.join(router_names())}), a folder, or a Hub repository (org/name). Without it: default, or the "
            "router of the decision log."
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            help="Prompts like those to be routed: .txt or - for standard input (a prompt a line), .jsonl, .csv, .parquet "
            "(extra eval). With --quality: a table with a score column a model."
        ),
    ] = None,
    field: Annotated[str, typer.Option(help="The field of the file that holds the prompt.")] = "prompt",
    log: Annotated[
        Path | None, typer.Option(help="A decision log instead of a file: the traffic as it was, already scored.")
    ] = None,
    strong_fraction: Annotated[
        float | None, typer.Option(help="The wanted share of strong calls, in 0..1: 0.3 is 30%.")
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(help="Instead of a share: the wanted part of the gap between the models (PGR), in 0..1."),
    ] = None,
    strong: Annotated[str | None, typer.Option(help="With --quality: the strong model's column.")] = None,
    weak: Annotated[str | None, typer.Option(help="With --quality: the weak model's column.")] = None,
    fresh: Annotated[
        int | None,
        typer.Option(
            help="For how many further calls the interval is. Without it: as many as prompts are given; 0: in the long run."
        ),
    ] = None,
    chain: Annotated[
        str | None, typer.Option(help="With --log: only calls of this chain. With --write: the chain to change.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="A configuration file to write the threshold into, at --chain; comments stay as they are."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder to store the router in, with the thresholds of these prompts for every share."),
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Find the threshold for a wanted share of strong calls, or for a wanted quality, on your own prompts.

    The same threshold gives another share on other prompts: calibrate on prompts like those you will route. The
    [bold]interval[/bold] says what share to expect on further prompts, counting the noise of both samples; if your traffic falls
    outside, it has changed. Nothing calls a model, and no prompt leaves this machine unless the router itself sends it.

    Examples:
        routellm calibrate --router default --file prompts.jsonl --strong-fraction 0.3

        routellm calibrate --log decisions.jsonl --chain support --strong-fraction 0.3 --write routing.yaml

        routellm calibrate --file graded.csv --strong gpt-5 --weak gpt-5-nano --quality 0.8
    """
    _check(file, log, strong_fraction, quality, (strong, weak), (write, chain), fresh)
    n_fresh = None if fresh is None else fresh or math.inf
    warnings: list[str] = []
    loaded = None if log is not None and router is None else _pair_router(router or "default")
    result: ThresholdCalibration | QualityCalibration
    if quality is not None and strong is not None and weak is not None and loaded is not None:
        table = read_outcomes(file or "", prompt_field=field).complete((strong, weak))
        if not len(table):
            raise CalibrationError(f"no prompt of {file} has a score of both {strong!r} and {weak!r}")
        rates = _score(loaded, table.prompts)
        result = calibrate_quality(rates, table.column(weak), table.column(strong), quality, n_fresh=n_fresh)
    else:
        rates = (
            _logged_rates(log, chain, loaded, warnings)
            if log is not None
            else _score(loaded or _pair_router("default"), read_prompts([], file, field))
        )
        result = calibrate_threshold(rates, strong_fraction or 0.0, n_fresh=n_fresh)
    if loaded is not None and loaded.thresholds is not None:
        drift = score_drift(rates, loaded.thresholds)
        warnings += drift.warnings if drift is not None else ()
    if out is not None:
        _store(loaded, rates, out, file or str(log))
    if write is not None and chain is not None:
        typer.echo(f"{write}: {write_threshold(write, chain, result.threshold).strip()}", err=True)
    _print(result, warnings, format)


def _check(
    file: str | None,
    log: Path | None,
    strong_fraction: float | None,
    quality: float | None,
    pair: tuple[str | None, str | None],
    write: tuple[Path | None, str | None],
    fresh: int | None,
) -> None:
    if (file is None) == (log is None):
        raise ConfigurationError("give prompts with --file, or a decision log with --log")
    if (strong_fraction is None) == (quality is None):
        raise ConfigurationError(
            "give --strong-fraction (the share of strong calls), or --quality (the part of the gap)"
        )
    if quality is not None and (file is None or file == "-"):
        raise ConfigurationError("--quality needs a --file of graded answers: a table with a score column a model")
    if quality is not None and None in pair:
        raise ConfigurationError("--quality needs --strong and --weak, the columns of the two models")
    if quality is None and pair != (None, None):
        raise ConfigurationError("--strong and --weak name columns of graded answers, which only --quality needs")
    if write[0] is not None and write[1] is None:
        raise ConfigurationError("--write needs --chain, the section of the configuration to change")
    if write[1] is not None and write[0] is None and log is None:
        raise ConfigurationError("--chain names a chain of a --log, or of the configuration to --write")
    if fresh is not None and fresh < 0:
        raise ConfigurationError(f"--fresh is a number of calls, or 0 for the long run, not {fresh}")


def _pair_router(name: str) -> PairRouter:
    router = load_router(name)
    if not isinstance(router, PairRouter):
        raise ConfigurationError(
            f"router {router.name!r} chooses among {len(router.models)} models; only a pair has a share of strong calls"
        )
    return router


def _score(router: PairRouter, prompts: list[str] | tuple[str, ...]) -> Rates:
    with progress_bar("Scoring") as progress:
        return score_prompts(router, prompts, progress=progress)[:, 1]


def _logged_rates(path: Path, chain: str | None, router: PairRouter | None, warnings: list[str]) -> Rates:
    """Return the scores of a decision log: those it holds, or where another router is asked for, that router's."""
    records = read_decisions(path)
    if chain is not None:
        records = records.of_chain(chain)
    calls = [row for row in records if row.reason != "fallback"]  # a fallback is the same call once more
    if router is not None and not any(row.router_fingerprint == router.fingerprint for row in calls):
        prompts = [row.prompt for row in calls if row.prompt is not None]
        if not prompts:
            raise ConfigurationError(
                f"{path} has no score of router {router.name!r} as it is now, and no prompts to score: leave out --router to "
                "take the scores that are there, or log with prompts: text"
            )
        return _score(router, prompts)
    scored = [row for row in calls if row.strong_win_rate is not None]
    if router is not None:
        scored = [row for row in scored if row.router_fingerprint == router.fingerprint]
    versions = {row.router_fingerprint: row.router for row in scored}
    if len(versions) > 1:
        raise ConfigurationError(
            f"{path} has scores of {len(versions)} routers or versions of one ({', '.join(sorted(versions.values()))}), which do "
            "not compare: choose one with --router, or a --chain"
        )
    if not scored:
        raise CalibrationError(f"{path} has no call with a strong win rate: forced, sticky and pool calls have none")
    warnings += _log_warnings(records, len(calls), len(scored))
    return np.array([row.strong_win_rate for row in scored], dtype=np.float64)


def _log_warnings(records: DecisionRecords, calls: int, scored: int) -> list[str]:
    warnings = []
    if scored < calls:
        warnings.append(
            f"{calls - scored} of {calls} calls were decided without a score of this router (forced, kept on their model, with "
            "tools): the share is of the others"
        )
    if records.dropped or records.broken:
        warnings.append(f"the log has lost {records.dropped} calls and has {records.broken} broken lines")
    return warnings


def _store(router: PairRouter | None, rates: Rates, folder: Path, source: str) -> None:
    if not isinstance(router, PretrainedRouter):
        raise ConfigurationError("--out stores a router that can be stored: name it with --router")
    router.thresholds = ThresholdTable.from_win_rates(rates, source=f"calibrated on {Path(source).name}")
    router.save_pretrained(folder)
    typer.echo(f"{folder}: router {router.name!r} with the thresholds of {rates.size} prompts", err=True)


def _print(result: ThresholdCalibration | QualityCalibration, warnings: list[str], format: Format) -> None:
    data = result.to_dict()
    data["warnings"] += warnings
    if format is Format.json:
        typer.echo(json.dumps(data))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_row("threshold", f"{result.threshold:.6f}")
    if isinstance(result, QualityCalibration):
        table.add_row(
            "gap recovered (PGR)", f"{result.achieved_quality:.1%} ({result.requested_quality:.1%} asked for)"
        )
        table.add_row("on further prompts", "{:.1%} to {:.1%}".format(*result.quality_interval))
        table.add_row("strong calls", f"{result.achieved_fraction:.1%}")
    else:
        table.add_row("strong calls", f"{result.achieved_fraction:.1%} ({result.requested_fraction:.1%} asked for)")
    table.add_row("on further prompts", "{:.1%} to {:.1%}".format(*result.interval))
    table.add_row("prompts", str(result.n_prompts))
    Console().print(table)
    for warning in data["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
