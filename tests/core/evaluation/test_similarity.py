import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.similarity import dataset_similarity, nearest_cosines
from support.embedders import HashEmbedder


def test_mean_of_the_nearest():
    embedder = HashEmbedder(16)
    prompts, training = [f"p{i}" for i in range(12)], [f"t{i}" for i in range(30)] + ["t0"]
    a, b = embedder.embed(prompts).astype(float), embedder.embed(training).astype(float)
    found = dataset_similarity(prompts, training, embedder, resamples=200)
    assert found.value == pytest.approx((a @ b.T).max(axis=1).mean(), abs=1e-6)
    assert found.low <= found.value <= found.high
    assert dataset_similarity(prompts, prompts, embedder, resamples=10).value == pytest.approx(1.0)


def test_blocks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(n, 8)).astype(np.float32) for n in (50, 20))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    whole = nearest_cosines(a, b)
    monkeypatch.setattr("routellm_core.evaluation.similarity._BLOCK", 60)
    np.testing.assert_allclose(nearest_cosines(a, b), whole, rtol=1e-6)


def test_near_prompts_are_nearer_than_far_ones():
    embedder = load_router("default").embedder
    training = ["What is the derivative of x squared?", "Solve 2x + 3 = 7.", "Integrate sin x."]
    near = dataset_similarity(["What is the derivative of x cubed?"], training, embedder, resamples=10)
    far = dataset_similarity(["Write a poem about my cat."], training, embedder, resamples=10)
    assert near.value > far.value + 0.2


def test_both_sides_are_needed():
    for sides in (([], ["a"]), (["a"], [])):
        with pytest.raises(ConfigurationError, match="needs prompts on both sides"):
            dataset_similarity(*sides, HashEmbedder(4))
