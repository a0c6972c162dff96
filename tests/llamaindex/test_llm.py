"""Chat and completion, in every way a LlamaIndex model can be called, and what the response says."""

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, MessageRole, TextBlock
from llama_index.core.prompts import PromptTemplate

from routellm_core import RoutingDecision, RoutingEngine, routing
from routellm_core.errors import ConfigurationError, InvalidThresholdError, ScoringError, UnknownTargetError
from routellm_core.testing import FunctionRouter
from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import PlainLLM, ToolLLM
from support.routers import KeywordRouter


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]


async def every_way(llm: Any, text: str) -> dict[str, list[Any]]:
    """Ask in all eight ways; a stream gives its chunks, the others one response."""
    return {
        "chat": [llm.chat(user(text))],
        "complete": [llm.complete(text)],
        "stream_chat": list(llm.stream_chat(user(text))),
        "stream_complete": list(llm.stream_complete(text)),
        "achat": [await llm.achat(user(text))],
        "acomplete": [await llm.acomplete(text)],
        "astream_chat": [chunk async for chunk in await llm.astream_chat(user(text))],
        "astream_complete": [chunk async for chunk in await llm.astream_complete(text)],
    }


def test_is_a_llama_index_llm() -> None:
    assert BaseLLM.__name__ in [base.__name__ for base in RoutedLLM.__mro__]


@pytest.mark.parametrize(
    ("text", "choice", "label"), [("a hard one", "strong", "big"), ("an easy one", "weak", "small")]
)
async def test_every_way_of_calling_reaches_the_chosen_model(pair, text: str, choice: str, label: str) -> None:
    for way, responses in (await every_way(pair.llm, text)).items():
        for response in responses:
            assert response.additional_kwargs["routellm"]["choice"] == choice, way
        last = responses[-1]
        assert (last.message.content if hasattr(last, "message") else last.text) == f"{label} says hi", way
        if "stream" in way:
            assert "".join(response.delta for response in responses) == f"{label} says hi ", way
    assert pair.calls == ((8, 0) if choice == "strong" else (0, 8))
    assert pair.router.scored == [text], "one text is scored once"


def test_response_carries_the_decision_and_the_message_does_not(pair) -> None:
    response = pair.llm.chat(user("a hard one"))
    record = response.additional_kwargs["routellm"]
    assert record["strong_win_rate"] == 0.9
    assert record["threshold"] == 0.5
    assert record["router"] == "keyword"
    assert response.message.additional_kwargs == {}
    completion = pair.llm.complete("a hard one")
    assert completion.additional_kwargs["routellm"]["choice"] == "strong"


def test_call_arguments_reach_the_model(pair) -> None:
    pair.llm.chat(user("easy"), temperature=0.3, stop=["x"])
    assert pair.weak.given == [{"temperature": 0.3, "stop": ["x"]}]


def test_completion_template_of_the_chosen_model_is_used(make_pair) -> None:
    weak = PlainLLM("plain", completion_to_prompt=lambda prompt: f"<s>{prompt}</s>")
    pair = make_pair(weak=weak)
    pair.llm.complete("easy")
    pair.llm.complete("easy, formatted", formatted=True)
    assert weak.seen == ["<s>easy</s>", "easy, formatted"]


def test_decide_calls_no_model(pair, events) -> None:
    decision = pair.llm.decide("a hard one")
    assert isinstance(decision, RoutingDecision)
    assert decision.choice == "strong"
    assert pair.llm.decide(user("easy")).choice == "weak"
    assert pair.llm.decide(user("easy")[0]).choice == "weak"
    assert asyncio.run(pair.llm.adecide("a hard one")).choice == "strong"
    assert pair.calls == (0, 0)
    assert events == []


def test_image_alone_goes_where_empty_prompts_go(pair) -> None:
    image = ChatMessage(role=MessageRole.USER, blocks=[ImageBlock(image=b"iVBORw0KGgo=")])
    record = pair.llm.chat([image]).additional_kwargs["routellm"]
    assert (record["choice"], record["reason"]) == ("strong", "empty_prompt")
    both = ChatMessage(role=MessageRole.USER, blocks=[TextBlock(text="easy?"), ImageBlock(image=b"iVBORw0KGgo=")])
    assert pair.llm.chat([both]).additional_kwargs["routellm"]["choice"] == "weak"


# --- threshold and route of a call -----------------------------------------------------------------------------------


def test_with_threshold_is_a_copy_that_shares_everything_else(pair) -> None:
    other = pair.llm.with_threshold(0.95)
    assert other.threshold == 0.95
    assert pair.llm.threshold == 0.5
    assert pair.llm.chat(user("a hard one")).additional_kwargs["routellm"]["choice"] == "strong"
    assert other.chat(user("a hard one")).additional_kwargs["routellm"]["choice"] == "weak"
    assert pair.router.scored == ["a hard one"], "the score is cached for both"
    assert other.candidates["weak"] is pair.weak
    with pytest.raises(InvalidThresholdError, match=r"1\.5"):
        pair.llm.with_threshold(1.5)
    with pytest.raises(ConfigurationError, match="not calibrated"):
        pair.llm.with_threshold(None)


async def test_routing_block_wins_over_the_constructor(pair) -> None:
    with routing(threshold=0.95):
        assert pair.llm.chat(user("a hard one")).additional_kwargs["routellm"]["choice"] == "weak"
    async with routing(route="strong"):
        response = await pair.llm.achat(user("easy"))
    record = response.additional_kwargs["routellm"]
    assert (record["choice"], record["reason"]) == ("strong", "forced")
    with routing(route="nobody"), pytest.raises(UnknownTargetError, match="'nobody' is not a candidate"):
        pair.llm.chat(user("easy"))


def test_streams_are_routed_when_called(pair) -> None:
    with routing(route="strong"):
        stream = pair.llm.stream_chat(user("easy"))
    assert next(stream).additional_kwargs["routellm"]["choice"] == "strong"


# --- streams that end early ------------------------------------------------------------------------------------------


class Undecorated(ToolLLM):
    """Without LlamaIndex's callback decorator, which does not close what it wraps; keeps its stream alive."""

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        stream = super().stream_chat(messages, **kwargs)
        self.given.append({"stream": stream})
        return stream

    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        async def gen() -> Any:
            try:
                for word in ("small", "says", "hi"):
                    yield ChatResponse(message=ChatMessage(content=word), delta=word)
            finally:
                self.closed.append("astream_chat")

        return gen()


async def test_closing_a_stream_closes_the_stream_of_the_model(make_pair) -> None:
    pair = make_pair(weak=Undecorated("small"))
    stream = pair.llm.stream_chat(user("easy"))
    next(stream)
    assert pair.weak.closed == []
    stream.close()
    assert pair.weak.closed == ["stream_chat"]
    astream = await pair.llm.astream_chat(user("easy"))
    await anext(astream)
    assert pair.weak.closed == ["stream_chat"]
    await astream.aclose()
    assert pair.weak.closed == ["stream_chat", "astream_chat"]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_router_failure_follows_on_router_error(make_pair, caplog) -> None:
    def fail(prompt: str) -> float:
        raise RuntimeError("down")

    for on_error in ("strong", "weak"):
        llm = RoutedLLM(
            strong=ToolLLM("big"),
            weak=ToolLLM("small"),
            router=FunctionRouter(fail),
            threshold=0.5,
            on_router_error=on_error,
        )
        record = llm.chat(user("x")).additional_kwargs["routellm"]
        assert (record["choice"], record["reason"]) == (on_error, "router_error")
    llm = RoutedLLM(
        strong=ToolLLM("big"),
        weak=ToolLLM("small"),
        router=FunctionRouter(fail),
        threshold=0.5,
        on_router_error="raise",
    )
    with pytest.raises(ScoringError):
        llm.chat(user("x"))


def test_model_failure_reaches_the_caller(make_pair) -> None:
    class Broken(ToolLLM):
        def _answer(self, *args: Any, **kwargs: Any) -> ChatMessage:
            raise ConnectionError("no such host")

    pair = make_pair(weak=Broken("broken"))
    with pytest.raises(ConnectionError, match="no such host"):
        pair.llm.chat(user("easy"))


# --- construction ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strong": ToolLLM("a")}, "weak= is missing"),
        ({}, "weak= is missing"),
        ({"strong": ToolLLM("a"), "weak": "gpt-4o-mini"}, "weak must be a LlamaIndex LLM, not builtins.str"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "candidates": {"c": ToolLLM("c")}}, "not both"),
        ({"candidates": {"only": ToolLLM("c")}}, "two or more different names"),
        ({"candidates": {n: ToolLLM(n) for n in "abc"}, "router": KeywordRouter()}, "between two models, not 3"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "threshold": 7}, "threshold must be in"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "policy": "nope"}, "policy='nope' is unknown"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "router": "no-such"}, "router='no-such'"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "on_router_error": "retry"}, "on_router_error must be one of"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "score_timeout_s": -1}, "score_timeout_s must be more than 0"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "prices": {"weak": 1.0}}, "no entry for 'strong'"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "context_window": 0}, "context_window must be a whole number"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "num_output": -1}, "num_output must be a whole number"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "routing_text": "auto"}, "routing_text must be a function"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "callback_manager": []}, "must be a CallbackManager, not list"),
        ({"strong": ToolLLM("a"), "weak": ToolLLM("b"), "engine": "length"}, "engine must be a RoutingEngine"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments: dict[str, Any], message: str) -> None:
    defaults = {} if "engine" in arguments else {"router": KeywordRouter(), "threshold": 0.5}
    with pytest.raises(ConfigurationError, match=message) as caught:
        RoutedLLM(**{**defaults, **arguments})
    assert "sk-very-secret" not in str(caught.value)


def test_engine_excludes_its_options_and_other_names() -> None:
    engine = RoutingEngine(KeywordRouter(), threshold=0.5)
    models = {"strong": ToolLLM("a"), "weak": ToolLLM("b")}
    assert RoutedLLM(**models, engine=engine).engine is engine
    with pytest.raises(ConfigurationError, match="threshold"):
        RoutedLLM(**models, engine=engine, threshold=0.5)
    with pytest.raises(ConfigurationError, match="chooses among weak, strong"):
        RoutedLLM(candidates={"a": ToolLLM("a"), "b": ToolLLM("b")}, engine=engine)


def test_candidates_by_name_weakest_first() -> None:
    llm = RoutedLLM(candidates={"small": ToolLLM("s"), "large": ToolLLM("l")}, router=KeywordRouter(), threshold=0.5)
    assert llm.chat(user("easy")).additional_kwargs["routellm"]["choice"] == "small"
    assert llm.chat(user("hard")).message.content == "l says hi"


async def test_routed_llms_can_be_nested(pair) -> None:
    outer = RoutedLLM(strong=pair.llm, weak=ToolLLM("tiny"), router=KeywordRouter("very"), threshold=0.5)
    record = outer.chat(user("very hard")).additional_kwargs["routellm"]
    assert (record["choice"], record["inner"]["choice"]) == ("strong", "strong")
    record = (await outer.achat(user("very easy"))).additional_kwargs["routellm"]
    assert (record["choice"], record["inner"]["choice"]) == ("strong", "weak")
    assert "inner" not in outer.chat(user("easy")).additional_kwargs["routellm"]


async def test_a_block_does_not_travel_on_to_a_chosen_routed_llm(pair) -> None:
    tiny = ToolLLM("tiny")
    outer = RoutedLLM(candidates={"tiny": tiny, "pair": pair.llm}, router=KeywordRouter("very"), threshold=0.5)
    prompt = PromptTemplate("{query_str}")
    for block in (routing(route="pair"), routing(route="strong"), routing(threshold=0.1)):
        with block:
            outer.chat(user("easy"))
            await outer.achat(user("easy"))
            list(outer.stream_chat(user("easy")))
            [chunk async for chunk in await outer.astream_chat(user("easy"))]
            outer.predict(prompt, query_str="easy")
            list(outer.stream(prompt, query_str="easy"))
        assert (len(tiny.seen), *pair.calls) == (0, 0, 6)
        pair.weak.seen.clear()
    with routing(route="weak"):  # speaks to every routed model that is called inside
        assert pair.llm.chat(user("hard")).message.content == "small says hi"
        assert outer.chat(user("very hard")).message.content == "tiny says hi"


# --- concurrency -----------------------------------------------------------------------------------------------------


async def test_concurrent_calls_keep_their_own_decision() -> None:
    """400 calls, mixed thresholds, random delays in router and models: each goes where its own text and threshold say."""
    router = FunctionRouter(lambda prompt: int(prompt.split()[1]) / 400, delay_s=(0.0, 0.005))
    strong, weak = ToolLLM("big", delay_s=0.02), ToolLLM("small", delay_s=0.02)
    llm = RoutedLLM(strong=strong, weak=weak, router=router, threshold=0.5)
    copies = {threshold: llm.with_threshold(threshold) for threshold in (0.1, 0.5, 0.9)}

    async def ask(number: int) -> None:
        threshold = (0.1, 0.5, 0.9)[number % 3]
        if number % 2:
            response = await copies[threshold].achat(user(f"question {number} please"))
        else:
            async with routing(threshold=threshold):
                response = await llm.achat(user(f"question {number} please"))
        record = response.additional_kwargs["routellm"]
        expected = "strong" if number / 400 >= threshold else "weak"
        assert (record["choice"], record["threshold"]) == (expected, threshold)
        assert record["strong_win_rate"] == number / 400
        assert response.message.content == f"{'big' if expected == 'strong' else 'small'} says hi"

    await asyncio.gather(*(ask(number) for number in range(400)))
    asked = [messages[0].content for llm in (strong, weak) for messages in llm.seen]
    assert sorted(asked) == sorted(f"question {number} please" for number in range(400))


def test_a_response_that_the_model_keeps_is_left_alone(make_pair) -> None:
    kept = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="kept"), additional_kwargs={"n": 1})

    class Caching(ToolLLM):
        def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
            return kept

        def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
            return iter([kept])

    llm = make_pair(weak=Caching("small")).llm
    messages = [ChatMessage(role=MessageRole.USER, content="easy")]
    for response in (llm.chat(messages), *llm.stream_chat(messages)):
        assert response.additional_kwargs["n"] == 1
        assert response.additional_kwargs["routellm"]["choice"] == "weak"
    assert kept.additional_kwargs == {"n": 1}
