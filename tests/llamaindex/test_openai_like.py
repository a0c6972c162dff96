"""With the real client: each request reaches the server under the chosen model's name, and nothing of ours goes with it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from routellm_llamaindex import RoutedLLM
from support.openai_server import Behaviour, OpenAIServer
from support.routers import KeywordRouter

openai_like = pytest.importorskip("llama_index.llms.openai_like")
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart_llamaindex.py"


@pytest.fixture(scope="module")
def running() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(running: OpenAIServer) -> OpenAIServer:
    running.reset()
    return running


def model(server: OpenAIServer, name: str, **options: Any) -> Any:
    return openai_like.OpenAILike(
        model=name,
        api_base=server.url,
        api_key="sk-very-secret",
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=8192,
        max_retries=0,
        reuse_client=False,
        **options,
    )


@pytest.fixture
def llm(server: OpenAIServer) -> RoutedLLM:
    return RoutedLLM(strong=model(server, "big"), weak=model(server, "small"), router=KeywordRouter(), threshold=0.5)


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]


class City(BaseModel):
    name: str
    inhabitants: int


async def test_every_way_of_calling(llm: RoutedLLM, server: OpenAIServer) -> None:
    answers = [
        llm.chat(user("easy one")).message.content,
        llm.complete("easy one").text,
        "".join(chunk.delta or "" for chunk in llm.stream_chat(user("easy one"))),
        "".join(chunk.delta or "" for chunk in llm.stream_complete("easy one")),
        (await llm.achat(user("easy one"))).message.content,
        (await llm.acomplete("easy one")).text,
        "".join([chunk.delta or "" async for chunk in await llm.astream_chat(user("easy one"))]),
        "".join([chunk.delta or "" async for chunk in await llm.astream_complete("easy one")]),
    ]
    assert answers == ["small says: easy one"] * 8
    assert server.models_asked() == ["small"] * 8
    assert llm.chat(user("hard one"), temperature=0.7).message.content == "big says: hard one"
    assert server.requests[-1].body["temperature"] == 0.7


# What constructing any agent of LlamaIndex does: it reads every attribute, the deprecated ones of pydantic too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
async def test_agent_loop_stays_on_one_model_and_sends_nothing_of_ours(llm: RoutedLLM, server: OpenAIServer) -> None:
    def population(city: str) -> str:
        """Look up how many people live in a city."""
        return "hard to say"

    agent = FunctionAgent(tools=[FunctionTool.from_defaults(population)], llm=llm)
    for text, name in (("an easy city", "small"), ("a hard city", "big")):
        server.reset()
        assert str(await agent.run(text)) == f"{name} says: {text}"
        assert server.models_asked() == [name, name]
        assert [message["role"] for message in server.requests[1].body["messages"]] == ["user", "assistant", "tool"]
        assert "routellm" not in json.dumps(server.requests[1].body)


@pytest.mark.parametrize("native", [True, False])
async def test_structured_prediction_is_native_where_the_model_has_it(server: OpenAIServer, native: bool) -> None:
    weak = model(server, "small", should_use_structured_outputs=native)
    llm = RoutedLLM(strong=model(server, "big"), weak=weak, router=KeywordRouter(), threshold=0.5)
    prompt = PromptTemplate("Describe {query_str}.")
    results = [
        llm.structured_predict(City, prompt, query_str="an easy city"),
        await llm.astructured_predict(City, prompt, query_str="an easy city"),
        list(llm.stream_structured_predict(City, prompt, query_str="an easy city"))[-1],
        [part async for part in await llm.astream_structured_predict(City, prompt, query_str="an easy city")][-1],
    ]
    assert all(isinstance(result, City) for result in results[:2])
    assert server.models_asked() == ["small"] * 4
    assert ["response_format" in request.body for request in server.requests] == [native] * 4
    assert ["tools" in request.body for request in server.requests] == [not native] * 4


def test_tokens_are_counted_once(llm: RoutedLLM, server: OpenAIServer) -> None:
    counts = []
    for target in (llm.candidates["weak"], llm):
        handler = TokenCountingHandler(tokenizer=str.split)
        target.callback_manager = CallbackManager([handler])
        target.chat(user("easy one"))
        counts.append((len(handler.llm_token_counts), handler.total_llm_token_count))
        target.callback_manager = CallbackManager([])
    assert counts[0] == counts[1]
    assert counts[0][0] == 1


async def test_concurrent_queries_over_real_clients(llm: RoutedLLM, server: OpenAIServer) -> None:
    server.behaviours.update(big=Behaviour(delay_s=0.02), small=Behaviour(delay_s=0.01))
    engine = SummaryIndex(nodes=[TextNode(text="A hard text.")]).as_query_engine(llm=llm)

    async def ask(number: int) -> None:
        word = "hard" if number % 3 == 0 else "easy"
        answer = str(await engine.aquery(f"{word} question {number}"))
        assert answer.startswith("big says" if word == "hard" else "small says"), number
        assert f"{word} question {number}" in answer

    await asyncio.gather(*(ask(number) for number in range(60)))
    assert sorted(set(server.models_asked())) == ["big", "small"]
    assert server.models_asked().count("big") == 20


# --- the quickstart --------------------------------------------------------------------------------------------------


def run_quickstart(**environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    path = os.pathsep.join([str(QUICKSTART.parents[1]), str(QUICKSTART.parents[1] / "core"), *sys.path])
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(QUICKSTART)],
        env={**inherited, "PYTHONPATH": path, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_quickstart_routes_with_the_embedded_router(server: OpenAIServer) -> None:
    done = run_quickstart(
        OPENAI_BASE_URL=server.url, OPENAI_API_KEY="sk-very-secret", STRONG_MODEL="big", WEAK_MODEL="small"
    )
    assert done.returncode == 0, done.stderr
    assert set(server.models_asked()) == {"big", "small"}
    assert len(server.requests) == 5
    assert all(request.body["max_tokens"] == 60 for request in server.requests)
    assert "strong win rate" in done.stdout
    assert "big says: Let G be a finite group" in done.stdout
    assert "sk-very-secret" not in done.stdout + done.stderr


def test_quickstart_without_a_key_says_how_to_run_it() -> None:
    done = run_quickstart()
    assert done.returncode != 0
    assert "make demo" in done.stderr
    assert "Traceback" not in done.stderr
