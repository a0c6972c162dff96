"""Data sets on the Hugging Face Hub whose tables come in several files."""

from pathlib import Path

from routellm_core.checkpoints.hub_errors import checkpoint_errors, repository_name
from routellm_core.errors import CheckpointNotFoundError

TABLE_SUFFIXES = (".parquet", ".csv", ".jsonl")


def download_tables(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> list[Path]:
    """Fetch the tables of a data set's training split and return where the cache has them, in the order of their names.

    All files come from one commit. Those in the cache are not fetched again. Where some have "train" in their path, the others
    are no part of that split.

    Args:
        repo_id: Data set, `owner/name`.
        revision: Branch, tag or full commit hash. None means `main`.
        token: Access token. None means the stored one or `HF_TOKEN`, False sends none.
        cache_dir: Folder of the cache. None means the client's own.
        local_files_only: Look in the cache alone.

    Raises:
        CheckpointNotFoundError: No such data set or revision, no table in it, or not in the cache while offline.
        CheckpointAccessError: The data set is gated or private and the token does not open it.
        CheckpointDownloadError: The transfer failed. A file enters the cache only when it is complete.
    """
    from huggingface_hub import snapshot_download

    with checkpoint_errors("download", repo_id, revision, token):
        snapshot = snapshot_download(
            repo_id,
            repo_type="dataset",
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=[f"*{suffix}" for suffix in TABLE_SUFFIXES],
        )
    folder = Path(snapshot)
    tables = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.suffix in TABLE_SUFFIXES)
    if not tables:
        raise CheckpointNotFoundError(
            f"the data set {repository_name(repo_id, revision)} has no table ({', '.join(TABLE_SUFFIXES)})"
        )
    training = [table for table in tables if "train" in str(table).lower()]
    return [folder / table for table in training or tables]
