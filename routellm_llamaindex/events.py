"""How a decision is made known: an event, tags on the chosen model's events, and an entry in the response."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, cast

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.instrumentation.events import BaseEvent
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import Dispatcher, active_instrument_tags, instrument_tags
from llama_index_instrumentation.event_handlers import NullEventHandler

from routellm_core.decision import RoutingDecision

RESPONSE_KEY = "routellm"
"""Where `additional_kwargs` of a response, and of every chunk of a stream, holds the decision as plain JSON."""

T = TypeVar("T")

_dispatcher = get_dispatcher(__name__)


class RoutingDecisionEvent(BaseEvent):
    """One call was routed; dispatched once per call, before the chosen model is called.

    Attributes:
        decision: Which candidate takes the call, and why.
        model_name: What the candidate's metadata calls its model.
    """

    decision: RoutingDecision
    model_name: str

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the event is serialised."""
        return "RoutingDecisionEvent"


def dispatch_decision(decision: RoutingDecision, model_name: Callable[[], str]) -> None:
    """Hand the decision to every event handler of LlamaIndex's instrumentation.

    Args:
        decision: Which candidate takes the call.
        model_name: Tells what its metadata calls its model; not called if there is no handler, nor is an event made.
    """
    if _has_handlers(_dispatcher):
        _dispatcher.event(RoutingDecisionEvent(decision=decision, model_name=model_name()))


def _has_handlers(dispatcher: Dispatcher) -> bool:
    if any(not isinstance(handler, NullEventHandler) for handler in dispatcher.event_handlers):
        return True
    return dispatcher.propagate and _has_handlers(dispatcher.parent)


def decision_tags(decision: RoutingDecision) -> AbstractContextManager[None]:
    """Return a block that tags the events inside it with the decision; tags set outside stay."""
    tags = {
        "routellm_choice": decision.choice,
        "routellm_reason": decision.reason,
        "routellm_strong_win_rate": decision.strong_win_rate,
        "routellm_threshold": decision.threshold,
    }
    known = {name: value for name, value in tags.items() if value is not None}
    return instrument_tags({**active_instrument_tags.get(), **known})


def with_decision(response: T, record: dict[str, Any]) -> T:
    """Return a copy of a response that carries the decision; anything but a response comes back as it is.

    The message is never touched: its `additional_kwargs` are sent to providers with the next call.

    Args:
        response: What the chosen model returned.
        record: The decision as plain JSON.
    """
    if not isinstance(response, ChatResponse | CompletionResponse):
        return response
    inner = response.additional_kwargs.get(RESPONSE_KEY)
    if inner is not None:  # the chosen model is a RoutedLLM, too
        record = {**record, "inner": inner}
    marked = response.model_copy(update={"additional_kwargs": {**response.additional_kwargs, RESPONSE_KEY: record}})
    return cast("T", marked)


def take_decision(response: ChatResponse) -> tuple[str | None, ChatResponse]:
    """Return the candidate that produced a response, None if unknown, and the response as that candidate gave it."""
    others = dict(response.additional_kwargs)
    record = others.pop(RESPONSE_KEY, None)
    if not isinstance(record, dict):
        return None, response
    if "inner" in record:
        others[RESPONSE_KEY] = record["inner"]
    return record.get("choice"), response.model_copy(update={"additional_kwargs": others})
