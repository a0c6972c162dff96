"""`RoutingRunnable`: the decision alone, as a runnable."""

import os
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Self, TypedDict, Unpack

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import ConfigurableFieldSpec, Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
    patch_config,
    set_config_context,
)
from langchain_core.runnables.utils import coro_with_context

from routellm_core import Router, RoutingDecision, RoutingEngine, RoutingRequest
from routellm_core.constraints import Capabilities
from routellm_core.errors import ConfigurationError
from routellm_core.plan import OnRouterError
from routellm_core.policies import Policy
from routellm_core.pricing import Price
from routellm_core.scope import current_scope
from routellm_core.sessions import SessionStore
from routellm_core.traffic import DecisionLog
from routellm_langchain.capabilities import CallNeeds, has_images
from routellm_langchain.configurable import ConfiguredFields, RoutingKeys
from routellm_langchain.messages import (
    ExtractPrompt,
    approximate_tokens,
    first_human_text,
    last_human_text,
    text_to_score,
    to_messages,
)

Prices = Mapping[str, Price | float | Mapping[str, Any]]
"""The price of each candidate: a `Price`, its fields, or one number, in US dollars per million tokens."""


class EngineOptions(TypedDict, total=False):
    """The arguments of `RoutingEngine` that the runnables of this package take; None takes the engine's default."""

    policy: str | Policy | None
    prices: Prices | None
    references: Mapping[str, str] | None
    capabilities: Mapping[str, Capabilities] | None
    tools_route: str | None
    sticky: bool | None
    sessions: SessionStore | None
    on_router_error: OnRouterError | None
    score_timeout_s: float | None
    log: DecisionLog | str | os.PathLike[str] | None


def make_engine(
    engine: RoutingEngine | None,
    router: Router | str | None,
    candidates: Sequence[str] | None,
    threshold: float | None,
    **options: Unpack[EngineOptions],
) -> RoutingEngine:
    """Return the ready-made engine, or make one.

    Raises:
        ConfigurationError: If an option is wrong, or is given next to an engine that already has it.
    """
    given: dict[str, Any] = {"router": router, **options}
    given = {name: value for name, value in given.items() if value is not None and value is not False}
    if engine is None:
        return RoutingEngine(candidates=candidates, threshold=threshold, **given)
    if given:
        raise ConfigurationError(f"engine= already has its own {', '.join(given)}: give one or the other")
    if candidates is not None and set(candidates) != set(engine.models):
        raise ConfigurationError(f"the engine routes among {engine.models!r}, and the models are {tuple(candidates)!r}")
    return engine if threshold is None else engine.with_threshold(threshold)


class RoutingRunnable(Runnable[LanguageModelInput, RoutingDecision]):
    """Decides which model should take a call, and calls none.

    For `RunnableBranch`, the conditional edges of a graph, and plain code. `batch` scores once.

    Args:
        router: A router, or what `load_router` takes; None takes "default".
        engine: A ready-made engine instead of `router` and the options.
        candidates: The names of the models to choose among, weakest first; None means `("weak", "strong")`.
        threshold: In [0, 1]; None takes the router's calibrated value for a strong fraction of 0.5.
        extract_prompt: From the messages of a call to the text that is scored; see `routellm_langchain.messages`.
        config_prefix: Put before the `configurable` keys; "" puts nothing.
        name: The name of its runs in traces; None takes the class name.
        **options: Further arguments of `RoutingEngine`.

    Raises:
        ConfigurationError: If an argument is wrong.

    Example:
        >>> routing = RoutingRunnable("length", threshold=0.001)
        >>> routing.invoke("Prove that there are infinitely many primes.").choice
        'strong'
    """

    def __init__(
        self,
        router: Router | str | None = None,
        *,
        engine: RoutingEngine | None = None,
        candidates: Sequence[str] | None = None,
        threshold: float | None = None,
        extract_prompt: ExtractPrompt = last_human_text,
        config_prefix: str = "",
        name: str | None = None,
        **options: Unpack[EngineOptions],
    ) -> None:
        self.engine = make_engine(engine, router, candidates, threshold, **options)
        self.extract_prompt = extract_prompt
        self.keys = RoutingKeys(config_prefix)
        self.name = name
        self._needs = CallNeeds()
        self._capabilities: Mapping[str, Capabilities] = {}
        self._windows = False

    def with_needs(self, needs: CallNeeds, capabilities: Mapping[str, Capabilities]) -> Self:
        """Return a copy for calls that need more than an answer.

        Args:
            needs: What every call needs; what the arguments of a call ask for comes on top.
            capabilities: What the models say they can take; what the engine was told wins.
        """
        other = copy(self)
        other._needs = needs
        other._capabilities = dict(capabilities)
        other._windows = any(able.context_window is not None for able in capabilities.values())
        return other

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The `configurable` keys that steer the routing."""
        return self.keys.specs

    def request(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RoutingRequest:
        """Return what the engine is asked about a call.

        Args:
            input: What a chat model takes.
            config: Its `configurable` is read; None takes that of the chain or graph around the call.
            **kwargs: The arguments of the call; those with tools or a schema for the answer count.
        """
        return self._request(input, self._read(ensure_config(config)), kwargs)

    def _read(self, config: RunnableConfig) -> ConfiguredFields:
        fields = self.keys.read(config)
        if "session" not in fields and self.engine.sticky and current_scope().session is None:
            thread = config.get("configurable", {}).get("thread_id")
            if thread is not None:
                fields["session"] = str(thread)
        return fields

    def _request(
        self, model_input: LanguageModelInput, fields: ConfiguredFields, arguments: Mapping[str, Any]
    ) -> RoutingRequest:
        messages = to_messages(model_input)
        text = text_to_score(messages, self.extract_prompt)
        needs = self._needs.and_of(arguments)
        images = has_images(messages)
        tokens = approximate_tokens(messages, needs.schemas) if self._reads_tokens else None
        demanding = needs.schemas or images or tokens is not None
        return RoutingRequest(
            text=text,
            conversation=first_human_text(messages) if self.engine.sticky else None,
            tools=bool(needs.tools),
            images=images,
            structured_output=needs.schema is not None,
            tokens=tokens,
            capabilities=self._capabilities if demanding else {},
            **fields,
        )

    @property
    def _reads_tokens(self) -> bool:
        """Whether the length of a prompt can change where it goes; counting is not free."""
        return (
            self._windows
            or self.engine.sticky
            or any(able.context_window is not None for able in self.engine.capabilities.values())
        )

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RoutingDecision:
        """Decide where one call goes; see `RoutingEngine.decide`."""
        config = ensure_config(config)
        run = get_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            # Before the context changes: a graph's own is read from it.
            fields = self._read(config)
            # A router may itself ask a model, whose run belongs under this one.
            with set_config_context(patch_config(config, callbacks=run.get_child())) as context:
                decision = context.run(self._decide, input, fields, kwargs)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(decision)
        return decision

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RoutingDecision:
        """Decide where one call goes without blocking the event loop."""
        config = ensure_config(config)
        run = await get_async_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            fields = self._read(config)
            with set_config_context(patch_config(config, callbacks=run.get_child())) as context:
                decision = await coro_with_context(self._adecide(input, fields, kwargs), context)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(decision)
        return decision

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[RoutingDecision]:
        """Decide where many calls go, with one call of the router."""
        decide: Any = self._decide_batch
        return self._batch_with_config(decide, inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[RoutingDecision]:
        """Decide where many calls go, with one call of the router, without blocking the event loop."""
        decide: Any = self._adecide_batch
        return await self._abatch_with_config(decide, inputs, config, return_exceptions=return_exceptions, **kwargs)

    def _decide(
        self, model_input: LanguageModelInput, fields: ConfiguredFields, arguments: Mapping[str, Any]
    ) -> RoutingDecision:
        return self.engine.decide(self._request(model_input, fields, arguments))

    async def _adecide(
        self, model_input: LanguageModelInput, fields: ConfiguredFields, arguments: Mapping[str, Any]
    ) -> RoutingDecision:
        return await self.engine.adecide(self._request(model_input, fields, arguments))

    def _decide_batch(
        self, inputs: list[LanguageModelInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | RoutingDecision]:
        requests = self._requests(inputs, config, kwargs)
        # What the router itself may ask is traced under the first run of the batch.
        with set_config_context(config[0]) as context:
            decided = context.run(self.engine.decide_batch, _valid(requests), return_exceptions=True)
        return _merged(requests, decided)

    async def _adecide_batch(
        self, inputs: list[LanguageModelInput], config: list[RunnableConfig], **kwargs: Any
    ) -> list[Exception | RoutingDecision]:
        requests = self._requests(inputs, config, kwargs)
        with set_config_context(config[0]) as context:
            decided = await coro_with_context(
                self.engine.adecide_batch(_valid(requests), return_exceptions=True), context
            )
        return _merged(requests, decided)

    def _requests(
        self, inputs: Sequence[LanguageModelInput], configs: Sequence[RunnableConfig], arguments: Mapping[str, Any]
    ) -> list[RoutingRequest | Exception]:
        requests: list[RoutingRequest | Exception] = []
        for model_input, config in zip(inputs, configs, strict=True):
            try:
                requests.append(self._request(model_input, self._read(config), arguments))
            except Exception as error:  # noqa: BLE001  (the caller of the batch says what becomes of its errors)
                requests.append(error)
        return requests


def _valid(requests: Sequence[RoutingRequest | Exception]) -> list[RoutingRequest | str]:
    return [request for request in requests if isinstance(request, RoutingRequest)]


def _merged(
    requests: Sequence[RoutingRequest | Exception], decided: Sequence[RoutingDecision | Exception]
) -> list[Exception | RoutingDecision]:
    remaining = iter(decided)
    return [request if isinstance(request, Exception) else next(remaining) for request in requests]
