"""A model that fails hands the call to the next one, as a new decision, if that was asked for."""

import asyncio
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from routellm_core.errors import RouteLLMError
from routellm_core.testing import ConstantRouter
from routellm_llamaindex import RoutedLLM, RoutingDecisionEvent
from support.llamaindex_models import PlainLLM, ToolLLM
from support.pools import NAMES, HighestScore, NamedPoolRouter

MESSAGES = [ChatMessage(role=MessageRole.USER, content="easy")]
TOOL = FunctionTool.from_defaults(lambda a, b: a * b, name="multiply", description="Multiply.")
PROMPT = PromptTemplate("{query_str}")


class Product(BaseModel):
    a: int
    b: int


def failing(label: str = "small", after: int = 0) -> ToolLLM:
    return ToolLLM(label, error=ConnectionError("no such host"), fails_after=after)


SYNC_WAYS = {
    "chat": lambda llm: llm.chat(MESSAGES),
    "complete": lambda llm: llm.complete("easy"),
    "stream_chat": lambda llm: list(llm.stream_chat(MESSAGES)),
    "stream_complete": lambda llm: list(llm.stream_complete("easy")),
    "chat_with_tools": lambda llm: llm.chat_with_tools([TOOL], "easy"),
    "stream_chat_with_tools": lambda llm: list(llm.stream_chat_with_tools([TOOL], "easy")),
    "predict": lambda llm: llm.predict(PROMPT, query_str="easy"),
    "stream": lambda llm: list(llm.stream(PROMPT, query_str="easy")),
    "structured_predict": lambda llm: llm.structured_predict(Product, PROMPT, query_str="easy"),
    "stream_structured_predict": lambda llm: list(llm.stream_structured_predict(Product, PROMPT, query_str="easy")),
    "query": lambda llm: SummaryIndex(nodes=[TextNode(text="Talc.")]).as_query_engine(llm=llm).query("easy?"),
}


async def drain(stream: Any) -> None:
    async for _ in await stream:
        pass


ASYNC_WAYS = {
    "achat": lambda llm: llm.achat(MESSAGES),
    "acomplete": lambda llm: llm.acomplete("easy"),
    "astream_chat": lambda llm: drain(llm.astream_chat(MESSAGES)),
    "astream_complete": lambda llm: drain(llm.astream_complete("easy")),
    "achat_with_tools": lambda llm: llm.achat_with_tools([TOOL], "easy"),
    "astream_chat_with_tools": lambda llm: drain(llm.astream_chat_with_tools([TOOL], "easy")),
    "apredict": lambda llm: llm.apredict(PROMPT, query_str="easy"),
    "astream": lambda llm: drain(llm.astream(PROMPT, query_str="easy")),
    "astructured_predict": lambda llm: llm.astructured_predict(Product, PROMPT, query_str="easy"),
    "astream_structured_predict": lambda llm: drain(llm.astream_structured_predict(Product, PROMPT, query_str="easy")),
}


def assert_fell_back(pair: Any, events: list[Any]) -> None:
    first, second = (event.decision for event in events if isinstance(event, RoutingDecisionEvent))
    assert (first.choice, first.reason, first.fallback_from) == ("weak", "policy", None)
    assert (second.choice, second.reason, second.fallback_from) == ("strong", "fallback", "weak")
    assert "ConnectionError" in second.explanation
    assert "no such host" not in second.explanation
    totals = pair.llm.ledger.totals
    assert (totals["weak"].calls, totals["weak"].failures) == (0, 1)
    assert (totals["strong"].calls, totals["strong"].failures) == (1, 0)


# Always with a running event loop: LlamaIndex's packer of prompts would open one otherwise, and leave it open.
@pytest.mark.parametrize("way", [*SYNC_WAYS, *ASYNC_WAYS])
async def test_every_way_of_calling_falls_back(make_pair, events, way: str) -> None:
    pair = make_pair(weak=failing(), fallback=True)
    if way in SYNC_WAYS:
        SYNC_WAYS[way](pair.llm)
    else:
        await ASYNC_WAYS[way](pair.llm)
    assert_fell_back(pair, events)


def test_without_fallback_the_failure_reaches_the_caller(make_pair) -> None:
    pair = make_pair(weak=failing())
    with pytest.raises(ConnectionError, match="no such host"):
        pair.llm.chat(MESSAGES)
    assert pair.calls == (0, 1)


def test_response_tells_of_the_fallback(make_pair) -> None:
    record = make_pair(weak=failing(), fallback=True).llm.chat(MESSAGES).additional_kwargs["routellm"]
    assert (record["choice"], record["fallback_from"], record["reason"]) == ("strong", "weak", "fallback")


async def test_a_stream_falls_back_only_before_its_first_chunk(make_pair) -> None:
    pair = make_pair(weak=failing(after=1), fallback=True)
    stream = pair.llm.stream_chat(MESSAGES)
    assert next(stream).delta == "small "
    with pytest.raises(ConnectionError):
        next(stream)
    astream = await pair.llm.astream_chat(MESSAGES)
    assert (await anext(astream)).delta == "small "
    with pytest.raises(ConnectionError):
        await anext(astream)
    assert pair.calls == (0, 2)
    assert pair.llm.ledger.totals["weak"].failures == 2


async def test_a_stream_that_fails_when_its_first_chunk_is_asked_for_falls_back(make_pair) -> None:
    class Late(ToolLLM):
        """As the integrations do: the request is made when the first chunk is."""

        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            raise ConnectionError("late")
            yield

        async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
            async def gen() -> Any:
                raise ConnectionError("late")
                yield

            return gen()

    pair = make_pair(weak=Late("late"), fallback=True)
    assert "".join(chunk.delta or "" for chunk in pair.llm.stream_chat(MESSAGES)) == "big says hi "
    chunks = [chunk async for chunk in await pair.llm.astream_chat(MESSAGES)]
    assert [chunk.additional_kwargs["routellm"]["fallback_from"] for chunk in chunks] == ["weak"] * 3


def test_an_empty_stream_stays_empty(make_pair) -> None:
    class Silent(ToolLLM):
        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            return iter(())

    pair = make_pair(weak=Silent("silent"), fallback=True)
    assert list(pair.llm.stream_chat(MESSAGES)) == []
    assert pair.llm.ledger.totals["weak"].calls == 1


def test_the_last_failure_is_raised_when_nobody_is_left(make_pair) -> None:
    strong = ToolLLM("big", error=TimeoutError("slow"))
    pair = make_pair(strong, failing(), fallback=True)
    with pytest.raises(TimeoutError, match="slow"):
        pair.llm.chat(MESSAGES)
    assert pair.calls == (1, 1)


def test_candidates_are_tried_in_the_order_of_the_decision() -> None:
    models = {name: failing(name) if name != "large" else ToolLLM(name) for name in NAMES}
    llm = RoutedLLM(candidates=models, router=NamedPoolRouter(), policy=HighestScore(), fallback=True)
    record = llm.complete("medium").additional_kwargs["routellm"]
    assert (record["choice"], record["fallback_from"]) == ("large", "small")
    assert {name: one.failures for name, one in llm.ledger.totals.items()} == {"medium": 1, "small": 1, "large": 0}


def test_fallback_never_reaches_a_model_that_cannot_take_the_call(make_pair) -> None:
    pair = make_pair(strong=failing("big"), weak=PlainLLM("plain"), fallback=True)
    with pytest.raises(ConnectionError):
        pair.llm.chat_with_tools([TOOL], "hard")
    assert pair.calls == (1, 0)
    assert pair.llm.chat([ChatMessage(role=MessageRole.USER, content="hard")]).message.content == "plain says hi"


async def test_cancellation_is_never_a_failure(make_pair) -> None:
    class Endless(ToolLLM):
        async def achat(self, messages: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(60)

        async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
            async def gen() -> Any:
                await asyncio.sleep(60)
                yield

            return gen()

    pair = make_pair(weak=Endless("endless"), fallback=True)
    for call in (pair.llm.achat(MESSAGES), pair.llm.astream_chat(MESSAGES)):
        task = asyncio.create_task(call)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert pair.calls == (0, 0)
    totals = pair.llm.ledger.totals
    assert list(totals) == ["weak"]
    assert (totals["weak"].calls, totals["weak"].calls_without_usage, totals["weak"].failures) == (2, 2, 0)


def test_what_the_router_refuses_is_no_failure_of_a_model(make_pair) -> None:
    pair = make_pair(strong=PlainLLM("a"), weak=PlainLLM("b"), fallback=True)
    with pytest.raises(RouteLLMError):
        pair.llm.chat_with_tools([TOOL], "easy")
    assert pair.llm.ledger.totals == {}


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
async def test_an_agent_gets_its_answer_by_fallback(make_pair) -> None:
    pair = make_pair(weak=failing(), fallback=True)
    assert str(await FunctionAgent(tools=[TOOL], llm=pair.llm).run("an easy product")) == "big says hi"


def test_copies_keep_fallback() -> None:
    llm = RoutedLLM(strong=ToolLLM("big"), weak=failing(), router=ConstantRouter(0.1), threshold=0.5, fallback=True)
    assert llm.with_threshold(0.6).chat(MESSAGES).message.content == "big says hi"
    assert llm.to_dict()["fallback"] is True
    with pytest.raises(ConnectionError):
        llm.model_copy(update={"fallback": False}).chat(MESSAGES)
