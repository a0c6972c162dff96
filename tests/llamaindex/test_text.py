"""The rule for what is scored, case by case."""

from typing import Any

import pytest
from llama_index.core.agent.utils import messages_to_xml_format
from llama_index.core.agent.workflow.prompts import DEFAULT_STATE_PROMPT
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock

from routellm_core.errors import ConfigurationError
from routellm_llamaindex.text import text_to_score

SYSTEM, USER, ASSISTANT, TOOL = MessageRole.SYSTEM, MessageRole.USER, MessageRole.ASSISTANT, MessageRole.TOOL
IMAGE = ImageBlock(image=b"iVBORw0KGgo=")


def messages(*turns: tuple[MessageRole, Any]) -> list[ChatMessage]:
    return [
        ChatMessage(role=role, content=content) if isinstance(content, str) else ChatMessage(role=role, blocks=content)
        for role, content in turns
    ]


@pytest.mark.parametrize(
    ("turns", "text"),
    [
        ([(USER, "question")], "question"),
        ([(SYSTEM, "context"), (USER, "first"), (ASSISTANT, "answer"), (USER, "second")], "second"),
        ([(USER, "question"), (ASSISTANT, "calls"), (TOOL, "42")], "question"),
        ([(USER, "question"), (ASSISTANT, "Thought: x\nAction: add"), (USER, "Observation: 42")], "question"),
        ([(USER, "question"), (ASSISTANT, "answer"), (USER, "Observation: it rains")], "Observation: it rains"),
        ([(USER, "question"), (ASSISTANT, "code"), (USER, "Result of executing the code given:\n\n4")], "question"),
        ([(USER, "question"), (ASSISTANT, "?"), (USER, "Error while parsing the output: no")], "question"),
        ([(USER, "Observation: it rains. Why?")], "Observation: it rains. Why?"),
        ([(USER, [TextBlock(text="what is"), IMAGE, TextBlock(text="this?")])], "what is\nthis?"),
        ([(USER, "what is this?"), (USER, [IMAGE])], "what is this?"),
        ([(SYSTEM, "only a system message")], "only a system message"),
        ([(USER, "question"), (ASSISTANT, "answer so far")], "question"),
        ([(USER, [IMAGE])], ""),
        ([(USER, "")], ""),
        ([], ""),
    ],
)
def test_last_user_message_that_no_agent_wrote(turns: list[Any], text: str) -> None:
    assert text_to_score(lambda: messages(*turns)) == text


def test_state_of_an_agent_is_taken_off() -> None:
    wrapped = DEFAULT_STATE_PROMPT.format(state={"level": "hard"}, msg="an easy\nquestion")
    assert text_to_score(lambda: messages((USER, wrapped))) == "an easy\nquestion"


def test_restated_conversation_of_an_agent() -> None:
    turns = messages(
        (SYSTEM, "rules"), (USER, "first"), (ASSISTANT, "Action: x"), (USER, "Observation: hard"), (ASSISTANT, "answer")
    )
    assert text_to_score(lambda: messages_to_xml_format(turns)) == "first"
    no_user = messages_to_xml_format(messages((ASSISTANT, "answer")))
    assert "<current_conversation>" in text_to_score(lambda: no_user)


@pytest.mark.parametrize("name", ["query_str", "question"])
def test_question_variables_come_first_and_spare_the_formatting(name: str) -> None:
    def never() -> list[ChatMessage]:
        raise AssertionError("the messages are not needed")

    assert text_to_score(never, {name: "the question", "context_str": "a text"}) == "the question"


@pytest.mark.parametrize("value", ["", "  ", None, 3])
def test_question_variable_without_text_is_passed_over(value: Any) -> None:
    assert text_to_score(lambda: messages((USER, "prompt")), {"query_str": value, "question": "q"}) == "q"
    assert text_to_score(lambda: messages((USER, "prompt")), {"query_str": value}) == "prompt"


def test_hook_decides_first() -> None:
    given = messages((USER, "prompt"))
    variables = {"query_str": "q"}
    assert text_to_score(lambda: given, variables, lambda m, v: f"{m[0].content} {v['query_str']}") == "prompt q"
    assert text_to_score(lambda: given, variables, lambda m, v: "") == ""
    assert text_to_score(lambda: given, variables, lambda m, v: None) == "q"
    with pytest.raises(ConfigurationError, match="not int"):
        text_to_score(lambda: given, variables, lambda m, v: 3)  # type: ignore[arg-type, return-value]
