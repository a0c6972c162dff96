"""Choosing the query engine by win rate."""

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.tools import QueryEngineTool

from routellm_core import RoutingEngine, routing
from routellm_core.errors import ConfigurationError
from routellm_llamaindex import RouterSelector, RoutingDecisionEvent
from support.llamaindex_models import ToolLLM
from support.routers import KeywordRouter


@pytest.fixture
def router() -> KeywordRouter:
    return KeywordRouter()


@pytest.fixture
def engine(router: KeywordRouter) -> RouterQueryEngine:
    index = SummaryIndex(nodes=[TextNode(text="Granite is a hard rock.")])
    tools = [
        QueryEngineTool.from_defaults(index.as_query_engine(llm=ToolLLM(name)), name=name, description=name)
        for name in ("cheap", "thorough")
    ]
    selector = RouterSelector(router=router, threshold=0.5)
    return RouterQueryEngine(selector=selector, query_engine_tools=tools, llm=ToolLLM("summarizer"))


async def test_query_goes_to_the_engine_of_its_win_rate(engine, router, events) -> None:
    assert str(engine.query("an easy one")) == "cheap says hi"
    response = await engine.aquery("a hard one")
    assert str(response) == "thorough says hi"
    assert response.metadata["selector_result"].ind == 1
    assert "reaches the threshold" in response.metadata["selector_result"].reason
    assert router.scored == ["an easy one", "a hard one"]
    decisions = [event for event in events if isinstance(event, RoutingDecisionEvent)]
    assert [(event.decision.choice, event.model_name) for event in decisions] == [
        ("weak", "cheap"),
        ("strong", "thorough"),
    ]


def test_routing_block_holds(engine) -> None:
    with routing(route="strong"):
        assert str(engine.query("an easy one")) == "thorough says hi"


def test_an_engine_can_be_given_and_events_switched_off(events) -> None:
    routing_engine = RoutingEngine(KeywordRouter(), candidates=["a", "b"], threshold=0.5)
    selector = RouterSelector(engine=routing_engine, emit_events=False)
    assert selector.select(["first", "second"], "a hard one").ind == 1
    assert events == [] or not any(isinstance(event, RoutingDecisionEvent) for event in events)


async def test_wrong_number_of_tools_is_an_error() -> None:
    selector = RouterSelector(router=KeywordRouter(), threshold=0.5)
    with pytest.raises(ConfigurationError, match=r"2 candidates .* 3 tools"):
        selector.select(["a", "b", "c"], "easy")
    with pytest.raises(ConfigurationError, match="1 tools"):
        await selector.aselect(["a"], "easy")
    with pytest.raises(ConfigurationError, match="threshold"):
        RouterSelector(engine=RoutingEngine(KeywordRouter(), threshold=0.5), threshold=0.5)
