"""The tokens of a call: from its response, or where LlamaIndex does not hand that out, from the chosen model's events.

`predict` returns text and structured prediction an object of the caller's class, so their responses are seen only by
LlamaIndex's instrumentation: every model decorated by `llm_chat_callback` or `llm_completion_callback`, as those of the
integrations are, dispatches an end event with its response. What cannot be had: the usage of a model without these
decorators in such a call, and of a stream whose provider sends none (OpenAI sends it with
`additional_kwargs={"stream_options": {"include_usage": True}}`). Then the ledger counts the call without usage.
"""

import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any, Self

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index_instrumentation import get_dispatcher

from routellm_core.ledger import Usage

_INPUT = ("prompt_tokens", "input_tokens", "prompt_token_count", "prompt_eval_count")
_OUTPUT = ("completion_tokens", "output_tokens", "candidates_token_count", "eval_count")
_CACHED = ("cached_tokens", "cached_content_token_count")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_BESIDES_INPUT = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""Tokens of the prompt that Anthropic counts apart from `input_tokens`."""

_EVENT_SOURCE = "llama_index.core.llms.callbacks"


class UsageMeter:
    """Keeps the usage that was reported last in one call; as a block, it listens to the models called inside.

    Attributes:
        usage: None as long as none was reported.
        last_read: The response that was read last; None before the first.
    """

    _token: Token[Any]

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.last_read: object = None

    def read(self, response: object) -> None:
        """Take the usage of a response or of a chunk, if it is one and says it."""
        if isinstance(response, ChatResponse | CompletionResponse):
            self.last_read = response
            self.usage = usage_of(response) or self.usage

    def __enter__(self) -> Self:
        _listen_to_models()
        self._token = _meter.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _meter.reset(self._token)
        outer = _meter.get()
        if outer is not None:  # the chosen model is a routed one, too
            outer.usage = self.usage or outer.usage


def usage_of(response: ChatResponse | CompletionResponse) -> Usage | None:
    """Return the tokens that a response reports, in the field names of the common providers; None if it reports none."""
    raw = response.raw
    for source in (_field(raw, "usage"), _field(raw, "usage_metadata"), raw, response.additional_kwargs):
        if not source:
            continue
        prompt, answer = _first(source, _INPUT), _first(source, _OUTPUT)
        if prompt is None and answer is None:
            continue
        beside = [_first(source, (name,)) or 0 for name in _BESIDES_INPUT]
        cached = next((_first(_field(source, name), _CACHED) for name in _DETAILS if _field(source, name)), None)
        return Usage(
            input_tokens=(prompt or 0) + sum(beside),
            output_tokens=answer or 0,
            cached_tokens=cached or _first(source, _CACHED) or beside[0],
        )
    return None


def _field(source: object, name: str) -> Any:
    if type(source) is dict or isinstance(source, Mapping):  # the first is much faster, and nearly always so
        return source.get(name)
    return getattr(source, name, None)


def _first(source: object, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = _field(source, name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


class _ReadEndEvents(BaseEventHandler):
    @classmethod
    def class_name(cls) -> str:
        return "RouteLLMUsage"

    def handle(self, event: Any, **_: Any) -> None:
        meter = _meter.get()
        if meter is not None and isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent):
            meter.read(event.response)


_meter: ContextVar[UsageMeter | None] = ContextVar("routellm_usage_meter", default=None)
_handler = _ReadEndEvents()
_lock = threading.Lock()


def _listen_to_models() -> None:
    """Put the one handler of this module where every model's events pass; it does nothing outside a routed call."""
    source = get_dispatcher(_EVENT_SOURCE)
    if _handler not in source.event_handlers:
        with _lock:
            if _handler not in source.event_handlers:
                source.add_event_handler(_handler)
