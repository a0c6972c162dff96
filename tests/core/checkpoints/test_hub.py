"""The real Hub client against a Hub on loopback, and (opt in) against the real Hub."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from routellm_core.checkpoints.hub import download_checkpoint, is_repo_id, upload_checkpoint
from routellm_core.errors import (
    CheckpointAccessError,
    CheckpointDownloadError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigurationError,
)
from support.hub_server import Fault, HubServer, hub_client, hub_environment

# The client uploads large files with an argument that its HTTP library has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "ada/router"
TOKEN = "hf_QzKtoken0fAda"
OTHER_TOKEN = "hf_XyWtoken0fBob"
WEIGHTS = save({"P.weight": np.arange(4000, dtype=np.float32)})
FILES = {"config.json": b'{"dim": 128}', "model.safetensors": WEIGHTS}


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer(tokens={TOKEN: "ada", OTHER_TOKEN: "bob"}) as server:
        yield server


@pytest.fixture
def home(hub: HubServer, tmp_path: Path) -> Iterator[Path]:
    with hub_client(hub.url, tmp_path / "home"):
        yield tmp_path / "home"


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def texts(error: BaseException) -> str:
    """Everything a traceback could print of an exception and of all exceptions behind it."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is not None and link not in seen:
            seen.append(link)
            pending += [link.__cause__, link.__context__]
    return "\n".join(f"{link!s} {link!r} {getattr(link, '__notes__', '')}" for link in seen)


def assert_nothing_truncated(home: Path) -> None:
    """Every file that the cache offers is whole."""
    for snapshot in home.glob("hub/models--*/snapshots/*"):
        for name, content in read(snapshot).items():
            assert content == FILES[name]


# --- download -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("home")
def test_downloads_config_and_weights_and_nothing_else(hub):
    commit = hub.commit(REPO, {**FILES, "README.md": b"# card", "pytorch_model.bin": b"\x80", "run.py": b"1"})

    folder = download_checkpoint(REPO)

    assert read(folder) == FILES
    assert folder.name == commit
    assert len(hub.transfers()) == 2


def test_large_file_host_never_sees_the_token(hub, home):
    hub.commit(REPO, FILES, private=True)

    download_checkpoint(REPO, token=TOKEN)

    large = [request for request in hub.requests if request.line.startswith("GET /large/")]
    assert [request.token for request in large] == [None]
    assert {r.token for r in hub.requests if "/resolve/" in r.line} == {TOKEN}


def test_second_download_transfers_nothing(hub, home):
    hub.commit(REPO, FILES)
    first = download_checkpoint(REPO)
    transfers = len(hub.transfers())

    assert download_checkpoint(REPO) == first
    assert len(hub.transfers()) == transfers


def test_pinned_commit_in_the_cache_needs_no_request(hub, home):
    commit = hub.commit(REPO, FILES)
    first = download_checkpoint(REPO, revision=commit)
    hub.requests.clear()

    assert download_checkpoint(REPO, revision=commit) == first
    assert not [r for r in hub.requests if REPO in r.line]


def test_revision_picks_the_commit_or_branch(hub, home):
    old = hub.commit(REPO, FILES)
    hub.commit(REPO, {"config.json": b'{"dim": 64}'})
    hub.commit(REPO, {"config.json": b'{"dim": 32}'}, branch="try/32")

    assert read(download_checkpoint(REPO, revision=old))["config.json"] == b'{"dim": 128}'
    assert read(download_checkpoint(REPO))["config.json"] == b'{"dim": 64}'
    assert read(download_checkpoint(REPO, revision="try/32"))["config.json"] == b'{"dim": 32}'


def test_new_commit_on_the_branch_is_noticed(hub, home):
    hub.commit(REPO, FILES)
    download_checkpoint(REPO)
    hub.commit(REPO, {"config.json": b'{"dim": 64}'})

    assert read(download_checkpoint(REPO))["config.json"] == b'{"dim": 64}'


def test_both_files_come_from_one_commit_when_the_branch_moves_in_between(hub, home, monkeypatch):
    old = hub.commit(REPO, FILES)
    fetch = __import__("huggingface_hub").hf_hub_download

    def fetch_then_move(repo_id, filename, **kwargs):
        path = fetch(repo_id, filename, **kwargs)
        hub.commit(REPO, dict.fromkeys(FILES, b"new"))
        return path

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch_then_move)

    folder = download_checkpoint(REPO)

    assert folder.name == old
    assert read(folder) == FILES


def test_cache_dir_is_honoured(hub, home, tmp_path):
    hub.commit(REPO, FILES)

    folder = download_checkpoint(REPO, cache_dir=tmp_path / "elsewhere")

    assert folder.is_relative_to(tmp_path / "elsewhere")
    assert not (home / "hub").exists()


def test_cached_files_serve_while_the_hub_is_down(hub, home):
    hub.commit(REPO, FILES)
    folder = download_checkpoint(REPO)
    hub.stop()

    assert download_checkpoint(REPO) == folder


# --- what is missing ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hub", "home")
def test_missing_repository_without_a_token_may_be_a_private_one():
    with pytest.raises(CheckpointNotFoundError, match=r"'ada/nothing'.*does not exist, or it wants a token") as caught:
        download_checkpoint("ada/nothing")

    assert isinstance(caught.value, CheckpointAccessError)


@pytest.mark.usefixtures("hub", "home")
def test_missing_repository_with_a_token():
    with pytest.raises(CheckpointNotFoundError, match=r"'ada/nothing'.*does not exist, or it is private") as caught:
        download_checkpoint("ada/nothing", token=TOKEN)

    assert not isinstance(caught.value, CheckpointAccessError)


@pytest.mark.parametrize("revision", ["no-such-branch", "0" * 40])
def test_missing_revision(hub, home, revision):
    hub.commit(REPO, FILES)

    with pytest.raises(CheckpointNotFoundError, match=rf"'ada/router' has no revision '{revision}'"):
        download_checkpoint(REPO, revision=revision)


@pytest.mark.parametrize("missing", FILES)
def test_missing_file(hub, home, missing):
    hub.commit(REPO, {name: content for name, content in FILES.items() if name != missing} | {"README.md": b""})

    with pytest.raises(CheckpointNotFoundError, match=rf"'ada/router'.*has no {missing}; it has: .*README.md"):
        download_checkpoint(REPO)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "mf.pt", "weights/router.PKL", "model.ckpt"])
@pytest.mark.parametrize("config", [{}, {"config.json": b"{}"}], ids=["alone", "with config"])
def test_pickle_alone_is_refused_and_never_fetched(hub, home, pickle, config):
    hub.commit(REPO, {pickle: b"\x80\x04.", **config})

    with pytest.raises(CheckpointFormatError, match=rf"'ada/router'.*{pickle}.*never loaded.*save_file"):
        download_checkpoint(REPO)

    assert not [line for line in hub.transfers() if pickle in line]


def test_nothing_listens(hub, home):
    hub.stop()

    with pytest.raises(CheckpointDownloadError, match=r"'ada/router'.*127\.0\.0\.1.*HF_ENDPOINT"):
        download_checkpoint(REPO)


# --- access ---------------------------------------------------------------------------------------------------------


def test_private_repository_opens_with_the_token(hub, home):
    hub.commit(REPO, FILES, private=True)

    with pytest.raises(CheckpointAccessError, match=r"'ada/router'.*wants a token.*HF_TOKEN"):
        download_checkpoint(REPO)
    assert read(download_checkpoint(REPO, token=TOKEN)) == FILES


def test_private_repository_opens_with_the_token_of_the_environment(hub, tmp_path):
    hub.commit(REPO, FILES, private=True)

    with hub_client(hub.url, tmp_path / "home", token=TOKEN):
        assert read(download_checkpoint(REPO)) == FILES
        with pytest.raises(CheckpointAccessError, match="wants a token"):
            download_checkpoint(REPO, token=False, cache_dir=tmp_path / "other")


def test_unknown_token_is_refused(hub, home):
    hub.commit(REPO, FILES)

    with pytest.raises(CheckpointAccessError, match=r"'ada/router'.*refuses the token \(status 401\)") as caught:
        download_checkpoint(REPO, token="hf_forged")

    assert not isinstance(caught.value, CheckpointNotFoundError)
    assert "hf_forged" not in texts(caught.value)


def test_gated_repository(hub, home):
    hub.commit(REPO, FILES, gated=True)

    with pytest.raises(CheckpointAccessError, match=r"'ada/router'.*is gated.*ask for access"):
        download_checkpoint(REPO, token=OTHER_TOKEN)


def test_forbidden(hub, home):
    hub.commit(REPO, FILES)
    hub.fail(Fault("resolve", status=403))

    with pytest.raises(CheckpointAccessError, match="status 403"):
        download_checkpoint(REPO, token=TOKEN)


@pytest.mark.usefixtures("hub", "home")
def test_token_that_is_demanded_and_not_there():
    with pytest.raises(CheckpointAccessError, match="token=True, but no token is stored"):
        download_checkpoint(REPO, token=True)


# --- transfers that break -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "sent"), [("resolve/main/config.json", 3), ("GET /large/", 0), ("GET /large/", 1000)])
def test_connection_cut_in_mid_file_then_recovery(hub, home, file, sent):
    hub.commit(REPO, FILES)
    hub.fail(Fault(file, cut_after=sent))

    with pytest.raises(CheckpointDownloadError, match=r"'ada/router'.*the cache holds whole files only"):
        download_checkpoint(REPO)
    assert_nothing_truncated(home)
    with pytest.raises(CheckpointNotFoundError, match="local_files_only"):
        download_checkpoint(REPO, local_files_only=True)

    hub.heal()
    assert read(download_checkpoint(REPO)) == FILES


def test_file_shorter_than_the_hub_promised_then_recovery(hub, home):
    hub.commit(REPO, FILES)
    hub.fail(Fault("GET /large/", shorten_to=1000))

    with pytest.raises(CheckpointDownloadError, match="'ada/router'"):
        download_checkpoint(REPO)
    assert_nothing_truncated(home)

    hub.heal()
    assert read(download_checkpoint(REPO)) == FILES


def test_server_that_stalls(hub, home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    hub.commit(REPO, FILES)
    hub.fail(Fault("GET /large/", stall=True))

    with pytest.raises(CheckpointDownloadError, match=r"'ada/router'.*[Tt]imeout"):
        download_checkpoint(REPO)
    assert_nothing_truncated(home)

    hub.heal()
    assert read(download_checkpoint(REPO)) == FILES


@pytest.mark.parametrize("request_line", ["HEAD /ada", "GET /ada", "GET /large/"])
@pytest.mark.parametrize("status", [500, 503])
def test_server_error_then_recovery(hub, home, request_line, status):
    hub.commit(REPO, FILES)
    hub.fail(Fault(request_line, status=status))

    with pytest.raises(CheckpointDownloadError, match=rf"'ada/router'.*status {status}"):
        download_checkpoint(REPO)
    assert_nothing_truncated(home)

    hub.heal()
    assert read(download_checkpoint(REPO)) == FILES


def test_cache_that_cannot_be_written(hub, home, tmp_path):
    hub.commit(REPO, FILES)
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(CheckpointDownloadError, match=os.strerror(errno.ENOTDIR)):
        download_checkpoint(REPO, cache_dir=tmp_path / "file" / "cache")


def test_endpoint_that_is_no_hub(hub, home):
    hub.fail(Fault("", status=200))

    with pytest.raises(CheckpointDownloadError, match=r"FileMetadataError.*HF_ENDPOINT"):
        download_checkpoint(REPO)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 500])
def test_endpoint_that_echoes_the_request_leaks_no_token(hub, home, status):
    hub.commit(REPO, FILES)
    hub.fail(Fault("/", status=status, echo=True))

    for arguments in ({"token": TOKEN}, {"token": OTHER_TOKEN, "revision": "v1"}):
        with pytest.raises(CheckpointError) as caught:
            download_checkpoint(REPO, **arguments)
        assert arguments["token"] not in texts(caught.value)


def test_endpoint_that_echoes_leaks_no_token_of_the_environment(hub, tmp_path):
    hub.fail(Fault("/", status=403, echo=True))

    with hub_client(hub.url, tmp_path, token=TOKEN), pytest.raises(CheckpointAccessError) as caught:
        download_checkpoint(REPO)

    assert TOKEN not in texts(caught.value)
    assert "planted" not in str(caught.value)


def test_echo_reaches_the_exception_of_the_client(hub, home):
    """The tests above would pass for nothing if the client kept the answer to itself."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    hub.fail(Fault("/", status=401, echo=True))

    with pytest.raises(HfHubHTTPError, match=TOKEN):
        hf_hub_download(REPO, "config.json", token=TOKEN)


# --- offline --------------------------------------------------------------------------------------------------------


def test_offline_reads_the_cache_without_a_request(hub, home):
    commit = hub.commit(REPO, FILES)
    folder = download_checkpoint(REPO)
    hub.requests.clear()

    with hub_client(hub.url, home, offline=True):
        assert download_checkpoint(REPO) == folder
        assert download_checkpoint(REPO, revision=commit) == folder
    assert download_checkpoint(REPO, local_files_only=True) == folder
    assert not hub.requests


def test_offline_without_cache(hub, home):
    hub.commit(REPO, FILES)

    with pytest.raises(CheckpointNotFoundError, match=r"'ada/router'.*local_files_only"):
        download_checkpoint(REPO, local_files_only=True)
    with (
        hub_client(hub.url, home, offline=True),
        pytest.raises(CheckpointNotFoundError, match=r"'ada/router'.*HF_HUB_OFFLINE"),
    ):
        download_checkpoint(REPO)
    assert not hub.requests


# --- upload ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, content in {**FILES, "README.md": b"# card", "optimizer.pt": b"\x80"}.items():
        (folder / name).write_bytes(content)
    return folder


def test_upload_then_download_into_another_cache(hub, home, checkpoint, tmp_path):
    commit = upload_checkpoint(checkpoint, REPO, token=TOKEN, private=True)

    folder = download_checkpoint(REPO, revision=commit, token=TOKEN, cache_dir=tmp_path / "other")

    assert read(folder) == FILES
    assert hub.repositories[REPO].private
    assert set(hub.repositories[REPO].commits[commit]) == {*FILES, "README.md", ".gitattributes"}


def test_upload_again_replaces_the_files(hub, home, checkpoint):
    first = upload_checkpoint(checkpoint, REPO, token=TOKEN)
    weights = save({"P.weight": np.ones(3)})
    (checkpoint / "model.safetensors").write_bytes(weights)
    second = upload_checkpoint(checkpoint, REPO, token=TOKEN)

    assert read(download_checkpoint(REPO))["model.safetensors"] == weights
    assert read(download_checkpoint(REPO, revision=first))["model.safetensors"] == WEIGHTS
    assert first != second


def test_upload_to_a_new_branch_leaves_main_alone(hub, home, checkpoint):
    hub.commit(REPO, {"config.json": b"old", "model.safetensors": b"old"})

    for _ in range(2):
        upload_checkpoint(checkpoint, REPO, revision="v2", token=TOKEN)

    assert read(download_checkpoint(REPO, revision="v2")) == FILES
    assert read(download_checkpoint(REPO))["config.json"] == b"old"


@pytest.mark.parametrize("token", [None, "hf_forged", OTHER_TOKEN], ids=["none", "unknown", "of another account"])
def test_upload_without_the_right(hub, home, checkpoint, token):
    hub.commit(REPO, {"config.json": b"old"})

    with pytest.raises(CheckpointAccessError, match="'ada/router'") as caught:
        upload_checkpoint(checkpoint, REPO, token=token)

    assert not token or token not in texts(caught.value)
    assert hub.repositories[REPO].branches == {"main": next(iter(hub.repositories[REPO].commits))}


@pytest.mark.parametrize("request_line", ["preupload", "lfs/objects", "PUT /large", "/commit/"])
def test_upload_that_fails_leaves_the_branch_alone(hub, home, checkpoint, request_line):
    before = hub.commit(REPO, {"config.json": b"old"})
    hub.fail(Fault(request_line, status=500, echo=True))

    with pytest.raises(CheckpointDownloadError, match=r"cannot upload to 'ada/router'.*status 500") as caught:
        upload_checkpoint(checkpoint, REPO, token=TOKEN)

    assert TOKEN not in texts(caught.value)
    assert hub.repositories[REPO].branches["main"] == before


def test_upload_that_is_cut_off(hub, home, checkpoint):
    hub.fail(Fault("/commit/", cut_after=5))

    with pytest.raises(CheckpointDownloadError, match=r"cannot upload to 'ada/router'.*old files or all new ones"):
        upload_checkpoint(checkpoint, REPO, token=TOKEN)


def test_upload_offline(hub, home, checkpoint):
    with (
        hub_client(hub.url, home, offline=True),
        pytest.raises(CheckpointDownloadError, match="HF_HUB_OFFLINE is set"),
    ):
        upload_checkpoint(checkpoint, REPO, token=TOKEN)


def test_upload_of_a_folder_without_a_checkpoint(hub, home, checkpoint):
    (checkpoint / "model.safetensors").unlink()

    with pytest.raises(CheckpointNotFoundError, match=r"has no model\.safetensors.*save_pretrained"):
        upload_checkpoint(checkpoint, REPO, token=TOKEN)
    assert not hub.requests


@pytest.mark.usefixtures("home")
def test_upload_onto_a_commit(checkpoint):
    with pytest.raises(ConfigurationError, match="give a branch"):
        upload_checkpoint(checkpoint, REPO, revision="a" * 40, token=TOKEN)


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["routellm/mf_gpt4_augmented", "a/b", "Org-1/my.router_v2"])
def test_repository_ids(text):
    assert is_repo_id(text)


@pytest.mark.parametrize(
    "text",
    ["mf", "", "/", "a/", "/b", "./router", "../router", "~/router", "a/b/c", "a b/c", "a/b\n", "a/b--c", "a/b..c",
     "a/b.git", "C:\\a\\b", "https://huggingface.co/a/b", "a/" + "b" * 97],
)  # fmt: skip
def test_what_is_no_repository_id(text):
    assert not is_repo_id(text)
    with pytest.raises(ConfigurationError, match="no Hub repository id"):
        download_checkpoint(text)


def test_every_repository_id_is_one_for_the_client():
    from huggingface_hub.utils import validate_repo_id

    for text in ["a/b", "_a/b_", "a.b/c-d", "A/" + "b" * 96]:
        assert is_repo_id(text)
        validate_repo_id(text)


@pytest.mark.parametrize("token", ["", "hf_secret\nX-Evil: 1", "hf_se cret", "hf_sécret"])
def test_malformed_token_is_refused_and_not_shown(token):
    with pytest.raises(ConfigurationError, match="token") as caught:
        download_checkpoint(REPO, token=token)

    assert not token or token not in texts(caught.value)


def test_empty_revision():
    with pytest.raises(ConfigurationError, match="revision is empty"):
        download_checkpoint(REPO, revision="")


# --- as a user runs it ----------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from routellm_core.checkpoints.hub import download_checkpoint
assert "huggingface_hub" not in sys.modules
print(download_checkpoint(sys.argv[1]))
"""


def run(hub: HubServer, home: Path, repo_id: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {**hub_environment(hub.url, home), **extra}
    command = [sys.executable, "-c", SCRIPT, repo_id]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_environment_of_the_client_is_honoured(hub, tmp_path):
    hub.commit(REPO, FILES, private=True)

    refused = run(hub, tmp_path, REPO)
    loaded = run(hub, tmp_path, REPO, HF_TOKEN=TOKEN)
    hub.requests.clear()
    offline = run(hub, tmp_path, REPO, HF_HUB_OFFLINE="1")
    not_cached = run(hub, tmp_path, "ada/other", HF_HUB_OFFLINE="1")

    assert "wants a token and none was sent" in refused.stderr
    assert loaded.returncode == 0, loaded.stderr
    assert read(Path(loaded.stdout.strip())) == FILES
    assert Path(loaded.stdout.strip()).is_relative_to(tmp_path)
    assert offline.stdout == loaded.stdout
    assert "HF_HUB_OFFLINE" in not_cached.stderr
    assert not hub.requests


# --- the real Hub ---------------------------------------------------------------------------------------------------


@pytest.mark.live
class TestRealHub:
    """Read-only; needs the network and no token."""

    REPO = "routellm/mf_gpt4_augmented"

    def test_download_then_offline(self, tmp_path):
        folder = download_checkpoint(self.REPO, cache_dir=tmp_path)

        assert set(load_file(folder / "model.safetensors")) == {"P.weight", "text_proj.0.weight", "classifier.0.weight"}
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
        assert download_checkpoint(self.REPO, cache_dir=tmp_path) == folder
        assert download_checkpoint(self.REPO, cache_dir=tmp_path, revision=folder.name, local_files_only=True) == folder

    def test_missing_repository(self, tmp_path):
        with pytest.raises(CheckpointNotFoundError, match="does not exist"):
            download_checkpoint("routellm/no-such-repository", cache_dir=tmp_path, token=False)

    def test_missing_revision(self, tmp_path):
        with pytest.raises(CheckpointNotFoundError, match="has no revision 'no-such-branch'"):
            download_checkpoint(self.REPO, cache_dir=tmp_path, revision="no-such-branch")

    def test_missing_file(self, tmp_path):
        with pytest.raises(CheckpointNotFoundError, match=r"has no model\.safetensors"):
            download_checkpoint("routellm/causal_llm_gpt4_augmented", cache_dir=tmp_path)

    def test_refused_token(self, tmp_path):
        with pytest.raises(CheckpointAccessError, match="refuses the token"):
            download_checkpoint(self.REPO, cache_dir=tmp_path, token="hf_forged")

    def test_offline_without_cache(self, tmp_path):
        with pytest.raises(CheckpointNotFoundError, match="local_files_only"):
            download_checkpoint(self.REPO, cache_dir=tmp_path, local_files_only=True)
