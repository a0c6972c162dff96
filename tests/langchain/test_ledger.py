"""The ledger: every model call once, however it is made."""

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from routellm_core.errors import ConfigurationError
from routellm_core.ledger import Usage
from routellm_core.pricing import Price, look_up_price
from routellm_core.testing import FunctionRouter
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.openai_server import OpenAIServer
from support.runs import until

SCHEMA = {"title": "A", "description": "An answer.", "type": "object", "properties": {"n": {"type": "integer"}}}
PRICES = {"strong": Price(input=10.0, output=20.0), "weak": Price(input=1.0, output=2.0)}
CALL = Usage(input_tokens=10, output_tokens=5)


async def by_invoke(model):
    model.invoke("hard 1")


async def by_ainvoke(model):
    await model.ainvoke("hard 1")


async def by_stream(model):
    list(model.stream("hard 1"))


async def by_astream(model):
    [chunk async for chunk in model.astream("hard 1")]


async def by_batch(model):
    model.batch(["hard 1"])


async def by_abatch(model):
    await model.abatch(["hard 1"])


async def by_generate(model):
    model.generate_prompt([model._convert_input("hard 1")])


async def by_version_2(model):
    [event async for event in model.astream_events("hard 1", version="v2")]


async def by_version_3(model):
    _ = model.stream_events("hard 1", version="v3").output


async def by_version_3_async(model):
    await (await model.astream_events("hard 1", version="v3"))


async def by_tools(model):
    model.bind_tools([{"name": "t", "description": "t", "parameters": {}}]).invoke("hard 1")


async def by_schema(model):
    model.with_structured_output(SCHEMA).invoke("hard 1")
    return 1


async def by_streamed_schema(model):
    list(model.with_structured_output(SCHEMA).stream("hard 1"))


async def by_graph(model):
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_edge(START, "model")
    list(graph.compile().stream({"messages": [("user", "hard 1")]}, stream_mode="messages"))


WAYS = [value for name, value in dict(globals()).items() if name.startswith("by_")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_exactly_once(make_routed, way):
    routed = make_routed(prices=PRICES)
    await way(routed)
    await until(lambda: routed.engine.ledger.totals)
    (totals,) = routed.engine.ledger.totals.items()
    assert totals[0] == "strong"
    assert (totals[1].calls, totals[1].failures, totals[1].calls_without_usage) == (1, 0, 0)
    assert totals[1].usage == CALL
    assert routed.engine.ledger.cost == pytest.approx((10 * 10 + 5 * 20) / 1e6)


def test_what_was_saved(make_routed):
    routed = make_routed(prices=PRICES)
    routed.invoke("hard")
    routed.with_threshold(0.4).batch(["easy"] * 3)
    ledger = routed.engine.ledger
    assert ledger.cost == pytest.approx((200 + 3 * 20) / 1e6)
    assert ledger.strong_only_cost == pytest.approx(4 * 200 / 1e6)
    assert ledger.to_dict()["saved_fraction"] == pytest.approx(1 - 260 / 800)


def test_tokens_from_the_providers_cache(make_routed):
    class Cached(FakeChat):
        def _message(self, messages, kwargs):
            message = super()._message(messages, kwargs)
            message.usage_metadata["input_token_details"] = {"cache_read": 8}
            return message

    routed = make_routed(strong=Cached(), prices={"strong": {"input": 10, "output": 20, "cached_input": 1}, "weak": 1})
    routed.invoke("hard")
    assert routed.engine.ledger.totals["strong"].usage == Usage(input_tokens=10, output_tokens=5, cached_tokens=8)
    assert routed.engine.ledger.cost == pytest.approx((2 * 10 + 8 * 1 + 5 * 20) / 1e6)


def test_models_that_report_no_tokens(make_routed):
    routed = make_routed(strong=RunnableLambda(lambda _: AIMessage("x")))
    routed.invoke("hard")
    list(routed.stream("hard"))
    totals = routed.engine.ledger.totals["strong"]
    assert (totals.calls, totals.calls_without_usage, totals.usage) == (2, 2, Usage())


def test_retries_are_calls(make_routed):
    flaky = FakeChat(fail=ValueError("busy"), failures=[2])
    routed = make_routed(strong=flaky.with_retry(wait_exponential_jitter=False, stop_after_attempt=3))
    routed.invoke("hard")
    totals = routed.engine.ledger.totals["strong"]
    assert (totals.failures, totals.calls, totals.usage) == (2, 1, CALL)


async def test_a_stream_that_is_not_read_to_its_end_is_no_failure(make_routed):
    routed = make_routed()
    stream = routed.stream("hard")
    next(stream)
    stream.close()
    astream = routed.astream("hard")
    await anext(astream)
    await astream.aclose()
    totals = routed.engine.ledger.totals["strong"]
    assert (totals.calls, totals.failures, totals.calls_without_usage) == (2, 0, 2)


def test_an_answer_from_the_cache_of_langchain_costs_nothing(make_routed):
    set_llm_cache(InMemoryCache())
    try:
        routed = make_routed()
        routed.invoke("hard")
        routed.invoke("hard")
    finally:
        set_llm_cache(None)
    totals = routed.engine.ledger.totals["strong"]
    assert (totals.calls, totals.usage) == (2, CALL)


def test_a_routed_model_among_the_candidates_keeps_its_own(make_routed, router, strong, weak):
    inner = RoutedChatModel(strong=strong, weak=weak, router=router, threshold=0.95)
    outer = make_routed(strong=inner)
    outer.invoke("hard")
    assert outer.engine.ledger.totals["strong"].usage == CALL
    assert inner.engine.ledger.totals["weak"].usage == CALL
    assert (outer.engine.ledger.totals["strong"].calls, inner.engine.ledger.totals["weak"].calls) == (1, 1)


def test_other_callbacks_count_as_before(routed):
    usage = UsageMetadataCallbackHandler()
    routed.invoke("hard", {"callbacks": [usage]})
    list(routed.stream("hard", {"callbacks": [usage]}))
    assert usage.usage_metadata["strong-model"]["total_tokens"] == 30


async def test_with_a_real_client(router):
    with OpenAIServer() as server:

        def client(model):
            return ChatOpenAI(model=model, base_url=server.url, api_key="test", max_retries=0, stream_usage=True)

        routed = RoutedChatModel(strong=client("big"), weak=client("small"), router=router, threshold=0.5)
        one = routed.invoke("hard").usage_metadata
        list(routed.stream("hard"))
        await routed.ainvoke("hard")
        [chunk async for chunk in routed.astream("hard")]
        usage = routed.engine.ledger.totals["strong"].usage
        assert (usage.input_tokens, usage.output_tokens) == (4 * one["input_tokens"], 4 * one["output_tokens"])


# --- prices ------------------------------------------------------------------------------------------------------------


def test_list_prices(router):
    pytest.importorskip("genai_prices")
    strong = ChatOpenAI(model="gpt-4o", api_key="test")
    weak = ChatOpenAI(model="gpt-4o-mini", api_key="test").with_retry()
    routed = RoutedChatModel(strong=strong, weak=weak, router=router, threshold=0.5, prices="list")
    assert routed.engine.plan.prices == {
        "strong": look_up_price("gpt-4o", "openai"),
        "weak": look_up_price("gpt-4o-mini", "openai"),
    }
    with pytest.raises(ConfigurationError, match=r"no list price is known for candidate 'weak' \(model 'fake'"):
        RoutedChatModel(strong=strong, weak=FakeChat(), router=router, threshold=0.5, prices="list")
    with pytest.raises(ConfigurationError, match=r"candidate 'weak' \(model None"):
        RoutedChatModel(strong=strong, weak=RunnableLambda(len), router=router, threshold=0.5, prices="list")


# --- models that a router asks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [by_invoke, by_ainvoke, by_stream, by_astream, by_batch, by_abatch, by_version_3])
async def test_a_judge_that_a_nested_router_asks_is_no_call_of_the_candidate(make_routed, by):
    judged = []

    def ask(prompt):
        judged.append(judge.invoke(prompt))
        return 0.9

    # The judge is routed too: the calls of its own candidates count in its own ledger.
    judge = make_routed(strong=FakeChat(model="judge"), threshold=0.5)
    inner = make_routed(strong=FakeChat(model="inner"), router=FunctionRouter(ask))
    outer = make_routed(strong=inner)
    await by(outer)
    assert len(judged) == 1
    totals = {name: model.engine.ledger.totals for name, model in (("o", outer), ("i", inner), ("j", judge))}
    assert {name: {one: total.calls for one, total in of.items()} for name, of in totals.items()} == {
        "o": {"strong": 1},
        "i": {"strong": 1},
        "j": {"strong": 1},
    }
