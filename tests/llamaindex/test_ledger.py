"""The ledger has every call of a model once, with the tokens that its response reports, seen or unseen."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core import SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from routellm_core.ledger import Usage
from routellm_core.pricing import Price
from routellm_llamaindex import RoutedLLM
from routellm_llamaindex.usage import usage_of
from support.llamaindex_models import PlainLLM, ToolLLM
from support.routers import KeywordRouter

MESSAGES = [ChatMessage(role=MessageRole.USER, content="easy")]
TOOL = FunctionTool.from_defaults(lambda a, b: a * b, name="multiply", description="Multiply.")
PROMPT = PromptTemplate("{query_str}")
REPORTED = {"prompt_tokens": 100, "completion_tokens": 20}


class Rock(BaseModel):
    name: str


def query(llm: Any, **options: Any) -> Any:
    return SummaryIndex(nodes=[TextNode(text="Talc.")]).as_query_engine(llm=llm, **options).query("easy?")


SYNC_WAYS = {
    "chat": lambda llm: llm.chat(MESSAGES),
    "complete": lambda llm: llm.complete("easy"),
    "stream_chat": lambda llm: list(llm.stream_chat(MESSAGES)),
    "stream_complete": lambda llm: list(llm.stream_complete("easy")),
    "chat_with_tools": lambda llm: llm.chat_with_tools([TOOL], "easy"),
    "stream_chat_with_tools": lambda llm: list(llm.stream_chat_with_tools([TOOL], "easy")),
    "predict": lambda llm: llm.predict(PROMPT, query_str="easy"),
    "stream": lambda llm: list(llm.stream(PROMPT, query_str="easy")),
    "structured_predict": lambda llm: llm.structured_predict(Rock, PROMPT, query_str="easy"),
    "stream_structured_predict": lambda llm: list(llm.stream_structured_predict(Rock, PROMPT, query_str="easy")),
    "query": query,
    "query_stream": lambda llm: str(query(llm, streaming=True)),
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
    "astructured_predict": lambda llm: llm.astructured_predict(Rock, PROMPT, query_str="easy"),
    "astream_structured_predict": lambda llm: drain(llm.astream_structured_predict(Rock, PROMPT, query_str="easy")),
}


def reporting(label: str = "small", **usage: Any) -> ToolLLM:
    return ToolLLM(label, usage=usage or REPORTED, arguments={"name": "talc"})


# Always with a running event loop: LlamaIndex's packer of prompts would open one otherwise, and leave it open.
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("way", [*SYNC_WAYS, *ASYNC_WAYS])
async def test_every_call_is_recorded_once_with_its_tokens(make_pair, way: str, fallback: bool) -> None:
    pair = make_pair(weak=reporting(), prices={"weak": 1.0, "strong": 10.0}, fallback=fallback)
    if way in SYNC_WAYS:
        SYNC_WAYS[way](pair.llm)
    else:
        await ASYNC_WAYS[way](pair.llm)
    assert_one_call(pair.llm)


def assert_one_call(llm: RoutedLLM) -> None:
    totals = llm.ledger.totals
    assert list(totals) == ["weak"]
    assert (totals["weak"].calls, totals["weak"].calls_without_usage, totals["weak"].failures) == (1, 0, 0)
    assert totals["weak"].usage == Usage(input_tokens=100, output_tokens=20)
    assert llm.ledger.cost == pytest.approx(120e-6)
    assert llm.ledger.strong_only_cost == pytest.approx(1200e-6)


def test_prices_in_their_three_forms(make_pair) -> None:
    prices = {"weak": Price(input=1, output=2), "strong": {"input": 10, "output": 20, "cached_input": 5}}
    pair = make_pair(weak=reporting(), prices=prices)
    pair.llm.complete("easy")
    assert pair.llm.ledger.cost == pytest.approx(140e-6)
    assert pair.llm.with_threshold(0.7).ledger is pair.llm.ledger


def test_a_model_that_reports_nothing_is_counted_without_usage(pair) -> None:
    pair.llm.predict(PROMPT, query_str="easy")
    pair.llm.complete("easy")
    assert (pair.llm.ledger.totals["weak"].calls, pair.llm.ledger.totals["weak"].calls_without_usage) == (2, 2)


def test_a_chat_of_a_completion_model_is_counted_once(make_pair) -> None:
    """Its chat calls its complete, and both dispatch an end event."""
    pair = make_pair(weak=PlainLLM("plain", usage=REPORTED))
    pair.llm.predict(PROMPT, query_str="easy")
    pair.llm.chat(MESSAGES)
    assert pair.llm.ledger.totals["weak"].calls == 2
    assert pair.llm.ledger.totals["weak"].usage == Usage(input_tokens=200, output_tokens=40)


def test_failures_and_broken_streams_are_recorded(make_pair) -> None:
    pair = make_pair(weak=ToolLLM("small", error=ConnectionError("gone"), fails_after=1))
    with pytest.raises(ConnectionError):
        list(pair.llm.stream_chat(MESSAGES))
    pair.weak.fails_after = 0
    with pytest.raises(ConnectionError):
        pair.llm.chat(MESSAGES)
    assert (pair.llm.ledger.totals["weak"].calls, pair.llm.ledger.totals["weak"].failures) == (0, 2)


async def test_a_stream_that_is_left_is_recorded_once(make_pair) -> None:
    pair = make_pair(weak=reporting())
    stream = pair.llm.stream_chat(MESSAGES)
    next(stream)
    stream.close()
    astream = await pair.llm.astream_chat(MESSAGES)
    await anext(astream)
    await astream.aclose()
    assert (pair.llm.ledger.totals["weak"].calls, pair.llm.ledger.totals["weak"].calls_without_usage) == (2, 2)


@pytest.mark.parametrize("fallback", [False, True])
async def test_a_stream_that_is_closed_before_its_first_chunk_is_recorded(make_pair, fallback: bool) -> None:
    pair = make_pair(weak=reporting(), fallback=fallback)
    pair.llm.stream_chat(MESSAGES).close()
    assert pair.llm.ledger.totals["weak"].calls == 1
    await (await pair.llm.astream_chat(MESSAGES)).aclose()
    assert pair.llm.ledger.totals["weak"].calls == 2
    await asyncio.sleep(0.01)  # LlamaIndex leaves the generator inside its own to the event loop
    # Without fallback the model's generator was not started, so there is nothing to close.
    assert pair.weak.closed == (["stream_chat", "astream_chat"] if fallback else [])


@pytest.mark.parametrize("fallback", [False, True])
def test_an_interrupted_call_is_recorded_as_no_failure(make_pair, fallback: bool) -> None:
    class Interrupted(ToolLLM):
        def chat(self, messages: Any, **kwargs: Any) -> Any:
            super().chat(messages, **kwargs)
            raise KeyboardInterrupt

        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            return self.chat(messages)

    pair = make_pair(weak=Interrupted("small", usage=REPORTED), fallback=fallback)
    for call in (pair.llm.chat, pair.llm.stream_chat):
        with pytest.raises(KeyboardInterrupt):
            call(MESSAGES)
    total = pair.llm.ledger.totals["weak"]
    assert (total.calls, total.failures, total.usage) == (2, 0, Usage(input_tokens=200, output_tokens=40))
    assert pair.calls == (0, 2)


def test_nested_routed_models_feed_both_ledgers() -> None:
    inner = RoutedLLM(strong=reporting("big"), weak=reporting(), router=KeywordRouter(), threshold=0.5)
    outer = RoutedLLM(strong=inner, weak=ToolLLM("tiny"), router=KeywordRouter("very"), threshold=0.5)
    outer.predict(PROMPT, query_str="very easy")
    assert list(inner.ledger.totals) == ["weak"]
    assert list(outer.ledger.totals) == ["strong"]
    assert (
        inner.ledger.totals["weak"].usage
        == outer.ledger.totals["strong"].usage
        == Usage(input_tokens=100, output_tokens=20)
    )


async def test_concurrent_calls_keep_their_own_tokens(make_pair) -> None:
    pair = make_pair(reporting("big", prompt_tokens=7, completion_tokens=3), reporting())
    pair.strong.delay_s = pair.weak.delay_s = 0.01
    words = ["hard", "easy"] * 50
    await asyncio.gather(*(pair.llm.apredict(PROMPT, query_str=f"{word} {n}") for n, word in enumerate(words)))
    totals = pair.llm.ledger.totals
    assert totals["strong"].usage == Usage(input_tokens=350, output_tokens=150)
    assert totals["weak"].usage == Usage(input_tokens=5000, output_tokens=1000)


def test_calls_of_others_are_not_recorded(make_pair) -> None:
    pair = make_pair(weak=reporting())
    pair.llm.predict(PROMPT, query_str="easy")
    pair.weak.predict(PROMPT, query_str="easy")
    assert pair.llm.ledger.totals["weak"].calls == 1


@pytest.mark.parametrize(
    ("raw", "more", "usage"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 4}}, {}, (9, 4, 0)),
        (SimpleNamespace(usage=SimpleNamespace(prompt_tokens=9, completion_tokens=4)), {}, (9, 4, 0)),
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": None}}, {}, (9, 4, 0)),
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}},
            {},
            (9, 4, 8),
        ),
        (
            {"usage": {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 8}}},
            {},
            (9, 4, 8),
        ),
        # Anthropic counts what came from its cache, and what went there, apart.
        (
            {
                "usage": {
                    "input_tokens": 2,
                    "output_tokens": 4,
                    "cache_read_input_tokens": 6,
                    "cache_creation_input_tokens": 1,
                }
            },
            {},
            (9, 4, 6),
        ),
        (
            {"usage_metadata": {"prompt_token_count": 9, "candidates_token_count": 4, "cached_content_token_count": 3}},
            {},
            (9, 4, 3),
        ),
        ({"prompt_eval_count": 9, "eval_count": 4}, {}, (9, 4, 0)),
        (None, {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}, (9, 4, 0)),
        ({"usage": None}, {"prompt_tokens": 9, "completion_tokens": 4}, (9, 4, 0)),
    ],
)
def test_reads_the_fields_of_the_common_providers(raw: Any, more: dict[str, Any], usage: tuple[int, int, int]) -> None:
    expected = Usage(input_tokens=usage[0], output_tokens=usage[1], cached_tokens=usage[2])
    assert usage_of(ChatResponse(message=ChatMessage(content="x"), raw=raw, additional_kwargs=more)) == expected
    assert usage_of(CompletionResponse(text="x", raw=raw, additional_kwargs=more)) == expected


def test_no_usage_is_not_zero_usage() -> None:
    for raw in (None, {}, {"usage": {}}, {"usage": "9 tokens"}, {"usage": {"prompt_tokens": None}}):
        assert usage_of(CompletionResponse(text="x", raw=raw)) is None
