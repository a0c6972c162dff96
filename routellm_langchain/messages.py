"""What is scored: the text of the last human message.

The rule, in full:

- The last `HumanMessage` (or `ChatMessage` with the role "user" or "human") of the input is taken. It stays the same
  inside a tool loop, so all steps of an agent that answer one question get the same score.
- System prompts, answers of models, tool results and earlier turns are not read.
- Of content in several parts the text parts are taken, one per line; images, audio and files are not.
- Without a human message, or without text in it (an image alone), the text is empty, and the engine's rule for empty
  prompts applies: the strong model, unless `on_router_error="weak"`.

`extract_prompt=` of a routed model replaces the rule.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, convert_to_messages
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.prompt_values import PromptValue
from langchain_core.utils.function_calling import convert_to_openai_tool

from routellm_core.errors import ConfigurationError

ExtractPrompt = Callable[[Sequence[BaseMessage]], str]
"""From the messages of a call to the text that the router reads."""


def last_human_text(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the last human message; empty if there is none."""
    for message in reversed(messages):
        if _is_human(message):
            return _text(message)
    return ""


def first_human_text(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the first human message, by which a conversation is known again; empty if there is none."""
    return next((_text(message) for message in messages if _is_human(message)), "")


def to_messages(model_input: LanguageModelInput) -> Sequence[BaseMessage]:
    """Return the messages of one call.

    Args:
        model_input: What a chat model takes: a string, messages in any of their forms, or a prompt value.

    Raises:
        ConfigurationError: If it is nothing a chat model takes.
    """
    if isinstance(model_input, PromptValue):
        return model_input.to_messages()
    if isinstance(model_input, str):
        return [HumanMessage(model_input)]
    if isinstance(model_input, Sequence):
        return convert_to_messages(model_input)
    raise ConfigurationError(
        f"a chat model takes a string, a list of messages or a prompt value, not {type(model_input).__name__}"
    )


def text_to_score(messages: Sequence[BaseMessage], extract_prompt: ExtractPrompt) -> str:
    """Return what the router reads of one call.

    Raises:
        ConfigurationError: If the hook returns no string.
    """
    text = extract_prompt(messages)
    if not isinstance(text, str):
        raise ConfigurationError(f"extract_prompt must return a string, not {type(text).__name__}")
    return text


def approximate_tokens(messages: Sequence[BaseMessage], schemas: Sequence[object] = ()) -> int:
    """Return about how many tokens a call takes: four characters are one, and each that is not ASCII is one.

    Args:
        messages: What the model is sent.
        schemas: Tools and schemas for the answer, in any form that a chat model takes.
    """
    described = "".join(map(_description, schemas))
    texts = [described, *map(_counted_text, messages)]
    not_ascii = sum(len(text) - len(text.encode("ascii", "ignore")) for text in texts)
    # LangChain's count takes four characters of any script for one token.
    return count_tokens_approximately(messages) + (len(described) + 3 * not_ascii) // 4


def _counted_text(message: BaseMessage) -> str:
    if not isinstance(message.content, str):
        return repr(message.content)
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return message.content + (repr(calls) if calls else "")


def _description(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        try:
            schema = convert_to_openai_tool(schema)
        except (TypeError, ValueError):  # its text is near enough; binding it says what is wrong with it
            return str(schema)
    return json.dumps(schema, ensure_ascii=False, default=str)


_HUMAN_ROLES = ("user", "human")


def _is_human(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) or (isinstance(message, ChatMessage) and message.role in _HUMAN_ROLES)


def _text(message: BaseMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    parts = (part if isinstance(part, str) else _text_of_part(part) for part in message.content)
    return "\n".join(part for part in parts if part)


def _text_of_part(part: dict[str, object]) -> str:
    text = part.get("text") if part.get("type") == "text" else None
    return text if isinstance(text, str) else ""
