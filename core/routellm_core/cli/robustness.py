"""`routellm robustness`: multiple-choice questions put otherwise."""

import typer

from routellm_core.cli.robustness_labels import labels
from routellm_core.cli.robustness_router import router

robustness = typer.Typer(
    name="robustness",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Put multiple-choice questions otherwise: see how far routers move, and make labels that move less.\n\n"
    "Small changes that leave the right answer as it is (the order of the choices, their symbols, spaces, wording) move "
    "what models answer and what routers decide.",
    epilog="Start with:  routellm robustness router --router default --data outcomes.parquet --strong BIG --weak SMALL",
)
robustness.command()(labels)
robustness.command()(router)
