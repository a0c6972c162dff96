"""`routellm data`: what to do with preference data before a router is trained on it."""

import typer

from routellm_core.cli.data_decontaminate import decontaminate
from routellm_core.cli.data_inspect import inspect
from routellm_core.cli.data_label import label
from routellm_core.cli.data_merge import merge

data = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Look at preference data, merge it, hold it against evaluations, and make labels.\n\n"
    "A table is a .csv, .jsonl or .parquet file (the last with the extra eval), or one in a data set on the Hub: "
    "hf://datasets/owner/name/file.csv. It holds battles (prompt, model_a, model_b, winner), outcomes (prompt, score::MODEL "
    "columns) or answers (prompt, answer::MODEL columns, perhaps reference).",
    epilog="Start with:  routellm data inspect --data battles.csv",
)
data.command()(inspect)
data.command()(merge)
data.command()(decontaminate)
data.command()(label)
