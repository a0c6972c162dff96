"""`RoutingRunnable`: the decision alone, as a runnable."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

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
from routellm_core.errors import ConfigurationError
from routellm_core.plan import OnRouterError
from routellm_core.policies import Policy
from routellm_langchain.configurable import RoutingKeys
from routellm_langchain.messages import ExtractPrompt, last_human_text, text_to_score


class EngineOptions(TypedDict, total=False):
    """The arguments of `RoutingEngine` that the runnables of this package take; None takes the engine's default."""

    policy: str | Policy | None
    prices: Mapping[str, float] | None
    references: Mapping[str, str] | None
    on_router_error: OnRouterError | None
    score_timeout_s: float | None


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
    given = {name: value for name, value in given.items() if value is not None}
    if engine is None:
        return RoutingEngine(candidates=candidates, threshold=threshold, **given)
    if given:
        raise ConfigurationError(f"engine= already has its own {', '.join(given)}: give one or the other")
    if candidates is not None and set(candidates) != set(engine.candidates):
        raise ConfigurationError(
            f"the engine routes among {engine.candidates!r}, and the models are {tuple(candidates)!r}"
        )
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

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The `configurable` keys that steer the routing."""
        return self.keys.specs

    def request(self, input: LanguageModelInput, config: RunnableConfig | None = None) -> RoutingRequest:  # noqa: A002
        """Return what the engine is asked about a call.

        Args:
            input: What a chat model takes.
            config: Its `configurable` is read; None takes that of the chain or graph around the call.
        """
        fields = self.keys.read(ensure_config(config))
        return RoutingRequest(text=text_to_score(input, self.extract_prompt), **fields)

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> RoutingDecision:
        """Decide where one call goes; see `RoutingEngine.decide`."""
        config = ensure_config(config)
        run = get_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            # A router may itself ask a model, whose run belongs under this one.
            with set_config_context(patch_config(config, callbacks=run.get_child())) as context:
                decision = context.run(self._decide, input, config)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(decision)
        return decision

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> RoutingDecision:
        """Decide where one call goes without blocking the event loop."""
        config = ensure_config(config)
        run = await get_async_callback_manager_for_config(config).on_chain_start(
            None, input, name=config.get("run_name") or self.get_name(), run_id=config.pop("run_id", None)
        )
        try:
            with set_config_context(patch_config(config, callbacks=run.get_child())) as context:
                decision = await coro_with_context(self._adecide(input, config), context)
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
        **kwargs: Any,  # noqa: ARG002
    ) -> list[RoutingDecision]:
        """Decide where many calls go, with one call of the router."""
        decide: Any = self._decide_batch
        return self._batch_with_config(decide, inputs, config, return_exceptions=return_exceptions)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> list[RoutingDecision]:
        """Decide where many calls go, with one call of the router, without blocking the event loop."""
        decide: Any = self._adecide_batch
        return await self._abatch_with_config(decide, inputs, config, return_exceptions=return_exceptions)

    def _decide(self, model_input: LanguageModelInput, config: RunnableConfig) -> RoutingDecision:
        return self.engine.decide(self.request(model_input, config))

    async def _adecide(self, model_input: LanguageModelInput, config: RunnableConfig) -> RoutingDecision:
        return await self.engine.adecide(self.request(model_input, config))

    def _decide_batch(
        self, inputs: list[LanguageModelInput], config: list[RunnableConfig]
    ) -> list[Exception | RoutingDecision]:
        requests = self._requests(inputs, config)
        # What the router itself may ask is traced under the first run of the batch.
        with set_config_context(config[0]) as context:
            decided = context.run(self.engine.decide_batch, _valid(requests), return_exceptions=True)
        return _merged(requests, decided)

    async def _adecide_batch(
        self, inputs: list[LanguageModelInput], config: list[RunnableConfig]
    ) -> list[Exception | RoutingDecision]:
        requests = self._requests(inputs, config)
        with set_config_context(config[0]) as context:
            decided = await coro_with_context(
                self.engine.adecide_batch(_valid(requests), return_exceptions=True), context
            )
        return _merged(requests, decided)

    def _requests(
        self, inputs: Sequence[LanguageModelInput], configs: Sequence[RunnableConfig]
    ) -> list[RoutingRequest | Exception]:
        requests: list[RoutingRequest | Exception] = []
        for model_input, config in zip(inputs, configs, strict=True):
            try:
                requests.append(self.request(model_input, config))
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
