"""Checkpoints on the Hugging Face Hub: the only module that makes requests to it.

The official client does the transfers, so its environment variables keep their meaning: `HF_ENDPOINT`, `HF_TOKEN`,
`HF_HOME`, `HF_HUB_OFFLINE`. Whatever fails becomes a `CheckpointError`, and no text of it holds the token.
"""

import re
from pathlib import Path, PurePosixPath

from routellm_core.checkpoints.folder import ARRAYS_FILE, CARD_FILE, CONFIG_FILE
from routellm_core.checkpoints.hub_errors import checkpoint_errors, repository_name
from routellm_core.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigurationError,
)

_CHECKPOINT_FILES = (CONFIG_FILE, ARRAYS_FILE)
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
_LISTING_TIMEOUT_S = 10.0

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPO_ID = re.compile(rf"(?!.*(?:--|\.\.|\.git$)){_NAME}/{_NAME}")
_COMMIT_HASH = re.compile(r"[0-9a-f]{40}")
_HEADER_SAFE = re.compile(r"[!-~]+")


def is_repo_id(text: str) -> bool:
    """Tell whether a text has the shape of a Hub repository id, `owner/name`.

    Args:
        text: Anything a user may have meant as a repository, a router name or a path.
    """
    return _REPO_ID.fullmatch(text) is not None


def download_checkpoint(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
) -> Path:
    """Fetch `config.json` and `model.safetensors` of a Hub repository and return their folder in the cache.

    Both files come from one commit. Files that are in the cache are not fetched again, and when the Hub cannot be
    reached the cached ones of that revision are used.

    Args:
        repo_id: Repository, `owner/name`.
        revision: Branch, tag or full commit hash. None means `main`.
        token: Access token. None means the stored one or `HF_TOKEN`, True demands it, False sends none.
        cache_dir: Folder of the cache. None means the client's own (`HF_HUB_CACHE`, `HF_HOME`).
        local_files_only: Look in the cache alone, as `HF_HUB_OFFLINE=1` does.

    Raises:
        CheckpointNotFoundError: No such repository, revision or file, or not in the cache while offline.
        CheckpointAccessError: The repository is private or gated and the token does not open it. Without a token the
            Hub answers alike for a missing and a private repository; that error is this one and the one above.
        CheckpointDownloadError: The transfer failed. A file enters the cache only when it is complete.
        CheckpointFormatError: The repository offers its weights only as pickle, which is never loaded.
        ConfigurationError: `repo_id`, `revision` or `token` is malformed.
    """
    _check_arguments(repo_id, revision, token)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    commit = revision
    with checkpoint_errors("download", repo_id, revision, token):
        for filename in _CHECKPOINT_FILES:
            try:
                path = hf_hub_download(
                    repo_id,
                    filename,
                    revision=commit,
                    token=token,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                )
            except RemoteEntryNotFoundError as error:
                offered = _list_files(repo_id, commit, token)
                raise _missing_file_error(repo_id, revision, filename, offered) from error
            snapshot = Path(path).parent
            commit = snapshot.name
    return snapshot


def upload_checkpoint(
    folder: Path,
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str = "Upload router checkpoint",
) -> str:
    """Push the checkpoint in a folder to a Hub repository in one commit and return the commit hash.

    Uploads `config.json`, `model.safetensors` and `README.md`; creates the repository and the branch if needed.

    Args:
        folder: Folder of the checkpoint.
        repo_id: Repository, `owner/name`.
        revision: Branch. None means `main`.
        token: Access token that may write. None means the stored one or `HF_TOKEN`.
        private: Whether a repository that is created here is private. None means the default of the owner.
        commit_message: First line of the commit.

    Raises:
        CheckpointNotFoundError: The folder has no checkpoint, or the Hub knows no such owner or branch.
        CheckpointAccessError: The token may not write there, or there is none.
        CheckpointDownloadError: The transfer failed. The branch has the old files or all new ones.
        ConfigurationError: `repo_id`, `revision` or `token` is malformed.
    """
    _check_arguments(repo_id, revision, token)
    if revision is not None and _COMMIT_HASH.fullmatch(revision):
        raise ConfigurationError(f"revision {revision!r} is a commit, and commits cannot change: give a branch")
    missing = [name for name in _CHECKPOINT_FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointNotFoundError(
            f"{str(folder)!r} has no {' and no '.join(missing)}: save the router there with save_pretrained first"
        )
    from huggingface_hub import HfApi

    with checkpoint_errors("upload to", repo_id, revision, token):
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=[*_CHECKPOINT_FILES, CARD_FILE],
        )
    return commit.oid


def _check_arguments(repo_id: str, revision: str | None, token: str | bool | None) -> None:
    if not is_repo_id(repo_id):
        raise ConfigurationError(
            f"{repo_id!r} is no Hub repository id: give owner/name, each of letters, digits, '-', '_' and '.'"
        )
    if revision == "":
        raise ConfigurationError("revision is empty: give a branch, a tag or a full commit hash, or None for main")
    # The HTTP client quotes a header that it cannot send, so a malformed token would end up in its message.
    if isinstance(token, str) and not _HEADER_SAFE.fullmatch(token):
        raise ConfigurationError(
            "token (not shown) is empty or has blanks, line breaks or non-ASCII letters: copy it again, "
            "or pass None for the stored one"
        )


def _list_files(repo_id: str, revision: str | None, token: str | bool | None) -> list[str]:
    from huggingface_hub import HfApi

    info = HfApi(token=token).model_info(repo_id, revision=revision, timeout=_LISTING_TIMEOUT_S)
    return sorted(file.rfilename for file in info.siblings or ())


def _missing_file_error(repo_id: str, revision: str | None, filename: str, offered: list[str]) -> CheckpointError:
    where = repository_name(repo_id, revision)
    suffixes = {PurePosixPath(name).suffix.lower() for name in offered}
    pickles = [name for name in offered if PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES]
    if pickles and ".safetensors" not in suffixes:
        return CheckpointFormatError(
            f"{where} offers its weights only as pickle ({', '.join(pickles[:5])}). Pickle can run any code and is "
            "never loaded here. If you trust the file, convert it once with "
            '`safetensors.torch.save_file(torch.load(FILE, weights_only=True), "model.safetensors")` '
            "and load the folder that has the result and config.json"
        )
    listed = ", ".join(offered[:10]) + (", …" if len(offered) > 10 else "")
    return CheckpointNotFoundError(
        f"{where} has no {filename}; it has: {listed or 'no files'}. A checkpoint is "
        f"{' and '.join(_CHECKPOINT_FILES)}: check the id and the revision"
    )
