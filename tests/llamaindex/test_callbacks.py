"""Every call is counted once, whoever was given the handlers, and its decision is published."""

import pickle
from typing import Any

import pytest
from llama_index.core import Settings, SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
    LLMPredictStartEvent,
)
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation.dispatcher import active_instrument_tags, instrument_tags
from pydantic import BaseModel

from routellm_core import RoutingDecision
from routellm_core.routers.length import LengthRouter
from routellm_llamaindex import RoutedLLM, RoutingDecisionEvent
from support.llamaindex_models import ToolLLM
from support.routers import KeywordRouter


class Rock(BaseModel):
    name: str


OF_MODELS = (
    LLMChatStartEvent,
    LLMChatInProgressEvent,
    LLMChatEndEvent,
    LLMCompletionStartEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionEndEvent,
)
TOOL = FunctionTool.from_defaults(lambda a, b: a * b, name="multiply", description="Multiply.")
MESSAGES = [ChatMessage(role=MessageRole.USER, content="easy")]


def manager() -> tuple[CallbackManager, TokenCountingHandler]:
    handler = TokenCountingHandler(tokenizer=str.split)
    return CallbackManager([handler]), handler


def query(llm: Any, **options: Any) -> Any:
    return SummaryIndex(nodes=[TextNode(text="Talc.")]).as_query_engine(llm=llm, **options).query("easy?")


# --- counting --------------------------------------------------------------------------------------------------------

SYNC_WAYS = {
    "chat": lambda llm: llm.chat(MESSAGES),
    "complete": lambda llm: llm.complete("easy"),
    "stream_chat": lambda llm: list(llm.stream_chat(MESSAGES)),
    "stream_complete": lambda llm: list(llm.stream_complete("easy")),
    "chat_with_tools": lambda llm: llm.chat_with_tools([TOOL], "easy"),
    "stream_chat_with_tools": lambda llm: list(llm.stream_chat_with_tools([TOOL], "easy")),
    "predict": lambda llm: llm.predict(PromptTemplate("{query_str}"), query_str="easy"),
    "stream": lambda llm: list(llm.stream(PromptTemplate("{query_str}"), query_str="easy")),
    "structured_predict": lambda llm: llm.structured_predict(Rock, PromptTemplate("{query_str}"), query_str="easy"),
    "stream_structured_predict": lambda llm: list(
        llm.stream_structured_predict(Rock, PromptTemplate("{query_str}"), query_str="easy")
    ),
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
    "apredict": lambda llm: llm.apredict(PromptTemplate("{query_str}"), query_str="easy"),
    "astream": lambda llm: drain(llm.astream(PromptTemplate("{query_str}"), query_str="easy")),
    "astream_structured_predict": lambda llm: drain(
        llm.astream_structured_predict(Rock, PromptTemplate("{query_str}"), query_str="easy")
    ),
    "astructured_predict": lambda llm: llm.astructured_predict(Rock, PromptTemplate("{query_str}"), query_str="easy"),
}


# With a running event loop: LlamaIndex's packer of prompts would open one otherwise, and leave it open.
@pytest.mark.parametrize("way", [*SYNC_WAYS, *ASYNC_WAYS])
async def test_every_call_is_counted_and_announced_once(make_pair, events, way: str) -> None:
    shared, handler = manager()
    pair = make_pair(weak=ToolLLM("small", arguments={"name": "talc"}), callback_manager=shared)
    Settings.callback_manager = shared  # an index gives every model it is handed its own manager, which is this one
    if way in SYNC_WAYS:
        SYNC_WAYS[way](pair.llm)
    else:
        await ASYNC_WAYS[way](pair.llm)
    assert len(handler.llm_token_counts) == 1
    assert handler.total_llm_token_count > 0
    assert pair.calls == (0, 1)
    decisions = [event for event in events if isinstance(event, RoutingDecisionEvent)]
    assert [event.decision.choice for event in decisions] == ["weak"]


def test_routed_call_is_counted_like_a_direct_one(make_pair) -> None:
    counts = []
    for direct in (True, False):
        shared, handler = manager()
        pair = make_pair(weak=ToolLLM("small"), callback_manager=shared)
        (pair.weak if direct else pair.llm).chat(MESSAGES)
        counts.append((len(handler.llm_token_counts), handler.total_llm_token_count))
    assert counts[0] == counts[1]


# --- who gets which manager ------------------------------------------------------------------------------------------


async def test_settings_manager_reaches_the_models_set_before_or_after(make_pair) -> None:
    for before in (True, False):
        shared, handler = manager()
        Settings._callback_manager = None
        if before:
            Settings.callback_manager = shared
        pair = make_pair()
        Settings.llm = pair.llm
        if not before:
            Settings.callback_manager = shared
        query(Settings.llm)
        assert len(handler.llm_token_counts) == 1, f"manager set {'before' if before else 'after'} the model"


def test_handlers_of_a_model_are_kept() -> None:
    own_manager, own = manager()
    shared, handler = manager()
    strong, weak = ToolLLM("big", callback_manager=own_manager), ToolLLM("small")
    llm = RoutedLLM(strong=strong, weak=weak, router=KeywordRouter(), threshold=0.5, callback_manager=shared)
    llm.callback_manager = shared
    llm.complete("hard")
    llm.complete("easy")
    assert strong.callback_manager is own_manager
    assert weak.callback_manager is shared
    assert (len(own.llm_token_counts), len(handler.llm_token_counts)) == (1, 1)


async def test_handlers_that_models_took_over_from_settings_are_not_their_own(make_pair) -> None:
    (first, first_handler), (second, second_handler) = manager(), manager()
    Settings.callback_manager = first
    pair = make_pair()
    assert pair.weak.callback_manager.handlers == [first_handler]
    Settings.llm = pair.llm
    query(Settings.llm)
    Settings.callback_manager = second
    query(Settings.llm)
    assert (len(first_handler.llm_token_counts), len(second_handler.llm_token_counts)) == (1, 1)


def test_the_global_handler_of_llamaindex_belongs_to_no_model(make_pair, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = LlamaDebugHandler(print_trace_on_end=False)
    monkeypatch.setattr("llama_index.core.global_handler", everywhere)
    pair = make_pair()
    assert pair.weak.callback_manager.handlers == [everywhere]
    shared, handler = manager()
    pair.llm.callback_manager = shared
    pair.llm.complete("easy")
    assert len(handler.llm_token_counts) == 1
    assert len(everywhere.get_llm_inputs_outputs()) == 1


def test_a_later_manager_replaces_the_one_that_was_handed_on(pair) -> None:
    (first, first_handler), (second, second_handler) = manager(), manager()
    pair.llm.callback_manager = first
    pair.llm.complete("easy")
    pair.llm.callback_manager = second
    pair.llm.complete("easy")
    assert len(first_handler.llm_token_counts) == len(second_handler.llm_token_counts) == 1


@pytest.mark.parametrize(
    "make_copy",
    [
        lambda llm: llm.with_threshold(0.6),
        lambda llm: llm.model_copy(),
        lambda llm: llm.model_copy(update={"emit_events": False}),
        lambda llm: llm.model_copy(deep=True),
        lambda llm: pickle.loads(pickle.dumps(llm)),
    ],
)
async def test_copies_follow_a_later_manager_too(make_copy) -> None:
    (first, first_handler), (second, second_handler) = manager(), manager()
    llm = RoutedLLM(strong=ToolLLM("big"), weak=ToolLLM("small"), router=LengthRouter(), threshold=0.5)
    Settings.callback_manager = first
    llm.callback_manager = first
    copied = make_copy(llm)
    query(copied)
    Settings.callback_manager = second
    query(copied)
    query(llm)
    assert len(second_handler.llm_token_counts) == 2
    assert len(first_handler.llm_token_counts) <= 1


async def test_engines_with_thresholds_of_their_own_follow_settings(pair) -> None:
    """Each copy saw another of the managers last, and the models are shared."""
    engines = [pair.llm.with_threshold(0.6), pair.llm.with_threshold(0.7)]
    (first, first_handler), (second, second_handler) = manager(), manager()
    Settings.callback_manager = first
    query(engines[0])
    Settings.callback_manager = second
    query(engines[1])
    query(engines[0])
    assert (len(first_handler.llm_token_counts), len(second_handler.llm_token_counts)) == (1, 2)


def test_a_copy_with_another_manager_hands_it_on(pair) -> None:
    (first, first_handler), (second, second_handler) = manager(), manager()
    pair.llm.callback_manager = first
    pair.llm.model_copy(update={"callback_manager": second}).complete("easy")
    assert (len(first_handler.llm_token_counts), len(second_handler.llm_token_counts)) == (0, 1)


def test_a_copy_with_other_models_follows_a_later_manager(pair) -> None:
    first, second, third, own = (manager()[0] for _ in range(4))
    pair.llm.callback_manager = first
    fresh, kept_own = ToolLLM("fresh"), ToolLLM("kept", callback_manager=own)
    # The model that stays, under another name; one without handlers; the weak one is left behind.
    copied = pair.llm.model_copy(update={"candidates": {"weak": pair.strong, "strong": fresh}})
    assert (pair.strong.callback_manager, fresh.callback_manager) == (first, first)
    copied.callback_manager = second
    assert (pair.strong.callback_manager, fresh.callback_manager) == (second, second)
    assert pair.weak.callback_manager is first
    pair.llm.callback_manager = third  # the original still reaches the model that both route to
    assert (pair.strong.callback_manager, pair.weak.callback_manager) == (third, third)
    assert fresh.callback_manager is second
    copied.callback_manager = first
    assert pair.strong.callback_manager is first
    other = copied.model_copy(update={"candidates": {"weak": fresh, "strong": kept_own}})
    other.callback_manager = second
    assert (fresh.callback_manager, kept_own.callback_manager) == (second, own)


def test_a_copy_with_another_manager_can_be_given_yet_another(pair) -> None:
    first, second, third = (manager()[0] for _ in range(3))
    for given in (None, first):
        if given is not None:
            pair.llm.callback_manager = given
        copied = pair.llm.model_copy(update={"callback_manager": second})
        assert pair.weak.callback_manager is second
        copied.callback_manager = third
        assert pair.weak.callback_manager is third


def test_handlers_added_later_see_the_calls(pair) -> None:
    _, handler = manager()
    pair.llm.callback_manager.add_handler(handler)
    pair.llm.complete("easy")
    assert len(handler.llm_token_counts) == 1


# --- events and tags -------------------------------------------------------------------------------------------------


def test_event_says_what_was_decided_before_the_model_is_called(pair, events) -> None:
    query(pair.llm)
    kinds = [type(event) for event in events]
    assert kinds.index(RoutingDecisionEvent) < kinds.index(LLMChatStartEvent)
    (event,) = (event for event in events if isinstance(event, RoutingDecisionEvent))
    assert isinstance(event.decision, RoutingDecision)
    assert (event.decision.choice, event.decision.strong_win_rate, event.model_name) == ("weak", 0.1, "small")
    assert event.span_id is not None
    assert event.span_id.startswith("RoutedLLM.predict-")
    dumped = event.model_dump()
    assert (dumped["class_name"], dumped["decision"]["choice"]) == ("RoutingDecisionEvent", "weak")
    assert "easy" not in event.model_dump_json()
    assert kinds.count(LLMPredictStartEvent) == 1


def test_no_event_is_made_where_nobody_listens(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr("routellm_llamaindex.events.RoutingDecisionEvent", lambda **fields: made.append(fields))
    pair.llm.complete("easy")
    assert made == []


def test_a_handler_of_this_package_alone_hears_the_event(pair) -> None:
    heard: list[Any] = []

    class Collect(BaseEventHandler):
        def handle(self, event: Any, **kwargs: Any) -> None:
            heard.append(event)

    dispatcher = get_dispatcher("routellm_llamaindex.events")
    dispatcher.add_event_handler(Collect())
    try:
        pair.llm.complete("easy")
    finally:
        dispatcher.event_handlers.clear()
    assert [event.model_name for event in heard] == ["small"]


def test_emit_events_can_be_switched_off(make_pair, events) -> None:
    pair = make_pair(emit_events=False)
    assert pair.llm.complete("easy").additional_kwargs["routellm"]["choice"] == "weak"
    assert not [event for event in events if isinstance(event, RoutingDecisionEvent)]


def test_events_of_the_chosen_model_are_tagged(pair, events) -> None:
    with instrument_tags({"tenant": "a"}):
        pair.llm.chat(MESSAGES)
        pair.llm.with_threshold(0.05).chat(MESSAGES)
    tagged = [event.tags for event in events if isinstance(event, LLMChatStartEvent | LLMChatEndEvent)]
    expected = {"tenant": "a", "routellm_reason": "policy", "routellm_strong_win_rate": 0.1}
    weak = {**expected, "routellm_choice": "weak", "routellm_threshold": 0.5}
    strong = {**expected, "routellm_choice": "strong", "routellm_threshold": 0.05}
    assert tagged == [weak, weak, strong, strong]
    events.clear()
    pair.weak.chat(MESSAGES)
    assert all(event.tags == {} for event in events), "the tags end with the call"


@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("way", [*SYNC_WAYS, *ASYNC_WAYS])
async def test_events_of_the_chosen_model_are_tagged_in_every_way(make_pair, events, way: str, fallback: bool) -> None:
    pair = make_pair(weak=ToolLLM("small", arguments={"name": "talc"}), fallback=fallback)
    if way in SYNC_WAYS:
        SYNC_WAYS[way](pair.llm)
    else:
        await ASYNC_WAYS[way](pair.llm)
    inner = [event for event in events if isinstance(event, OF_MODELS)]
    assert len(inner) >= 2
    assert {event.tags.get("routellm_choice") for event in inner} == {"weak"}
    events.clear()
    pair.weak.chat(MESSAGES)
    assert all(event.tags == {} for event in events), "the tags end with the call"


async def test_tags_do_not_reach_who_reads_a_stream(pair) -> None:
    stream = pair.llm.stream_chat(MESSAGES)
    assert [active_instrument_tags.get() for _ in stream] == [{}] * 3
    astream = await pair.llm.astream_chat(MESSAGES)
    assert [active_instrument_tags.get() async for _ in astream] == [{}] * 3


def test_no_event_or_span_shows_a_key(pair, events) -> None:
    query(pair.llm)
    assert events
    for event in events:
        assert "sk-very-secret" not in repr(event)
        assert "sk-very-secret" not in str(event.model_dump())
