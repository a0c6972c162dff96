"""The threshold and the route of one call or one chain: where they can be set, and what wins."""

import re
from typing import TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph

from routellm_core import routing
from routellm_core.errors import ConfigurationError, InvalidThresholdError, UnknownTargetError
from routellm_core.testing import ConstantRouter, FunctionRouter
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat

LOW = {"configurable": {"routellm_threshold": 0.05}}  # the easy prompts' 0.1 reaches it


def ping(x: int) -> int:
    """A tool."""
    return x


def graph_of(model):
    async def node(state: MessagesState):
        return {"messages": [await model.ainvoke(state["messages"])]}

    def sync_node(state: MessagesState):
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", RunnableLambda(sync_node, node))
    graph.add_edge(START, "model")
    graph.add_edge("model", END)
    return graph.compile()


def choice(message):
    return message.response_metadata["routellm"]["choice"]


# --- the places --------------------------------------------------------------------------------------------------------


def test_in_a_direct_call(routed):
    assert choice(routed.invoke("easy")) == "weak"
    assert choice(routed.invoke("easy", LOW)) == "strong"
    assert choice(next(routed.stream("easy", LOW))) == "strong"
    assert [choice(m) for m in routed.batch(["easy", "easy"], [LOW, {}])] == ["strong", "weak"]


async def test_in_a_direct_asynchronous_call(routed):
    assert choice(await routed.ainvoke("easy", LOW)) == "strong"
    assert choice(await anext(routed.astream("easy", LOW))) == "strong"
    assert [choice(m) for m in await routed.abatch(["easy", "easy"], [LOW, {}])] == ["strong", "weak"]


def test_with_config(routed):
    assert choice(routed.with_config(configurable={"routellm_threshold": 0.05}).invoke("easy")) == "strong"


def test_after_bind_tools(routed):
    assert choice(routed.bind_tools([ping]).invoke("easy 1", LOW)) == "strong"
    assert choice(routed.bind_tools([ping]).with_config(LOW).invoke("easy 1")) == "strong"


def test_with_structured_output(routed, strong, weak):
    schema = {"title": "A", "description": "A.", "type": "object", "properties": {"n": {"type": "integer"}}}
    routed.with_structured_output(schema).invoke("easy 1", LOW)
    assert (len(strong.calls), len(weak.calls)) == (1, 0)


def test_in_a_chain(routed):
    chain = ChatPromptTemplate.from_template("{q}") | routed | StrOutputParser()
    assert chain.invoke({"q": "easy"}) == "I am weak-model"
    assert chain.with_config(LOW).invoke({"q": "easy"}) == "I am strong-model"


async def test_in_a_graph_node(routed):
    graph = graph_of(routed)
    given = {"messages": [HumanMessage("easy")]}
    assert choice(graph.invoke(given)["messages"][-1]) == "weak"
    assert choice(graph.invoke(given, LOW)["messages"][-1]) == "strong"
    assert choice((await graph.ainvoke(given, LOW))["messages"][-1]) == "strong"


async def test_in_an_agent(routed):
    agent = create_agent(routed, tools=[ping])
    given = {"messages": [HumanMessage("easy 1")]}
    assert [choice(m) for m in agent.invoke(given)["messages"] if m.type == "ai"] == ["weak", "weak"]
    assert [choice(m) for m in agent.invoke(given, LOW)["messages"] if m.type == "ai"] == ["strong", "strong"]
    answers = (await agent.ainvoke(given, LOW))["messages"]
    assert [choice(m) for m in answers if m.type == "ai"] == ["strong", "strong"]


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_with_version_3_of_the_event_streams(routed):
    assert choice(routed.stream_events("easy", LOW, version="v3").output) == "strong"


# --- other ways --------------------------------------------------------------------------------------------------------


def test_a_forced_route(routed, router):
    answer = routed.invoke("easy", {"configurable": {"routellm_route": "strong"}})
    assert (choice(answer), answer.response_metadata["routellm"]["reason"]) == ("strong", "forced")
    assert router.scored == []
    with pytest.raises(UnknownTargetError, match="route='huge' is not a candidate; there are: weak, strong"):
        routed.invoke("easy", {"configurable": {"routellm_route": "huge"}})


async def test_the_routing_block_and_that_the_call_itself_wins(routed):
    with routing(threshold=0.05):
        assert choice(routed.invoke("easy")) == "strong"
        assert choice(await routed.ainvoke("easy")) == "strong"
        assert choice(routed.batch(["easy", "easy"])[1]) == "strong"
        assert choice(routed.invoke("easy", {"configurable": {"routellm_threshold": 0.5}})) == "weak"
    with routing(route="strong"):
        assert choice(next(routed.stream("easy"))) == "strong"


def test_with_threshold_returns_a_validated_copy_that_shares_the_cache(make_routed):
    router = FunctionRouter(lambda prompt: 0.4)
    routed = make_routed(router=router)
    eager = routed.with_threshold(0.3)
    assert (choice(routed.invoke("easy")), choice(eager.invoke("easy"))) == ("weak", "strong")
    assert (routed.engine.threshold, eager.engine.threshold) == (0.5, 0.3)
    assert len(router.calls) == 1
    with pytest.raises(InvalidThresholdError):
        routed.with_threshold(1.2)


def test_with_threshold_keeps_bound_tools(routed, strong):
    bound = routed.bind_tools([ping]).with_threshold(0.05)
    assert bound.invoke("easy 1").tool_calls
    assert strong.calls[0]["tools"]


def test_a_configurable_field(routed):
    configurable = routed.configurable_fields(threshold=ConfigurableField(id="t"))
    assert choice(configurable.invoke("easy", {"configurable": {"t": 0.05}})) == "strong"
    assert choice(configurable.invoke("easy")) == "weak"


def test_two_routed_models_in_one_chain_by_their_prefixes(make_routed, router):
    first, second = make_routed(config_prefix="first"), make_routed(config_prefix="second_")
    config = {"configurable": {"first_routellm_threshold": 0.05, "routellm_threshold": 0.9}}
    assert choice(first.invoke("easy", config)) == "strong"
    assert choice(second.invoke("easy", config)) == "weak"
    assert choice(second.invoke("easy", {"configurable": {"second_routellm_threshold": 0.05}})) == "strong"


def test_a_mistyped_key_is_an_error(routed):
    with pytest.raises(ConfigurationError, match="did you mean 'routellm_threshold'"):
        routed.invoke("easy", {"configurable": {"routellm_treshold": 0.2}})


@pytest.mark.parametrize("threshold", [1.5, -0.1, "high", True, float("nan")])
def test_a_bad_threshold_is_an_error(routed, threshold):
    with pytest.raises(InvalidThresholdError):
        routed.invoke("easy", {"configurable": {"routellm_threshold": threshold}})


@pytest.mark.parametrize("key", ["routellm_route", "routellm_chain", "routellm_session"])
@pytest.mark.parametrize("value", [["x"], 7, {"x": 1}])
def test_a_name_that_is_no_string_fails_its_call_alone(routed, key, value):
    wrong = {"configurable": {key: value}}
    message = re.escape(f"configurable key {key!r} must be a string or None, not {value!r}")
    with pytest.raises(ConfigurationError, match=message):
        routed.invoke("easy", wrong)
    answer, error = routed.batch(["easy", "easy"], [{}, wrong], return_exceptions=True)
    assert answer.text == "I am weak-model"
    assert isinstance(error, ConfigurationError)
    assert routed.invoke("easy", {"configurable": {key: None}}).text == "I am weak-model"


def test_the_keys_are_advertised(routed, make_routed):
    keys = ["routellm_threshold", "routellm_route", "routellm_chain", "routellm_session"]
    assert [spec.id for spec in routed.config_specs] == keys
    assert [spec.id for spec in routed.bind_tools([ping]).config_specs] == keys
    assert [spec.id for spec in make_routed(config_prefix="a").config_specs] == [f"a_{key}" for key in keys]
    properties = (routed | StrOutputParser()).config_schema().model_json_schema()["$defs"]["Configurable"]["properties"]
    assert set(keys) <= set(properties)


def test_the_keys_do_not_travel_on_to_the_chosen_model():
    inner = FakeChat(model="inner")
    seen = []
    from langchain_core.runnables import RunnableLambda

    def look(messages, config):
        seen.append(config["configurable"])
        return inner.invoke(messages)

    routed = RoutedChatModel(strong=RunnableLambda(look), weak=inner, router=ConstantRouter(0.5), threshold=0.5)
    routed.invoke("easy", {"configurable": {"routellm_threshold": 0.1, "thread_id": "7"}})
    assert seen == [{"thread_id": "7"}]


# --- deciding only -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner_prefix", ["", "inner"])
def test_the_context_of_a_graph_does_not_travel_on_to_the_chosen_model(make_routed, inner_prefix):
    class Context(TypedDict):
        routellm_route: str

    small = FakeChat(model="inner-weak")
    inner = make_routed(weak=small, config_prefix=inner_prefix)
    outer = make_routed(strong=inner)

    def node(state: MessagesState):
        return {"messages": [outer.invoke(state["messages"])]}

    graph = StateGraph(MessagesState, context_schema=Context)
    graph.add_node("model", node)
    graph.add_edge(START, "model")
    app = graph.compile()
    asked = {"messages": [HumanMessage("easy")]}
    context = {"routellm_route": "strong"}
    assert app.invoke(asked, context=context)["messages"][-1].text == "I am inner-weak"
    if inner_prefix:
        context = {**context, "inner_routellm_route": "strong"}
        assert app.invoke(asked, context=context)["messages"][-1].text == "I am strong-model"


async def test_a_block_does_not_travel_on_to_the_chosen_model(make_routed):
    small, large = FakeChat(model="inner-small"), FakeChat(model="inner-large")
    pair = {"weak": small, "strong": large}
    inner = make_routed(strong=None, weak=None, candidates=pair)
    tiny = FakeChat(model="tiny")
    outer = make_routed(strong=None, weak=None, candidates={"tiny": tiny, "routed": inner})
    for block in (routing(route="routed"), routing(route="strong"), routing(threshold=0.1)):
        with block:
            outer.invoke("easy")
            await outer.ainvoke("easy")
            list(outer.stream("easy"))
            [chunk async for chunk in outer.astream("easy")]
            outer.batch(["easy"])
            await outer.abatch(["easy"])
        assert (len(tiny.calls), len(small.calls), len(large.calls)) == (0, 6, 0)
        small.calls.clear()


async def test_decide_calls_no_model(routed, strong, weak):
    assert routed.decide("a hard one").choice == "strong"
    assert routed.decide([HumanMessage("easy")]).choice == "weak"
    assert routed.decide("easy", LOW).choice == "strong"
    assert (await routed.adecide("a hard one")).choice == "strong"
    assert routed.bind_tools([ping]).decide("a hard one").choice == "strong"
    assert strong.calls == weak.calls == []


class Question(TypedDict):
    question: str


def test_decide_reads_the_config_of_the_graph_around_it(routed):
    found = []
    graph = StateGraph(Question)
    graph.add_node("ask", lambda state: found.append(routed.decide(state["question"]).choice))
    graph.add_edge(START, "ask")
    graph.compile().invoke({"question": "easy"}, LOW)
    assert found == ["strong"]
