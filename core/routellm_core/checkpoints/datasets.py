"""Data sets on the Hugging Face Hub whose tables come in several files."""

from collections.abc import Iterable
from pathlib import Path

from routellm_core.checkpoints.hub_errors import checkpoint_errors, repository_name
from routellm_core.errors import CheckpointNotFoundError

TABLE_SUFFIXES = (".parquet", ".csv", ".jsonl")
_LISTING_TIMEOUT_S = 10.0


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
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

    with checkpoint_errors("download", repo_id, revision, token):
        if local_files_only or constants.HF_HUB_OFFLINE:
            folder = Path(
                snapshot_download(
                    repo_id, repo_type="dataset", revision=revision, cache_dir=cache_dir, local_files_only=True
                )
            )
            return [folder / name for name in _training_tables(map(str, _relative_files(folder)), repo_id, revision)]
        info = HfApi(token=token).dataset_info(repo_id, revision=revision, timeout=_LISTING_TIMEOUT_S)
        files: list[Path] = []
        commit = revision
        for name in _training_tables((file.rfilename for file in info.siblings or ()), repo_id, revision):
            path = hf_hub_download(
                repo_id, name, repo_type="dataset", revision=commit, token=token, cache_dir=cache_dir
            )
            files.append(Path(path))
            # The first file tells which commit a branch stands for; the others are of the same.
            commit = Path(path.removesuffix(name)).name
    return files


def _relative_files(folder: Path) -> list[Path]:
    return [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]


def _training_tables(names: Iterable[str], repo_id: str, revision: str | None) -> list[str]:
    tables = sorted(name for name in names if name.endswith(TABLE_SUFFIXES))
    if not tables:
        raise CheckpointNotFoundError(
            f"the data set {repository_name(repo_id, revision)} has no table ({', '.join(TABLE_SUFFIXES)})"
        )
    return [name for name in tables if "train" in name.lower()] or tables
