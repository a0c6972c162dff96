"""Fetch published benchmarks from where their authors keep them, at a fixed commit, checked against that commit's own ids."""

import fnmatch
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from routellm_core.errors import CheckpointDownloadError, MissingDependencyError

API = "https://api.github.com"
RAW = "https://raw.githubusercontent.com"


def default_folder() -> Path:
    """Return where fetched benchmarks and cached scores are kept: $ROUTELLM_CACHE, or the user's cache folder."""
    given = os.environ.get("ROUTELLM_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "routellm"


def fetch_files(
    repository: str,
    commit: str,
    patterns: list[str],
    folder: str | os.PathLike[str],
    *,
    api: str = API,
    raw: str = RAW,
    progress: bool = False,
) -> dict[str, Path]:
    """Download files of a GitHub repository at a commit, unless they are there already.

    Each file is checked against its id in the commit's tree, the hash that git itself stores it under, so a file that differs
    by one byte is refused, whoever served it.

    Args:
        repository: "owner/name".
        commit: All forty digits.
        patterns: Paths in the repository; `*` stands for any text.
        folder: Where to put them, under their paths in the repository.
        api: The address of the GitHub API.
        raw: The address that serves files.
        progress: Draw a progress bar.

    Returns:
        Path in the repository -> file here, sorted.

    Raises:
        MissingDependencyError: If the extra `eval` is not installed.
        CheckpointDownloadError: If a file is not there, cannot be fetched, or is not the one of that commit.
    """
    try:
        import pooch  # a downloader is needed by this function alone
    except ImportError as error:
        raise MissingDependencyError.for_extra("Fetching a benchmark", "eval") from error
    wanted = _ids(f"{api}/repos/{repository}/git/trees/{commit}?recursive=1", patterns)
    pooch.get_logger().setLevel("WARNING")
    found = {}
    for path, blob in sorted(wanted.items()):
        target = Path(folder) / repository.replace("/", "--") / commit[:12] / path
        if not (target.is_file() and git_blob_id(target) == blob):
            target.unlink(missing_ok=True)
            try:
                pooch.retrieve(
                    f"{raw}/{repository}/{commit}/{quote(path)}",
                    known_hash=None,  # git's own id is checked below
                    fname=target.name,
                    path=target.parent,
                    progressbar=progress,
                )
            except (OSError, ValueError) as error:
                raise CheckpointDownloadError(f"{path} of {repository} cannot be fetched: {error}") from error
            if git_blob_id(target) != blob:
                target.unlink()
                raise CheckpointDownloadError(
                    f"{path} of {repository} is not the file of commit {commit}: it was removed"
                )
        found[path] = target
    return found


def git_blob_id(path: Path) -> str:
    """Return the id under which git stores the content of a file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _ids(url: str, patterns: list[str]) -> dict[str, str]:
    try:
        with urlopen(Request(url, headers={"Accept": "application/json"}), timeout=60) as answer:  # noqa: S310  (an address of ours)
            tree: list[Mapping[str, str]] = json.load(answer)["tree"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointDownloadError(f"the list of files at {url} cannot be fetched: {error}") from error
    ids = {entry["path"]: entry["sha"] for entry in tree if entry["type"] == "blob"}
    chosen = {path: sha for path, sha in ids.items() if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)}
    for pattern in patterns:
        if not fnmatch.filter(chosen, pattern):
            raise CheckpointDownloadError(f"{url} lists no file {pattern!r}")
    return chosen
