"""`routellm train`."""

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from routellm_core.cli.data_output import Format, print_report
from routellm_core.cli.named import parse_named
from routellm_core.cli.named_embedder import EMBEDDERS, named_embedder
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import write_outcomes
from routellm_core.training.default import JOIN, pair_scores
from routellm_core.training.held_out import pair_outcomes
from routellm_core.training.trainers import TRAINERS, Trainer, hold_out, make_settings, read_training_data

HELD_OUT_FILE = "held_out.jsonl"
WORK_FOLDER = ".training"
"""The state of an unfinished run, within --out."""


def train(
    router: Annotated[str, typer.Option(help=f"Which kind of router: {', '.join(TRAINERS)}.")],
    data: Annotated[
        str,
        typer.Option(
            help="Battles (prompt, model_a, model_b, winner) or outcomes (prompt, score::<model>); .csv, .jsonl, .parquet."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the router, its report and what was held out.")],
    embedder: Annotated[
        str,
        typer.Option(
            help=f"What turns prompts into vectors: {EMBEDDERS}; cluster also: tfidf, the words of the prompts."
        ),
    ] = "default",
    model: Annotated[
        str | None, typer.Option(help="bert, causal_llm: the transformer to fine-tune, a folder or a Hub repository.")
    ] = None,
    strong: Annotated[
        str | None, typer.Option(help="The strong model of the pair. Without it: see docs/training.md.")
    ] = None,
    weak: Annotated[str | None, typer.Option(help="The weak model of the pair.")] = None,
    recipe: Annotated[str | None, typer.Option(help="mf: default, released or paper.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting of the trainer, such as epochs=20; repeat for more."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was interrupted in --out.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, and train nothing.")] = False,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Train a router on your own battles or outcomes, and measure it on prompts it has not seen.

    Writes to --out: the router, which every --router option, load_router and push take; training_report.json; the learning
    curve and the calibration as images (extra eval); and for a pair held_out.jsonl, the outcomes that the report's APGR and CPT
    are of. The [bold]log loss[/bold] must be below that of the best that [bold]knows no prompt[/bold]: else the prompts teach
    nothing, and routing by them is in vain.

    Examples:
        routellm train --router mf --data battles.parquet --out my-router

        routellm train --router default --data outcomes.csv --strong gpt-4o --weak llama-8b --out my-router

        routellm train --router mf --recipe released --set epochs=20 --data arena.csv --out my-router --resume

        routellm evaluate --router my-router --benchmark my-router/held_out.jsonl --strong gpt-4o --weak llama-8b
    """
    if router not in TRAINERS:
        raise ConfigurationError(f"--router {router!r} cannot be trained; there are: {', '.join(TRAINERS)}")
    trainer = TRAINERS[router]
    given = {"seed": seed, **dict(_parse_setting(text) for text in setting or ())}
    config = make_settings(trainer, _with_pair(trainer, given, strong, weak), recipe=recipe)
    if trainer.reads == "model" and model is None:
        raise ConfigurationError(f"--router {router} fine-tunes a transformer: say which with --model")
    if resume and not trainer.resumes:
        raise ConfigurationError(f"--router {router} trains in one go: there is nothing to --resume")
    training, validation = read_training_data(data, trainer, name=router)
    if dry_run:
        parts = {"training": repr(training), "validation": "drawn from it" if validation is None else repr(validation)}
        print_report({"router": router, **parts, "settings": _plain(config), "out": str(out)}, format)
        return
    found, report = _train(trainer, training, validation, model or embedder, config, out, resume=resume)
    found.save_pretrained(out)
    report.save(out)
    shutil.rmtree(out / WORK_FOLDER, ignore_errors=True)
    _plot(report, out)
    if format is Format.json:
        typer.echo(json.dumps({"out": str(out), **report.to_dict()}))
        return
    shown = {"out": str(out), "data": dict(report.counts), "seconds": report.seconds, "best step": report.best_step}
    print_report(shown | report.card_metrics(), format)


def _train(
    trainer: Trainer, training: Any, validation: Any, reader: str, config: Any, out: Path, *, resume: bool
) -> tuple[Any, Any]:
    """Train; hold a part out first where the trainer would, and keep what the report's figures are of."""
    by_name = trainer.reads == "model" or reader in trainer.fits
    chosen = reader if by_name else named_embedder(reader, also=trainer.fits)
    if trainer.learns == "outcomes":
        return trainer.run(training, chosen, config)  # type: ignore[no-any-return]
    if validation is None:
        training, validation = hold_out(training, fraction=config.validation_fraction, seed=config.seed)
    options: dict[str, Any] = {}
    work = out / WORK_FOLDER
    if trainer.resumes:
        if not resume:
            shutil.rmtree(work, ignore_errors=True)
        options["state_folder"] = work
    found, report = trainer.run(training, chosen, config, validation=validation, **options)
    strong, weak = found.reference_strong, found.reference_weak
    pair = (
        pair_outcomes(validation, strong, weak)
        if isinstance(validation, PreferenceDataset)
        else pair_scores(validation, strong.split(JOIN), weak.split(JOIN))
    )
    if pair is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_outcomes(pair, out / HELD_OUT_FILE)
    return found, report


def _parse_setting(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE, a value in JSON or else as text."""
    name, value = parse_named("--set", text)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _with_pair(trainer: Trainer, given: dict[str, Any], strong: str | None, weak: str | None) -> dict[str, Any]:
    """Add the pair under the names that the trainer's settings have for it."""
    known = {field.name for field in fields(trainer.settings_class())}
    for side, name in (("strong", strong), ("weak", weak)):
        if name is None:
            continue
        if f"reference_{side}" in known:
            given[f"reference_{side}"] = name
        elif side in known:
            given[side] = [name]
        else:
            raise ConfigurationError(f"--{side} is for a pair, and this router scores every model of the table")
    return given


def _plain(config: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(config).items() if value is not None}


def _plot(report: Any, out: Path) -> None:
    from routellm_core.training.plots import save_plots

    try:
        save_plots(report, out)
    except MissingDependencyError as error:
        typer.echo(f"no plots: {error}", err=True)
