"""What a call needs and what the models can take: which candidates that leaves."""

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI

from routellm_core import RoutingEngine
from routellm_core.constraints import Capabilities
from routellm_core.errors import ConfigurationError, NoCandidateError
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.openai_server import OpenAIServer
from support.pools import NAMES, HighestScore, NamedPoolRouter

SCHEMA = {"title": "A", "description": "An answer.", "type": "object", "properties": {"n": {"type": "integer"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def ping(x: int) -> int:
    """A tool."""
    return x


def decision(message):
    return message.response_metadata["routellm"]


class Unbindable(FakeChat):
    """Has the method, and refuses."""

    def bind_tools(self, tools, **kwargs):
        raise NotImplementedError("not with this model")


@pytest.fixture
def server():
    with OpenAIServer() as server:
        yield server


# --- tools -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weak",
    [
        FakeChat(profile={"tool_calling": False}),
        FakeListChatModel(responses=["x"]),
        FakeListChatModel(responses=["x"], profile={"tool_calling": True}),
        Unbindable(),
        RunnableLambda(lambda _: HumanMessage("x")),
        FakeChat().with_fallbacks([FakeChat(profile={"tool_calling": False})]),
    ],
    ids=["profile", "no-method", "no-method-whatever-the-profile", "refuses", "function", "its-fallback-cannot"],
)
async def test_a_call_with_tools_never_reaches_a_model_without(make_routed, weak):
    routed = make_routed(weak=weak)
    bound = routed.bind_tools([ping])
    for message in (bound.invoke("easy 1"), await bound.ainvoke("easy 1"), bound.batch(["easy 1"])[0]):
        assert message.tool_calls[0]["args"] == {"x": 1}
        assert decision(message)["choice"] == "strong"
        assert decision(message)["reason"] == "only_candidate"
        assert decision(message)["ruled_out"] == {"weak": "cannot call tools"}
    assert next(bound.stream("easy 1")).response_metadata["routellm"]["choice"] == "strong"
    assert routed.decide("easy").choice == "weak"
    forced = bound.invoke("easy 1", {"configurable": {"routellm_route": "weak"}})
    assert decision(forced)["choice"] == "strong"
    assert "route 'weak' was asked for, but it cannot call tools" in decision(forced)["explanation"]


def test_tools_among_the_arguments_of_a_call_count(make_routed):
    routed = make_routed(weak=FakeChat(profile={"tool_calling": False}))
    tool = {"type": "function", "function": {"name": "ping", "description": "A tool.", "parameters": {}}}
    for model in (routed.bind(tools=[tool]), routed):
        arguments = {} if model is not routed else {"tools": [tool]}
        assert decision(model.invoke("easy 1", **arguments))["choice"] == "strong"
    assert decision(routed.bind(tools=[tool]).batch(["easy 1"])[0])["choice"] == "strong"
    assert decision(routed.invoke("easy 1", tools=[]))["choice"] == "weak"
    assert routed.decide("easy", tools=[tool]).choice == "strong"


def test_an_agent_with_tools_stays_on_the_model_that_has_them(make_routed, weak):
    agent = create_agent(make_routed(weak=FakeChat(profile={"tool_calling": False})), tools=[ping])
    answers = [m for m in agent.invoke({"messages": [HumanMessage("easy 1")]})["messages"] if m.type == "ai"]
    assert [decision(m)["choice"] for m in answers] == ["strong", "strong"]


def test_tools_route(make_routed):
    routed = make_routed(tools_route="strong")
    message = routed.bind_tools([ping]).invoke("easy 1")
    assert (decision(message)["choice"], decision(message)["reason"]) == ("strong", "tools_route")
    assert decision(routed.invoke("easy"))["choice"] == "weak"
    assert decision(make_routed(tools_route="weak").bind_tools([ping]).invoke("hard 1"))["choice"] == "weak"
    with pytest.raises(ConfigurationError, match="tools_route='huge' is not a candidate"):
        make_routed(tools_route="huge")


# --- structured output -------------------------------------------------------------------------------------------------


def test_structured_output_never_reaches_a_model_without(make_routed):
    weak = FakeChat(profile={"structured_output": False, "tool_calling": True})
    routed = make_routed(weak=weak)
    message = routed.with_structured_output(SCHEMA, include_raw=True).invoke("easy 1")["raw"]
    assert decision(message)["ruled_out"] == {"weak": "has no structured output"}
    by_tools = routed.with_structured_output(SCHEMA, include_raw=True, method="function_calling").invoke("easy 1")
    assert decision(by_tools["raw"])["choice"] == "weak"
    refusing = make_routed(weak=FakeListChatModel(responses=["x"])).with_structured_output(SCHEMA)
    assert refusing.invoke("easy 4") == {"n": 4}


def test_without_structured_output_anywhere_tools_do_it(make_routed):
    profile = {"structured_output": False, "tool_calling": True}
    routed = make_routed(strong=FakeChat(profile=profile), weak=FakeChat(profile=profile))
    raw = routed.with_structured_output(SCHEMA, include_raw=True).invoke("easy 1")["raw"]
    assert (decision(raw)["choice"], decision(raw)["ruled_out"]) == ("weak", {})
    plain = FakeListChatModel(responses=["x"])
    with pytest.raises(NotImplementedError, match="candidate 'strong'"):
        make_routed(strong=plain, weak=plain).with_structured_output(SCHEMA)


def test_a_schema_among_the_arguments_of_a_call_counts(make_routed):
    routed = make_routed(weak=FakeChat(profile={"structured_output": False}))
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    assert decision(routed.invoke("easy", response_format=schema))["choice"] == "strong"
    assert decision(routed.invoke("easy", response_format={"type": "json_object"}))["choice"] == "weak"
    assert decision(routed.bind_tools([ping], response_format=schema).invoke("easy 1"))["choice"] == "strong"


# --- images and the window ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        {"type": "image", "url": "http://x/y.png"},
        {"type": "media", "mime_type": "image/png", "data": "AAAA"},
        {"type": "file", "mime_type": "Image/JPEG", "base64": "AAAA"},
        {"type": "document", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}, IMAGE]},
        {"type": "tool_result", "content": [{"type": "tool_result", "content": [IMAGE]}]},
    ],
)
def test_images_never_reach_a_model_that_cannot_read_them(make_routed, image):
    routed = make_routed(weak=FakeChat(profile={"image_inputs": False}))
    asked = HumanMessage([{"type": "text", "text": "easy"}, image])
    assert decision(routed.invoke([asked]))["ruled_out"] == {"weak": "cannot read images"}
    later = [asked, HumanMessage("easy")]
    assert decision(routed.invoke(later))["choice"] == "strong"
    assert decision(routed.invoke("easy"))["choice"] == "weak"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "mime_type": "application/pdf", "base64": "AAAA"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "image/png"}},
        {"type": "document", "source": "image/png"},
        {"type": "tool_result", "content": "image/png"},
        {"type": "tool_result", "content": ["image/png", {"type": "text", "text": "image/png"}]},
    ],
)
def test_what_is_no_image_goes_anywhere(make_routed, part):
    routed = make_routed(weak=FakeChat(profile={"image_inputs": False}))
    assert decision(routed.invoke([HumanMessage([{"type": "text", "text": "easy"}, part])]))["choice"] == "weak"


def test_a_long_prompt_never_reaches_a_small_window(make_routed):
    routed = make_routed(weak=FakeChat(profile={"max_input_tokens": 100}))
    assert decision(routed.invoke("easy"))["choice"] == "weak"
    ruled_out = decision(routed.invoke("easy " * 100))["ruled_out"]
    assert ruled_out["weak"].startswith("takes 100 tokens, the call has about 1")
    chat = [HumanMessage("easy " * 100), HumanMessage("easy")]
    assert decision(routed.invoke(chat))["choice"] == "strong"


def test_each_character_of_other_scripts_is_about_a_token(make_routed):
    routed = make_routed(weak=FakeChat(profile={"max_input_tokens": 8000}))
    assert decision(routed.invoke("\N{CJK UNIFIED IDEOGRAPH-4F60}" * 20_000))["choice"] == "strong"
    parts = HumanMessage([{"type": "text", "text": "\N{CJK UNIFIED IDEOGRAPH-4F60}" * 9_000}])
    assert decision(routed.invoke([parts]))["choice"] == "strong"
    assert decision(routed.invoke("easy " * 4_000))["choice"] == "weak"


def long_tool(name):
    parameters = {"type": "object", "properties": {"x": {"type": "integer"}}}
    return StructuredTool(name=name, description="word " * 200, args_schema=parameters, func=ping)


@pytest.mark.parametrize("form", [lambda tool: tool, convert_to_openai_tool], ids=["tools", "dicts"])
def test_tools_take_room_in_the_window(make_routed, form):
    routed = make_routed(weak=FakeChat(profile={"max_input_tokens": 1000}))
    tools = [form(long_tool(f"tool_{i}")) for i in range(50)]
    assert decision(routed.bind_tools(tools).invoke("easy 1"))["choice"] == "strong"
    assert decision(routed.bind_tools(tools[:1]).invoke("easy 1"))["choice"] == "weak"
    arguments = {"tools": [convert_to_openai_tool(tool) for tool in tools]}
    assert decision(routed.invoke("easy 1", **arguments))["choice"] == "strong"


@pytest.mark.parametrize("method", [None, "function_calling"])
def test_a_schema_takes_room_in_the_window(make_routed, method):
    routed = make_routed(weak=FakeChat(profile={"max_input_tokens": 1000}))
    options = {"include_raw": True} | ({} if method is None else {"method": method})
    long = {**SCHEMA, "description": "word " * 2000}
    assert decision(routed.with_structured_output(long, **options).invoke("easy 1")["raw"])["choice"] == "strong"
    assert decision(routed.with_structured_output(SCHEMA, **options).invoke("easy 1")["raw"])["choice"] == "weak"


def test_a_tool_that_no_schema_can_be_made_of_is_counted_all_the_same(make_routed):
    routed = make_routed(weak=FakeChat(profile={"max_input_tokens": 1000}))
    assert routed.decide("easy", tools=[object()]).choice == "weak"
    assert routed.decide("easy", tools=[{"type": "custom", "unserializable": object()}]).choice == "weak"
    assert routed.decide("easy", tools=["word " * 2000]).choice == "strong"


def test_tokens_are_counted_only_where_they_can_matter(make_routed):
    assert make_routed().routing.request("easy").tokens is None
    assert make_routed(capabilities={"weak": Capabilities(context_window=9)}).routing.request("easy").tokens > 0
    assert make_routed(sticky=True, prices={"strong": 1, "weak": 0.1}).routing.request("easy").tokens > 0


def test_nobody_left(make_routed):
    blind = {"image_inputs": False}
    routed = make_routed(strong=FakeChat(profile=blind), weak=FakeChat(profile=blind))
    with pytest.raises(NoCandidateError, match=r"weak.*cannot read images.*strong.*cannot read images"):
        routed.invoke([HumanMessage([IMAGE])])


# --- who says what they can --------------------------------------------------------------------------------------------


def test_what_the_constructor_or_the_engine_says_wins_over_the_profile(make_routed, strong, router):
    weak = FakeChat(model="weak-model", profile={"image_inputs": False, "tool_calling": False})
    told = {"weak": Capabilities(images=True)}
    engine = RoutingEngine(router, threshold=0.5, capabilities=told)
    for routed in (
        make_routed(weak=weak, capabilities=told),
        RoutedChatModel(strong=strong, weak=weak, engine=engine),
    ):
        seen = HumanMessage([{"type": "text", "text": "easy"}, IMAGE])
        assert decision(routed.invoke([seen]))["choice"] == "weak"
        assert decision(routed.bind_tools([ping]).invoke("easy 1"))["choice"] == "strong"


def test_among_many(make_routed):
    models = {name: FakeChat(model=name) for name in NAMES}
    models["medium"] = FakeChat(model="medium", profile={"tool_calling": False})
    routed = RoutedChatModel(candidates=models, router=NamedPoolRouter(), policy=HighestScore())
    assert decision(routed.invoke("medium 1"))["choice"] == "medium"
    bound = decision(routed.bind_tools([ping]).invoke("medium 1"))
    assert (bound["choice"], bound["ruled_out"]) == ("small", {"medium": "cannot call tools"})


def test_the_profile_is_the_union_of_what_is_enforced_and_the_intersection_of_the_rest(make_routed):
    able = {"tool_calling": True, "image_inputs": True, "structured_output": True, "max_input_tokens": 900}
    less = {"tool_calling": False, "image_inputs": False, "structured_output": False, "max_input_tokens": 100}
    strong, weak = FakeChat(profile={**able, "pdf_inputs": True}), FakeChat(profile={**less, "pdf_inputs": False})
    assert make_routed(strong=strong, weak=weak).profile == {
        "tool_calling": True,
        "image_inputs": True,
        "structured_output": False,
        "max_input_tokens": 100,
        "pdf_inputs": False,
    }
    told = {"weak": Capabilities(structured_output=True, context_window=500)}
    profile = make_routed(strong=strong, weak=weak, capabilities=told).profile
    assert (profile["structured_output"], profile["max_input_tokens"]) == (True, 500)
    assert make_routed(strong=strong).profile is None


def test_the_payload_of_the_model_that_takes_the_call(router, server):
    def client(model, **profile):
        return ChatOpenAI(model=model, base_url=server.url, api_key="test", max_retries=0, profile=profile)

    routed = RoutedChatModel(
        strong=client("big", tool_calling=True, image_inputs=True, structured_output=True, max_input_tokens=1000),
        weak=client("small", tool_calling=False, image_inputs=False, structured_output=False, max_input_tokens=50),
        router=router,
        threshold=0.5,
    )
    routed.invoke("easy")
    routed.bind_tools([ping]).invoke("easy 1")
    routed.with_structured_output(SCHEMA).invoke("easy 1")
    routed.invoke([HumanMessage([{"type": "text", "text": "easy"}, IMAGE])])
    routed.invoke("easy " * 60)
    assert server.models_asked() == ["small", "big", "big", "big", "big"]
    assert [bool(request.body.get("tools")) for request in server.requests] == [False, True, False, False, False]
    assert server.requests[2].body["response_format"]["type"] == "json_schema"
