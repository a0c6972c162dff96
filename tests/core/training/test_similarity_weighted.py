import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.training.similarity_weighted import SimilarityWeightedConfig, train_similarity_weighted
from support.battles import KnownFactors


def battles_by_side(n=600, seed=0):
    """Two kinds of prompts at opposite ends of the space: "a" wins nine in ten of the one, "b" of the other."""
    known = KnownFactors.draw(n_models=2, n_prompts=n, dimension=4, seed=seed)
    generator = np.random.default_rng(seed)
    side = np.arange(n) % 2
    known.embedder.vectors[:] = 0.05 * generator.normal(size=(n, 4))
    known.embedder.vectors[:, 0] += np.where(side == 0, 1.0, -1.0)
    known.embedder.vectors[:] /= np.linalg.norm(known.embedder.vectors, axis=1, keepdims=True)
    wins = generator.random(n) < np.where(side == 0, 0.9, 0.2)
    return known.embedder, PreferenceDataset.from_indices(
        [str(i) for i in range(n)], ["a", "b"], np.arange(n), np.zeros(n), np.ones(n), wins.astype(float)
    )


def test_the_index_knows_what_prompts_add(tmp_path):
    embedder, battles = battles_by_side()
    router, report = train_similarity_weighted(battles, embedder, SimilarityWeightedConfig(validation_fraction=0.3))
    assert (router.reference_strong, router.reference_weak) == ("a", "b")
    assert report.validation_loss < report.baseline_loss
    assert report.metrics["log loss gained over it"]["low"] > 0
    assert report.config["num_tiers"] is None
    rates = router.strong_win_rates(["0", "1"])
    assert rates[0] > 0.7 > rates[1] + 0.2
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path, embedder=embedder)
    prompts = [str(i) for i in range(40)]
    assert (loaded.score(prompts) == router.score(prompts)).all()
    assert loaded.thresholds == router.thresholds
    assert f"{report.validation_loss:.4f}" in (tmp_path / "README.md").read_text()


def test_embeddings_that_are_at_hand_are_not_made_again():
    embedder, battles = battles_by_side(100)
    vectors = embedder.embed(battles.prompts)
    given, _ = train_similarity_weighted(battles, embedder, embeddings=vectors)
    made, _ = train_similarity_weighted(battles, embedder)
    assert given.fingerprint == made.fingerprint
    with pytest.raises(ConfigurationError, match="99 embeddings for 100 prompts"):
        train_similarity_weighted(battles, embedder, embeddings=vectors[:-1])


def test_a_model_that_was_never_trained_on_counts_as_average():
    embedder, battles = battles_by_side(200)
    training = battles.select(np.arange(180))
    held_out = PreferenceDataset.from_columns(
        prompt=["190", "191"], model_a=["c", "c"], model_b=["a", "b"], winner=["tie", "model_a"]
    )
    _, report = train_similarity_weighted(training, embedder, validation=held_out)
    assert np.isfinite(report.validation_loss)
    assert report.counts["models"] == 3


def test_the_number_of_tiers_is_that_of_the_router():
    embedder, battles = battles_by_side(100)
    with pytest.raises(ConfigurationError, match="num_tiers"):
        train_similarity_weighted(battles, embedder, SimilarityWeightedConfig(num_tiers=5))
