"""The bundled embedding as LangChain embeddings, and LangChain's objects in the core."""

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from routellm_core import load_router
from routellm_core.embedders import as_embedder
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_langchain import BundledEmbeddings


async def test_the_vectors_are_those_of_the_default_router():
    embeddings = BundledEmbeddings()
    assert isinstance(embeddings, Embeddings)
    expected = BundledEmbedder().embed(["ice", "fire"])
    np.testing.assert_array_equal(embeddings.embed_documents(["ice", "fire"]), expected)
    np.testing.assert_array_equal(await embeddings.aembed_documents(["ice", "fire"]), expected)
    np.testing.assert_array_equal(embeddings.embed_query("ice"), expected[0])
    np.testing.assert_array_equal(await embeddings.aembed_query("ice"), expected[0])


def test_a_vector_store_finds_by_it():
    store = InMemoryVectorStore.from_texts(
        ["The capital of France is Paris.", "Ice floats on water."], BundledEmbeddings()
    )
    assert store.similarity_search("Which city is the capital of France?", k=1)[0].page_content.endswith("Paris.")


def test_the_default_router_takes_it():
    assert load_router("default", embedder=BundledEmbeddings()).fingerprint == load_router("default").fingerprint


async def test_an_embeddings_object_of_langchain_is_an_embedder():
    embedder = as_embedder(DeterministicFakeEmbedding(size=6), id="fake")
    assert embedder.dimension == 6
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(["a", "b"]), axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(await embedder.aembed(["a"]), embedder.embed(["a"]))


def test_one_without_a_model_needs_an_id():
    with pytest.raises(ValueError, match="id="):
        as_embedder(DeterministicFakeEmbedding(size=6))
