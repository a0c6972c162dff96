"""Embedding objects of the frameworks, which the core knows by their methods alone."""

import asyncio
import pickle

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.embedders import as_embedder
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.embedders.cache import CachedEmbedder
from routellm_core.embedders.openai import OpenAIEmbedder
from routellm_core.errors import ConfigurationError, EmbedderMismatchError, EmbeddingError
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from support.embedders import HashEmbedder, vector_of


class LangChainLike:
    """Embeds as LangChain's objects do."""

    def __init__(self, model="m", dimension=4):
        self.model = model
        self._dimension = dimension
        self.calls = []

    def embed_documents(self, texts):
        self.calls.append(("sync", texts))
        return [vector_of(text, self._dimension).tolist() for text in texts]

    async def aembed_documents(self, texts):
        self.calls.append(("async", texts))
        return [vector_of(text, self._dimension).tolist() for text in texts]


class LlamaIndexLike:
    """Embeds as LlamaIndex's objects do."""

    def __init__(self, model_name="m"):
        self.model_name = model_name

    def get_text_embedding_batch(self, texts, show_progress=False):
        return [vector_of(text, 4).tolist() for text in texts]

    async def aget_text_embedding_batch(self, texts, show_progress=False):
        return self.get_text_embedding_batch(texts)


@pytest.mark.parametrize("foreign", [LangChainLike(), LlamaIndexLike()])
async def test_vectors_are_those_of_the_object_at_length_1(foreign):
    embedder = as_embedder(foreign)
    rows = embedder.embed(["a", "b"])
    expected = np.stack([vector_of(text, 4) for text in "ab"])
    np.testing.assert_allclose(rows, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(await embedder.aembed(["a", "b"]), rows)
    assert embedder.dimension == 4
    assert embedder.id == f"{type(foreign).__name__}:m"


async def test_asynchronous_calls_use_the_objects_own_method():
    foreign = LangChainLike()
    await as_embedder(foreign).aembed(["a"])
    assert foreign.calls == [("async", ["a"])]


async def test_without_an_asynchronous_method_a_thread_does_it():
    class SyncOnly:
        model = "m"

        def embed_documents(self, texts):
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            return [[3.0, 4.0]] * len(texts)

    np.testing.assert_allclose(await as_embedder(SyncOnly()).aembed(["a"]), [[0.6, 0.8]])


def test_the_dimension_takes_one_text_and_only_where_nobody_knows_it():
    foreign = LangChainLike()
    embedder = as_embedder(foreign)
    assert foreign.calls == []
    assert [embedder.dimension, embedder.dimension] == [4, 4]
    assert len(foreign.calls) == 1
    told = LangChainLike()
    assert as_embedder(told, dimension=4).dimension == 4
    assert told.calls == []
    embedded = LangChainLike()
    as_embedder(embedded).embed(["a"])
    assert as_embedder(embedded, dimension=4).embed([]).shape == (0, 4)
    assert len(embedded.calls) == 1


def test_a_wrong_dimension_is_an_error():
    with pytest.raises(EmbeddingError, match=r"shape \(1, 4\), expected \(1, 5\)"):
        as_embedder(LangChainLike(), dimension=5).embed(["a"])


def test_blank_texts_and_lone_surrogates():
    foreign = LangChainLike()
    rows = as_embedder(foreign).embed(["", "a", " \n", "b\ud800"])
    assert foreign.calls == [("sync", ["a", "b?"])]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [0, 1, 0, 1], rtol=1e-6)
    assert as_embedder(LangChainLike()).embed([" "]).shape == (1, 4)


def named(name, **attributes):
    return type(name, (), {"embed_documents": lambda self, texts: [[1.0]] * len(texts), **attributes})()


@pytest.mark.parametrize(
    ("foreign", "expected"),
    [
        (named("OpenAIEmbeddings", model="text-embedding-3-small", dimensions=None), "openai:text-embedding-3-small"),
        (
            named("OpenAIEmbeddings", model="text-embedding-3-large", dimensions=256),
            "openai:text-embedding-3-large@256",
        ),
        (named("OpenAIEmbedding", model_name="text-embedding-3-small"), "openai:text-embedding-3-small"),
        (named("OpenAIEmbeddings", model="nomic-embed"), "openai:nomic-embed"),
        (named("HuggingFaceEmbeddings", model_name="a/b"), "sentence-transformers:a/b"),
        (named("HuggingFaceEmbedding", model_name="a/b"), "sentence-transformers:a/b"),
        (
            named("HuggingFaceEmbeddings", model_name="a/b", model_kwargs={"revision": "v1"}),
            "sentence-transformers:a/b@v1",
        ),
        (named("HuggingFaceEmbedding", model_name="a/b", text_instruction="passage: "), "HuggingFaceEmbedding:a/b"),
        (named("OllamaEmbeddings", model="nomic"), "OllamaEmbeddings:nomic"),
    ],
)
def test_ids(foreign, expected):
    assert as_embedder(foreign).id == expected
    assert as_embedder(foreign, id="mine").id == "mine"


@pytest.mark.parametrize("dimension", [None, 256])
def test_the_ids_and_dimensions_of_openai_are_those_of_our_own_embedder(dimension):
    own = OpenAIEmbedder(dimension=dimension)
    foreign = as_embedder(named("OpenAIEmbeddings", model=own.model, dimensions=dimension))
    assert (foreign.id, foreign.dimension) == (own.id, own.dimension)


def test_the_real_openai_class_of_langchain():
    langchain_openai = pytest.importorskip("langchain_openai")
    embeddings = langchain_openai.OpenAIEmbeddings(model="text-embedding-3-small", api_key="test")
    embedder = as_embedder(embeddings)
    assert (embedder.id, embedder.dimension) == ("openai:text-embedding-3-small", 1536)


def test_an_embedder_comes_back_as_it_is():
    embedder = HashEmbedder()
    assert as_embedder(embedder) is embedder
    with pytest.raises(ConfigurationError, match="of its own"):
        as_embedder(embedder, id="other")


@pytest.mark.parametrize("wrong", ["text-embedding-3-small", 3, None, LangChainLike, object()])
def test_what_cannot_embed_is_refused_with_what_is_expected(wrong):
    with pytest.raises(ConfigurationError, match=r"embed_documents.*get_text_embedding_batch"):
        as_embedder(wrong)


@pytest.mark.parametrize("model", ["", None, "unknown"])
def test_an_object_that_does_not_tell_its_model_needs_an_id(model):
    with pytest.raises(ConfigurationError, match="id="):
        as_embedder(LangChainLike(model=model))
    assert as_embedder(LangChainLike(model=model), id="mine").id == "mine"


def test_pickling():
    copy = pickle.loads(pickle.dumps(as_embedder(LangChainLike())))
    assert copy.dimension == 4


# --- wherever an embedder is taken -----------------------------------------------------------------------------------


def mf(embedder):
    return MatrixFactorizationRouter(
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
        [1.0, 1.0, 1.0, 1.0],
        models=["a", "b"],
        reference_strong="a",
        reference_weak="b",
        embedder=embedder,
    )


def test_a_router_of_ones_own_and_its_checkpoint(tmp_path):
    router = mf(LangChainLike())
    assert router.embedder.id == "LangChainLike:m"
    router.save_pretrained(tmp_path / "router")
    for load in (load_router, MatrixFactorizationRouter.from_pretrained):
        again = load(tmp_path / "router", embedder=LangChainLike())
        assert again.strong_win_rate("a") == router.strong_win_rate("a")
        assert again.fingerprint == router.fingerprint
    with pytest.raises(EmbedderMismatchError, match="LangChainLike:other"):
        load_router(tmp_path / "router", embedder=LangChainLike("other"))
    with pytest.raises(ConfigurationError, match="embed_documents"):
        load_router(tmp_path / "router", embedder="m")


def test_the_default_router_takes_its_own_embedding_alone():
    shipped = BundledEmbedder()
    same = named("BundledEmbedding", model_name=shipped.id, dimension=shipped.dimension)
    same.__class__.embed_documents = lambda self, texts: shipped.embed(texts).tolist()
    assert load_router("default", embedder=same).strong_win_rate("Hi!") == pytest.approx(
        load_router("default").strong_win_rate("Hi!"), abs=1e-6
    )
    with pytest.raises(EmbedderMismatchError):
        load_router("default", embedder=LangChainLike())


def test_the_cache():
    foreign = LangChainLike()
    cached = CachedEmbedder(foreign)
    np.testing.assert_array_equal(cached.embed(["a"]), cached.embed(["a"]))
    assert foreign.calls == [("sync", ["a"])]
    assert cached.id == "LangChainLike:m"
