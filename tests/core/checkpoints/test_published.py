"""The layout of `routellm/mf_gpt4_augmented`, as lm-sys published it."""

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.checkpoints.published import ARENA_MODELS, MF_REPO
from routellm_core.errors import (
    CheckpointFormatError,
    ConfigurationError,
    EmbedderMismatchError,
    RouterUnavailableError,
)
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from support.embedders import HashEmbedder
from support.hub_server import HubServer, hub_client
from support.weights import PUBLISHED_EMBEDDER, published_router, published_weights, write_published

PROMPTS = ["Hi!", "What is the capital of France?", ""]


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder(1536, id=PUBLISHED_EMBEDDER)


def test_loads_and_scores(tmp_path, embedder):
    router = load_router(write_published(tmp_path), embedder=embedder)
    assert isinstance(router, MatrixFactorizationRouter)
    assert router.models == ("mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview")
    assert router.known_models == ARENA_MODELS
    np.testing.assert_array_equal(router.strong_win_rates(PROMPTS), published_router().strong_win_rates(PROMPTS))
    assert router.thresholds is None


def test_saved_in_our_format_it_scores_the_same(tmp_path, embedder):
    router = load_router(write_published(tmp_path / "theirs"), embedder=embedder)
    ours = load_router(router.save_pretrained(tmp_path / "ours"), embedder=embedder)
    np.testing.assert_array_equal(ours.score(PROMPTS), router.score(PROMPTS))
    assert ours.fingerprint == router.fingerprint


def test_without_a_projection(tmp_path):
    rng = np.random.default_rng(0)
    weights = {"P.weight": rng.normal(size=(64, 16)), "classifier.0.weight": rng.normal(size=(1, 16))}
    folder = write_published(tmp_path, weights, dim=16, text_dim=16, use_proj=False)
    router = load_router(folder, embedder=HashEmbedder(16, id=PUBLISHED_EMBEDDER))
    rows = weights["P.weight"] / np.linalg.norm(weights["P.weight"], axis=1, keepdims=True)
    difference = (rows[24] - rows[36]) * weights["classifier.0.weight"][0]
    expected = 1 / (1 + np.exp(-router.embedder.embed(PROMPTS).astype(float) @ difference))
    np.testing.assert_allclose(router.strong_win_rates(PROMPTS), expected, atol=1e-12)


def test_model_names_are_64_in_the_order_of_the_rows():
    assert len(set(ARENA_MODELS)) == 64
    assert (ARENA_MODELS.index("gpt-4-1106-preview"), ARENA_MODELS.index("mixtral-8x7b-instruct-v0.1")) == (24, 36)
    assert list(ARENA_MODELS) == sorted(ARENA_MODELS)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"num_classes": 2}, "num_classes is 2; a win rate needs 1"),
        ({"num_models": 65}, "num_models is 65, and this layout names its models only for 64"),
        ({"dim": 64}, r"'model_embeddings' has shape \(64, 128\), config.json promises \(64, 64\)"),
        ({"text_dim": 768}, r"'text_projection' has shape \(128, 1536\), config.json promises \(128, 768\)"),
        ({"text_dim": "wide"}, "text_dim must be a whole number"),
        ({"text_dim": None, "use_proj": False}, "text_dim must be a whole number"),
        ({"dim": -1}, "dim must be a whole number"),
        ({"use_proj": False}, "without a text_projection the embedder's 1536 dimensions must equal dim 128"),
    ],
)
def test_config_that_does_not_fit(tmp_path, embedder, config, match):
    with pytest.raises(CheckpointFormatError, match=f"(?s){tmp_path}.*{match}"):
        load_router(write_published(tmp_path, **config), embedder=embedder)


@pytest.mark.parametrize("name", ["P.weight", "text_proj.0.weight", "classifier.0.weight"])
def test_missing_array_is_named(tmp_path, embedder, name):
    weights = published_weights()
    del weights[name]
    with pytest.raises(CheckpointFormatError, match=f"no array '{name}'"):
        load_router(write_published(tmp_path, weights), embedder=embedder)


def test_training_checkpoint_with_other_keys_is_refused(tmp_path, embedder):
    weights = published_weights()
    weights["classifier.weight"] = weights.pop("classifier.0.weight")
    with pytest.raises(CheckpointFormatError, match=r"no array 'classifier\.0\.weight'"):
        load_router(write_published(tmp_path, weights), embedder=embedder)


def test_numbers_that_are_not_finite(tmp_path, embedder):
    weights = published_weights()
    weights["P.weight"][3, 4] = np.nan
    with pytest.raises(CheckpointFormatError, match="not finite"):
        load_router(write_published(tmp_path, weights), embedder=embedder)


def test_another_embedder_is_refused_with_both_sides(tmp_path):
    with pytest.raises(
        EmbedderMismatchError, match=r"'openai:text-embedding-3-small' \(1536 dimensions\).*'hash-1536'"
    ):
        load_router(write_published(tmp_path), embedder=HashEmbedder(1536))


def test_loading_by_path_makes_the_openai_embedder_and_needs_no_key_yet(tmp_path):
    router = load_router(write_published(tmp_path))
    assert router.embedder.id == PUBLISHED_EMBEDDER
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        router.strong_win_rate("Hi!")


@pytest.fixture
def hub(tmp_path):
    folder = write_published(tmp_path / "published")
    with HubServer() as server, hub_client(server.url, tmp_path / "home"):
        server.commit(MF_REPO, {path.name: path.read_bytes() for path in folder.iterdir()})
        yield server


def test_by_name_from_the_hub(hub, embedder):
    router = load_router("mf", embedder=embedder)
    np.testing.assert_array_equal(router.score(PROMPTS), published_router().score(PROMPTS))
    assert router.name == "mf"


def test_by_name_a_revision_can_be_pinned(hub, embedder):
    pinned = hub.repositories[MF_REPO].branches["main"]
    hub.commit(MF_REPO, {"config.json": b"broken"})
    assert load_router("mf", embedder=embedder, revision=pinned).models
    with pytest.raises(RouterUnavailableError, match="not valid JSON"):
        load_router("mf", embedder=embedder)


def test_by_name_without_a_key(hub):
    with pytest.raises(RouterUnavailableError, match=r"'mf'.*OPENAI_API_KEY.*'default' needs no key"):
        load_router("mf")


def test_by_name_with_a_key_makes_no_request_to_openai(hub, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    router = load_router("mf")
    assert router.embedder.id == PUBLISHED_EMBEDDER
    assert "sk-secret" not in f"{router!r} {router.embedder!r}"


def test_by_name_with_another_embedder_is_a_mismatch(hub):
    with pytest.raises(EmbedderMismatchError, match="hash-8"):
        load_router("mf", embedder=HashEmbedder(8))


def test_by_name_offline(hub, embedder):
    with pytest.raises(RouterUnavailableError, match=r"local_files_only.*'default'"):
        load_router("mf", embedder=embedder, local_files_only=True)
    load_router("mf", embedder=embedder)
    hub.requests.clear()
    assert load_router("mf", embedder=embedder, local_files_only=True).models
    assert not hub.requests
