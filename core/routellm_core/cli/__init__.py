"""`routellm`: one thin file per command, which parses, calls one function of the library and prints."""

import sys
from typing import Annotated

import typer

from routellm_core._version import __version__
from routellm_core.cli.benchmark import benchmark
from routellm_core.cli.calibrate import calibrate
from routellm_core.cli.data import data
from routellm_core.cli.estimate import estimate
from routellm_core.cli.evaluate import evaluate
from routellm_core.cli.push import push
from routellm_core.cli.robustness import robustness
from routellm_core.cli.score import score
from routellm_core.cli.train import train
from routellm_core.errors import RouteLLMError

app = typer.Typer(
    name="routellm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Send each prompt to the strong or the weak language model, by a learned router.",
    epilog="Start with:  routellm score 'What is the capital of France?' 'Prove that every group of order 9 is abelian.'",
)
app.command()(score)
app.command()(calibrate)
app.command()(estimate)
app.add_typer(data)
app.command()(train)
app.command()(evaluate)
app.command()(push)
app.add_typer(benchmark)
app.add_typer(robustness)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; bad input ends with one line on standard error and exit code 2."""
    try:
        app()
    except RouteLLMError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
