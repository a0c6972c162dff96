"""Agents: one model from the question to the answer, in both of LlamaIndex's loops."""

import copy
import pickle
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.agent.workflow.prompts import DEFAULT_EARLY_STOPPING_PROMPT
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from routellm_core import routing
from routellm_core.errors import NoCandidateError, RoutingError
from routellm_llamaindex import RoutedLLM
from routellm_llamaindex.loops import ToolLoops
from support.llamaindex_models import BlockToolLLM, PlainLLM, ToolLLM
from support.routers import KeywordRouter

# What LlamaIndex's own agents do: read every attribute, deprecated ones too, and ask a deprecated question in ReActAgent.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]


def multiply(a: int, b: int) -> str:
    """Multiply two numbers."""
    return f"{a * b}, which was hard to find"


TOOL = FunctionTool.from_defaults(multiply)
FINAL = DEFAULT_EARLY_STOPPING_PROMPT.format(max_iterations=2)


class Product(BaseModel):
    a: int
    b: int


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("text", "calls"), [("a hard product", (2, 0)), ("an easy product", (0, 2))])
async def test_function_agent_stays_on_one_model(pair, streaming: bool, text: str, calls: tuple[int, int]) -> None:
    agent = FunctionAgent(tools=[TOOL], llm=pair.llm, streaming=streaming)
    response = await agent.run(text)
    assert pair.calls == calls
    assert str(response) == f"{'big' if calls[0] else 'small'} says hi"
    assert [call.tool_name for call in response.tool_calls] == ["multiply"]
    assert set(pair.router.scored) == {text}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("text", "calls"), [("a hard product", (2, 0)), ("an easy product", (0, 2))])
async def test_react_agent_stays_on_one_model(make_pair, streaming: bool, text: str, calls: tuple[int, int]) -> None:
    pair = make_pair(ToolLLM("big", react=True), ToolLLM("small", react=True))
    response = await ReActAgent(tools=[TOOL], llm=pair.llm, streaming=streaming).run(text)
    assert str(response) == "42"
    assert pair.calls == calls
    observation = (pair.strong if calls[0] else pair.weak).seen[-1][-1]
    assert observation.role == MessageRole.USER
    assert (observation.content or "").startswith("Observation: 42, which was hard")
    assert set(pair.router.scored) == {text}


async def test_react_complaint_does_not_move_the_route(make_pair) -> None:
    class Muddled(ToolLLM):
        def _answer(self, messages: Any, *args: Any, **kwargs: Any) -> ChatMessage:
            if len(self.seen) == 0:
                super()._answer(messages)
                return ChatMessage(role=MessageRole.ASSISTANT, content="Thought: Action? It is hard")
            return super()._answer(messages, *args, **kwargs)

    pair = make_pair(ToolLLM("big", react=True), Muddled("small", react=True))
    await ReActAgent(tools=[TOOL], llm=pair.llm).run("an easy product")
    assert (pair.weak.seen[1][-1].content or "").startswith("Error while parsing the output")
    assert pair.calls == (0, 3)


async def test_agent_workflow_takes_the_function_agent(pair) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([multiply], llm=pair.llm)
    assert [type(agent) for agent in workflow.agents.values()] == [FunctionAgent]
    assert str(await workflow.run("an easy product")) == "small says hi"
    assert pair.calls == (0, 2)


async def test_state_before_the_message_is_not_scored(pair) -> None:
    workflow = AgentWorkflow.from_tools_or_functions([multiply], llm=pair.llm, initial_state={"mode": "hard"})
    await workflow.run("an easy product")
    assert "Current state:\n{'mode': 'hard'}" in (pair.weak.seen[0][-1].content or "")
    assert pair.calls == (0, 2)
    assert set(pair.router.scored) == {"an easy product"}


async def test_output_cls_of_an_agent_is_made_by_the_same_model(pair) -> None:
    agent = FunctionAgent(tools=[TOOL], llm=pair.llm, output_cls=Product)
    response = await agent.run("an easy product")
    assert response.structured_response == {"a": 6, "b": 7}
    assert "<current_conversation>" in (pair.weak.seen[-1][-1].content or "")
    assert pair.calls == (0, 3)
    assert set(pair.router.scored) == {"an easy product"}


@pytest.mark.parametrize("make_agent", [FunctionAgent, ReActAgent])
async def test_routing_block_reaches_the_steps_of_an_agent(make_pair, make_agent: Any) -> None:
    pair = make_pair(ToolLLM("big", react=True), ToolLLM("small", react=True))
    agent = make_agent(tools=[TOOL], llm=pair.llm)
    async with routing(route="strong"):
        await agent.run("an easy product")
    assert pair.calls == (2, 0)
    with routing(threshold=0.95):
        await agent.run("a hard product")
    assert pair.calls == (2, 2)


# --- tools -----------------------------------------------------------------------------------------------------------


async def test_all_four_ways_with_tools(pair) -> None:
    llm = pair.llm
    responses = [
        llm.chat_with_tools([TOOL], "hard"),
        await llm.achat_with_tools([TOOL], "hard"),
        *llm.stream_chat_with_tools([TOOL], "hard"),
        *[chunk async for chunk in await llm.astream_chat_with_tools([TOOL], "hard")],
    ]
    assert pair.calls == (4, 0)
    for response in responses:
        assert response.additional_kwargs["routellm"]["choice"] == "strong"
        assert "routellm" not in response.message.additional_kwargs
        (call,) = llm.get_tool_calls_from_response(response)
        assert (call.tool_name, call.tool_kwargs) == ("multiply", {"a": 6, "b": 7})


async def test_history_of_the_caller_is_left_alone(pair) -> None:
    history = user("before")
    message = ChatMessage(role=MessageRole.USER, content="easy")
    pair.llm.chat_with_tools([TOOL], message, history)
    await pair.llm.achat_with_tools([TOOL], "easy", history)
    list(pair.llm.stream_chat_with_tools([TOOL], "easy", history))
    [chunk async for chunk in await pair.llm.astream_chat_with_tools([TOOL], "easy", history)]
    assert history == user("before")
    assert [[m.content for m in messages] for messages in pair.weak.seen] == [["before", "easy"]] * 4


def test_tool_required_is_sent_only_when_asked_for(pair) -> None:
    class Older(ToolLLM):
        def chat_with_tools(self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any) -> Any:
            self.given.append(kwargs)
            return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="ok"))

    older = Older("older")
    llm = RoutedLLM(strong=older, weak=older, router=KeywordRouter(), threshold=0.5)
    llm.chat_with_tools([TOOL], "easy")
    llm.chat_with_tools([TOOL], "easy", tool_required=True, tool_choice="multiply")
    assert older.given == [
        {"verbose": False, "allow_parallel_tool_calls": False},
        {"verbose": False, "allow_parallel_tool_calls": False, "tool_choice": "multiply", "tool_required": True},
    ]


@pytest.mark.parametrize("choice", ["strong", "weak"])
async def test_each_model_reads_its_own_tool_calls(make_pair, choice: str) -> None:
    pair = make_pair(BlockToolLLM("blocks"), ToolLLM("dicts"))
    text = "hard" if choice == "strong" else "easy"
    response = pair.llm.chat_with_tools([TOOL], text)
    assert [call.tool_name for call in pair.llm.get_tool_calls_from_response(response)] == ["multiply"]
    # A response that was rebuilt elsewhere does not say who made it.
    rebuilt = ChatResponse(message=response.message)
    assert [call.tool_name for call in pair.llm.get_tool_calls_from_response(rebuilt)] == ["multiply"]
    assert str(await FunctionAgent(tools=[TOOL], llm=pair.llm).run(text)).endswith("says hi")


def test_response_without_tool_calls(pair) -> None:
    for response in (pair.llm.chat(user("easy")), ChatResponse(message=ChatMessage(content="hi"))):
        assert pair.llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match="at least one tool call"):
            pair.llm.get_tool_calls_from_response(response)
    unreadable = ChatResponse(message=ToolLLM("x").tool_call("multiply"))
    blocks = RoutedLLM(strong=BlockToolLLM("a"), weak=BlockToolLLM("b"), router=KeywordRouter(), threshold=0.5)
    with pytest.raises(RoutingError, match="no candidate can read"):
        blocks.get_tool_calls_from_response(unreadable)


def test_predict_and_call_runs_the_tool(pair) -> None:
    assert pair.llm.predict_and_call([TOOL], "easy").response == "42, which was hard to find"


class Signed(ToolLLM):
    """Writes its name into the tool calls that it reads."""

    def get_tool_calls_from_response(self, response: ChatResponse, error_on_no_tool_call: bool = True) -> Any:
        calls = super().get_tool_calls_from_response(response, error_on_no_tool_call)
        return [call.model_copy(update={"tool_id": self.label}) for call in calls]


def test_tool_calls_are_read_by_the_model_that_wrote_them_also_when_nested(make_pair) -> None:
    inner = make_pair(Signed("big"), Signed("small"))
    outer = RoutedLLM(strong=inner.llm, weak=Signed("tiny"), router=KeywordRouter("very"), threshold=0.5)
    for text, author in (("very hard", "big"), ("very easy", "small"), ("easy", "tiny")):
        response = outer.chat_with_tools([TOOL], text)
        assert [call.tool_id for call in outer.get_tool_calls_from_response(response)] == [author], text


def test_a_response_of_unknown_origin_is_read_by_the_strongest_that_can(make_pair) -> None:
    response = ChatResponse(message=ToolLLM("x").tool_call("multiply"))
    for strong, author in ((Signed("big"), "big"), (BlockToolLLM("blocks"), "small"), (PlainLLM("plain"), "small")):
        pair = make_pair(strong, Signed("small"))
        assert [call.tool_id for call in pair.llm.get_tool_calls_from_response(response)] == [author]


# --- models without tools --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["an easy product", "a hard product"])
async def test_calls_with_tools_go_to_the_model_that_has_them(make_pair, text: str) -> None:
    pair = make_pair(strong=ToolLLM("big"), weak=PlainLLM("plain"))
    assert pair.llm.metadata.is_function_calling_model
    assert str(await FunctionAgent(tools=[TOOL], llm=pair.llm).run(text)) == "big says hi"
    assert pair.calls == (2, 0)
    record = pair.llm.chat_with_tools([TOOL], text).additional_kwargs["routellm"]
    assert record["choice"] == "strong"
    assert record["ruled_out"] == {"weak": "cannot call tools"}
    assert record["reason"] == "only_candidate"
    assert record["alternatives"] == []
    # Calls without tools are free to go to the weak model.
    assert pair.llm.chat(user("easy")).additional_kwargs["routellm"]["choice"] == "weak"


class Tireless(ToolLLM):
    """Calls the tool as often as it may."""

    def _answer(self, messages: Any, tools: Any = (), **kwargs: Any) -> ChatMessage:
        if any("maximum number of iterations" in (message.content or "") for message in messages):
            self.seen.append(list(messages))
            return ChatMessage(role=MessageRole.ASSISTANT, content=f"{self.label} sums up")
        answer = super()._answer(messages, **kwargs)
        return self.tool_call(tools[0].metadata.name) if tools else answer


THINKING = 'Thought: I need the tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}'


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_final_answer_of_a_loop_comes_from_its_model(make_pair, streaming: bool) -> None:
    pair = make_pair(strong=Tireless("big"), weak=PlainLLM("plain", reply=THINKING))
    options = {"tools": [TOOL], "llm": pair.llm, "early_stopping_method": "generate", "streaming": streaming}
    for _ in range(2):
        # LlamaIndex asks for both final answers in the same words.
        with_tools = await FunctionAgent(**options).run("an easy product", max_iterations=2)
        assert str(with_tools) == "big sums up"
        assert pair.calls == (3, 0)
        pair.strong.seen.clear()
        in_text = await ReActAgent(**options).run("an easy product", max_iterations=2)
        assert str(in_text) == THINKING
        assert pair.calls == (0, 3)
        pair.weak.seen.clear()


async def test_the_final_answer_of_several_agents_comes_from_the_model_of_the_loop(make_pair) -> None:
    pair = make_pair(strong=Tireless("big"), weak=PlainLLM("plain", reply=THINKING), routing_text=lambda m, v: "easy")
    for make_agent, calls in ((FunctionAgent, (3, 0)), (ReActAgent, (3, 3))):
        agent = make_agent(name="one", description="One.", tools=[TOOL], llm=pair.llm, system_prompt="Be brief.")
        workflow = AgentWorkflow([agent], early_stopping_method="generate", initial_state={"n": 1})
        await workflow.run("a product", max_iterations=2)
        assert pair.calls == calls


async def test_the_final_answer_of_a_loop_in_text_knows_no_route_for_tools(make_pair) -> None:
    pair = make_pair(Tireless("big", react=True), Tireless("small", react=True), tools_route="strong")
    options = {"tools": [TOOL], "llm": pair.llm, "early_stopping_method": "generate"}
    assert str(await ReActAgent(**options).run("an easy product", max_iterations=1)) == "small sums up"
    assert str(await FunctionAgent(**options).run("an easy product", max_iterations=1)) == "big sums up"


async def test_a_copied_agent_model_still_knows_its_loops(make_pair) -> None:
    pair = make_pair(strong=Tireless("big"), weak=PlainLLM("plain"))
    pair.llm.chat_with_tools([TOOL], "an easy product")
    final = [*user("an easy product"), ChatMessage(role=MessageRole.SYSTEM, content=FINAL)]
    copies = (
        pair.llm.with_threshold(0.6),
        pair.llm.model_copy(update={"emit_events": False}),
        pickle.loads(pickle.dumps(pair.llm)),
        copy.deepcopy(pair.llm),
    )
    for llm in copies:
        assert llm.decide(final).choice == "strong"
        assert llm.decide(user("an easy product")).choice == "weak"
        assert llm.decide(final).choice == "strong", "deciding alone changes nothing"


def test_of_very_many_loops_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routellm_llamaindex.loops._MAX_QUESTIONS", 2)
    loops = ToolLoops()
    for text in ("one", "two", "one", "three"):
        loops.add(user(text))
    final = ChatMessage(role=MessageRole.SYSTEM, content=FINAL)
    assert [loops.end_with([*user(text), final]) for text in ("one", "two", "three")] == [True, False, True]
    loops.discard(user("one"))
    assert not loops.end_with([*user("one"), final])
    assert not loops.end_with(user("three"))


async def test_the_output_cls_of_a_loop_goes_to_the_model_that_called_the_tools(make_pair) -> None:
    pair = make_pair(strong=ToolLLM("big"), weak=PlainLLM("plain", reply='{"a": 1, "b": 1}'))
    response = await FunctionAgent(tools=[TOOL], llm=pair.llm, output_cls=Product).run("an easy product")
    assert response.structured_response == {"a": 6, "b": 7}
    assert pair.calls == (3, 0)


@pytest.mark.parametrize(
    "turn",
    [
        ChatMessage(role=MessageRole.TOOL, content="42"),
        ToolLLM("x").tool_call("multiply"),
        BlockToolLLM("x").tool_call("multiply"),
    ],
)
def test_messages_with_tool_turns_go_to_the_model_that_reads_them(make_pair, turn: ChatMessage) -> None:
    history = [*user("easy"), turn]
    assert make_pair(ToolLLM("big"), PlainLLM("plain")).llm.chat(history).message.content == "big says hi"
    assert make_pair(PlainLLM("a"), PlainLLM("b")).llm.chat(history).message.content == "b says hi"
    small = make_pair(ToolLLM("big", window=100), PlainLLM("plain"))
    assert small.llm.chat([*user("easy " * 500), turn]).message.content == "plain says hi", "the other has no room"


def test_answer_of_a_model_without_tools_has_no_tool_calls(make_pair) -> None:
    pair = make_pair(strong=ToolLLM("big"), weak=PlainLLM("plain"))
    response = pair.llm.chat(user("easy"))
    assert pair.llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="at least one tool call"):
        pair.llm.get_tool_calls_from_response(response)


def test_capability_wins_over_a_forced_route(make_pair) -> None:
    pair = make_pair(strong=PlainLLM("plain"), weak=ToolLLM("small"))
    with routing(route="strong"):
        record = pair.llm.chat_with_tools([TOOL], "easy").additional_kwargs["routellm"]
    assert record["choice"] == "weak"


def test_metadata_flag_counts_as_much_as_the_class(make_pair) -> None:
    class Unable(ToolLLM):
        @property
        def metadata(self) -> Any:
            return super().metadata.model_copy(update={"is_function_calling_model": False})

    pair = make_pair(strong=ToolLLM("big"), weak=Unable("unable"))
    assert pair.llm.chat_with_tools([TOOL], "easy").additional_kwargs["routellm"]["choice"] == "strong"
    neither = RoutedLLM(strong=Unable("a"), weak=PlainLLM("b"), router=KeywordRouter(), threshold=0.5)
    assert not neither.metadata.is_function_calling_model
    with pytest.raises(NoCandidateError, match="strong: cannot call tools"):
        neither.chat_with_tools([TOOL], "easy")


async def test_agent_workflow_of_models_without_tools_reacts(make_pair) -> None:
    reply = "Thought: I can answer without using any more tools.\nAnswer: 42"
    pair = make_pair(strong=PlainLLM("a", reply=reply), weak=PlainLLM("b", reply=reply))
    workflow = AgentWorkflow.from_tools_or_functions([multiply], llm=pair.llm)
    assert [type(agent) for agent in workflow.agents.values()] == [ReActAgent]
    assert str(await workflow.run("an easy product")) == "42"
