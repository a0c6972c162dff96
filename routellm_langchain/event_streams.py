"""Event streams of version 3: the chosen model's own stream object, with the decision on its message.

Such a stream has no end that a run around it could wait for, so there is none: the scoring and the
model's run stand side by side.
"""

from collections.abc import MutableMapping
from typing import Any, TypeVar

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from routellm_core import RoutingDecision
from routellm_langchain.decisions import DECISION_KEY
from routellm_langchain.delegation import Delegating, given
from routellm_langchain.models import describe
from routellm_langchain.runs import decided, silent

Stream = TypeVar("Stream", ChatModelStream, AsyncChatModelStream)


def stream_v3(
    routed: Delegating[Any, Any],
    model_input: LanguageModelInput,
    config: RunnableConfig | None,
    **kwargs: Any,
) -> ChatModelStream:
    """Route one call and return the chosen model's stream.

    Raises:
        NotImplementedError: If the chosen candidate has no such stream; the message names it.
    """
    config = ensure_config(config)
    config["callbacks"] = routed.run_settings.manager(config)
    decision = routed.routing.invoke(model_input, _scoring_config(config))
    target: Any = routed.targets[decision.choice]
    try:
        stream: ChatModelStream = target.stream_events(
            model_input, decided(config, decision, routed.routing.keys), version="v3", **given(kwargs)
        )
    except NotImplementedError as error:
        raise _no_stream(decision, target) from error
    return _with_decision(stream, decision)


async def astream_v3(
    routed: Delegating[Any, Any],
    model_input: LanguageModelInput,
    config: RunnableConfig | None,
    **kwargs: Any,
) -> AsyncChatModelStream:
    """Route one call without blocking the event loop and return the chosen model's stream; see `stream_v3`."""
    config = ensure_config(config)
    config["callbacks"] = routed.run_settings.amanager(config)
    decision = await routed.routing.ainvoke(model_input, _scoring_config(config))
    target: Any = routed.targets[decision.choice]
    try:
        stream: AsyncChatModelStream = await target.astream_events(
            model_input, decided(config, decision, routed.routing.keys), version="v3", **given(kwargs)
        )
    except NotImplementedError as error:
        raise _no_stream(decision, target) from error
    return _with_decision(stream, decision)


def _scoring_config(config: RunnableConfig) -> RunnableConfig:
    # The name and the id that the caller gave are for the model's run.
    return silent({key: value for key, value in config.items() if key not in ("run_id", "run_name")})  # type: ignore[arg-type]


def _no_stream(decision: RoutingDecision, target: Runnable[Any, Any]) -> NotImplementedError:
    return NotImplementedError(
        f"candidate {decision.choice!r} ({describe(target)}) offers no event stream of version 3; use a chat model or a "
        "binding of one, put .with_fallbacks around the routed model, or stream with stream(), astream() or version 'v2'"
    )


def _with_decision(stream: Stream, decision: RoutingDecision) -> Stream:
    """Let the event that ends the message carry the decision; the stream makes the message's metadata from it."""
    dispatch = stream.dispatch

    def dispatch_with_decision(event: MutableMapping[str, Any]) -> None:
        if event.get("event") == "message-finish":
            # In place: the observers of the run are given the same event next. An outer routed model was first.
            event["metadata"] = {DECISION_KEY: decision.to_dict(), **(event.get("metadata") or {})}
        dispatch(event)

    stream.dispatch = dispatch_with_decision  # type: ignore[method-assign, assignment]
    return stream
