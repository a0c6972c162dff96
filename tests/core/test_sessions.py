import copy
import threading
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core import RoutingEngine, RoutingRequest, routing
from routellm_core.errors import ConfigurationError
from routellm_core.pricing import Price
from routellm_core.sessions import PROMPT_CACHE_SECONDS, MemorySessionStore, SessionState, session_threshold
from routellm_core.testing import FunctionRouter

CHEAP = Price(input=0.1, output=0.4, cached_input=0.01)
DEAR = Price(input=2.5, output=10.0, cached_input=0.25)


def engine_for(rates: dict[str, float], **options) -> RoutingEngine:
    return RoutingEngine(FunctionRouter(rates.__getitem__), threshold=0.5, sticky=True, **options)


def test_a_conversation_stays_on_its_model():
    engine = engine_for({"hard": 0.9, "easy": 0.1})
    assert engine.decide(RoutingRequest(text="hard", session="s")).choice == "strong"
    follow_up = engine.decide(RoutingRequest(text="easy", session="s"))
    assert (follow_up.choice, follow_up.reason) == ("strong", "session")
    assert engine.decide(RoutingRequest(text="easy", session="other")).choice == "weak"
    assert engine.decide("easy").choice == "weak"


def test_without_sticky_nothing_is_kept():
    engine = RoutingEngine(FunctionRouter({"hard": 0.9, "easy": 0.1}.__getitem__), threshold=0.5)
    engine.decide(RoutingRequest(text="hard", session="s"))
    assert engine.decide(RoutingRequest(text="easy", session="s")).choice == "weak"


def test_the_key_is_the_session_else_the_scope_else_the_first_message():
    engine = engine_for({"hard": 0.9, "easy": 0.1})
    with routing(session="s"):
        engine.decide("hard")
    assert engine.decide(RoutingRequest(text="easy", session="s")).reason == "session"
    engine.decide(RoutingRequest(text="hard", conversation="Hello, I am Ada."))
    assert engine.decide(RoutingRequest(text="easy", conversation="Hello, I am Ada.")).reason == "session"
    assert engine.decide(RoutingRequest(text="easy", conversation="Hello, I am Bob.")).choice == "weak"
    assert engine.decide(RoutingRequest(text="easy", session="t", conversation="Hello, I am Ada.")).choice == "weak"


def test_what_is_forced_from_outside_does_not_move_a_conversation():
    engine = engine_for({"hard": 0.9, "easy": 0.1})
    engine.decide(RoutingRequest(text="easy", session="s"))
    assert engine.decide(RoutingRequest(text="easy", session="s", route="strong")).choice == "strong"
    assert engine.decide(RoutingRequest(text="hard", session="s")).choice == "weak"


def test_a_failure_of_the_router_does_not_bind_a_conversation():
    answers = {"broken": float("nan"), "easy": 0.1}
    engine = engine_for(answers)
    assert engine.decide(RoutingRequest(text="broken", session="s")).choice == "strong"
    assert engine.decide(RoutingRequest(text="easy", session="s")).choice == "weak"


def test_a_dry_run_does_not_move_a_conversation():
    engine = engine_for({"hard": 0.9, "easy": 0.1})
    assert engine.decide(RoutingRequest(text="hard", session="s", dry_run=True)).choice == "strong"
    assert engine.decide(RoutingRequest(text="easy", session="s")).choice == "weak"


def test_a_conversation_goes_on_with_the_model_that_took_over():
    engine = engine_for({"hard": 0.9, "harder": 0.95})
    decision = engine.decide(RoutingRequest(text="hard", session="s"))
    assert engine.fall_back(decision, TimeoutError()).choice == "weak"
    assert engine.decide(RoutingRequest(text="harder", session="s")).choice == "weak"
    assert "s" not in decision.to_dict().values()


def test_prices_without_a_cache_discount_give_no_reason_to_leave():
    engine = engine_for({"hard": 0.9, "easy": 0.1}, prices={"weak": 1.0, "strong": 10.0})
    assert engine.decide(RoutingRequest(text="hard", session="s", tokens=100)).choice == "strong"
    assert engine.decide(RoutingRequest(text="easy", session="s", tokens=100)).reason == "session"


class TestSwitchRule:
    PRICES: ClassVar = {"weak": CHEAP, "strong": DEAR}

    def test_a_long_warm_conversation_leaves_the_cheap_model_only_for_a_higher_win_rate(self):
        engine = engine_for({"easy": 0.1, "harder": 0.51, "hard": 0.95}, prices=self.PRICES)
        assert engine.decide(RoutingRequest(text="easy", session="s", tokens=50_000)).choice == "weak"
        stays = engine.decide(RoutingRequest(text="harder", session="s", tokens=50_500))
        assert (stays.choice, stays.reason) == ("weak", "session")
        assert stays.threshold > 0.5
        assert "prompt cache" in stays.explanation
        moves = engine.decide(RoutingRequest(text="hard", session="s", tokens=51_000))
        assert (moves.choice, moves.reason) == ("strong", "policy")
        back = engine.decide(RoutingRequest(text="harder", session="s", tokens=51_500))
        assert back.choice == "strong"

    def test_a_conversation_on_the_strong_model_stays_while_a_cold_start_costs_more(self):
        engine = engine_for(
            {"easy": 0.3, "hard": 0.9}, prices={"weak": Price(input=1.0, output=2.0, cached_input=0.1), "strong": DEAR}
        )
        engine.decide(RoutingRequest(text="hard", session="s", tokens=100_000))
        stays = engine.decide(RoutingRequest(text="easy", session="s", tokens=100_100))
        assert (stays.choice, stays.reason) == ("strong", "session")
        assert stays.threshold == 0.0  # the warm strong model is cheaper than the cold weak one

    def test_a_cold_cache_is_no_reason_to_stay(self, monkeypatch):
        engine = engine_for({"easy": 0.3, "hard": 0.9}, prices=self.PRICES)
        engine.decide(RoutingRequest(text="hard", session="s", tokens=100_000))
        import time

        later = time.time() + PROMPT_CACHE_SECONDS + 1
        monkeypatch.setattr("routellm_core.plan.time.time", lambda: later)
        assert engine.decide(RoutingRequest(text="easy", session="s", tokens=100_100)).choice == "weak"

    @given(st.floats(0, 1), st.integers(0, 200_000), st.integers(0, 200_000), st.integers(0, 200_000))
    def test_warm_caches_move_the_threshold_in_the_right_direction(self, threshold, tokens, weak, strong):
        def shifted(cached: tuple[int, int]) -> float:
            return session_threshold(threshold, tokens=tokens, cached=cached, prices=(CHEAP, DEAR))

        assert shifted((0, 0)) == pytest.approx(threshold)
        assert 0 <= shifted((weak, strong)) <= 1
        assert shifted((weak, 0)) >= threshold - 1e-12
        assert shifted((0, strong)) <= threshold + 1e-12

    def test_worked_example(self):
        # 10,000 tokens, all warm on weak; 264 tokens of answer. Cold difference: 0.025 + 0.00264 - 0.001 - 0.0001056.
        # With weak warm its prompt costs 0.0001 instead of 0.001.
        found = session_threshold(0.5, tokens=10_000, cached=(10_000, 0), prices=(CHEAP, DEAR))
        assert found == pytest.approx(0.5 * (0.02764 - 0.0002056) / (0.02764 - 0.0011056))

    def test_a_strong_model_that_is_not_dearer_leaves_the_threshold(self):
        assert session_threshold(0.4, tokens=1000, cached=(1000, 0), prices=(DEAR, CHEAP)) == 0.4


class TestStore:
    def test_is_bounded_and_keeps_what_is_used(self):
        store = MemorySessionStore(max_sessions=2)
        for key in ("a", "b"):
            store.set(key, SessionState(choice=key))
        store.get("a")
        store.set("c", SessionState(choice="c"))
        assert (store.get("a"), store.get("b")) == (SessionState(choice="a"), None)

    def test_must_have_room(self):
        with pytest.raises(ConfigurationError, match="max_sessions"):
            MemorySessionStore(max_sessions=0)

    def test_takes_many_threads_and_can_be_copied(self):
        store = MemorySessionStore(max_sessions=50)

        def work(number: int) -> None:
            for i in range(200):
                store.set(f"{number}-{i}", SessionState(choice="weak"))
                store.get(f"{number}-{i}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert copy.deepcopy(store).get("none") is None

    def test_one_of_your_own_is_used(self):
        class Shared(dict):
            def set(self, key, state):
                self[key] = state

        shared = Shared()
        engines = [engine_for({"hard": 0.9, "easy": 0.1}, sessions=shared) for _ in range(2)]
        engines[0].decide(RoutingRequest(text="hard", session="s"))
        assert engines[1].decide(RoutingRequest(text="easy", session="s")).reason == "session"
        assert not any("hard" in key or "easy" in key for key in shared)
