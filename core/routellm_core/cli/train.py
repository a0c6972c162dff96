"""`routellm train`."""

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from routellm_core.cli.data_output import Format, print_report
from routellm_core.cli.named import parse_settings
from routellm_core.cli.named_embedder import CACHE_HELP, EMBEDDERS, named_embedder, refuse_cache
from routellm_core.cli.train_output import (
    WORK_FOLDER,
    check_out,
    holds_unfinished_run,
    made_folder,
    write_held_out,
)
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.training.default import JOIN, pair_scores
from routellm_core.training.held_out import pair_outcomes
from routellm_core.training.trainers import (
    TRAINERS,
    Trainer,
    check_training_data,
    hold_out,
    make_settings,
    read_training_data,
)


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
    embedding_cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help=CACHE_HELP)] = None,
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
    curve and the calibration as images (extra eval); and for a pair held_out.jsonl, what the report's figures of the pair are of.
    The [bold]log loss[/bold] must be below that of the best that [bold]knows no prompt[/bold]: else the prompts teach nothing,
    and routing by them is in vain.

    Examples:
        routellm train --router mf --data battles.parquet --out my-router

        routellm train --router default --data outcomes.csv --strong gpt-4o --weak llama-8b --out my-router

        routellm train --router mf --recipe released --set epochs=20 --data arena.csv --out my-router --resume

        routellm train --router mf --embedder openai:text-embedding-3-small --embedding-cache vectors --data arena.csv --out r

        routellm evaluate --router my-router --benchmark my-router/held_out.jsonl --strong gpt-4o --weak llama-8b
    """
    if router not in TRAINERS:
        raise ConfigurationError(f"--router {router!r} cannot be trained; there are: {', '.join(TRAINERS)}")
    trainer = TRAINERS[router]
    given = {"seed": seed, **parse_settings("--set", setting)}
    config = make_settings(trainer, _with_pair(trainer, given, strong, weak), recipe=recipe)
    if trainer.reads == "model" and model is None:
        raise ConfigurationError(f"--router {router} fine-tunes a transformer: say which with --model")
    if resume and not trainer.resumes:
        raise ConfigurationError(f"--router {router} trains in one go: there is nothing to --resume")
    check_out(out)
    reader = _reader(trainer, model, embedder, embedding_cache)
    training, validation = read_training_data(data, trainer, name=router)
    if trainer.learns != "outcomes" and validation is None:
        training, validation = hold_out(training, fraction=config.validation_fraction, seed=config.seed)
    check_training_data(trainer, training, validation, config)
    if dry_run:
        parts = {"training": repr(training), "validation": "drawn from it" if validation is None else repr(validation)}
        print_report({"router": router, **parts, "settings": _plain(config), "out": str(out)}, format)
        return
    if resume and not holds_unfinished_run(out):
        typer.echo(f"{out} holds no unfinished run: training begins anew", err=True)
    with made_folder(out):
        found, report, pair = _train(trainer, training, validation, reader, config, out, resume=resume)
        found.save_pretrained(out)
        write_held_out(pair, report, out)
        report.save(out)
        shutil.rmtree(out / WORK_FOLDER, ignore_errors=True)
        _plot(report, out)
    if format is Format.json:
        typer.echo(json.dumps({"out": str(out), **report.to_dict()}))
        return
    shown = {"out": str(out), "data": dict(report.counts), "seconds": report.seconds, "best step": report.best_step}
    print_report(shown | report.card_metrics(), format)


def _reader(trainer: Trainer, model: str | None, embedder: str, cache: Path | None) -> Any:
    """Return what reads the prompts: the name of a model or of an embedder that is fitted, or an embedder."""
    if trainer.reads == "model":
        refuse_cache(cache, "a router that fine-tunes a transformer and embeds nothing")
        return model
    if embedder in trainer.fits:
        refuse_cache(cache, f"--embedder {embedder}, which is fitted to the prompts")
        return embedder
    return named_embedder(embedder, also=trainer.fits, cache=cache)


def _train(
    trainer: Trainer, training: Any, validation: Any, reader: Any, config: Any, out: Path, *, resume: bool
) -> tuple[Any, Any, OutcomeTable | None]:
    """Train; return the router, the report, and what its figures of the pair are of."""
    if trainer.learns == "outcomes":
        # The router is fitted to all prompts in the end: none is left that it has not seen.
        return *trainer.run(training, reader, config), None
    options: dict[str, Any] = {}
    if trainer.resumes:
        work = out / WORK_FOLDER
        if not resume:
            shutil.rmtree(work, ignore_errors=True)
        options["state_folder"] = work
    found, report = trainer.run(training, reader, config, validation=validation, **options)
    strong, weak = found.reference_strong, found.reference_weak
    if isinstance(validation, PreferenceDataset):
        return found, report, pair_outcomes(validation, strong, weak)
    return found, report, pair_scores(validation, strong.split(JOIN), weak.split(JOIN))


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
