import numpy as np
import pytest

from routellm_core.ratings import win_probability
from routellm_core.training.factors import Factors
from routellm_core.training.optimizers import Adam


def batch(n=40, n_models=5, text_dim=6, seed=0):
    generator = np.random.default_rng(seed)
    a = generator.integers(n_models, size=n)
    b = (a + generator.integers(1, n_models, size=n)) % n_models
    vectors = generator.normal(size=(n, text_dim)).astype(np.float32)
    outcome = generator.choice([0.0, 0.5, 1.0], size=n).astype(np.float32)
    weight = generator.uniform(0.5, 2.0, size=n).astype(np.float32)
    return vectors, a, b, outcome, weight


def reference_loss(factors, vectors, a, b, outcome, weight, normalize):
    """The formula of RouteLLM, section 4.2, written out in float64."""
    arrays = {name: array.astype(np.float64) for name, array in factors.arrays.items()}
    models = arrays["model_embeddings"]
    if normalize:
        models = models / np.linalg.norm(models, axis=1, keepdims=True)
    hidden = vectors @ arrays["text_projection"].T + arrays.get("bias", 0.0)
    logits = ((models[a] - models[b]) * hidden) @ arrays["output_weights"]
    rates = 1 / (1 + np.exp(-logits))
    return -(weight * (outcome * np.log(rates) + (1 - outcome) * np.log(1 - rates))).mean()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_gradient_is_that_of_the_loss(bias, normalize):
    factors = Factors(5, 6, 4, bias=bias, normalize_models=normalize)
    factors.start_at_random(np.random.default_rng(1))
    data = batch()
    loss = factors.differentiate(*data)
    assert loss == pytest.approx(reference_loss(factors, *data, normalize), rel=1e-5)
    gradient, step = factors.gradient.copy(), 1e-3
    numeric = np.empty_like(gradient)
    for i in range(len(factors.values)):
        value = factors.values[i]
        factors.values[i] = value + step
        above, up = reference_loss(factors, *data, normalize), factors.values[i]
        factors.values[i] = value - step
        below, down = reference_loss(factors, *data, normalize), factors.values[i]
        factors.values[i] = value
        numeric[i] = (above - below) / (up - down)
    assert gradient == pytest.approx(numeric, abs=2e-4)
    assert np.abs(gradient).max() > 0.01


@pytest.mark.parametrize("normalize", [True, False])
def test_rates_are_what_the_loss_is_made_of(normalize):
    factors = Factors(5, 6, 4, bias=True, normalize_models=normalize)
    factors.start_at_random(np.random.default_rng(1))
    vectors, a, b, outcome, _ = batch()
    rates = factors.rates(vectors, np.arange(len(a)), a, b)
    loss = -(outcome * np.log(rates) + (1 - outcome) * np.log1p(-rates)).mean()
    assert factors.differentiate(vectors, a, b, outcome, None) == pytest.approx(loss, rel=1e-5)


def test_starting_at_ratings_gives_every_prompt_nearly_their_win_rates():
    factors = Factors(5, 6, 4, bias=True, normalize_models=False)
    strengths = np.array([1.0, 0.5, 0.0, -0.5, -1.0])
    factors.start_at_ratings(strengths, np.random.default_rng(1))
    vectors, a, b, _, _ = batch()
    rates = factors.rates(vectors, np.arange(len(a)), a, b)
    assert rates == pytest.approx(win_probability(strengths[a], strengths[b]), abs=0.05)


def test_adam_is_the_published_one():
    generator = np.random.default_rng(0)
    size = 40_000  # more than a block
    parameters = generator.normal(size=size).astype(np.float32)
    expected = parameters.astype(np.float64)
    mean, square = np.zeros(size), np.zeros(size)
    adam = Adam(size, learning_rate=0.01, weight_decay=0.1)
    for step in range(1, 6):
        gradient = generator.normal(size=size).astype(np.float32)
        g = gradient + 0.1 * expected
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        expected -= 0.01 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        adam.step(parameters, gradient)
    assert parameters == pytest.approx(expected, abs=2e-5)
