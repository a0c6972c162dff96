import asyncio
import copy
import json
import logging
import pickle

import pytest

from routellm_core import RoutingEngine, RoutingRequest, ThresholdTable, load_router, routing
from routellm_core.errors import (
    ConfigurationError,
    InvalidThresholdError,
    ScoringError,
    UnknownModelError,
    UnknownTargetError,
)
from routellm_core.routers.base import PoolRouter
from routellm_core.testing import ConstantRouter, FunctionRouter
from support.weights import published_router


def engine_for(win_rate: float, **options) -> RoutingEngine:
    return RoutingEngine(ConstantRouter(win_rate), **{"threshold": 0.5, **options})


@pytest.mark.parametrize(
    ("win_rate", "threshold", "choice"),
    [(0.5, 0.5, "strong"), (0.4999, 0.5, "weak"), (0.0, 0.0, "strong"), (1.0, 1.0, "strong"), (0.9999, 1.0, "weak")],
)
def test_strong_if_and_only_if_the_win_rate_reaches_the_threshold(win_rate, threshold, choice):
    decision = engine_for(win_rate, threshold=threshold).decide("a prompt")
    assert (decision.choice, decision.reason) == (choice, "policy")
    assert decision.strong_win_rate == win_rate
    assert decision.threshold == threshold
    assert decision.scores == {"weak": 1 - win_rate, "strong": win_rate}
    assert set(decision.alternatives) == {"weak", "strong"} - {choice}


async def test_every_way_to_ask_gives_the_same_answer():
    engine = RoutingEngine(load_router("random"))
    prompts = [f"prompt {i}" for i in range(50)]
    single = [engine.decide(p) for p in prompts]
    ways = [
        [await RoutingEngine(load_router("random")).adecide(p) for p in prompts],
        RoutingEngine(load_router("random")).decide_batch(prompts),
        await RoutingEngine(load_router("random")).adecide_batch(prompts),
        await asyncio.gather(*(RoutingEngine("random", max_batch=8, max_wait_ms=5).adecide(p) for p in prompts)),
        RoutingEngine("random", max_batch=8, score_timeout_s=5.0).decide_batch(prompts),
    ]
    for way in ways:
        assert [d.choice for d in way] == [d.choice for d in single]
        assert [d.scores for d in way] == [d.scores for d in single]


def test_a_decision_is_plain_json_and_holds_no_prompt():
    decision = engine_for(0.3).decide("a secret prompt")
    assert json.loads(json.dumps(decision.to_dict())) == decision.to_dict()
    assert "secret" not in repr(decision)
    assert "secret" not in repr(RoutingRequest(text="a secret prompt"))


class TestThreshold:
    def test_precedence_call_then_scope_then_engine(self):
        engine = engine_for(0.5, threshold=0.9)
        assert engine.decide("x").choice == "weak"
        with routing(threshold=0.2):
            assert engine.decide("x").choice == "strong"
            assert engine.decide(RoutingRequest(text="x", threshold=0.7)).choice == "weak"
            with routing(route="weak"):
                assert engine.decide("x").reason == "forced"
            assert engine.decide("x").choice == "strong"
        assert engine.decide("x").choice == "weak"

    def test_none_takes_the_calibrated_value_for_half_the_calls(self):
        router = ConstantRouter(0.5)
        router.thresholds = ThresholdTable.from_win_rates([0.1, 0.2, 0.3, 0.4], source="test")
        assert RoutingEngine(router).threshold == 0.3

    def test_none_without_calibration_is_refused_with_the_remedy(self):
        with pytest.raises(ConfigurationError, match="calibrate_threshold"):
            RoutingEngine(ConstantRouter(0.5))
        with pytest.raises(ConfigurationError, match="calibrate_threshold"):
            engine_for(0.5).with_threshold(None)

    @pytest.mark.parametrize("bad", [1.5, -1, float("nan"), "high", None])
    def test_bad_values_are_refused_wherever_they_come_from(self, bad):
        engine = engine_for(0.5)
        if bad is not None:
            with pytest.raises(InvalidThresholdError):
                engine_for(0.5, threshold=bad)
            with pytest.raises(InvalidThresholdError):
                engine.with_threshold(bad)
            with pytest.raises(InvalidThresholdError):
                engine.decide(RoutingRequest(text="x", threshold=bad))

    def test_another_threshold_shares_the_cache(self):
        router = FunctionRouter(lambda _: 0.5)
        engine = RoutingEngine(router, threshold=0.4)
        other = engine.with_threshold(0.6)
        assert (engine.decide("x").choice, other.decide("x").choice) == ("strong", "weak")
        assert engine.threshold == 0.4
        assert router.calls == [("x",)]


class TestForcedRoute:
    def test_is_taken_without_scoring(self):
        router = FunctionRouter(lambda _: 0.5)
        decision = RoutingEngine(router, threshold=0.1).decide(RoutingRequest(text="x", route="weak"))
        assert (decision.choice, decision.reason, decision.scores) == ("weak", "forced", None)
        assert decision.alternatives == ("strong",)
        assert router.calls == []

    def test_an_unknown_one_is_refused_with_the_candidates(self):
        with pytest.raises(UnknownTargetError, match=r"'gpt-4' is not a candidate; there are: weak, strong"):
            engine_for(0.5).decide(RoutingRequest(text="x", route="gpt-4"))


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_an_empty_prompt_is_not_scored(text):
    router = FunctionRouter(lambda _: 0.0)
    assert RoutingEngine(router, threshold=0.5).decide(text).choice == "strong"
    decision = RoutingEngine(router, threshold=0.5, on_router_error="weak").decide(text)
    assert (decision.choice, decision.reason) == ("weak", "empty_prompt")
    assert router.calls == []


class TestRouterError:
    @staticmethod
    def failing(_: str) -> float:
        raise RuntimeError("sk-secret-key and the prompt")

    @pytest.mark.parametrize("where", ["strong", "weak"])
    def test_follows_the_policy_and_says_so(self, where, caplog):
        with caplog.at_level(logging.WARNING):
            decision = RoutingEngine(FunctionRouter(self.failing), threshold=0.5, on_router_error=where).decide("x")
        assert (decision.choice, decision.reason) == (where, "router_error")
        assert "RuntimeError" in decision.explanation
        assert where in caplog.text
        assert "secret" not in caplog.text + str(decision)

    def test_strong_is_the_default(self):
        assert RoutingEngine(FunctionRouter(self.failing), threshold=0.5).decide("x").choice == "strong"

    async def test_raise_raises_in_every_way_to_ask(self):
        engine = RoutingEngine(FunctionRouter(self.failing), threshold=0.5, on_router_error="raise")
        for ask in (engine.decide, lambda x: engine.decide_batch([x])):
            with pytest.raises(ScoringError, match="RuntimeError") as caught:
                ask("x")
            assert "secret" not in str(caught.value)
        for aask in (engine.adecide, lambda x: engine.adecide_batch([x])):
            with pytest.raises(ScoringError, match="RuntimeError"):
                await aask("x")

    def test_a_failure_is_not_cached(self):
        answers = iter([RuntimeError("down"), 0.1])

        def flaky(_: str) -> float:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        engine = RoutingEngine(FunctionRouter(flaky), threshold=0.5)
        assert engine.decide("x").reason == "router_error"
        assert engine.decide("x").choice == "weak"

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_score_that_is_no_number_counts_as_failure(self, score):
        assert engine_for(score).decide("x").reason == "router_error"

    def test_a_score_out_of_range_is_clipped_with_a_warning(self, caplog):
        decision = engine_for(1.5).decide("x")
        assert (decision.strong_win_rate, decision.reason) == (1.0, "policy")
        assert "clipped" in caplog.text

    def test_in_a_batch_only_the_bad_prompts_follow_the_policy(self):
        def one_bad(prompt: str) -> float:
            if prompt == "p7":
                raise ValueError(prompt)
            return float("nan") if prompt == "p3" else 0.1

        decisions = RoutingEngine(FunctionRouter(one_bad), threshold=0.5).decide_batch([f"p{i}" for i in range(16)])
        assert [d.reason == "router_error" for d in decisions] == [i in (3, 7) for i in range(16)]

    def test_a_router_that_is_down_is_not_asked_for_every_prompt(self):
        router = FunctionRouter(self.failing)
        decisions = RoutingEngine(router, threshold=0.5).decide_batch([f"p{i}" for i in range(64)])
        assert {d.reason for d in decisions} == {"router_error"}
        assert len(router.calls) == 3  # the batch, and its two halves

    def test_a_router_of_the_wrong_shape_counts_as_failure(self):
        class Wrong(ConstantRouter):
            def score(self, prompts):
                return super().score(prompts)[:, :1]

        decision = RoutingEngine(Wrong(0.5), threshold=0.5).decide("x")
        assert "shape (1, 1), not (1, 2)" in decision.explanation


class ThreeModels(PoolRouter):
    score_kind = "correctness"
    name = "three"
    models = ("a", "b", "c")

    def score(self, prompts):
        raise NotImplementedError


class TestConfiguration:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"on_router_error": "explode"}, "explode"),
            ({"policy": "best"}, "'best' is unknown; there are"),
            ({"candidates": ["only"]}, "two or more"),
            ({"candidates": ["a", "a"]}, "different"),
            ({"candidates": ["a", "b", "c"]}, "not 3"),
            ({"prices": {"weak": 1.0}}, "'strong'"),
            ({"cache_size": -1}, "-1"),
            ({"score_timeout_s": 0}, "score_timeout_s"),
            ({"max_batch": 0}, "max_batch"),
            ({"router": 7}, "int"),
        ],
    )
    def test_mistakes_are_named(self, options, message):
        with pytest.raises(ConfigurationError, match=message):
            RoutingEngine(**{"router": ConstantRouter(0.5), "threshold": 0.5, **options})

    def test_candidates_must_be_models_of_a_pool_router(self):
        with pytest.raises(UnknownModelError, match="references"):
            RoutingEngine(ThreeModels(), policy="argmax")


@pytest.mark.parametrize("prices", [None, {"a": 10.0, "b": 1.0}])
def test_a_pool_takes_no_threshold_policy(prices):
    class TwoModels(ThreeModels):
        models = ("a", "b")
        score_kind = "win_rate"

    with pytest.raises(ConfigurationError, match="cheapest_above"):
        RoutingEngine(TwoModels(), candidates=["a", "b"], threshold=0.2, prices=prices)


class TestReferencesOfAPair:
    """`published_router` is matrix factorisation over the 64 models and 10 tiers that lm-sys published."""

    @pytest.mark.parametrize(
        ("references", "pair"),
        [
            ({"strong": "claude-2.1", "weak": "tier 7"}, ("claude-2.1", "tier 7")),
            ({"weak": "vicuna-7b"}, ("gpt-4-1106-preview", "vicuna-7b")),
            ({"strong": "tier 0"}, ("tier 0", "mixtral-8x7b-instruct-v0.1")),
        ],
    )
    def test_name_the_models_that_are_compared(self, references, pair):
        router = published_router()
        engine = RoutingEngine(router, threshold=0.5, references=references)
        expected = router.for_pair(*pair).strong_win_rate("Prove it.")
        assert expected != router.strong_win_rate("Prove it.")
        for same in (engine, engine.with_threshold(0.7), copy.deepcopy(engine)):
            assert same.decide("Prove it.").strong_win_rate == expected

    def test_go_by_the_names_of_the_candidates(self):
        router = published_router()
        engine = RoutingEngine(router, candidates=["mini", "big"], threshold=0.5, references={"big": "claude-2.1"})
        expected = router.for_pair("claude-2.1", router.reference_weak).strong_win_rate("Hi!")
        assert engine.decide("Hi!").strong_win_rate == expected

    def test_of_the_own_pair_keep_its_thresholds(self):
        own = published_router(thresholds=ThresholdTable.uniform(source="a test"))
        assert RoutingEngine(own, references={"strong": own.reference_strong}).threshold == 0.5
        with pytest.raises(ConfigurationError, match="is not calibrated, so threshold=None has no value"):
            RoutingEngine(own, references={"strong": "claude-2.1"})

    @pytest.mark.parametrize(
        ("references", "message"),
        [
            ({"strong": "gpt-9"}, "reference_strong='gpt-9' is not a reference model of this router; it knows: RWKV"),
            ({"weak": "tier 12"}, "reference_weak='tier 12' is no tier of this router; there are: 'tier 0'"),
            ({"large": "tier 0"}, "references names 'large'; the candidates are weak, strong"),
            ({"weak": "gpt-4-1106-preview"}, "two different models"),
        ],
    )
    def test_must_be_known(self, references, message):
        with pytest.raises(ConfigurationError, match=message):
            RoutingEngine(published_router(), threshold=0.5, references=references)

    def test_need_a_router_that_knows_many_models(self):
        with pytest.raises(ConfigurationError, match=r"compares 'strong' with 'weak' alone.*mf and sw_ranking"):
            engine_for(0.5, references={"weak": "mistral"})


def test_copies_and_pickles_decide_alike():
    engine = RoutingEngine("random", score_timeout_s=5.0)
    expected = [engine.decide(f"p{i}").choice for i in range(20)]
    for other in (copy.deepcopy(engine), copy.copy(engine), pickle.loads(pickle.dumps(engine))):
        assert [other.decide(f"p{i}").choice for i in range(20)] == expected
