"""Tables in data sets on the Hugging Face Hub."""

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from routellm_core.checkpoints.hub import is_repo_id
from routellm_core.checkpoints.hub_errors import checkpoint_errors, repository_name
from routellm_core.errors import CheckpointNotFoundError, ConfigurationError

_URL = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)")
_LISTING_TIMEOUT_S = 10.0


def is_hub_source(text: str) -> bool:
    """Tell whether a text names a table on the Hub: `hf://datasets/owner/name/file`, or `owner/name`."""
    return text.startswith("hf://") or is_repo_id(text)


def fetch_dataset_file(source: str, *, suffixes: Collection[str], token: str | bool | None = None) -> Path:
    """Download one table of a data set and return where the cache has it.

    Args:
        source: `hf://datasets/owner/name[@revision]/path/to/file`, or `owner/name` of a data set with exactly one table.
        suffixes: The endings of tables.
        token: Access token. None means the stored one or `HF_TOKEN`, False sends none.

    Raises:
        ConfigurationError: If the source is malformed, or the data set has several tables.
        CheckpointError: If the Hub does not deliver.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    match = _URL.fullmatch(source)
    if match is None and not is_repo_id(source):
        raise ConfigurationError(
            f"{source!r} names no file of a data set: write hf://datasets/owner/name/path/to/file.csv"
        )
    repo, revision = (source, None) if match is None else (match["repo"], match["revision"])
    with checkpoint_errors("download", repo, revision, token):
        try:
            file = match["file"] if match else _only_table(_list_files(repo, revision, token), repo, suffixes)
            return Path(hf_hub_download(repo, file, repo_type="dataset", revision=revision, token=token))
        except RemoteEntryNotFoundError as error:
            files = _list_files(repo, revision, token)
            raise CheckpointNotFoundError(
                f"the data set {repository_name(repo, revision)} has no file {file!r}; it has: {', '.join(files[:10])}"
            ) from error


def _list_files(repo: str, revision: str | None, token: str | bool | None) -> list[str]:
    from huggingface_hub import HfApi

    info = HfApi(token=token).dataset_info(repo, revision=revision, timeout=_LISTING_TIMEOUT_S)
    return sorted(file.rfilename for file in info.siblings or ())


def _only_table(files: list[str], repo: str, suffixes: Collection[str]) -> str:
    tables = [name for name in files if PurePosixPath(name).suffix.lower() in suffixes]
    if len(tables) != 1:
        raise CheckpointNotFoundError(
            f"the data set {repo!r} has {len(tables)} tables: name one as hf://datasets/{repo}/FILE"
            + (f", FILE being one of: {', '.join(tables[:10])}" if tables else "")
        )
    return tables[0]
