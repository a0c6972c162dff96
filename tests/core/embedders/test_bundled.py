import json
import subprocess
import sys

import numpy as np

from routellm_core import Embedder
from routellm_core.embedders.bundled import ASSET, BundledEmbedder

TEXTS = ["Hello", "What is the capital of France?", "日本語のテキスト", "naïve café", "word " * 3000]


def test_unit_rows_of_the_promised_shape():
    embedder = BundledEmbedder()
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert isinstance(embedder, Embedder)


def test_text_without_a_token_is_a_row_of_zeros():
    vectors = BundledEmbedder().embed(["", "   \n", "x" * 5000, "hello"])
    np.testing.assert_array_equal(np.linalg.norm(vectors[:3], axis=1), 0)
    assert np.linalg.norm(vectors[3]) > 0.9


def test_no_texts():
    assert BundledEmbedder().embed([]).shape == (0, BundledEmbedder().dimension)


def test_lone_surrogates_are_read_as_unknown_characters():
    vectors = BundledEmbedder().embed(["\ud800", "caf\udce9 society", "caf? society"])
    assert np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[1], vectors[2])


def test_batch_equals_single():
    embedder = BundledEmbedder()
    texts = TEXTS + [f"question {i} " * (i % 40) for i in range(1500)]  # more than one batch of the model
    batch = embedder.embed(texts)
    for i in (0, 3, 4, 100, 1029, 1504):
        np.testing.assert_array_equal(embedder.embed([texts[i]])[0], batch[i])


def test_related_texts_are_closer():
    a, b, c = BundledEmbedder().embed(["a dog plays in the park", "a puppy in the garden", "integrate x squared dx"])
    assert a @ b > a @ c + 0.1


def test_no_network_and_no_download(tmp_path):
    code = f"""
import json, sys, pytest_socket
pytest_socket.disable_socket(allow_unix_socket=False)
from routellm_core.embedders.bundled import BundledEmbedder
embedder = BundledEmbedder()
print(json.dumps([embedder.id, embedder.embed({TEXTS!r}).tolist()]))
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    embedder = BundledEmbedder()
    assert json.loads(run.stdout) == [embedder.id, embedder.embed(TEXTS).tolist()]
    assert not list(tmp_path.iterdir())


def test_carries_its_notice():
    assert "Apache" in (ASSET / "LICENSE-all-MiniLM-L6-v2").read_text()
    assert "MiniLM" in (ASSET / "NOTICE").read_text()
    assert sum(path.stat().st_size for path in ASSET.iterdir()) <= 8_500_000
