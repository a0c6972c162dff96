"""Conversations that stay on their model, and settings that come from a graph's runtime context."""

from dataclasses import dataclass

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from routellm_core import routing
from routellm_core.errors import ConfigurationError


def choice(message):
    return message.response_metadata["routellm"]["choice"]


def reason(message):
    return message.response_metadata["routellm"]["reason"]


def in_session(name):
    return {"configurable": {"routellm_session": name}}


def graph_of(model, **options):
    def node(state: MessagesState):
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState, context_schema=options.pop("context_schema", None))
    graph.add_node("model", node)
    graph.add_edge(START, "model")
    return graph.compile(**options)


# --- sessions ----------------------------------------------------------------------------------------------------------


async def test_by_its_key(make_routed):
    routed = make_routed(sticky=True)
    assert choice(routed.invoke("hard", in_session("a"))) == "strong"
    again = await routed.ainvoke("easy", in_session("a"))
    assert (choice(again), reason(again)) == ("strong", "session")
    assert choice(routed.invoke("easy", in_session("b"))) == "weak"
    assert choice(next(routed.stream("hard", in_session("b")))) == "weak"
    assert [choice(m) for m in routed.batch(["easy", "hard"], [in_session("a"), in_session("b")])] == ["strong", "weak"]
    assert (
        choice(routed.bind_tools([{"name": "t", "description": "t", "parameters": {}}]).invoke("easy", in_session("a")))
        == "strong"
    )


def test_not_unless_asked_for(routed):
    assert [choice(routed.invoke(prompt, in_session("a"))) for prompt in ("hard", "easy")] == ["strong", "weak"]


def test_by_the_thread_of_a_graph(make_routed):
    graph = graph_of(make_routed(sticky=True), checkpointer=InMemorySaver())

    def ask(text, thread, **configurable):
        config = {"configurable": {"thread_id": thread, **configurable}}
        return graph.invoke({"messages": [HumanMessage(text)]}, config)["messages"][-1]

    assert [choice(ask(text, "1")) for text in ("hard", "easy")] == ["strong", "strong"]
    assert [choice(ask(text, "2")) for text in ("easy", "hard")] == ["weak", "weak"]
    assert choice(ask("easy", "1", routellm_session="other")) == "weak"
    with routing(session="third"):
        assert choice(ask("hard", "2")) == "strong"


def test_by_the_first_human_message(make_routed):
    routed = make_routed(sticky=True)
    turns = [HumanMessage("hard"), AIMessage("yes"), HumanMessage("easy")]
    assert [choice(routed.invoke(turns[:1])), choice(routed.invoke(turns))] == ["strong", "strong"]
    assert choice(routed.invoke([HumanMessage("easy")])) == "weak"


def test_it_moves_when_that_pays_for_the_cold_cache(make_routed):
    prices = {"strong": {"input": 2.5, "output": 10, "cached_input": 0.25}, "weak": {"input": 0.1, "output": 0.4}}
    long = "easy " * 4000
    warm = [HumanMessage("hard " + long), AIMessage("yes")]
    for threshold, expected in ((0.11, "strong"), (0.9, "weak")):  # the easy prompt's 0.1 is a little or far below
        routed = make_routed(sticky=True, prices=prices, threshold=0.5)
        config = {"configurable": {"routellm_threshold": threshold}}
        assert choice(routed.invoke(warm[:1], config)) == "strong"
        assert choice(routed.invoke([*warm, HumanMessage("easy")], config)) == expected


# --- the runtime context -----------------------------------------------------------------------------------------------


@dataclass
class Settings:
    routellm_threshold: float | None = None
    routellm_route: str | None = None
    user: str = "me"


GIVEN = {"messages": [HumanMessage("easy")]}


@pytest.mark.parametrize(
    ("schema", "context"),
    [(dict, {"routellm_threshold": 0.05, "user": "me"}), (Settings, Settings(routellm_threshold=0.05))],
    ids=["mapping", "object"],
)
async def test_of_a_graph(routed, schema, context):
    graph = graph_of(routed, context_schema=schema)
    assert choice(graph.invoke(GIVEN, context=context)["messages"][-1]) == "strong"
    assert choice((await graph.ainvoke(GIVEN, context=context))["messages"][-1]) == "strong"
    assert choice(graph.invoke(GIVEN)["messages"][-1]) == "weak"
    own = {"configurable": {"routellm_threshold": 0.5}}
    assert choice(graph.invoke(GIVEN, own, context=context)["messages"][-1]) == "weak"


def test_of_a_graph_whose_node_passes_a_config_of_its_own(routed):
    graph = StateGraph(MessagesState, context_schema=Settings)
    call = {"configurable": {"thread_id": "1"}}
    graph.add_node("one", lambda state: {"messages": [routed.invoke(state["messages"], call)]})
    graph.add_node("many", lambda state: {"messages": routed.batch([state["messages"][:1]], call)})
    graph.add_node("streamed", lambda state: {"messages": [next(routed.stream(state["messages"][:1], call))]})
    for first, second in ((START, "one"), ("one", "many"), ("many", "streamed")):
        graph.add_edge(first, second)
    answers = graph.compile().invoke(GIVEN, context=Settings(routellm_threshold=0.05))["messages"][1:]
    assert [choice(answer) for answer in answers] == ["strong"] * 3


def test_of_an_agent(routed):
    agent = create_agent(routed, tools=[], context_schema=Settings)
    assert choice(agent.invoke(GIVEN, context=Settings(routellm_route="strong"))["messages"][-1]) == "strong"


def test_with_a_prefix_and_a_mistyped_key(make_routed, routed):
    graph = graph_of(make_routed(config_prefix="first"), context_schema=dict)
    context = {"first_routellm_threshold": 0.05, "routellm_threshold": 0.9}
    assert choice(graph.invoke(GIVEN, context=context)["messages"][-1]) == "strong"
    with pytest.raises(ConfigurationError, match="did you mean 'routellm_threshold'"):
        graph_of(routed, context_schema=dict).invoke(GIVEN, context={"routellm_treshold": 0.2})


def test_deciding_without_a_call_does_not_move_the_conversation(make_routed):
    routed = make_routed(sticky=True)
    assert routed.decide("a hard theorem", in_session("s")).choice == "strong"
    assert choice(routed.invoke("easy", in_session("s"))) == "weak"
