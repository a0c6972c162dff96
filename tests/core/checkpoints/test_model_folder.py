"""Transformers as checkpoints, in folders and on the Hub; no torch is needed to store one."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from routellm_core.checkpoints import Checkpoint, CheckpointConfig
from routellm_core.checkpoints.folder import read_folder, write_folder
from routellm_core.checkpoints.hub import download_checkpoint, upload_checkpoint
from routellm_core.checkpoints.model_folder import ModelFolder
from routellm_core.errors import (
    CheckpointDownloadError,
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
)
from routellm_core.routers.length import LengthRouter
from support.hub_server import Fault, HubServer, hub_client

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO, TOKEN = "ada/model", "hf_ada"
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "", "1": "", "2": ""},
}
EXTRA = ("pytorch_model.bin", "README.md", "run.py", "optimizer.pt", "onnx.json")


def write_model(folder, *, shards=0, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    arrays = {f"w{i}": rng.normal(size=8) for i in range(max(shards, 1))}
    if shards:
        names = {key: f"model-{i + 1:05}-of-{shards:05}.safetensors" for i, key in enumerate(arrays)}
        for key, name in names.items():
            save_file({key: arrays[key]}, folder / name)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    else:
        save_file(arrays, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    for name in EXTRA:
        (folder / name).write_bytes(b"\x80")
    return folder


@pytest.fixture(params=[0, 3], ids=["one file", "shards"])
def model(tmp_path, request):
    return write_model(tmp_path / "source", shards=request.param)


def stored(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own(model, **changes):
    config = CheckpointConfig(router="bert", parameters={"head": "3way"}, **changes)
    return Checkpoint(config=config, model=ModelFolder.find(model))


def test_our_format_wraps_the_folder_of_the_model(model, tmp_path):
    before = own(model)
    folder = write_folder(before, tmp_path / "router")
    after = read_folder(folder)

    assert {path.name for path in folder.iterdir()} == {"config.json", "README.md", "model"}
    names = {path.name for path in (folder / "model").iterdir()}
    assert names == {path.name for path in model.iterdir()} - set(EXTRA)
    assert after.config.model_files == after.model.files == tuple(sorted(names))
    assert after.fingerprint() == before.fingerprint()
    # What reads transformers can read the model alone.
    assert json.loads((folder / "model" / "config.json").read_text()) == CONFIG


def test_fingerprint_covers_every_file_and_is_computed_once(model, monkeypatch):
    checkpoint = own(model)
    first = checkpoint.fingerprint()
    (model / "tokenizer_config.json").write_text('{"lower": true}')
    assert own(model).fingerprint() != first
    assert checkpoint.fingerprint() == first  # not read again


def test_saving_onto_itself_and_over_another_model(model, tmp_path):
    folder = write_folder(own(model), tmp_path / "router")
    loaded = read_folder(folder)
    (folder / "model" / "notes.txt").write_text("mine")
    write_folder(loaded, folder)
    write_folder(loaded, folder)  # the copies count as unchanged
    assert read_folder(folder).fingerprint() == loaded.fingerprint()
    other = own(write_model(tmp_path / "other", shards=2, seed=1))
    write_folder(other, folder)
    again = read_folder(folder)
    assert again.fingerprint() == other.fingerprint()
    assert (folder / "model" / "notes.txt").read_text() == "mine"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_router_of_arrays_over_a_router_that_is_a_transformer(model, tmp_path):
    folder = write_folder(own(model), tmp_path / "router")
    LengthRouter().save_pretrained(folder)
    assert read_folder(folder).config.router == "length"
    write_folder(own(model), folder)
    assert not (folder / "model.safetensors").exists()


def test_model_that_changed_since_is_not_stored(model, tmp_path):
    checkpoint = own(model)
    (model / "tokenizer.json").write_text('{"changed": 1}')
    target = tmp_path / "router"
    with pytest.raises(CheckpointError, match=r"tokenizer\.json' was changed or removed since the router was loaded"):
        write_folder(checkpoint, target)
    assert not stored(target)


@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "sub/x.json", "run.py", "x.bin", ".hidden.json", 3])
def test_names_that_leave_the_folder_or_hold_code(model, tmp_path, name):
    folder = write_folder(own(model), tmp_path / "router")
    config = json.loads((folder / "config.json").read_text())
    config["model_files"].append(name)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointFormatError, match="is no file of a transformer"):
        read_folder(folder)


def test_what_is_missing_is_named(model, tmp_path):
    folder = write_folder(own(model), tmp_path / "router")
    weights = min((folder / "model").glob("*.safetensors"))
    weights.unlink()
    with pytest.raises(CheckpointNotFoundError, match=weights.name):
        read_folder(folder)


def test_pickle_alone_is_refused(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointFormatError, match=r"only as pickle.*never loaded"):
        read_folder(folder)


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"weight_map": {"w": "../x.safetensors"}}', '{"weight_map": {"w": "x.bin"}}', "no"]
)
def test_damaged_index(tmp_path, content):
    folder = write_model(tmp_path / "m", shards=2)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointFormatError, match=r"model\.safetensors\.index\.json"):
        read_folder(folder)


def test_transformer_that_is_no_router(tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(CheckpointFormatError, match=r"BertForMaskedLM; a router is a \.\.\.ForSequenceClassification"):
        read_folder(folder)


# --- on the Hub -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    with HubServer(tokens={TOKEN: "ada"}) as server:
        yield server


@pytest.fixture
def home(hub, tmp_path, monkeypatch):
    with hub_client(hub.url, tmp_path / "home"):
        yield tmp_path / "home"


def commit(hub, folder):
    return hub.commit(REPO, stored(folder))


def fetched(hub):
    return {line.rpartition("/")[2] for line in hub.transfers() if "/resolve/" in line}


@pytest.mark.usefixtures("home")
def test_plain_model_is_fetched_without_what_it_does_not_need(hub, model):
    commit(hub, model)
    folder = download_checkpoint(REPO)
    assert {path.name for path in folder.iterdir()} == {path.name for path in model.iterdir()} - set(EXTRA)
    assert not fetched(hub) & set(EXTRA)
    assert read_folder(folder).model.digest == ModelFolder.find(model).digest


@pytest.mark.usefixtures("home")
def test_our_format_is_uploaded_and_fetched(hub, model, tmp_path):
    router = write_folder(own(model), tmp_path / "router")
    (router / "model" / "notes.bin").write_bytes(b"mine")
    sha = upload_checkpoint(router, REPO, token=TOKEN)
    names = set(hub.repositories[REPO].commits[sha]) - {".gitattributes"}
    assert names == {"config.json", "README.md", *(f"model/{name}" for name in own(model).model.files)}
    folder = download_checkpoint(REPO, revision=sha)
    assert read_folder(folder).fingerprint() == own(model).fingerprint()


def test_weights_in_the_cache_are_not_read_for_the_fingerprint(hub, home, model):
    commit(hub, model)
    loaded = read_folder(download_checkpoint(REPO))
    digest = loaded.model.digest
    assert digest == ModelFolder.find(model).digest
    for blob in (home / "hub").glob("models--*/blobs/*"):
        if len(blob.name) == 64 and b"weight_map" not in blob.read_bytes():
            blob.write_bytes(b"\0" * blob.stat().st_size)
    assert read_folder(loaded.model.path).model.digest == digest


@pytest.mark.usefixtures("home")
def test_pinned_commit_in_the_cache_needs_no_request(hub, model):
    sha = commit(hub, model)
    first = download_checkpoint(REPO, revision=sha)
    hub.requests.clear()
    assert download_checkpoint(REPO, revision=sha) == first
    assert not hub.requests


@pytest.mark.usefixtures("home")
def test_revision_is_pinned(hub, model, tmp_path):
    sha = commit(hub, model)
    commit(hub, write_model(tmp_path / "newer", seed=5))
    assert read_folder(download_checkpoint(REPO, revision=sha)).model.digest == ModelFolder.find(model).digest


@pytest.mark.usefixtures("home")
def test_cached_files_serve_while_the_hub_is_down_or_not_to_be_asked(hub, model):
    commit(hub, model)
    folder = download_checkpoint(REPO)
    hub.stop()
    assert download_checkpoint(REPO) == folder
    assert download_checkpoint(REPO, local_files_only=True) == folder


def test_download_that_is_cut_off_then_recovery(hub, home, model, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    sha = commit(hub, model)
    hub.fail(Fault("GET /large/", cut_after=10))
    with pytest.raises(CheckpointDownloadError, match="the cache holds whole files only"):
        download_checkpoint(REPO)
    for revision in (None, sha):
        with pytest.raises(CheckpointNotFoundError, match="not completely, in the local cache"):
            download_checkpoint(REPO, revision=revision, local_files_only=True)
    hub.heal()
    assert read_folder(download_checkpoint(REPO, revision=sha)).model.digest == ModelFolder.find(model).digest


@pytest.mark.usefixtures("home")
def test_pickle_alone_on_the_hub_is_refused_and_never_fetched(hub, tmp_path):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    commit(hub, folder)
    with pytest.raises(
        CheckpointFormatError, match=r"'ada/model'.*only as pickle \(optimizer\.pt, pytorch_model\.bin\)"
    ):
        download_checkpoint(REPO)
    assert not fetched(hub) & set(EXTRA)


@pytest.mark.usefixtures("home")
def test_unreachable_hub_is_noticed_at_once(hub, monkeypatch):
    """The client's own retries take some 20 seconds."""
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    hub.stop()
    with pytest.raises(CheckpointDownloadError, match="Check the network"):
        download_checkpoint(REPO)
    assert not waits
