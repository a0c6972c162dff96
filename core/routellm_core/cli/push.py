"""`routellm push`."""

from pathlib import Path
from typing import Annotated

import typer

from routellm_core.checkpoints.folder import CONFIG_FILE, read_folder
from routellm_core.checkpoints.hub import upload_checkpoint
from routellm_core.checkpoints.model_folder import read_json
from routellm_core.cli.data_output import Format, print_report
from routellm_core.errors import CheckpointFormatError


def push(
    router: Annotated[Path, typer.Option(help="The folder of the router, as train --out or save_pretrained left it.")],
    to: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The repository; it is made if it does not exist.")],
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is made, make it a private one.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="The branch to commit to, which is made if it is new; without it main.")
    ] = None,
    message: Annotated[str, typer.Option(help="The first line of the commit.")] = "Upload router",
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Share a router on the Hugging Face Hub: its weights, its configuration and its model card, in one commit.

    What else is in the folder stays here: report, plots, the prompts that were held out. But [bold]knn stores the texts of its
    training prompts[/bold] with its weights, unless it was trained with --set keep_prompts=false.

    The token must be one that may write: HF_TOKEN, or what `hf auth login` stored. HF_ENDPOINT names another Hub.

    Elsewhere load_router("owner/name") and every --router option take it. The commit that is printed never changes:
    load_router("owner/name", revision=commit) scores the same for ever.

    Examples:
        routellm push --router my-router --to my-team/my-router --private

        routellm push --router my-router --to my-team/my-router --revision trial --message 'Trained on the battles of May'
    """
    stored = read_folder(router)
    if "format_version" not in read_json(router / CONFIG_FILE, str(router)):
        raise CheckpointFormatError(
            f"--router {str(router)!r} is in the layout of another library: load it with load_router and store it with "
            "save_pretrained first"
        )
    commit = upload_checkpoint(router, to, revision=revision, private=private or None, commit_message=message)
    print_report({"router": stored.config.router, "to": to, "revision": revision or "main", "commit": commit}, format)
