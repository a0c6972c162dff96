"""Routers learned from outcomes behind RoutedChatModel, with real clients of OpenAI-compatible endpoints on loopback."""

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from routellm_core import load_router, routing
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_langchain import RoutedChatModel
from support.openai_server import OpenAIServer
from support.outcomes import MODELS, TOPICS, TopicEmbedder, topic_table
from support.weights import published_router

PRICES = {"mathematician": 1, "poet": 2, "programmer": 10}
PAIRS = list(zip(TOPICS, MODELS, strict=True))


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    train_knn(topic_table(240), TopicEmbedder(), KNNConfig(k=(8,)))[0].save_pretrained(folder)
    return load_router(folder, embedder=TopicEmbedder())


@pytest.fixture(scope="module")
def endpoints():
    with OpenAIServer() as one, OpenAIServer() as two, OpenAIServer() as three:
        yield dict(zip(MODELS, (one, two, three), strict=True))


@pytest.fixture
def models(endpoints):
    for server in endpoints.values():
        server.reset()
    return {
        name: ChatOpenAI(model=name, base_url=server.url, api_key="test", max_retries=0)
        for name, server in endpoints.items()
    }


def routed(models, router, **arguments):
    return RoutedChatModel(candidates=models, router=router, **{"policy": "argmax", **arguments})


def asked(endpoints):
    return {name: len(server.requests) for name, server in endpoints.items() if server.requests}


def find(topic: str) -> str:
    """Look something up."""
    return f"about {topic}"


@pytest.mark.parametrize(("topic", "expert"), PAIRS)
async def test_an_agent_routes_among_three_endpoints(models, router, endpoints, topic, expert):
    agent = create_agent(routed(models, router), tools=[find])
    result = await agent.ainvoke({"messages": [HumanMessage(f"a question of {topic}")]})
    assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "ai"]
    assert result["messages"][-1].text.startswith(f"{expert} says")
    assert asked(endpoints) == {expert: 2}
    assert set(endpoints[expert].models_asked()) == {expert}


def test_lambda_is_the_threshold_of_a_call_and_of_a_block(models, router, endpoints):
    model = routed(models, router, policy="cost_aware", prices=PRICES, threshold=0.0)
    prompt = "a question of python"
    choices = [
        model.invoke(prompt).response_metadata["routellm"]["choice"],
        model.invoke(prompt, {"configurable": {"routellm_threshold": 1.0}}).response_metadata["routellm"]["choice"],
    ]
    with routing(threshold=1.0):
        choices.append(model.invoke(prompt).response_metadata["routellm"]["choice"])
    assert choices[0] == "programmer"
    assert "programmer" not in choices[1:]
    assert endpoints["programmer"].models_asked() == ["programmer"]


def test_cheapest_above_pays_only_for_what_is_needed(models, router):
    model = routed(models, router, policy="cheapest_above", prices=PRICES, threshold=0.5)
    assert model.decide("a question of python").choice == "programmer"
    with routing(threshold=0.0):
        assert model.decide("a question of python").choice == "mathematician"


def test_one_model_for_the_task_of_a_chain(models, router, endpoints):
    model = routed(models, router, policy="s3")
    for i in range(30):
        last = model.invoke(f"question {i} of poetry")
    assert last.response_metadata["routellm"]["choice"] == "poet"
    assert model.decide("question 0 of python").choice == "poet"
    assert model.decide("question 0 of python").scores["programmer"] > 0.5


def test_candidates_are_mapped_to_the_routers_models(models, router, endpoints):
    model = routed(
        {"large": models["programmer"], "small": models["poet"]},
        router,
        references={"large": "programmer", "small": "poet"},
    )
    assert model.invoke("a question of python").text.startswith("programmer says")
    assert model.invoke("a question of poetry").text.startswith("poet says")
    assert asked(endpoints) == {"programmer": 1, "poet": 1}


def test_a_pair_of_other_reference_models(models, endpoints):
    pair = published_router()
    model = RoutedChatModel(
        strong=models["programmer"],
        weak=models["poet"],
        router=pair,
        references={"strong": "tier 1", "weak": "claude-2.1"},
        threshold=0.5,
    )
    decision = model.invoke("Prove it.").response_metadata["routellm"]
    assert decision["strong_win_rate"] == pair.for_pair("tier 1", "claude-2.1").strong_win_rate("Prove it.")
    assert asked(endpoints) == {{"strong": "programmer", "weak": "poet"}[decision["choice"]]: 1}
