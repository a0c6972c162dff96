import pytest

from routellm_core import RoutingEngine, RoutingRequest, routing
from routellm_core.constraints import Capabilities, combined_capabilities, rule_out
from routellm_core.errors import NoCandidateError
from routellm_core.testing import ConstantRouter, FunctionRouter

NOTHING = Capabilities(tools=False, images=False, structured_output=False, context_window=100)


def engine_for(win_rate: float, **options) -> RoutingEngine:
    return RoutingEngine(ConstantRouter(win_rate), threshold=0.5, **options)


@pytest.mark.parametrize(
    ("needs", "why"),
    [
        ({"tools": True}, "cannot call tools"),
        ({"images": True}, "cannot read images"),
        ({"structured_output": True}, "has no structured output"),
        ({"tokens": 101}, "takes 100 tokens, the call has about 101"),
    ],
)
def test_a_call_never_reaches_a_model_that_cannot_take_it(needs, why):
    engine = engine_for(0.1, capabilities={"weak": NOTHING})
    decision = engine.decide(RoutingRequest(text="x", **needs))
    assert (decision.choice, decision.reason) == ("strong", "only_candidate")
    assert decision.ruled_out == {"weak": why}
    assert decision.alternatives == ()
    assert decision.to_dict()["ruled_out"] == {"weak": why}
    assert engine.decide(RoutingRequest(text="x", tokens=100)).choice == "weak"


def test_what_is_not_known_counts_as_able():
    request = RoutingRequest(text="x", tools=True, images=True, structured_output=True, tokens=10**9)
    assert rule_out(request, {"weak": Capabilities()}) == {}


def test_nobody_left_is_an_error_that_lists_why():
    engine = engine_for(0.1, capabilities={"weak": NOTHING, "strong": Capabilities(tools=False)})
    with pytest.raises(NoCandidateError, match=r"weak: cannot call tools.*strong: cannot call tools") as caught:
        engine.decide(RoutingRequest(text="x", tools=True))
    assert caught.value.ruled_out["weak"] == "cannot call tools"
    results = engine.decide_batch([RoutingRequest(text="x", tools=True), "y"], return_exceptions=True)
    assert isinstance(results[0], NoCandidateError)
    assert results[1].choice == "weak"


class TestOrder:
    """Capability, then forced route, then tools_route, then session, then policy."""

    def test_capability_is_never_overridden(self):
        engine = engine_for(0.1, capabilities={"weak": NOTHING}, tools_route="weak", sticky=True)
        with routing(route="weak"):
            decision = engine.decide(RoutingRequest(text="x", tools=True))
        assert decision.choice == "strong"
        assert "route 'weak' was asked for, but it cannot call tools" in decision.explanation

    def test_a_forced_route_wins_over_tools_route(self):
        engine = engine_for(0.1, tools_route="strong")
        assert engine.decide(RoutingRequest(text="x", tools=True, route="weak")).reason == "forced"

    def test_tools_route_wins_over_session_and_policy(self):
        router = FunctionRouter(lambda _: 0.1)
        engine = RoutingEngine(router, threshold=0.5, tools_route="strong", sticky=True)
        assert engine.decide(RoutingRequest(text="a", session="s")).choice == "weak"
        decision = engine.decide(RoutingRequest(text="b", session="s", tools=True))
        assert (decision.choice, decision.reason) == ("strong", "tools_route")
        assert engine.decide(RoutingRequest(text="c", session="s")).choice == "weak"
        assert router.calls == [("a",)]

    def test_the_error_policy_keeps_to_the_allowed(self):
        engine = engine_for(
            float("nan"), capabilities={"strong": Capabilities(images=False)}, candidates=("weak", "strong")
        )
        assert engine.decide(RoutingRequest(text="x", images=True)).choice == "weak"


def test_an_unknown_candidate_in_capabilities_is_refused():
    from routellm_core.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="capabilities names 'wek'"):
        engine_for(0.5, capabilities={"wek": NOTHING})


def test_combined_capabilities_are_union_and_intersection():
    able = Capabilities(tools=True, images=True, structured_output=True, context_window=1000)
    assert combined_capabilities([able, NOTHING]) == Capabilities(
        tools=True, images=True, structured_output=False, context_window=100
    )
    assert combined_capabilities([NOTHING, Capabilities()]) == Capabilities(structured_output=False, context_window=100)
    assert combined_capabilities([able, Capabilities()]) == Capabilities(tools=True, images=True, context_window=1000)
    assert combined_capabilities([NOTHING, NOTHING]) == NOTHING


def test_what_the_models_say_of_themselves_counts_where_the_engine_was_told_nothing():
    told = {"weak": NOTHING, "another chain's model": NOTHING}
    engine = engine_for(0.1, capabilities={"weak": Capabilities(tools=True)})
    assert engine.decide(RoutingRequest(text="x", tools=True, capabilities=told)).choice == "weak"
    decision = engine.decide(RoutingRequest(text="x", images=True, capabilities=told))
    assert decision.ruled_out == {"weak": "cannot read images"}
    assert engine.decide(RoutingRequest(text="x", images=True)).choice == "weak"
