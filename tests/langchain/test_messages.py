"""Which text is scored."""

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate

from routellm_core.errors import ConfigurationError
from routellm_langchain import last_human_text

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
CALL = {"name": "look", "args": {}, "id": "1", "type": "tool_call"}


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([HumanMessage("first"), AIMessage("answer"), HumanMessage("second")], "second"),
        ([SystemMessage("be brief"), HumanMessage("question")], "question"),
        (
            [HumanMessage("question"), AIMessage("", tool_calls=[CALL]), ToolMessage("result", tool_call_id="1")],
            "question",
        ),
        (
            [HumanMessage([{"type": "text", "text": "What is"}, IMAGE, {"type": "text", "text": "this?"}])],
            "What is\nthis?",
        ),
        ([HumanMessage(["plain part", IMAGE])], "plain part"),
        ([HumanMessage([IMAGE])], ""),
        ([HumanMessage("")], ""),
        ([HumanMessage("question"), HumanMessage([IMAGE])], ""),
        ([SystemMessage("be brief")], ""),
        ([AIMessage("hello")], ""),
        ([], ""),
        ([ChatMessage("asked by role", role="user")], "asked by role"),
        ([ChatMessage("said by role", role="assistant")], ""),
    ],
)
def test_the_last_human_message_is_scored(messages, text):
    assert last_human_text(messages) == text


@pytest.mark.parametrize(
    "given",
    [
        "a hard question",
        [("system", "be brief"), ("user", "a hard question")],
        [{"role": "user", "content": "a hard question"}],
        ChatPromptTemplate.from_messages([("system", "be hard"), ("human", "a hard question")]).invoke({}),
    ],
    ids=["string", "pairs", "dictionaries", "prompt value"],
)
def test_every_form_of_input_is_understood(routed, router, given):
    assert routed.decide(given).choice == "strong"
    assert router.scored == ["a hard question"]


@pytest.mark.parametrize("given", ["", "   ", [HumanMessage([IMAGE])], [SystemMessage("a hard rule")]])
def test_without_text_the_strong_model_answers_unscored(routed, router, given):
    answer = routed.invoke(given)
    assert answer.response_metadata["routellm"]["reason"] == "empty_prompt"
    assert answer.text == "I am strong-model"
    assert router.scored == []


def test_the_hook_replaces_the_rule(make_routed, router):
    routed = make_routed(extract_prompt=lambda messages: messages[0].text)
    routed.invoke([SystemMessage("hard"), HumanMessage("easy")])
    assert router.scored == ["hard"]


def test_a_hook_that_returns_no_string_is_an_error(make_routed):
    with pytest.raises(ConfigurationError, match="extract_prompt must return a string, not NoneType"):
        make_routed(extract_prompt=lambda messages: None).invoke("easy")


def test_an_input_that_is_none_is_an_error(routed):
    with pytest.raises(ConfigurationError, match="not int"):
        routed.invoke(7)
