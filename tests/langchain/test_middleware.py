"""Routing inside `create_agent`, next to other middleware."""

import json
import subprocess
import sys

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from routellm_core import RoutingDecision, RoutingEngine
from routellm_core.constraints import Capabilities
from routellm_core.errors import ConfigurationError, NoCandidateError, ScoringError
from routellm_langchain import RoutingMiddleware
from support.chat_models import FakeChat
from support.routers import KeywordRouter
from support.runs import RunRecorder

HARD = {"messages": [HumanMessage("hard 7")]}
EASY = {"messages": [HumanMessage("easy 7")]}


def double(x: int) -> int:
    """Double a number."""
    return 2 * x


@pytest.fixture
def own() -> FakeChat:
    """The agent's own model, which routing replaces."""
    return FakeChat(model="own-model")


@pytest.fixture
def make_agent(strong, weak, own, router):
    def make(*, before=(), after=(), tools=(double,), agent_options=None, **options):
        arguments = {"strong": strong, "weak": weak, "router": router, "threshold": 0.5, **options}
        middleware = [*before, RoutingMiddleware(**arguments), *after]
        return create_agent(own, tools=list(tools), middleware=middleware, **(agent_options or {}))

    return make


def answers(result):
    return [message for message in result["messages"] if isinstance(message, AIMessage)]


def models(result):
    return [message.response_metadata["model_name"] for message in answers(result)]


def choices(result):
    return [message.response_metadata["routellm"]["choice"] for message in answers(result)]


@pytest.mark.parametrize("per", ["run", "turn"])
async def test_the_router_chooses_the_model_of_every_call_in_the_loop(make_agent, router, per):
    agent = make_agent(per=per)
    for result in (agent.invoke(HARD), await agent.ainvoke(HARD)):
        assert [m.type for m in result["messages"]] == ["human", "ai", "tool", "ai"]
        assert (
            models(result) == choices(result) == ["strong-model", "strong-model"]
            or models(result) == ["strong-model"] * 2
        )
        assert choices(result) == ["strong", "strong"]
    for result in (agent.invoke(EASY), await agent.ainvoke(EASY)):
        assert models(result) == ["weak-model"] * 2
        assert choices(result) == ["weak", "weak"]
    assert router.scored == ["hard 7", "easy 7"]


@pytest.mark.parametrize("per", ["run", "turn"])
async def test_the_system_prompt_and_the_tools_take_room_in_the_window(make_agent, per):
    weak = FakeChat(model="weak-model", profile={"max_input_tokens": 1000})
    wordy = make_agent(per=per, weak=weak, agent_options={"system_prompt": "word " * 8000})
    assert choices(wordy.invoke(EASY)) == choices(await wordy.ainvoke(EASY)) == ["strong", "strong"]
    tools = [StructuredTool.from_function(double, name=f"tool_{i}", description="word " * 200) for i in range(50)]
    assert choices(make_agent(per=per, weak=weak, tools=tools).invoke(EASY)) == ["strong", "strong"]
    brief = make_agent(per=per, weak=weak, agent_options={"system_prompt": "word " * 80})
    assert choices(brief.invoke(EASY)) == ["weak", "weak"]


@pytest.mark.parametrize("per", ["run", "turn"])
@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy, AutoStrategy])
def test_a_schema_for_the_answer_takes_room_in_the_window(make_agent, per, strategy):
    able = {"max_input_tokens": 1000, "structured_output": True, "tool_calling": True}
    schema = {"title": "A", "description": "word " * 2000, "type": "object", "properties": {"n": {"type": "integer"}}}
    models = {"weak": FakeChat(profile=able), "strong": FakeChat(text='{"n": 1}')}
    agent = make_agent(per=per, **models, tools=(), agent_options={"response_format": strategy(schema)})
    assert set(choices(agent.invoke(EASY))) == {"strong"}


async def test_asynchronous_calls_are_native(make_agent, strong, weak):
    await make_agent().ainvoke(HARD)
    assert {call["how"] for call in strong.calls} == {"agenerate"}
    assert weak.calls == []


class Rewrite(ModelRetryMiddleware):
    """Puts an easier question in the place of the first message after the first call."""

    def wrap_model_call(self, request, handler):
        if len(request.messages) > 1:
            request = request.override(messages=[HumanMessage("easy 7"), *request.messages[1:]])
        return handler(request)


@pytest.mark.parametrize(("per", "expected"), [("run", ["strong", "strong"]), ("turn", ["strong", "weak"])])
def test_a_run_keeps_its_model_and_a_turn_decides_anew(make_agent, per, expected):
    result = make_agent(per=per, before=[Rewrite()]).invoke(HARD)
    assert choices(result) == expected


def test_each_run_of_a_conversation_is_decided(make_agent):
    agent = make_agent(agent_options={"checkpointer": InMemorySaver()})
    config = {"configurable": {"thread_id": "1"}}
    assert choices(agent.invoke(HARD, config)) == ["strong", "strong"]
    assert choices(agent.invoke(EASY, config))[2:] == ["weak", "weak"]


def test_the_state_is_plain_json_and_private(make_agent):
    agent = make_agent(agent_options={"checkpointer": InMemorySaver()})
    config = {"configurable": {"thread_id": "1"}}
    result = agent.invoke({**HARD, "routellm_decision": {"choice": "weak"}}, config)  # not in the input schema
    assert "routellm_decision" not in result
    assert "routellm_decision" not in agent.get_input_jsonschema()["properties"]
    assert "routellm_decision" not in agent.get_output_jsonschema()["properties"]
    stored = agent.get_state(config).values["routellm_decision"]
    assert json.loads(json.dumps(stored)) == stored
    assert stored["choice"] == "strong"
    assert RoutingDecision(**stored).to_dict() == stored


def test_a_run_goes_on_after_an_interruption_on_its_model(make_agent):
    agent = make_agent(agent_options={"checkpointer": InMemorySaver(), "interrupt_before": ["tools"]})
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke(HARD, config)
    assert choices(agent.invoke(None, config)) == ["strong", "strong"]


@pytest.mark.parametrize("per", ["run", "turn"])
@pytest.mark.parametrize("order", ["outside", "inside"])
async def test_the_fallback_middleware_reaches_its_model_in_either_order(make_agent, strong, own, order, per):
    strong.fail = ValueError("down")
    fallback = ModelFallbackMiddleware(FakeChat(model="spare"))
    agent = make_agent(per=per, **({"before": [fallback]} if order == "outside" else {"after": [fallback]}))
    for result in (agent.invoke(HARD), await agent.ainvoke(HARD)):
        assert models(result) == ["spare", "spare"]
        assert all("routellm" not in message.response_metadata for message in answers(result))
    assert len(strong.calls) == 4
    assert own.calls == []
    assert models(agent.invoke(EASY)) == ["weak-model"] * 2


def test_a_candidate_as_the_fallback_is_not_routed_away(make_agent, strong, weak):
    strong.fail = ValueError("down")
    assert models(make_agent(before=[ModelFallbackMiddleware(weak)]).invoke(HARD)) == ["weak-model"] * 2


def test_the_agents_own_model_as_a_candidate(strong, weak, router):
    routing = RoutingMiddleware(strong=strong, weak=weak, router=router, threshold=0.5)
    assert models(create_agent(strong, tools=[double], middleware=[routing]).invoke(EASY)) == ["weak-model"] * 2


@pytest.mark.parametrize("order", ["before", "after"])
def test_retries_stay_with_the_chosen_model(make_agent, strong, order):
    strong.fail, strong.failures = ValueError("once"), [1]
    agent = make_agent(**{order: [ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error")]})
    result = agent.invoke(HARD)
    assert models(result) == ["strong-model"] * 2
    assert choices(result) == ["strong", "strong"]


def test_one_middleware_in_two_agents_and_a_nested_one(strong, weak, router):
    routing = RoutingMiddleware(strong=strong, weak=weak, router=router, threshold=0.5)
    inner = create_agent(FakeChat(model="inner"), middleware=[routing])

    def ask(x: int) -> str:
        """Ask another agent."""
        return inner.invoke(EASY)["messages"][-1].text

    outer = create_agent(FakeChat(model="outer"), tools=[ask], middleware=[routing])
    result = outer.invoke(HARD)
    assert models(result) == ["strong-model"] * 2
    assert result["messages"][2].text == "I am weak-model"


def test_without_a_human_message_the_rule_for_empty_prompts_applies(make_agent):
    result = make_agent(tools=()).invoke({"messages": [AIMessage("hello")]})
    assert answers(result)[-1].response_metadata["routellm"]["reason"] == "empty_prompt"
    assert make_agent(tools=()).invoke({"messages": []})["messages"][-1].text == "I am strong-model"


@pytest.mark.parametrize("per", ["run", "turn"])
async def test_configurable_keys(make_agent, per):
    agent = make_agent(per=per)
    low, forced = {"routellm_threshold": 0.05}, {"routellm_route": "strong"}
    for configurable in (low, forced):
        config = {"configurable": configurable}
        assert choices(agent.invoke(EASY, config)) == choices(await agent.ainvoke(EASY, config)) == ["strong", "strong"]
    prefixed = make_agent(per=per, config_prefix="first")
    assert choices(prefixed.invoke(EASY, {"configurable": {"first_routellm_threshold": 0.05}})) == ["strong", "strong"]
    with pytest.raises(ConfigurationError, match="routellm_threshold"):
        agent.invoke(EASY, {"configurable": {"routellm_treshold": 0.05}})


def test_the_runtime_context(make_agent):
    class Context(BaseModel):
        routellm_threshold: float

    agent = make_agent(agent_options={"context_schema": Context})
    assert choices(agent.invoke(EASY, context=Context(routellm_threshold=0.05))) == ["strong", "strong"]


@pytest.mark.parametrize("per", ["run", "turn"])
def test_calls_with_tools_go_where_tools_can_be_called(make_agent, per):
    able = {"strong": Capabilities(tools=False)}
    result = make_agent(per=per, capabilities=able).invoke(HARD)
    assert choices(result) == ["weak", "weak"]
    assert answers(result)[0].response_metadata["routellm"]["ruled_out"] == {"strong": "cannot call tools"}
    assert choices(make_agent(per=per, capabilities=able, tools=()).invoke(HARD)) == ["strong"]


@pytest.mark.parametrize("per", ["run", "turn"])
def test_profiles_of_the_models_count(make_agent, per):
    weak = FakeChat(model="weak-model", profile={"image_inputs": False})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    agent = make_agent(per=per, weak=weak, tools=())
    assert choices(agent.invoke({"messages": [HumanMessage([{"type": "text", "text": "easy"}, picture])]})) == [
        "strong"
    ]
    assert choices(agent.invoke(EASY)) == ["weak"]


@pytest.mark.parametrize("per", ["run", "turn"])
def test_a_route_for_calls_with_tools(make_agent, per):
    result = make_agent(per=per, tools_route="strong").invoke(EASY)
    assert models(result) == ["strong-model"] * 2
    assert answers(result)[0].response_metadata["routellm"]["reason"] == "tools_route"
    assert choices(make_agent(per=per, tools_route="strong", tools=()).invoke(EASY)) == ["weak"]


class Answer(BaseModel):
    """An answer."""

    n: int


def test_a_structured_answer(make_agent):
    able = {"strong": Capabilities(structured_output=False)}
    agent = make_agent(tools=(), capabilities=able, agent_options={"response_format": ToolStrategy(Answer)})
    result = agent.invoke(HARD)
    assert result["structured_response"] == Answer(n=7)
    assert choices(result) == ["strong"]  # a tool does it


def test_a_schema_that_the_provider_must_enforce_needs_a_model_that_can(make_agent):
    able = {"strong": Capabilities(structured_output=False)}
    texts = {name: FakeChat(model=f"{name}-model", text='{"n": 7}') for name in ("strong", "weak")}
    agent = make_agent(
        tools=(), capabilities=able, agent_options={"response_format": ProviderStrategy(Answer)}, **texts
    )
    result = agent.invoke(HARD)
    assert result["structured_response"] == Answer(n=7)
    assert choices(result) == ["weak"]


def test_a_call_that_nobody_can_take_is_an_error(make_agent):
    able = {name: Capabilities(tools=False) for name in ("strong", "weak")}
    with pytest.raises(NoCandidateError):
        make_agent(capabilities=able).invoke(HARD)


class Failing(KeywordRouter):
    def strong_win_rates(self, prompts):
        raise ValueError("broken")


def test_a_router_that_fails(make_agent):
    assert choices(make_agent(router=Failing()).invoke(EASY)) == ["strong", "strong"]
    assert choices(make_agent(router=Failing(), on_router_error="weak").invoke(HARD)) == ["weak", "weak"]
    with pytest.raises(ScoringError):
        make_agent(router=Failing(), on_router_error="raise").invoke(HARD)


async def test_streams_hold_each_answer_once(make_agent):
    agent = make_agent()
    sync = list(agent.stream(HARD, stream_mode="messages"))
    chunks = [message for message, _ in sync if isinstance(message, AIMessage)]
    assert "".join(message.text for message in chunks) == "I am strong-model"
    asynchronous = [message async for message, _ in agent.astream(HARD, stream_mode="messages")]
    assert "".join(m.text for m in asynchronous if isinstance(m, AIMessage)) == "I am strong-model"
    updates = [update for update in agent.stream(HARD, stream_mode="updates") if "model" in update]
    assert [u["model"]["messages"][0].response_metadata["routellm"]["choice"] for u in updates] == ["strong", "strong"]


def test_the_decision_is_in_the_metadata_of_the_chosen_models_run(make_agent):
    recorder = RunRecorder()
    result = make_agent().invoke(HARD, {"callbacks": [recorder]})
    decision = answers(result)[0].response_metadata["routellm"]
    assert [run.metadata["routellm"] for run in recorder.model_runs] == [decision] * 2
    assert all(run.metadata["routellm_route"] == "strong" for run in recorder.model_runs)
    assert all("routellm:strong" in run.tags for run in recorder.model_runs)


def test_what_the_models_have_of_their_own_stays(make_agent):
    recorder = RunRecorder()
    strong = FakeChat(model="strong-model", tags=["own"], metadata={"team": "a"}, callbacks=[recorder])
    make_agent(strong=strong).invoke(HARD)
    assert [run.metadata["team"] for run in recorder.model_runs] == ["a", "a"]
    assert all("own" in run.tags for run in recorder.model_runs)
    assert (strong.tags, strong.callbacks) == (["own"], [recorder])
    assert "routellm" not in strong.metadata


def test_the_ledger(make_agent, strong, weak):
    engine = RoutingEngine(KeywordRouter(), threshold=0.5)
    make_agent(router=None, threshold=None, engine=engine).invoke(HARD)
    totals = engine.ledger.totals["strong"]
    assert (totals.calls, totals.usage.input_tokens) == (2, 20)


def test_wrong_arguments(strong, weak, router):
    for wrong, message in (
        ({"per": "call"}, "per must be"),
        ({"weak": None}, "weak= missing"),
        ({"strong": strong.with_retry()}, "ModelRetryMiddleware"),
        ({"strong": strong.bind(temperature=0.5)}, "RoutedChatModel"),
        ({"engine": RoutingEngine(router, threshold=0.5), "router": None, "candidates": {"a": strong}}, "either"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            RoutingMiddleware(**{"strong": strong, "weak": weak, "router": router, **wrong})


def test_it_is_imported_only_when_it_is_named():
    code = """
import sys
sys.modules["langchain"] = None
import routellm_langchain
try:
    routellm_langchain.RoutingMiddleware
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "MissingDependencyError RoutingMiddleware needs the extra 'langchain-agents': "
        'pip install "routellm-plugins[langchain-agents]"'
    )
