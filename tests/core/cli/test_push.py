"""`routellm push`, through its entry point, to a Hub on loopback."""

import json

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from support.embedders import HashEmbedder
from support.hub_server import HubServer, hub_client


@pytest.fixture
def folder(tmp_path):
    """A stored router, beside what a training leaves."""
    generator = np.random.default_rng(0)
    router = MatrixFactorizationRouter(
        generator.normal(size=(3, 4)), generator.normal(size=4), models=("a", "b", "c"), reference_strong="a",
        reference_weak="b", embedder=HashEmbedder(), text_projection=generator.normal(size=(4, HashEmbedder().dimension)),
    )  # fmt: skip
    path = router.save_pretrained(tmp_path / "router")
    (path / "README.md").write_text("# A card of my own\n")
    for name in ("held_out.jsonl", "training_report.json"):
        (path / name).write_text("{}")
    return path


@pytest.fixture
def hub(tmp_path):
    with HubServer(tokens={"secret": "ada"}) as server:
        yield server


def test_what_is_pushed_is_the_router_and_its_card(routellm, folder, hub, tmp_path):
    with hub_client(hub.url, home=tmp_path / "home", token="secret"):
        code, out, err = routellm("push", "--router", str(folder), "--to", "ada/mine", "--format", "json")
        assert code == 0, err
        told = json.loads(out)
        repository = hub.repositories["ada/mine"]
        assert told == {"router": "mf", "to": "ada/mine", "revision": "main", "commit": repository.branches["main"]}
        files = repository.commits[told["commit"]]
        assert set(files) - {".gitattributes"} == {"README.md", "config.json", "model.safetensors"}
        assert files["README.md"] == b"# A card of my own\n"
        assert not repository.private
        pulled = load_router("ada/mine", embedder=HashEmbedder(), revision=told["commit"], cache_dir=tmp_path / "cache")
    prompts = ["Hi", "Prove it."]
    assert (pulled.score(prompts) == load_router(folder, embedder=HashEmbedder()).score(prompts)).all()


def test_private_and_to_a_branch(routellm, folder, hub, tmp_path):
    with hub_client(hub.url, home=tmp_path / "home", token="secret"):
        code, out, err = routellm(
            "push", "--router", str(folder), "--to", "ada/mine", "--private", "--revision", "trial", "--message", "May"
        )
    assert code == 0, err
    repository = hub.repositories["ada/mine"]
    assert repository.private
    assert repository.branches["trial"] != repository.branches["main"]
    assert repository.branches["trial"] in out
    assert "trial" in out


def test_bad_input(routellm, refused, folder, hub, tmp_path):
    def push(*arguments, token="secret"):
        with hub_client(hub.url, home=tmp_path / "home", token=token):
            return " ".join(refused(routellm("push", *arguments)).split())

    assert "there is no such folder" in push("--router", str(tmp_path / "none"), "--to", "ada/mine")
    (tmp_path / "empty").mkdir()
    assert "config.json is missing" in push("--router", str(tmp_path / "empty"), "--to", "ada/mine")
    assert "'mine' is no Hub repository id: give owner/name" in push("--router", str(folder), "--to", "mine")
    assert "refuses the token" in push("--router", str(folder), "--to", "bob/his")
    no_token = push("--router", str(folder), "--to", "ada/mine", token=None)
    assert "set HF_TOKEN, run `hf auth login`" in no_token
    assert "secret" not in no_token
    assert hub.repositories == {}


def test_another_layout_is_refused(routellm, refused, folder, hub, tmp_path):
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}')
    with hub_client(hub.url, home=tmp_path / "home", token="secret"):
        refused(routellm("push", "--router", str(folder), "--to", "ada/mine"))
    assert hub.repositories == {}


def test_the_help_teaches(routellm):
    code, out, _ = routellm("push", "--help")
    assert code == 0
    for part in ("--private", "--revision", "--message", "HF_TOKEN", "routellm push --router my-router --to"):
        assert part in out
