"""Every router that the registry knows holds the contract."""

import numpy as np
import pytest

from routellm_core import PairRouter, Router, load_router
from routellm_core.registry import ROUTERS
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from routellm_core.testing import ConstantRouter, RouterContract
from support.arenas import small_router
from support.embedders import HashEmbedder
from support.weights import published_router


class TestDefault(RouterContract):
    def make_router(self) -> Router:
        return load_router("default")


class TestRandom(RouterContract):
    def make_router(self) -> Router:
        return load_router("random", seed=3)


class TestLength(RouterContract):
    def make_router(self) -> Router:
        return load_router("length")


class TestMatrixFactorization(RouterContract):
    def make_router(self) -> Router:
        return published_router()


class TestMatrixFactorizationOfThePaper(RouterContract):
    def make_router(self) -> Router:
        rng = np.random.default_rng(5)
        return MatrixFactorizationRouter(
            rng.normal(size=(5, 4)),
            rng.normal(size=4),
            models=list("abcde"),
            reference_strong="d",
            reference_weak="b",
            embedder=HashEmbedder(6),
            text_projection=rng.normal(size=(4, 6)),
            bias=rng.normal(size=4),
            normalize_models=False,
        )


class TestMatrixFactorizationPool(RouterContract):
    def make_router(self) -> Router:
        return published_router().for_pool(["gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1", "vicuna-7b"])


class TestSimilarityWeighted(RouterContract):
    batch_tolerance = 1e-6

    def make_router(self) -> Router:
        return small_router()


def test_no_registered_router_is_left_out():
    tested = {TestDefault, TestRandom, TestLength, TestMatrixFactorization, TestSimilarityWeighted}
    with_torch = {"bert", "causal_llm"}  # test_bert.py and test_causal_llm.py
    of_outcomes = {"knn", "mlp", "cluster", "multilabel", "separate"}  # test_outcome_routers.py
    assert {test().make_router().name for test in tested} | with_torch | of_outcomes == set(ROUTERS)


class _DependsOnTheBatch(ConstantRouter):
    def strong_win_rates(self, prompts):
        return np.linspace(0, 1, len(prompts)) if len(prompts) else np.zeros(0)


class _HasAState(ConstantRouter):
    def strong_win_rates(self, prompts):
        self._win_rate *= 0.9
        return super().strong_win_rates(prompts)


@pytest.mark.parametrize(
    ("router", "test"),
    [
        (_DependsOnTheBatch(0.5), "test_batch_equals_single"),
        (_HasAState(0.5), "test_is_stateless"),
        (ConstantRouter(1.5), "test_scores_every_model_in_the_unit_interval"),
        (ConstantRouter(float("nan")), "test_scores_every_model_in_the_unit_interval"),
    ],
)
def test_the_contract_notices(router, test):
    class Broken(RouterContract):
        def make_router(self) -> Router:
            return router

    with pytest.raises(AssertionError):
        getattr(Broken(), test)()


def test_one_prompt_is_a_batch_of_one():
    router = load_router("default")
    assert isinstance(router, PairRouter)
    assert router.strong_win_rate("Hi!") == router.strong_win_rates(["Hi!"])[0]
    assert isinstance(router.strong_win_rate("Hi!"), float)
