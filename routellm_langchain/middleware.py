"""`RoutingMiddleware`: routing for `create_agent`, where the agent must see the chosen model itself.

Other middleware looks at the class of `request.model`, to cache prompts the way of its provider for example. A routed model
hides that class; this middleware puts the chosen model in its place.
"""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired, Unpack, cast

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import Runnable, ensure_config
from langgraph.runtime import Runtime

from routellm_core import Router, RoutingDecision, RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_langchain.capabilities import CallNeeds, capabilities_of
from routellm_langchain.chat_model import models_by_name
from routellm_langchain.decisions import attach, run_metadata
from routellm_langchain.ledger import LedgerHandler
from routellm_langchain.messages import ExtractPrompt, last_human_text
from routellm_langchain.models import resolve_model
from routellm_langchain.runnable import EngineOptions, RoutingRunnable, make_engine
from routellm_langchain.runs import silent

Response = ModelResponse[Any] | AIMessage | ExtendedModelResponse[Any]


class RoutingState(AgentState[Any]):
    """The state of an agent with this middleware."""

    routellm_decision: NotRequired[Annotated[dict[str, Any], PrivateStateAttr]]
    """The decision of the run, as `RoutingDecision.to_dict` gives it: plain JSON for any checkpointer."""


class RoutingMiddleware(AgentMiddleware[RoutingState, Any, Any]):
    """Lets a router choose which model answers the calls of an agent.

    It takes the place of the agent's own model only. A model that another middleware puts there after a failure stays, so
    `ModelFallbackMiddleware` works on either side of it. The decision is in `response_metadata["routellm"]` of the answers that
    the chosen model gave, and in the metadata of its runs. The `configurable` keys are those of `RoutedChatModel`.

    Args:
        strong: The model for what needs it: a chat model, or a string for `init_chat_model`.
        weak: The model for everything else.
        candidates: Instead of the two, any number of models by name, weakest (cheapest) first.
        router: A router, or what `load_router` takes; None takes "default".
        threshold: In [0, 1]; higher sends fewer calls to strong. None takes the router's calibrated value for a strong
            fraction of 0.5.
        per: "run" decides once when the agent is called, and its loop stays on that model, with its prompt cache, but for
            calls that the model cannot take; "turn" decides for every model call.
        engine: A ready-made engine instead of `router` and the options.
        extract_prompt: From the messages of a call to the text that is scored; see `routellm_langchain.messages`.
        config_prefix: Put before the `configurable` keys; "" puts nothing.
        **options: Further arguments of `RoutingEngine`.

    Raises:
        ConfigurationError: If an argument is wrong, or a model is wrapped: `create_agent` takes chat models alone.

    Example:
        ```python
        routing = RoutingMiddleware(strong="openai:gpt-5", weak="openai:gpt-5-mini", threshold=0.6)
        agent = create_agent("openai:gpt-5", tools=[search], middleware=[routing])
        agent.invoke({"messages": [...]}, {"configurable": {"routellm_threshold": 0.2}})
        ```
    """

    state_schema = RoutingState

    def __init__(
        self,
        *,
        strong: BaseChatModel | str | None = None,
        weak: BaseChatModel | str | None = None,
        candidates: Mapping[str, BaseChatModel | str] | None = None,
        router: Router | str | None = None,
        threshold: float | None = None,
        per: Literal["run", "turn"] = "run",
        engine: RoutingEngine | None = None,
        extract_prompt: ExtractPrompt = last_human_text,
        config_prefix: str = "",
        **options: Unpack[EngineOptions],
    ) -> None:
        super().__init__()
        if per not in ("run", "turn"):
            raise ConfigurationError(f"per must be 'run' or 'turn', not {per!r}")
        given = models_by_name(strong, weak, candidates)
        self.models = {name: _chat_model(name, resolve_model(name, model)) for name, model in given.items()}
        names = None if candidates is None else tuple(self.models)
        self.engine = make_engine(engine, router, names, threshold, **options)
        if set(self.engine.models) != set(self.models):
            raise ConfigurationError(
                f"the engine routes among {self.engine.models!r}, and the models are {tuple(self.models)!r}"
            )
        self.per = per
        # Not a context variable: the hooks of each middleware may run in a copy of the context.
        self._own_models: OrderedDict[tuple[Any, Any], BaseChatModel] = OrderedDict()
        self._lock = threading.Lock()
        self._routing = RoutingRunnable(
            engine=self.engine, extract_prompt=extract_prompt, config_prefix=config_prefix
        ).with_needs(CallNeeds(), {name: capabilities_of(model) for name, model in self.models.items()})

    def before_agent(self, state: RoutingState, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Decide for the whole run, if that is asked for."""
        if self.per == "turn":
            return None
        return {"routellm_decision": self._decide(state["messages"]).to_dict()}

    async def abefore_agent(self, state: RoutingState, runtime: Runtime[Any]) -> dict[str, Any] | None:  # noqa: ARG002
        """Decide for the whole run without blocking the event loop, if that is asked for."""
        if self.per == "turn":
            return None
        return {"routellm_decision": (await self._adecide(state["messages"])).to_dict()}

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Response]) -> Response:
        """Make the call with the chosen model."""
        if not self._is_own_model(request):
            return handler(request)
        kept = self._kept(request)
        if kept is None:
            decision = self._decide(_messages(request), **_needs(request))
        else:
            decision = _unless_ruled_out(kept, self.engine.decide(self._asking_for(kept, request)))
        answered = _Answered(self.engine, decision)
        return _marked(handler(self._with_choice(request, decision, answered)), decision, answered)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Response]]
    ) -> Response:
        """Make the call with the chosen model without blocking the event loop."""
        if not self._is_own_model(request):
            return await handler(request)
        kept = self._kept(request)
        if kept is None:
            decision = await self._adecide(_messages(request), **_needs(request))
        else:
            decision = _unless_ruled_out(kept, await self.engine.adecide(self._asking_for(kept, request)))
        answered = _Answered(self.engine, decision)
        return _marked(await handler(self._with_choice(request, decision, answered)), decision, answered)

    def _decide(self, messages: list[Any], **needs: Any) -> RoutingDecision:
        return self._routing.invoke(messages, silent(ensure_config()), **needs)

    async def _adecide(self, messages: list[Any], **needs: Any) -> RoutingDecision:
        return await self._routing.ainvoke(messages, silent(ensure_config()), **needs)

    def _is_own_model(self, request: ModelRequest[Any]) -> bool:
        """Whether the request still has the agent's own model: the one of the first try of this model call."""
        step = request.runtime.execution_info
        if step is None:
            return True
        key = (step.task_id, step.node_first_attempt_time)
        with self._lock:
            own = self._own_models.setdefault(key, request.model)
            if len(self._own_models) > _STEPS_KEPT:
                self._own_models.popitem(last=False)
        return own is request.model

    def _kept(self, request: ModelRequest[Any]) -> RoutingDecision | None:
        """Return the decision of the run; None if every call is decided, or the run began without this middleware."""
        stored = cast("RoutingState", request.state).get("routellm_decision") if self.per == "run" else None
        return None if stored is None or stored["choice"] not in self.models else RoutingDecision(**stored)

    def _asking_for(self, kept: RoutingDecision, request: ModelRequest[Any]) -> Any:
        """Return the request of a call that is to stay with the choice of its run, if that can take it."""
        call = self._routing.request(_messages(request), **_needs(request))
        if call.tools and self.engine.plan.tools_route is not None and kept.reason != "forced":
            return call
        return replace(call, route=kept.choice)

    def _with_choice(
        self, request: ModelRequest[Any], decision: RoutingDecision, answered: "_Answered"
    ) -> ModelRequest[Any]:
        model = self.models[decision.choice]
        return request.override(
            model=model.model_copy(
                update={
                    "callbacks": _added(model.callbacks, answered),
                    "tags": [*(model.tags or []), f"routellm:{decision.choice}"],
                    "metadata": {**(model.metadata or {}), **run_metadata(decision)},
                }
            )
        )


_STEPS_KEPT = 10_000
"""For how many steps of graphs it is remembered which model came first; more cannot be under way at once in practice."""


class _Answered(LedgerHandler):
    """Also knows whether the chosen model answered, and not one that stepped in for it further inside."""

    yes = False

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        """Record an answer."""
        self.yes = True
        super().on_llm_end(response, **kwargs)


def _chat_model(name: str, model: Runnable[Any, Any]) -> BaseChatModel:
    if isinstance(model, BaseChatModel):
        return model
    raise ConfigurationError(
        f"{name} is a {type(model).__name__}, and an agent takes a chat model alone: give the settings to the model itself, "
        "and use ModelRetryMiddleware and ModelFallbackMiddleware, or give the agent a RoutedChatModel, which takes wrapped "
        "models"
    )


def _messages(request: ModelRequest[Any]) -> list[Any]:
    """Return what the model of a call is sent."""
    return request.messages if request.system_message is None else [request.system_message, *request.messages]


def _needs(request: ModelRequest[Any]) -> dict[str, Any]:
    """Return what a call asks of its model, as the arguments that a provider's model takes.

    A schema for the answer is a tool, unless the provider is to hold the answer to it.
    """
    if isinstance(request.response_format, ProviderStrategy):
        return {"tools": request.tools, "response_format": request.response_format.to_model_kwargs()["response_format"]}
    response_format: Any = request.response_format
    by_strategy = isinstance(response_format, AutoStrategy | ToolStrategy)
    schema = response_format.schema if by_strategy else response_format
    return {"tools": request.tools if schema is None else [*request.tools, schema]}


def _unless_ruled_out(kept: RoutingDecision, decision: RoutingDecision) -> RoutingDecision:
    return kept if decision.choice == kept.choice else decision


def _added(
    callbacks: list[BaseCallbackHandler] | BaseCallbackManager | None, handler: BaseCallbackHandler
) -> list[BaseCallbackHandler] | BaseCallbackManager:
    if isinstance(callbacks, BaseCallbackManager):
        copied = callbacks.copy()
        copied.add_handler(handler, inherit=True)
        return copied
    return [*(callbacks or []), handler]


def _marked(response: Response, decision: RoutingDecision, answered: _Answered) -> Response:
    if not answered.yes:
        return response
    if isinstance(response, AIMessage):
        return attach(response, decision)
    if isinstance(response, ExtendedModelResponse):
        return replace(
            response, model_response=cast("ModelResponse[Any]", _marked(response.model_response, decision, answered))
        )
    result: list[BaseMessage] = [
        attach(message, decision) if isinstance(message, AIMessage) else message for message in response.result
    ]
    return replace(response, result=result)
