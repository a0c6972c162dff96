"""Routers learned from outcomes behind RoutedLLM, with real clients of OpenAI-compatible endpoints on loopback."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.schema import TextNode

from routellm_core import Router, load_router, routing
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_llamaindex import RoutedLLM
from support.openai_server import OpenAIServer
from support.outcomes import MODELS, TOPICS, TopicEmbedder, topic_table

openai_like = pytest.importorskip("llama_index.llms.openai_like")
PRICES = {"mathematician": 1, "poet": 2, "programmer": 10}


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Router:
    folder = tmp_path_factory.mktemp("router")
    train_knn(topic_table(240), TopicEmbedder(), KNNConfig(k=(8,)))[0].save_pretrained(folder)
    return load_router(folder, embedder=TopicEmbedder())


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, OpenAIServer]]:
    with OpenAIServer() as one, OpenAIServer() as two, OpenAIServer() as three:
        yield dict(zip(MODELS, (one, two, three), strict=True))


@pytest.fixture
def endpoints(running: dict[str, OpenAIServer]) -> dict[str, OpenAIServer]:
    for server in running.values():
        server.reset()
    return running


@pytest.fixture
def models(endpoints: Mapping[str, OpenAIServer]) -> dict[str, Any]:
    return {
        name: openai_like.OpenAILike(
            model=name,
            api_base=server.url,
            api_key="test",
            is_chat_model=True,
            context_window=8192,
            max_retries=0,
            reuse_client=False,
        )
        for name, server in endpoints.items()
    }


def asked(endpoints: Mapping[str, OpenAIServer]) -> dict[str, int]:
    return {name: len(server.requests) for name, server in endpoints.items() if server.requests}


@pytest.mark.parametrize(("topic", "expert"), list(zip(TOPICS, MODELS, strict=True)))
def test_a_query_engine_routes_among_three_endpoints(
    models: dict[str, Any], router: Router, endpoints: Mapping[str, OpenAIServer], topic: str, expert: str
) -> None:
    llm = RoutedLLM(candidates=models, router=router, policy="argmax")
    engine = SummaryIndex(nodes=[TextNode(text="Nothing in particular.")]).as_query_engine(llm=llm)
    assert str(engine.query(f"a question of {topic}")).startswith(f"{expert} says")
    assert asked(endpoints) == {expert: 1}
    assert endpoints[expert].models_asked() == [expert]


async def test_lambda_is_the_threshold_of_a_copy_and_of_a_block(models: dict[str, Any], router: Router) -> None:
    llm = RoutedLLM(candidates=models, router=router, policy="cost_aware", prices=PRICES, threshold=0.0)
    prompt = "a question of python"
    assert (await llm.acomplete(prompt)).text.startswith("programmer says")
    assert not llm.with_threshold(1.0).complete(prompt).text.startswith("programmer says")
    with routing(threshold=1.0):
        assert not (await llm.acomplete(prompt)).text.startswith("programmer says")


def test_one_model_for_the_task_of_a_chain(models: dict[str, Any], router: Router) -> None:
    llm = RoutedLLM(candidates=models, router=router, policy="s3")
    answers = [llm.complete(f"question {i} of poetry").text for i in range(30)]
    assert answers[-1].startswith("poet says")
    assert llm.complete("question 0 of python").text.startswith("poet says")
