"""What a failure of the Hub's client means to the user of a checkpoint, and what helps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from routellm_core.errors import (
    CheckpointAccessError,
    CheckpointDownloadError,
    CheckpointError,
    CheckpointNotFoundError,
)

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

Action = Literal["download", "upload to"]

_AFTERMATH: dict[Action, str] = {
    "download": "the cache holds whole files only",
    "upload to": "the branch has the old files or all new ones",
}
_HOW_TO_AUTHENTICATE = "set HF_TOKEN, run `hf auth login`, or pass token="


class _MissingOrPrivateError(CheckpointNotFoundError, CheckpointAccessError):
    """The Hub hides private repositories, so without a token it answers both cases alike; handlers of either match."""


@contextmanager
def checkpoint_errors(action: Action, repo_id: str, revision: str | None, token: str | bool | None) -> Iterator[None]:
    """Turn whatever the client, its transport or the disk raises into a `CheckpointError`."""
    try:
        yield
    except Exception as error:
        _redact(error, token)
        if isinstance(error, CheckpointError):
            raise
        raise _checkpoint_error(error, action, repo_id, revision) from error


def _checkpoint_error(error: Exception, action: Action, repo_id: str, revision: str | None) -> CheckpointError:
    # The text of the original stays in the chain and out of these messages: a server may have written it.
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    where = repository_name(repo_id, revision)
    causes = list(_causes(error))
    only_cache_allowed = isinstance(error, LocalEntryNotFoundError) and error.__cause__ is None
    if only_cache_allowed or any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        if action == "upload to":
            return CheckpointDownloadError(f"cannot upload to {where}: HF_HUB_OFFLINE is set; unset it")
        return CheckpointNotFoundError(
            f"{where} is not, or not completely, in the local cache, and HF_HUB_OFFLINE or local_files_only forbids "
            "the download: load it once online, or point HF_HOME or cache_dir to the cache that has it"
        )
    if isinstance(error, LocalTokenNotFoundError):
        return CheckpointAccessError(f"token=True, but no token is stored: {_HOW_TO_AUTHENTICATE}")
    for cause in causes:
        if isinstance(cause, HfHubHTTPError):
            return _refusal(cause, action, repo_id, revision)
    aftermath = _AFTERMATH[action]
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f" ({str(error.filename)!r})"
        return CheckpointDownloadError(
            f"cannot {action} {where}: {error.strerror}{place}; {aftermath}. Check the permissions and the free space "
            "there; HF_HOME or cache_dir choose another cache"
        )
    return CheckpointDownloadError(
        f"cannot {action} {where}: {type(causes[-1]).__name__}; {aftermath}. Check the network, the proxy and "
        "HF_ENDPOINT (to upload where there is no Xet storage, set HF_HUB_DISABLE_XET=1), and try again"
    )


def _refusal(error: "HfHubHTTPError", action: Action, repo_id: str, revision: str | None) -> CheckpointError:
    """Say what an answer of the Hub with an error status means."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    where = repository_name(repo_id, revision)
    status = error.response.status_code
    token_was_sent = "authorization" in error.response.request.headers
    if isinstance(error, GatedRepoError):
        return CheckpointAccessError(
            f"{where} is gated: ask for access on its page, then {_HOW_TO_AUTHENTICATE} of the account that has it"
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointNotFoundError(
            f"{repo_id!r} has no revision {revision or 'main'!r}: give an existing branch, tag or full commit hash"
        )
    if status == 401 and not token_was_sent:
        return _MissingOrPrivateError(
            f"{where} does not exist, or it wants a token and none was sent: check the id, or {_HOW_TO_AUTHENTICATE}"
        )
    if status in (401, 403):
        permission = "may write" if action == "upload to" else "may read"
        refused = "the token" if token_was_sent else "access without a token"
        return CheckpointAccessError(
            f"cannot {action} {where}: the Hub refuses {refused} (status {status}): {_HOW_TO_AUTHENTICATE} of one that "
            f"is valid and {permission} there"
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointNotFoundError(
            f"{where} does not exist, or it is private and this token does not open it: check the id, or "
            f"{_HOW_TO_AUTHENTICATE} of an account that may read it"
        )
    if status == 404:
        return CheckpointNotFoundError(f"{where} does not exist: check the id, the revision and HF_ENDPOINT")
    return CheckpointDownloadError(
        f"cannot {action} {where}: the server answered with status {status}. Try again later, and check HF_ENDPOINT"
    )


def repository_name(repo_id: str, revision: str | None) -> str:
    """Name a repository, its revision and the Hub it is on, for a message."""
    from huggingface_hub import constants

    endpoint = urlsplit(constants.ENDPOINT)
    host = endpoint.netloc.rpartition("@")[2]  # an endpoint may carry a password
    return f"{repo_id!r} (revision {revision or 'main'!r}) on {endpoint.scheme}://{host}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _redact(error: BaseException, token: str | bool | None) -> None:
    """Take the token out of the texts of a chain of exceptions: a server may have echoed the request in its answer."""
    from huggingface_hub.errors import HfHubHTTPError

    chain: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is not None and link not in chain:
            chain.append(link)
            pending += [link.__cause__, link.__context__]
    secrets = {token} if isinstance(token, str) else set()
    for link in chain:
        if isinstance(link, HfHubHTTPError):
            secrets.add(link.response.request.headers.get("authorization", "").removeprefix("Bearer "))
    for link in chain:
        for secret in secrets - {""}:
            link.args = tuple(arg.replace(secret, "***") if isinstance(arg, str) else arg for arg in link.args)
