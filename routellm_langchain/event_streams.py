"""Event streams of version 3: the chosen model's own stream object, with the decision on its message.

Such a stream has no end that a run around it could wait for, so there is none: the scoring and the
model's run stand side by side.
"""

from collections.abc import MutableMapping
from typing import Any, cast

from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from routellm_core import RoutingDecision
from routellm_core.scope import delegated_call
from routellm_langchain.decisions import DECISION_KEY
from routellm_langchain.delegation import Delegating, given
from routellm_langchain.ledger import LedgerHandler
from routellm_langchain.models import describe
from routellm_langchain.runs import decided, silent


def stream_v3(
    routed: Delegating[Any, Any],
    model_input: LanguageModelInput,
    config: RunnableConfig | None,
    **kwargs: Any,
) -> ChatModelStream:
    """Route one call and return the chosen model's stream.

    If the routed model falls back, the first event is waited for, and the stream of the first model that brings one is
    returned.

    Raises:
        NotImplementedError: If the chosen candidate has no such stream; the message names it.
    """
    config = ensure_config(config)
    config["callbacks"] = routed.run_settings.manager(config)
    decision: RoutingDecision | None = routed.routing.invoke(model_input, _scoring_config(config), **kwargs)
    while decision is not None:
        target: Any = routed.targets[decision.choice]
        inner_config = _delegated_config(routed, config, decision)
        try:
            with delegated_call():
                stream: ChatModelStream = target.stream_events(model_input, inner_config, version="v3", **given(kwargs))
        except NotImplementedError as error:
            raise _no_stream(decision, target) from error
        _add_decision(stream, decision)
        if not routed.falls_back:
            break
        try:
            next(iter(stream), None)  # it stays in the stream's buffer
            break
        except Exception as error:  # noqa: BLE001  (the last model's stays in its stream, for who reads it)
            decision = routed.routing.engine.fall_back(decision, error)
    return stream


async def astream_v3(
    routed: Delegating[Any, Any],
    model_input: LanguageModelInput,
    config: RunnableConfig | None,
    **kwargs: Any,
) -> AsyncChatModelStream:
    """Route one call without blocking the event loop and return the chosen model's stream; see `stream_v3`."""
    config = ensure_config(config)
    config["callbacks"] = routed.run_settings.amanager(config)
    decision: RoutingDecision | None = await routed.routing.ainvoke(model_input, _scoring_config(config), **kwargs)
    while decision is not None:
        target: Any = routed.targets[decision.choice]
        inner_config = _delegated_config(routed, config, decision)
        try:
            with delegated_call():
                stream: AsyncChatModelStream = await target.astream_events(
                    model_input, inner_config, version="v3", **given(kwargs)
                )
        except NotImplementedError as error:
            raise _no_stream(decision, target) from error
        _add_decision(stream, decision)
        if not routed.falls_back:
            break
        try:
            await anext(aiter(stream), None)
            break
        except Exception as error:  # noqa: BLE001
            decision = routed.routing.engine.fall_back(decision, error)
    return stream


def _delegated_config(
    routed: Delegating[Any, Any], config: RunnableConfig, decision: RoutingDecision
) -> RunnableConfig:
    callbacks = cast("BaseCallbackManager", config["callbacks"]).copy()
    callbacks.add_handler(LedgerHandler(routed.routing.engine, decision), inherit=True)
    return decided({**config, "callbacks": callbacks}, decision, routed.routing.keys)


def _scoring_config(config: RunnableConfig) -> RunnableConfig:
    # The name and the id that the caller gave are for the model's run.
    return silent({key: value for key, value in config.items() if key not in ("run_id", "run_name")})  # type: ignore[arg-type]


def _no_stream(decision: RoutingDecision, target: Runnable[Any, Any]) -> NotImplementedError:
    return NotImplementedError(
        f"candidate {decision.choice!r} ({describe(target)}) offers no event stream of version 3; use a chat model or a "
        "binding of one, put .with_fallbacks around the routed model, or stream with stream(), astream() or version 'v2'"
    )


def _add_decision(stream: ChatModelStream | AsyncChatModelStream, decision: RoutingDecision) -> None:
    """Let the event that ends the message carry the decision; the stream makes the message's metadata from it."""
    dispatch = stream.dispatch

    def dispatch_with_decision(event: MutableMapping[str, Any]) -> None:
        if event.get("event") == "message-finish":
            # In place: the observers of the run are given the same event next. An outer routed model was first.
            event["metadata"] = {DECISION_KEY: decision.to_dict(), **(event.get("metadata") or {})}
        dispatch(event)

    stream.dispatch = dispatch_with_decision  # type: ignore[method-assign, assignment]
