"""A batch can return its errors in place, so that one bad call does not take the others with it."""

import pytest

from routellm_core import RoutingDecision, RoutingEngine, RoutingRequest
from routellm_core.errors import InvalidThresholdError, ScoringError, UnknownTargetError
from routellm_core.testing import FunctionRouter


def win_rate(prompt: str) -> float:
    if "bad" in prompt:
        raise ValueError("no score for this one")
    return 0.5


REQUESTS = [
    RoutingRequest(text="good"),
    RoutingRequest(text="bad"),
    RoutingRequest(text="good", threshold=2.0),
    RoutingRequest(text="good", route="nobody"),
    RoutingRequest(text="bad", route="strong"),
    RoutingRequest(text="good, too", threshold=0.6),
]


def test_errors_are_returned_in_place_of_their_decisions():
    engine = RoutingEngine(FunctionRouter(win_rate), threshold=0.5, on_router_error="raise")
    results = engine.decide_batch(REQUESTS, return_exceptions=True)
    kinds = [RoutingDecision, ScoringError, InvalidThresholdError, UnknownTargetError, RoutingDecision, RoutingDecision]
    assert [type(result) for result in results] == kinds
    assert [results[place].choice for place in (0, 4, 5)] == ["strong", "strong", "weak"]


async def test_the_same_asynchronously():
    engine = RoutingEngine(FunctionRouter(win_rate), threshold=0.5, on_router_error="raise")
    results = await engine.adecide_batch(REQUESTS, return_exceptions=True)
    assert [isinstance(result, RoutingDecision) for result in results] == [True, False, False, False, True, True]


def test_without_it_a_bad_request_is_raised_before_anything_is_scored():
    router = FunctionRouter(win_rate)
    engine = RoutingEngine(router, threshold=0.5)
    with pytest.raises(InvalidThresholdError):
        engine.decide_batch(REQUESTS)
    assert router.calls == []
