import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.evaluation.evaluate import evaluate
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import sigmoid
from routellm_core.training.default import DefaultConfig, train_default
from routellm_core.training.held_out import pair_outcomes
from routellm_core.training.logistic import fit_logistic
from support.embedders import HashEmbedder

EMBEDDER = HashEmbedder(8)


def known_outcomes(n=1500, *, models=("big", "small"), seed=0):
    """Outcomes that follow from the first coordinate of the embedding: where it is large, only the first model is right."""
    generator = np.random.default_rng(seed)
    prompts = tuple(f"prompt {i}" for i in range(n))
    first = EMBEDDER.embed(prompts)[:, 0].astype(float)
    right = np.stack([np.full(n, 0.9), sigmoid(-6 * first), *[np.full(n, 0.5)] * (len(models) - 2)], axis=1)
    scores = (generator.random((n, len(models))) < right).astype(float)
    return OutcomeTable(prompts=prompts, models=models, scores=scores), (1 + right[:, 0] - right[:, 1]) / 2


def test_it_learns_from_outcomes_which_prompts_need_the_strong_model():
    table, truth = known_outcomes()
    router, report = train_default(table, EMBEDDER)
    assert (router.reference_strong, router.reference_weak) == ("big", "small")
    assert np.abs(router.strong_win_rates(table.prompts) - truth).mean() < 0.04
    assert report.validation_loss < report.baseline_loss
    assert report.metrics["reference pair"]["apgr"]["low"] > 0.5
    assert len(report.history) == len(DefaultConfig().strengths)
    assert report.counts == {"training prompts": 1350, "validation prompts": 150}


def test_it_learns_the_same_from_the_battles_of_these_outcomes():
    table, truth = known_outcomes()
    router, report = train_default(table.to_battles(), EMBEDDER)
    assert {router.reference_strong, router.reference_weak} == {"big", "small"}
    assert np.abs(router.strong_win_rates(table.prompts) - truth).mean() < 0.06
    assert report.validation_loss < report.baseline_loss


def test_the_mean_of_several_models_is_learned():
    table, _ = known_outcomes(300, models=("big", "small", "other"))
    with pytest.raises(ConfigurationError, match="has 3 models: say which are strong"):
        train_default(table, EMBEDDER)
    router, _ = train_default(table, EMBEDDER, DefaultConfig(strong=["big", "other"], weak=["small"]))
    assert router.reference_strong == "big and other"
    with pytest.raises(UnknownModelError, match="no model 'huge'; it has: big, small, other"):
        train_default(table, EMBEDDER, DefaultConfig(strong=["huge"], weak=["small"]))
    with pytest.raises(ConfigurationError, match="strong and weak at once: big"):
        train_default(table, EMBEDDER, DefaultConfig(strong=["big"], weak=["big"]))


def test_scores_on_another_scale_are_refused():
    table = OutcomeTable(prompts=("a", "b"), models=("x", "y"), scores=np.array([[1.0, 10.0], [3.0, 4.0]]))
    with pytest.raises(ConfigurationError, match=r"scores go from 1 to 10: scale them to \[0, 1\]"):
        train_default(table, EMBEDDER)


def test_the_routers_figures_are_those_of_an_evaluation_of_what_was_held_out(tmp_path):
    table, _ = known_outcomes(600)
    battles = table.to_battles()
    training, validation = battles.split(validation_fraction=0.3, seed=1)
    router, report = train_default(
        training, EMBEDDER, DefaultConfig(strong=["big"], weak=["small"]), validation=validation
    )
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path, embedder=EMBEDDER)
    held_out = pair_outcomes(validation, "big", "small")
    found = evaluate({"r": loaded}, held_out, strong="big", weak="small", speed=False).to_dict()["routers"]["r"]
    figures = report.metrics["reference pair"]
    assert {name: found[name] for name in ("apgr", "cpt50", "cpt80")} == {
        name: figures[name] for name in ("apgr", "cpt50", "cpt80")
    }


def test_one_seed_gives_the_same_router():
    table, _ = known_outcomes(300)
    one, two, other = (train_default(table, EMBEDDER, DefaultConfig(seed=seed))[0] for seed in (1, 1, 2))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_the_fit_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 5)) * [1, 10, 0.1, 1, 1]
    y = (generator.random(400) < sigmoid(x @ [1, -0.3, 5, 0, 2] + 1)).astype(float)
    weights, intercept = fit_logistic(x, y, 0.7)
    reference = LogisticRegression(C=0.7, tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(x, y)
    assert weights == pytest.approx(reference.coef_[0], abs=1e-5)
    assert intercept == pytest.approx(reference.intercept_[0], abs=1e-5)


def test_the_fit_ends_where_all_targets_are_equal():
    weights, intercept = fit_logistic(np.eye(3), np.ones(3), 1.0)
    assert np.isfinite([*weights, intercept]).all()
    assert intercept > 5


@pytest.mark.parametrize("setting", [{"strengths": ()}, {"strengths": (0.0,)}, {"validation_fraction": 1.0}])
def test_a_setting_out_of_range_is_named(setting):
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        DefaultConfig(**setting)
