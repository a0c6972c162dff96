"""A call never reaches a model that cannot take it, by its metadata or by what is said about it."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from routellm_core import RoutingEngine, routing
from routellm_core.constraints import Capabilities
from routellm_core.errors import ConfigurationError, NoCandidateError
from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import PlainLLM, ToolLLM
from support.routers import KeywordRouter

TOOL = FunctionTool.from_defaults(lambda a, b: a * b, name="multiply", description="Multiply.")
IMAGE = ChatMessage(role=MessageRole.USER, blocks=[ImageBlock(image=b"iVBORw0KGgo=")])


class Product(BaseModel):
    a: int
    b: int


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]


def record_of(response: Any) -> dict[str, Any]:
    return response.additional_kwargs["routellm"]


def test_a_prompt_longer_than_a_window_goes_to_the_other_model(make_pair) -> None:
    pair = make_pair(ToolLLM("big", window=100_000), ToolLLM("small", window=100))
    assert record_of(pair.llm.chat(user("easy " * 90)))["choice"] == "weak"
    record = record_of(pair.llm.chat(user("easy " * 110)))
    assert record["choice"] == "strong"
    assert record["ruled_out"]["weak"].startswith("takes 100 tokens, the call has about 1")
    # The whole call counts, not what is scored of it.
    assert record_of(pair.llm.chat([*user("word " * 200), *user("easy")]))["choice"] == "strong"
    assert pair.llm.predict(PromptTemplate("{context_str} {query_str}"), context_str="x " * 200, query_str="e") == (
        "big says hi"
    )


def test_no_window_is_known_where_it_is_the_default(make_pair) -> None:
    window = DEFAULT_CONTEXT_WINDOW
    pair = make_pair(ToolLLM("big", window=window), ToolLLM("small", window=window))
    assert record_of(pair.llm.chat(user("easy " * 5000)))["choice"] == "weak"


def test_what_is_said_wins_over_the_metadata(make_pair) -> None:
    said = {"weak": Capabilities(context_window=50, tools=False, images=False, structured_output=False)}
    pair = make_pair(capabilities=said)
    assert pair.llm.metadata.context_window == 50
    assert record_of(pair.llm.chat(user("easy " * 60)))["choice"] == "strong"
    assert record_of(pair.llm.chat_with_tools([TOOL], "easy"))["choice"] == "strong"
    record = record_of(pair.llm.chat([*user("easy"), IMAGE]))
    assert (record["choice"], record["ruled_out"]) == ("strong", {"weak": "cannot read images"})
    assert pair.llm.structured_predict(Product, PromptTemplate("{query_str}"), query_str="easy") == Product(a=6, b=7)
    assert len(pair.strong.seen) == 4
    assert record_of(pair.llm.chat(user("easy")))["choice"] == "weak"


def test_images_of_a_template_count(make_pair) -> None:
    pair = make_pair(capabilities={"weak": Capabilities(images=False)})
    prompt = ChatPromptTemplate(message_templates=[*user("{query_str}"), IMAGE])
    assert pair.llm.predict(prompt, query_str="easy") == "big says hi"


def test_tools_can_be_promised_for_a_class_that_has_them() -> None:
    class Unset(ToolLLM):
        @property
        def metadata(self) -> Any:
            return super().metadata.model_copy(update={"is_function_calling_model": False})

    def routed(llm: Any) -> RoutedLLM:
        promise = {"weak": Capabilities(tools=True)}
        return RoutedLLM(strong=PlainLLM("a"), weak=llm, router=KeywordRouter(), threshold=0.5, capabilities=promise)

    llm = routed(Unset("b"))
    assert llm.metadata.is_function_calling_model
    response = llm.chat_with_tools([TOOL], "hard")
    assert record_of(response)["choice"] == "weak"
    assert [call.tool_name for call in llm.get_tool_calls_from_response(response)] == ["multiply"]
    with pytest.raises(ConfigurationError, match="'weak' calls tools, but PlainLLM is no FunctionCallingLLM"):
        routed(PlainLLM("b"))


def test_an_engine_that_was_given_needs_no_capabilities() -> None:
    engine = RoutingEngine(KeywordRouter(), threshold=0.5)
    llm = RoutedLLM(strong=ToolLLM("big"), weak=PlainLLM("plain"), engine=engine)
    assert record_of(llm.chat_with_tools([TOOL], "easy"))["ruled_out"] == {"weak": "cannot call tools"}


def test_nobody_can(make_pair) -> None:
    pair = make_pair(ToolLLM("big", window=60), ToolLLM("small", window=50))
    with pytest.raises(NoCandidateError, match=r"weak: takes 50 tokens.*strong: takes 60 tokens"):
        pair.llm.chat(user("easy " * 200))


@pytest.mark.parametrize(("route", "choice", "reason"), [(None, "strong", "tools_route"), ("weak", "weak", "forced")])
def test_tools_route_takes_calls_with_tools_alone(make_pair, route: str | None, choice: str, reason: str) -> None:
    pair = make_pair(tools_route="strong")
    with routing(route=route):
        record = record_of(pair.llm.chat_with_tools([TOOL], "easy"))
    assert (record["choice"], record["reason"]) == (choice, reason)
    assert record_of(pair.llm.chat(user("easy")))["choice"] == "weak"
    assert (
        pair.llm.with_threshold(0.6).chat_with_tools([TOOL], "easy").additional_kwargs["routellm"]["choice"] == "strong"
    )


def test_functions_in_a_template_are_called_by_the_model_alone(pair) -> None:
    calls: list[str] = []

    def fetch(**_: Any) -> str:
        calls.append("fetched")
        return "a text"

    prompt = PromptTemplate("{context_str} {query_str}", function_mappings={"context_str": fetch})
    assert pair.llm.predict(prompt, query_str="easy") == "small says hi"
    assert calls == ["fetched"]
