"""Streams of events: versions 2 and 3, and the streams of LangGraph."""

import uuid

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from routellm_core import PairRouter, routing
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.runs import RunRecorder, until

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

GIVEN = {"messages": [HumanMessage("a hard one")]}


def ping(x: int) -> int:
    """A tool."""
    return x


def graph_of(node):
    graph = StateGraph(MessagesState)
    graph.add_node("model", node)
    graph.add_edge(START, "model")
    return graph.compile()


async def test_version_2(routed):
    events = [event async for event in routed.astream_events("a hard one", version="v2")]
    kinds = [event["event"] for event in events]
    assert kinds.count("on_chat_model_start") == kinds.count("on_chat_model_end") == 1
    tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == "I am strong-model"
    assert events[0]["event"] == "on_chain_start"
    assert events[0]["name"] == "RoutedChatModel"
    (end,) = [e for e in events if e["event"] == "on_chain_end" and e["name"] == "RoutedChatModel"]
    assert end["data"]["output"]["routellm"]["choice"] == "strong"


def test_version_3(routed):
    recorder = RunRecorder()
    run_id = uuid.uuid4()
    config = {"callbacks": [recorder], "run_name": "mine", "run_id": run_id}
    stream = routed.stream_events("a hard one", config, version="v3")
    assert isinstance(stream, ChatModelStream)
    assert "".join(stream.text) == "I am strong-model"
    message = stream.output
    assert message.response_metadata["routellm"]["choice"] == "strong"
    assert message.response_metadata["output_version"] == "v1"
    assert message.usage_metadata["total_tokens"] == 15
    (model,) = recorder.model_runs
    assert (model.name, model.id) == ("mine", run_id)
    assert recorder.runs[0].name == "RoutingRunnable"
    assert model.metadata["routellm"]["choice"] == "strong"
    assert [run.ended for run in recorder.runs] == [1, 1]


async def test_version_3_asynchronously(routed):
    recorder = RunRecorder()
    stream = await routed.astream_events("easy", {"callbacks": [recorder]}, version="v3", stop=None)
    assert isinstance(stream, AsyncChatModelStream)
    assert "".join([token async for token in stream.text]) == "I am weak-model"
    message = await stream.output
    assert message.response_metadata["routellm"]["choice"] == "weak"
    assert recorder.model_runs[0].metadata["routellm"]["choice"] == "weak"
    await until(lambda: [run.ended for run in recorder.runs] == [1, 1])


def test_version_3_with_tools_and_bound_models(make_routed, strong):
    routed = make_routed(strong=strong.bind(temperature=0.3)).bind_tools([ping])
    stream = routed.stream_events("hard 7", version="v3")
    assert stream.output.tool_calls[0]["args"] == {"x": 7}
    assert stream.output.response_metadata["routellm"]["choice"] == "strong"
    assert strong.calls[0]["temperature"] == 0.3


async def test_version_3_of_a_candidate_that_has_none_names_it(make_routed, strong):
    routed = make_routed(strong=strong.with_fallbacks([FakeChat()]))
    named = r"candidate 'strong' \(RunnableWithFallbacks of FakeChat, FakeChat\) offers no event stream of version 3"
    with pytest.raises(NotImplementedError, match=named):
        routed.stream_events("a hard one", version="v3")
    with pytest.raises(NotImplementedError, match=named):
        await routed.astream_events("a hard one", version="v3")


async def test_version_3_takes_no_block_on_to_the_chosen_model(make_routed, weak):
    outer = make_routed(strong=make_routed())
    with routing(route="strong"):
        assert outer.stream_events("easy", version="v3").output.text == "I am weak-model"
        message = await (await outer.astream_events("easy", version="v3")).output
        assert message.text == "I am weak-model"
    assert len(weak.calls) == 2


# --- LangGraph ---------------------------------------------------------------------------------------------------------


def nodes(model):
    def by_invoke(state: MessagesState):
        return {"messages": [model.invoke(state["messages"])]}

    def by_stream(state: MessagesState):
        chunks = list(model.stream(state["messages"]))
        total = chunks[0]
        for chunk in chunks[1:]:
            total = total + chunk
        return {"messages": [total]}

    async def by_ainvoke(state: MessagesState):
        return {"messages": [await model.ainvoke(state["messages"])]}

    return {"invoke": by_invoke, "stream": by_stream, "ainvoke": by_ainvoke}


@pytest.mark.parametrize("how", ["invoke", "stream", "ainvoke"])
async def test_the_message_stream_has_every_token_once(routed, how):
    graph = graph_of(nodes(routed)[how])
    parts = [part async for part in graph.astream(GIVEN, stream_mode="messages")]
    assert "".join(message.text for message, _ in parts) == "I am strong-model"
    assert all(metadata["routellm"]["choice"] == "strong" for message, metadata in parts if message.text)


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_the_synchronous_message_stream_has_every_token_once(routed, how):
    parts = list(graph_of(nodes(routed)[how]).stream(GIVEN, stream_mode="messages"))
    assert "".join(message.text for message, _ in parts) == "I am strong-model"


def test_the_final_message_of_the_graph_carries_the_decision(routed):
    final = graph_of(nodes(routed)["invoke"]).invoke(GIVEN)["messages"][-1]
    assert final.response_metadata["routellm"]["choice"] == "strong"


def test_version_3_of_a_graph(routed):
    stream = graph_of(nodes(routed)["invoke"]).stream_events(GIVEN, version="v3")
    assert ["".join(message.text) for message in stream.messages] == ["I am strong-model"]


def test_an_agent_streams_each_answer_once(routed):
    agent = create_agent(routed, tools=[ping])
    given = {"messages": [HumanMessage("hard 7")]}
    parts = list(agent.stream(given, stream_mode="messages"))
    assert "".join(m.text for m, metadata in parts if metadata["langgraph_node"] == "model") == "I am strong-model"


class JudgeRouter(PairRouter):
    """Asks a chat model, as a router may."""

    name = "judge"

    def __init__(self, judge):
        self.judge = judge

    def strong_win_rates(self, prompts):
        return np.array([float(self.judge.invoke(prompt).text) for prompt in prompts])


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
async def test_the_tokens_of_a_judge_stay_out_of_the_stream_and_its_run_is_under_the_scoring(strong, weak, how):
    judge = FakeChat(model="judge", text="0.7")
    routed = RoutedChatModel(strong=strong, weak=weak, router=JudgeRouter(judge), threshold=0.5)
    recorder = RunRecorder()
    graph = graph_of(nodes(routed)[how])
    parts = [part async for part in graph.astream(GIVEN, {"callbacks": [recorder]}, stream_mode="messages")]
    assert "".join(message.text for message, _ in parts) == "I am strong-model"
    judge_run, model_run = recorder.model_runs
    assert judge_run.metadata["ls_model_name"] == "judge"
    assert judge_run.parent == recorder.named("RoutingRunnable")[0].id
    assert "nostream" not in model_run.tags
