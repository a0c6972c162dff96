"""Checkpoints on the Hugging Face Hub: the only module that makes requests to it.

The official client does the transfers, so its environment variables keep their meaning: `HF_ENDPOINT`, `HF_TOKEN`,
`HF_HOME`, `HF_HUB_OFFLINE`. Whatever fails becomes a `CheckpointError`, and no text of it holds the token.
"""

import re
from collections.abc import Callable
from pathlib import Path

from routellm_core.checkpoints.folder import ARRAYS_FILE, CARD_FILE, CONFIG_FILE
from routellm_core.checkpoints.format import model_files
from routellm_core.checkpoints.hub_errors import checkpoint_errors, repository_name
from routellm_core.checkpoints.model_folder import (
    MODEL_FOLDER,
    WEIGHTS_INDEX,
    companion_files,
    is_model_config,
    missing_weights,
    read_json,
    weight_files,
)
from routellm_core.errors import CheckpointFormatError, CheckpointNotFoundError, ConfigurationError

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
    """Fetch the files of a checkpoint, and no others, and return their folder in the cache.

    These are `config.json` and, as it says, `model.safetensors` or the files of `model/`; of a plain transformer its
    configuration, safetensors and tokenizer. All come from one commit. Files that are in the cache are not fetched again,
    and when the Hub cannot be reached the cached ones of that revision are used.

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

    def fetch(filename: str, commit: str | None) -> Path:
        try:
            return Path(
                hf_hub_download(
                    repo_id,
                    filename,
                    revision=commit,
                    token=token,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                )
            )
        except RemoteEntryNotFoundError as error:
            offered = _list_files(repo_id, commit, token)
            raise missing_weights(offered, filename, origin=repository_name(repo_id, revision)) from error

    with checkpoint_errors("download", repo_id, revision, token):
        if not local_files_only:
            _check_reachable(repo_id, revision, token, cache_dir)
        config_file = fetch(CONFIG_FILE, revision)
        snapshot, commit = config_file.parent, config_file.parent.name
        try:
            config = read_json(config_file, repository_name(repo_id, revision))
        except CheckpointFormatError:  # whoever reads the folder says so
            config = {}
        if not is_model_config(config):
            for name in model_files(config):
                fetch(f"{MODEL_FOLDER}/{name}", commit)
            if "model_files" not in config:
                fetch(ARRAYS_FILE, commit)
            return snapshot
        origin = repository_name(repo_id, revision)
        if revision != commit or not _is_complete(snapshot, origin):
            offered = _offered(repo_id, commit, token, snapshot, local_files_only=local_files_only)
            for name in companion_files(offered):
                fetch(name, commit)
            # The weights come last: where they are all there, so is everything else.
            index: Callable[[], dict[str, object]] = lambda: read_json(fetch(WEIGHTS_INDEX, commit), origin)  # noqa: E731
            for name in weight_files(offered, index, origin=origin):
                fetch(name, commit)
    return snapshot


def _check_reachable(
    repo_id: str, revision: str | None, token: str | bool | None, cache_dir: str | Path | None
) -> None:
    """Ask once for a file that is not in the cache: the client itself tries for 20 seconds where there is no network.

    What the server answers is left to the client, which knows when to try again.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    cached = try_to_load_from_cache(
        repo_id, CONFIG_FILE, revision=revision, cache_dir=None if cache_dir is None else str(cache_dir)
    )
    if not isinstance(cached, str):
        try:
            get_hf_file_metadata(hf_hub_url(repo_id, CONFIG_FILE, revision=revision), token=token)
        except HfHubHTTPError:
            return


def _is_complete(snapshot: Path, origin: str) -> bool:
    offered = {file.name for file in snapshot.iterdir()}
    try:
        weight_files(offered, lambda: read_json(snapshot / WEIGHTS_INDEX, origin), origin=origin)
    except (CheckpointFormatError, CheckpointNotFoundError):
        return False
    return True


def _offered(
    repo_id: str, commit: str, token: str | bool | None, snapshot: Path, *, local_files_only: bool
) -> list[str]:
    """List a commit's files; those in the cache, if they are all there, where the Hub may not or cannot be asked."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        if local_files_only:
            raise LocalEntryNotFoundError(f"only part of {repo_id} is in the cache")
        return _list_files(repo_id, commit, token)
    except Exception:  # the transport has many; without the files it goes on to `checkpoint_errors`
        if not _is_complete(snapshot, repo_id):
            raise
        return sorted(file.name for file in snapshot.iterdir())


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

    Uploads `config.json`, `README.md` and `model.safetensors` or the files of `model/`; creates the repository and the branch
    if needed.

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
    files = [CONFIG_FILE, ARRAYS_FILE]
    if (folder / CONFIG_FILE).is_file():
        own = model_files(read_json(folder / CONFIG_FILE, str(folder)))
        files = [CONFIG_FILE, *(f"{MODEL_FOLDER}/{name}" for name in own)] if own else files
    missing = [name for name in files if not (folder / name).is_file()]
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
            allow_patterns=[*files, CARD_FILE],
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
