import threading

import numpy as np
import pytest

from routellm_core.embedders.base import aembed, as_unit_rows
from routellm_core.embedders.factory import embedder_for
from routellm_core.errors import EmbedderMismatchError, EmbeddingError
from support.embedders import AsyncHashEmbedder, HashEmbedder


def test_rows_become_unit_rows_and_zeros_stay():
    rows = as_unit_rows([[3, 4], [0, 0], [1e-3, 0]], n=3, dimension=2, embedder_id="e")
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize(
    ("vectors", "match"),
    [
        ([[1, 2, 3]], r"'e' returned vectors of shape \(1, 3\), expected \(1, 2\)"),
        ([[1, 2], [3, 4]], r"shape \(2, 2\), expected \(1, 2\)"),
        ([1, 2], r"shape \(2,\)"),
        ([], r"shape \(0,\)"),
        ([[1, float("nan")]], "'e' returned numbers that are not finite"),
        ([[1, float("inf")]], "not finite"),
        ([[1, 2], [3]], "'e' returned no table of numbers"),
        ([["a", "b"]], "no table of numbers"),
        ([None], "no table of numbers|shape"),
    ],
)
def test_unusable_vectors(vectors, match):
    with pytest.raises(EmbeddingError, match=match):
        as_unit_rows(vectors, n=1, dimension=2, embedder_id="e")


async def test_embedder_without_aembed_runs_in_a_thread():
    class Recording(HashEmbedder):
        def embed(self, texts):
            self.thread = threading.current_thread()
            return super().embed(texts)

    embedder = Recording()
    np.testing.assert_array_equal(await aembed(embedder, ["a"]), HashEmbedder().embed(["a"]))
    assert embedder.thread is not threading.current_thread()


async def test_embedder_with_aembed_is_awaited():
    np.testing.assert_array_equal(await aembed(AsyncHashEmbedder(), ["a"]), HashEmbedder().embed(["a"]))


@pytest.mark.parametrize("dimension", [1536, 256])
def test_every_id_of_the_openai_embedder_makes_it_again(dimension):
    from routellm_core.embedders.openai import OpenAIEmbedder

    original = OpenAIEmbedder("text-embedding-3-small", dimension=dimension)
    again = embedder_for(original.id, original.dimension, origin="a checkpoint")
    assert (again.id, again.dimension, again.model) == (original.id, original.dimension, original.model)


def test_endpoint_of_another_provider_is_made_from_its_id():
    assert embedder_for("openai:nomic-embed", 768, origin="a checkpoint").model == "nomic-embed"


@pytest.mark.parametrize("name", ["mystery", "openai:", "sentence-transformers:", "", "routellm"])
def test_unknown_id_is_asked_for(name):
    with pytest.raises(
        EmbedderMismatchError, match=rf"a checkpoint was trained with embedder '{name}' \(3 dimensions\)"
    ):
        embedder_for(name, 3, origin="a checkpoint")
