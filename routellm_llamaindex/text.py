"""What is scored: the question, never the text that LlamaIndex puts around it.

The first of these that gives a text:

1. The hook `routing_text`, if it is given and does not return None.
2. The template variable `query_str`, else `question`: every response synthesizer passes one of them, so what was
   retrieved cannot move the score, and the calls that one question makes are scored once.
3. The last user message with text that no agent loop wrote: a ReAct observation or complaint and the result of executed
   code are skipped, the state that an agent puts before the message is taken off, and of a conversation that an agent
   restates for its `output_cls` the last user turn is taken.
4. The last message with text, whoever wrote it; a prompt given to `complete` is its own last message.

Without any text, as with images alone, the engine's rule for empty prompts applies. Where LlamaIndex formats a prompt before
it calls the LLM, the question is hidden and the prompt is scored as it is: `as_structured_llm(...)` inside a query engine,
`PydanticSingleSelector` and other users of `FunctionCallingProgram`, and the step of `condense_plus_context` that
rewrites the question. A `routing_text` that knows their prompts can do better.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from routellm_core.errors import ConfigurationError

RoutingText = Callable[[Sequence[ChatMessage], Mapping[str, Any]], str | None]
"""A hook: from the messages of a call and its template variables to the text to score, or None for the rule."""

QUESTION_VARIABLES = ("query_str", "question")

_OBSERVATION, _ACTION = "Observation:", "Action:"
_AGENT_REMARKS = (
    "Error while parsing the output:",
    "FAILURE: Your previous response was empty.",
    "Result of executing the code given:",
)
_STATE, _MESSAGE = "Current state:\n", "\n\nCurrent message:\n"
_CONVERSATION = "<current_conversation>"
_TURN = re.compile(r"^\t<(system|user|assistant|tool)>\n(.*?)^\t</\1>$", re.DOTALL | re.MULTILINE)
_TURN_TEXT = re.compile(r"<message>(.*?)</message>", re.DOTALL)


def text_to_score(
    messages: Callable[[], Sequence[ChatMessage]],
    variables: Mapping[str, Any] | None = None,
    hook: RoutingText | None = None,
) -> str:
    """Return what the router reads of one call.

    Args:
        messages: Makes the messages of the call; not called if the question is known without them.
        variables: The template variables, where the call came with a template.
        hook: What decides before the rule.

    Raises:
        ConfigurationError: If the hook returns neither a string nor None.
    """
    variables = variables or {}
    if hook is not None:
        text = hook(messages(), variables)
        if isinstance(text, str):
            return text
        if text is not None:
            raise ConfigurationError(f"routing_text must return a string or None, not {type(text).__name__}")
    for name in QUESTION_VARIABLES:
        value = variables.get(name)
        if isinstance(value, str) and value.strip():
            return value
    return last_question(messages())


def first_question(messages: Sequence[ChatMessage]) -> str | None:
    """Return the user message that was answered first, by which a conversation is known again; None if there is none.

    Where not every model takes a system role, LlamaIndex writes the system prompt as another user message before it.
    """
    question = None
    for message in restored(messages):
        if message.role == MessageRole.USER and message.content:
            question = _without_state(message.content)
        elif message.role == MessageRole.ASSISTANT and question is not None:
            break
    return question


def last_question(messages: Sequence[ChatMessage]) -> str:
    """Return the last user message that no agent loop wrote, else the last with text; empty if none has any."""
    messages = restored(messages)
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if message.role != MessageRole.USER or not message.content:
            continue
        if position > 0 and _is_remark(message.content, messages[position - 1]):
            continue
        return _without_state(message.content)
    return next((message.content for message in reversed(messages) if message.content), "")


def restored(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return the messages with those that restate a whole conversation replaced by its turns.

    That is how an agent asks for its `output_cls`. A conversation without a user turn is left as it is.
    """
    return [turn for message in messages for turn in _turns_of(message)]


def _turns_of(message: ChatMessage) -> list[ChatMessage]:
    text = message.content or ""
    if message.role != MessageRole.USER or not text.startswith(_CONVERSATION):
        return [message]
    turns = [
        ChatMessage(role=MessageRole(role), content="\n".join(_TURN_TEXT.findall(said)))
        for role, said in _TURN.findall(text)
    ]
    return turns if any(turn.role == MessageRole.USER and turn.content for turn in turns) else [message]


def _is_remark(text: str, before: ChatMessage) -> bool:
    """Return whether an agent loop wrote this text in answer to the model, as against a user who begins like it."""
    if before.role != MessageRole.ASSISTANT:
        return False
    return text.startswith(_AGENT_REMARKS) or (text.startswith(_OBSERVATION) and _ACTION in (before.content or ""))


def _without_state(text: str) -> str:
    if text.startswith(_STATE) and _MESSAGE in text:
        return text.partition(_MESSAGE)[2].removesuffix("\n")
    return text
