"""Agents: tools in a loop, usage, structured answers, and fallbacks around and behind a routed model."""

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel

from support.chat_models import FakeChat

GIVEN = {"messages": [HumanMessage("hard 7")]}


def double(x: int) -> int:
    """Double a number."""
    return 2 * x


def choices(result):
    return [m.response_metadata["routellm"]["choice"] for m in result["messages"] if m.type == "ai"]


async def test_an_agent_scores_its_question_once_and_counts_every_token_once(routed, router):
    handler = UsageMetadataCallbackHandler()
    agent = create_agent(routed, tools=[double])
    result = await agent.ainvoke(GIVEN, {"callbacks": [handler]})
    assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert result["messages"][2].text == "14"
    assert choices(result) == ["strong", "strong"]
    assert router.scored == ["hard 7"]
    assert handler.usage_metadata["strong-model"]["total_tokens"] == 30


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("bound", [False, True])
def test_the_prebuilt_agent_of_langgraph(routed, bound):
    agent = create_react_agent(routed.bind_tools([double]) if bound else routed, tools=[double])
    assert choices(agent.invoke(GIVEN)) == ["strong", "strong"]


class Answer(BaseModel):
    """An answer."""

    n: int


def test_a_structured_answer(routed):
    agent = create_agent(routed, tools=[], response_format=Answer)
    assert agent.invoke(GIVEN)["structured_response"] == Answer(n=7)


def test_the_fallback_middleware_takes_over_when_the_chosen_model_fails(make_routed):
    routed = make_routed(strong=FakeChat(fail=ValueError("down")))
    agent = create_agent(routed, tools=[double], middleware=[ModelFallbackMiddleware(FakeChat(model="spare"))])
    assert agent.invoke(GIVEN)["messages"][-1].text == "I am spare"


def test_a_routed_model_as_the_fallback(routed):
    broken = FakeChat(fail=ValueError("down"))
    agent = create_agent(broken, tools=[double], middleware=[ModelFallbackMiddleware(routed)])
    assert choices(agent.invoke(GIVEN)) == ["strong", "strong"]


def test_inside_and_around_fallbacks(make_routed, routed):
    broken = make_routed(strong=FakeChat(fail=ValueError("down")))
    assert broken.with_fallbacks([FakeChat(model="spare")]).invoke("hard").text == "I am spare"
    assert FakeChat(fail=ValueError("down")).with_fallbacks([routed]).invoke("hard").text == "I am strong-model"
