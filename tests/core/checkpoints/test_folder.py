import json
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from routellm_core import ThresholdTable, load_router
from routellm_core.checkpoints import FORMAT_VERSION, Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.checkpoints.folder import read_folder, write_folder
from routellm_core.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    ConfigurationError,
    EmbedderMismatchError,
    RouterUnavailableError,
    UnknownRouterError,
)
from routellm_core.routers.length import LengthRouter
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from routellm_core.routers.random import RandomRouter
from support.embedders import HashEmbedder
from support.hub_server import HubServer, hub_client
from support.weights import published_router

PROMPTS = ["Hi!", "What is the capital of France?", "", "\ud800", "x" * 5000]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small stored mf router."""
    rng = np.random.default_rng(0)
    router = MatrixFactorizationRouter(
        rng.normal(size=(3, 2)),
        rng.normal(size=2),
        models=["a", "b", "c"],
        reference_strong="c",
        reference_weak="a",
        embedder=HashEmbedder(4),
        text_projection=rng.normal(size=(2, 4)),
        bias=rng.normal(size=2),
        thresholds=ThresholdTable.from_win_rates(rng.random(50), source="a test"),
        provenance={"data": "none"},
        metrics={"APGR": 0.5},
    )
    return router.save_pretrained(tmp_path / "router")


def edit(folder: Path, **changes) -> None:
    """Change keys of the config; `...` removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def edit_arrays(folder: Path, **changes) -> None:
    path = folder / "model.safetensors"
    arrays = load_file(path) | changes
    save_file({key: value for key, value in arrays.items() if value is not ...}, path)


def load(folder: Path) -> MatrixFactorizationRouter:
    return load_router(folder, embedder=HashEmbedder(4))


def test_round_trip_keeps_everything(tmp_path):
    config = CheckpointConfig(
        router="mf",
        models=("ä", "b"),
        reference_strong="b",
        reference_weak="ä",
        embedder=EmbedderSpec(id="e", dimension=3),
        parameters={"normalize_models": False, "deep": {"list": [1, None, "x"]}},
        thresholds=ThresholdTable.uniform(source="a test"),
        provenance={"data": "nöthing"},
        metrics={"APGR": 0.1 + 0.2},
    )
    arrays = {
        "f32": np.array([[1.5, -0.0], [np.float32(1e-45), 3]], dtype=np.float32),
        "f16": np.ones((2, 0), dtype=np.float16),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(10)[::2],
        "scalar": np.array(2.5),
    }
    before = Checkpoint(config=config, arrays=arrays)

    after = read_folder(write_folder(before, tmp_path / "new" / "folder"))

    assert after.config == config
    assert after.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert after.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(after.arrays[name], array)
    assert after.fingerprint() == before.fingerprint()
    assert after.origin == str(tmp_path / "new" / "folder")


def test_config_names_its_version(folder):
    assert json.loads((folder / "config.json").read_text())["format_version"] == FORMAT_VERSION == 1


def test_fingerprint_changes_with_what_scores_depend_on_and_nothing_else(folder):
    before = load(folder).fingerprint
    edit(folder, metrics={"APGR": 0.9}, provenance={}, thresholds=None)
    assert load(folder).fingerprint == before
    for change in (
        {"reference_strong": "b"},
        {"parameters": {"normalize_models": False}},
        {"models": ["a", "x", "c"]},
    ):
        stored = (folder / "config.json").read_text()
        edit(folder, **change)
        assert load(folder).fingerprint != before
        (folder / "config.json").write_text(stored)
    edit_arrays(folder, bias=np.zeros(2))
    assert load(folder).fingerprint != before


# --- damaged files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "must hold a JSON object, not list"),
        (b"null", "must hold a JSON object, not NoneType"),
        (b"{}", "neither a routellm-plugins checkpoint .no format_version. nor a layout"),
        (b'{"format_version": 2}', "format_version 2; this version of routellm-plugins reads 1.*pip install --upgrade"),
        (b'{"format_version": "1"}', "format_version '1'"),
        (b'{"format_version": null}', "format_version None"),
        (b'{"format_version": 1}', "config.json has no '"),
    ],
)
def test_damaged_config(folder, content, match):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointFormatError, match=f"(?s){match}") as caught:
        load(folder)
    assert str(folder) in str(caught.value)


KEYS = [
    "router",
    "models",
    "reference_strong",
    "reference_weak",
    "embedder",
    "parameters",
    "thresholds",
    "provenance",
    "metrics",
]


@pytest.mark.parametrize("key", KEYS)
def test_missing_key(folder, key):
    edit(folder, **{key: ...})
    with pytest.raises(CheckpointFormatError, match=f"{folder}.*has no '{key}'"):
        load(folder)


@pytest.mark.parametrize("value", [5, 1.5, True, False, "x", "", [], {}, [1], {"x": 1}, None, 1e400])
@pytest.mark.parametrize("key", KEYS)
def test_value_of_another_kind(folder, key, value):
    """Whatever a key holds, loading works or ends with one clear error."""
    edit(folder, **{key: value})
    try:
        load(folder)
    except CheckpointFormatError as error:
        assert str(folder) in str(error)  # noqa: PT017
    except UnknownRouterError:
        assert key == "router"
        assert isinstance(value, str)


@pytest.mark.parametrize(
    "embedder",
    [
        {},
        {"id": "e"},
        {"id": 5, "dimension": 4},
        {"id": "hash-4", "dimension": "4"},
        {"id": "hash-4", "dimension": 4.5},
    ],
)
def test_embedder_is_an_id_and_a_dimension(folder, embedder):
    edit(folder, embedder=embedder)
    with pytest.raises(CheckpointFormatError, match=r"config.json"):
        load(folder)


@pytest.mark.parametrize(
    "thresholds",
    [
        {},
        {"thresholds": [0.5] * 101},
        {"thresholds": [0.5] * 100, "n_prompts": 1, "source": ""},
        {"thresholds": [1.5] * 101, "n_prompts": 1, "source": ""},
        {"thresholds": [0.1] * 50 + [0.2] * 51, "n_prompts": 1, "source": ""},
        {"thresholds": ["x"] * 101, "n_prompts": 1, "source": ""},
        {"thresholds": [float("nan")] * 101, "n_prompts": 1, "source": ""},
        {"thresholds": [0.5] * 101, "n_prompts": float("inf"), "source": ""},
        {"thresholds": 5, "n_prompts": 1, "source": ""},
    ],
)
def test_threshold_table_is_checked(folder, thresholds):
    edit(folder, thresholds=thresholds)
    with pytest.raises(CheckpointFormatError, match="thresholds"):
        load(folder)


def test_pair_is_among_the_models(folder):
    edit(folder, reference_strong="gpt-5")
    with pytest.raises(CheckpointFormatError, match=f"{folder}.*'gpt-5'.*not among its models"):
        load(folder)


@pytest.mark.parametrize("value", ["false", 0, None])
def test_parameter_of_mf_is_a_boolean(folder, value):
    edit(folder, parameters={"normalize_models": value})
    with pytest.raises(CheckpointFormatError, match="'normalize_models' must be true or false"):
        load(folder)


@pytest.mark.parametrize(("router", "key"), [(LengthRouter(), "max_characters"), (RandomRouter(), "seed")])
@pytest.mark.parametrize("value", [None, "5", 1.5, True, []])
def test_parameter_is_an_integer(tmp_path, router, key, value):
    folder = router.save_pretrained(tmp_path)
    edit(folder, parameters={key: value})
    with pytest.raises(CheckpointFormatError, match=f"'{key}' must be an integer"):
        load_router(folder)


def test_length_of_zero_is_a_damaged_checkpoint(tmp_path):
    folder = LengthRouter().save_pretrained(tmp_path)
    edit(folder, parameters={"max_characters": 0})
    with pytest.raises(CheckpointFormatError, match="1 or more"):
        load_router(folder)


@pytest.mark.parametrize("damage", ["empty", "header", "cut", "flipped length", "text", "pickle"])
def test_damaged_safetensors(folder, damage):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "header": whole[:20],
            "cut": whole[:-1],
            "flipped length": b"\xff" * 8 + whole[8:],
            "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "pickle": pickle.dumps({"bias": [1.0]}),
        }[damage]
    )
    with pytest.raises(CheckpointFormatError, match=f"{folder}.*damaged or no safetensors file"):
        load(folder)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3"])
def test_number_type_that_numpy_lacks(folder, dtype):
    size = 2 * (2 if dtype == "BF16" else 1)
    header = json.dumps({"bias": {"dtype": dtype, "shape": [2], "data_offsets": [0, size]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    with pytest.raises(CheckpointFormatError, match=f"{folder}.*numpy lacks.*store float32"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "array", "match"),
    [
        ("model_embeddings", ..., "no array 'model_embeddings'; there are: bias"),
        ("output_weights", ..., "no array 'output_weights'"),
        ("model_embeddings", np.ones((4, 2)), r"shape \(4, 2\), expected \(3, 2\)"),
        ("model_embeddings", np.ones(6), r"shape \(6,\), expected \(3, 2\)"),
        ("output_weights", np.ones((1, 2)), r"shape \(1, 2\), expected \('any',\)"),
        ("output_weights", np.ones(3), r"expected \(3, 3\)"),
        ("text_projection", np.ones((4, 2)), r"shape \(4, 2\), expected \(2, 4\)"),
        ("text_projection", ..., "without a text_projection the embedder's 4 dimensions must equal dim 2"),
        ("bias", np.ones(4), r"shape \(4,\), expected \(2,\)"),
        ("bias", np.array([0, np.nan]), "'bias' holds numbers that are not finite"),
        ("model_embeddings", np.full((3, 2), np.inf, dtype=np.float16), "not finite"),
    ],
)
def test_wrong_arrays(folder, name, array, match):
    edit_arrays(folder, **{name: array})
    with pytest.raises(CheckpointFormatError, match=f"(?s){folder}.*{match}"):
        load(folder)


def test_half_precision_and_integers_are_read(folder):
    edit_arrays(folder, bias=np.array([1, 2]), output_weights=np.array([0.5, 1], dtype=np.float16))
    assert load(folder).strong_win_rates(PROMPTS).dtype == np.float64


def test_default_checkpoint_of_wrong_shape(tmp_path):
    folder = load_router("default").save_pretrained(tmp_path)
    edit_arrays(folder, **{"free.embedding": np.ones((2, 4), dtype=np.float32)})
    with pytest.raises(CheckpointFormatError, match=r"'free.embedding' has shape \(2, 4\), expected \(2, 240\)"):
        load_router(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_missing_file(folder, file):
    (folder / file).unlink()
    with pytest.raises(CheckpointNotFoundError, match=f"{folder}: {file} is missing"):
        load(folder)


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="there is no such folder"):
        read_folder(tmp_path / "nothing")
    for missing in (tmp_path / "nothing", str(tmp_path / "nothing"), Path("org/name"), ""):
        with pytest.raises(UnknownRouterError, match="no registered name"):
            load_router(missing)


def test_pickle_beside_a_missing_array_file_is_never_loaded(folder):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(folder / "exploded"),)

    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointNotFoundError, match=r"model.safetensors is missing"):
        load(folder)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointFormatError):
        load(folder)
    assert not (folder / "exploded").exists()


# --- embedder and class ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("embedder", "other"),
    [(HashEmbedder(5), r"'hash-5' \(5 dimensions\)"), (HashEmbedder(5, id="hash-4"), r"'hash-4' \(5 dimensions\)")],
)
def test_embedder_mismatch_names_both_sides(folder, embedder, other):
    with pytest.raises(EmbedderMismatchError, match=rf"{folder}.*'hash-4' \(4 dimensions\).*{other}"):
        load_router(folder, embedder=embedder)


def test_embedder_that_cannot_be_made_from_its_id_is_asked_for(folder):
    with pytest.raises(
        EmbedderMismatchError, match=r"'hash-4' \(4 dimensions\).*give it as embedder=.*routellm-static"
    ):
        load_router(folder)


def test_bundled_embedding_of_another_version(tmp_path):
    folder = load_router("default").save_pretrained(tmp_path)
    edit(folder, embedder={"id": "routellm-static-older", "dimension": 240})
    with pytest.raises(EmbedderMismatchError, match=r"'routellm-static-older'.*'routellm-static-minilm"):
        load_router(folder)


def test_router_nobody_registered(folder):
    edit(folder, router="mystery")
    with pytest.raises(CheckpointFormatError, match=r"router: .*'mystery'; there are: .*default.*install"):
        load(folder)


def test_class_of_another_router(folder):
    with pytest.raises(CheckpointFormatError, match=f"{folder} holds a 'mf' router, not 'length'.*load_router"):
        LengthRouter.from_pretrained(folder)


def test_class_loads_its_own_and_nothing_that_is_not_there(folder, tmp_path):
    loaded = MatrixFactorizationRouter.from_pretrained(folder, embedder=HashEmbedder(4))
    np.testing.assert_array_equal(loaded.score(PROMPTS), load(folder).score(PROMPTS))
    for missing in (tmp_path / "nothing", "a/b/c", Path("org/name")):
        with pytest.raises(CheckpointNotFoundError, match="is neither a folder nor a Hub repository id"):
            MatrixFactorizationRouter.from_pretrained(missing)


@pytest.mark.parametrize("key", ["embedder", "reference_strong", "reference_weak"])
@pytest.mark.parametrize("name", ["mf", "default"])
def test_embedder_and_pair_are_needed(folder, tmp_path, name, key):
    path = folder if name == "mf" else load_router("default").save_pretrained(tmp_path / "default")
    edit(path, **{key: None})
    with pytest.raises(
        CheckpointFormatError, match=f"{path}: an? {name} checkpoint names its embedder and its reference"
    ):
        load_router(path)


def test_folder_takes_neither_options_nor_a_revision(folder):
    with pytest.raises(ConfigurationError, match="a stored mf router takes no options, and not device, seed"):
        load_router(folder, embedder=HashEmbedder(4), seed=1, device="cpu")
    with pytest.raises(ConfigurationError, match="a stored mf router takes no options, and not seed"):
        MatrixFactorizationRouter.from_pretrained(folder, embedder=HashEmbedder(4), seed=1)
    with pytest.raises(ConfigurationError, match="revision='v2' is only for a Hub repository"):
        load_router(folder, embedder=HashEmbedder(4), revision="v2")


# --- writing --------------------------------------------------------------------------------------------------------


def test_saving_over_another_router_replaces_it(folder):
    RandomRouter(5).save_pretrained(folder)
    assert load_router(folder).seed == 5
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_config_that_is_no_json_leaves_the_folder_as_it_was(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for value in (float("nan"), object()):
        config = CheckpointConfig(router="random", parameters={"seed": 1}, metrics={"APGR": value})
        with pytest.raises(CheckpointFormatError, match="plain JSON"):
            write_folder(Checkpoint(config=config), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("fails_at", ["model.safetensors", "README.md", "config.json"])
def test_interrupted_write_never_mixes_two_routers(folder, fails_at, monkeypatch):
    replace = Path.replace

    def fail(self, target):
        if Path(target).name == fails_at:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        RandomRouter(5).save_pretrained(folder)
    with pytest.raises(CheckpointNotFoundError, match=r"config.json is missing"):
        load(folder)
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    monkeypatch.undo()
    assert load_router(RandomRouter(5).save_pretrained(folder)).seed == 5


def test_files_can_be_read_by_others(folder):
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


# --- through the Hub ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
@pytest.mark.parametrize("name", ["mf", "default"])
def test_pushed_router_scores_identically_from_another_cache(tmp_path, name):
    router = load_router("default") if name == "default" else published_router(thresholds=None)
    embedder = None if name == "default" else HashEmbedder(1536, id="openai:text-embedding-3-small")
    with HubServer(tokens={"secret": "ada"}) as hub, hub_client(hub.url, tmp_path / "home"):
        router.push_to_hub(f"ada/{name}", token="secret", private=True)
        loaded = load_router(f"ada/{name}", embedder=embedder, token="secret", cache_dir=tmp_path / "other")
        with pytest.raises(CheckpointError):
            load_router(f"ada/{name}", embedder=embedder, cache_dir=tmp_path / "third")
        hub.stop()
        offline = load_router(f"ada/{name}", embedder=embedder, cache_dir=tmp_path / "other", local_files_only=True)
    prompts = [*PROMPTS, *(f"prompt {i}" for i in range(200))]
    for other in (loaded, offline):
        np.testing.assert_array_equal(other.score(prompts), router.score(prompts))
        assert (other.models, other.thresholds, other.fingerprint) == (
            router.models,
            router.thresholds,
            router.fingerprint,
        )


def test_mf_without_network_or_key_is_one_error_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub = HubServer()
    with hub:
        url = hub.url
    with hub_client(url, tmp_path), pytest.raises(RouterUnavailableError) as caught:
        load_router("mf")
    for part in ("'mf'", "routellm/mf_gpt4_augmented", "network", "HF_ENDPOINT", "'default' needs no key"):
        assert part in str(caught.value)
