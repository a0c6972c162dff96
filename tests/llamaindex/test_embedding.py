"""The bundled embedding for LlamaIndex, and LlamaIndex's objects in the core."""

import numpy as np
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import TextNode

from routellm_core import load_router
from routellm_core.embedders import as_embedder
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_llamaindex import BundledEmbedding


async def test_the_vectors_are_those_of_the_default_router():
    embedding = BundledEmbedding(embed_batch_size=2)
    expected = BundledEmbedder().embed(["ice", "fire", "sea"])
    np.testing.assert_array_equal(embedding.get_text_embedding_batch(["ice", "fire", "sea"]), expected)
    np.testing.assert_array_equal(await embedding.aget_text_embedding_batch(["ice", "fire", "sea"]), expected)
    np.testing.assert_array_equal(embedding.get_text_embedding("ice"), expected[0])
    np.testing.assert_array_equal(await embedding.aget_text_embedding("ice"), expected[0])
    np.testing.assert_array_equal(embedding.get_query_embedding("ice"), expected[0])
    np.testing.assert_array_equal(await embedding.aget_query_embedding("ice"), expected[0])


def test_it_can_be_stored_and_made_again():
    stored = BundledEmbedding().to_dict()
    assert stored["class_name"] == "BundledEmbedding"
    assert BundledEmbedding.from_dict(stored).get_text_embedding("ice") == BundledEmbedding().get_text_embedding("ice")


def test_an_index_finds_by_it():
    nodes = [TextNode(text="The capital of France is Paris."), TextNode(text="Ice floats on water.")]
    retriever = VectorStoreIndex(nodes, embed_model=BundledEmbedding()).as_retriever(similarity_top_k=1)
    assert retriever.retrieve("Which city is the capital of France?")[0].text.endswith("Paris.")


def test_the_default_router_takes_it():
    assert load_router("default", embedder=BundledEmbedding()).fingerprint == load_router("default").fingerprint


async def test_an_embedding_of_llamaindex_is_an_embedder():
    embedder = as_embedder(MockEmbedding(embed_dim=6), id="mock")
    assert embedder.dimension == 6
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(["a", "b"]), axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(await embedder.aembed(["a"]), embedder.embed(["a"]))
