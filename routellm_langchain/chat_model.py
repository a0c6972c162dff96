"""`RoutedChatModel`: a chat model that sends each call to the strong or the weak model, or to one of many."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr

from routellm_core import Router, RoutingDecision, RoutingEngine
from routellm_core.config import load_config
from routellm_core.constraints import Capabilities
from routellm_core.errors import ConfigurationError
from routellm_core.plan import OnRouterError
from routellm_core.policies import Policy
from routellm_core.pricing import Price, look_up_price
from routellm_core.traffic import DecisionLog
from routellm_langchain.arguments import INNER_ONLY, model_settings
from routellm_langchain.base import DelegatingChatModel
from routellm_langchain.capabilities import CallNeeds, capabilities_of, common_profile
from routellm_langchain.delegation import RoutedRunnable
from routellm_langchain.messages import ExtractPrompt, last_human_text
from routellm_langchain.models import (
    STREAMING,
    bound_in_each,
    call_name,
    configured_models,
    describe,
    resolve_model,
    with_schema,
    with_settings,
    with_tools,
)
from routellm_langchain.runnable import Prices, RoutingRunnable, make_engine
from routellm_langchain.runs import RunSettings

Model = Runnable[Any, Any] | str
"""A chat model, a wrapped one (`.bind`, `.with_retry`, `.with_fallbacks`), or a string for `init_chat_model`."""


class RoutedChatModel(DelegatingChatModel):
    """A chat model that lets a router choose which model answers each call.

    It takes the place of any chat model: in chains, graphs and agents, with tools, structured output and streaming. The
    decision is in `response_metadata["routellm"]` of the answer, and in the metadata of the traced runs; tokens and money per
    model are in `engine.ledger`. `from_config` reads everything from a file.

    Caching, rate limiting, retries, timeouts and keys are those of the models being routed to. Sampling arguments
    (`temperature`, `max_tokens`, `stop`, ...), `streaming`, `disable_streaming` and `output_version` given here are passed on
    to them.

    Args:
        strong: The model for what needs it: a chat model, a wrapped one, or a string for `init_chat_model`.
        weak: The model for everything else.
        candidates: Instead of the two, any number of models by name, weakest (cheapest) first.
        router: A router, or what `load_router` takes; None takes "default".
        threshold: In [0, 1]; higher sends fewer calls to strong. None takes the router's calibrated value for a strong
            fraction of 0.5.
        policy: How scores become a choice; None takes "threshold".
        prices: The price of each candidate: a `Price`, its fields, or one number, in US dollars per million tokens; "list" takes
            the public list prices (extra `prices`). None takes the order of the candidates, and the ledger counts tokens alone.
        references: Which model of the router stands for each candidate; see `RoutingEngine`.
        capabilities: What candidates can take; what is not given here is read from each model's `profile`, and what is not
            known counts as able. A call with tools, images, a schema for its answer, or more tokens than a window never
            reaches a candidate that cannot take it.
        tools_route: The candidate ("strong", "weak" or its name) that takes every call with tools; None routes them like others.
        sticky: Keep a conversation on its model. It is known by the key `routellm_session`, else by LangGraph's `thread_id`, else
            by its first human message.
        on_router_error: Where calls go that could not be scored: "strong", "weak" or "raise"; None takes "strong".
        score_timeout_s: How long a call waits for its score; None waits.
        log: Where calls are written as JSON lines, a `routellm_core.traffic.DecisionLog` or a path; None writes none.
        engine: A ready-made engine instead of `router` and the options after it.
        fallback: Let the next alternative take over from a model that fails, in a stream before its first chunk; the message
            then carries the new decision, with `fallback_from`.
        extract_prompt: From the messages of a call to the text that is scored; see `routellm_langchain.messages`.
        config_prefix: Put before the `configurable` keys `routellm_threshold`, `routellm_route`, `routellm_chain` and
            `routellm_session`, to tell two routed models of one graph apart; "" puts nothing.
        **arguments: Sampling arguments as above, and the fields of every chat model: `name`, `callbacks`, `tags`, `metadata`,
            `verbose`, `profile`, `custom_get_token_ids`.

    Raises:
        ConfigurationError: If an argument is unknown, wrong, or does not fit the others.

    Example:
        ```python
        model = RoutedChatModel(strong=ChatOpenAI(model="gpt-5"), weak=ChatOllama(model="llama3.2"), threshold=0.6)
        model.invoke("What is the capital of France?").response_metadata["routellm"]["choice"]
        model.invoke("Prove it.", {"configurable": {"routellm_threshold": 0.2}})
        ```
    """

    candidates: dict[str, Runnable[Any, Any]]
    """The models by name, weakest first."""

    engine: RoutingEngine = Field(exclude=True)
    """What decides."""

    threshold: float | None = None
    """The threshold as given; `engine.threshold` is the one in force."""

    fallback: bool = False
    """Whether the next alternative takes over from a model that fails."""

    extract_prompt: ExtractPrompt = Field(default=last_human_text, exclude=True)
    """From the messages of a call to the text that is scored."""

    config_prefix: str = ""
    """What is put before the `configurable` keys."""

    _routing: RoutingRunnable = PrivateAttr()
    _capabilities: dict[str, Capabilities] = PrivateAttr()
    _needs: CallNeeds = PrivateAttr(default=CallNeeds())
    _bound: dict[str, Runnable[Any, Any]] | None = PrivateAttr(default=None)
    _unable: tuple[str, ...] = PrivateAttr(default=())

    def __init__(
        self,
        *,
        strong: Model | None = None,
        weak: Model | None = None,
        candidates: Mapping[str, Model] | None = None,
        router: Router | str | None = None,
        threshold: float | None = None,
        policy: str | Policy | None = None,
        prices: Prices | Literal["list"] | None = None,
        references: Mapping[str, str] | None = None,
        capabilities: Mapping[str, Capabilities] | None = None,
        tools_route: str | None = None,
        sticky: bool = False,
        on_router_error: OnRouterError | None = None,
        score_timeout_s: float | None = None,
        log: DecisionLog | str | os.PathLike[str] | None = None,
        engine: RoutingEngine | None = None,
        fallback: bool = False,
        extract_prompt: ExtractPrompt = last_human_text,
        config_prefix: str = "",
        **arguments: Any,
    ) -> None:
        inherited = set(BaseChatModel.model_fields) - {*INNER_ONLY, *STREAMING}
        settings = model_settings(
            {name: value for name, value in arguments.items() if name not in inherited},
            known={*inherited, *_CONSTRUCTOR_ARGUMENTS},
        )
        models = {name: resolve_model(name, model) for name, model in models_by_name(strong, weak, candidates).items()}
        engine = make_engine(
            engine,
            router,
            None if candidates is None else tuple(models),
            threshold,
            policy=policy,
            prices=_list_prices(models) if prices == "list" else prices,
            references=references,
            capabilities=capabilities,
            tools_route=tools_route,
            sticky=sticky,
            on_router_error=on_router_error,
            score_timeout_s=score_timeout_s,
            log=log,
        )
        if set(engine.models) != set(models):
            raise ConfigurationError(f"the engine routes among {engine.models!r}, and the models are {tuple(models)!r}")
        # The engine's own candidates come last, with the strongest at the end: it counts tokens.
        order = sorted(models, key=lambda name: engine.candidates.index(name) if name in engine.candidates else -1)
        fields: dict[str, Any] = {
            "candidates": {name: with_settings(name, models[name], settings) for name in order},
            "engine": engine,
            "threshold": threshold,
            "fallback": fallback,
            "extract_prompt": extract_prompt,
            "config_prefix": config_prefix,
            **{name: value for name, value in arguments.items() if name in inherited},
        }
        super().__init__(**fields)
        self._connect()

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str],
        *,
        chain: str | None = None,
        models: Mapping[str, Model] | None = None,
        **arguments: Any,
    ) -> Self:
        """Make a routed model from a configuration file; see `routellm_core.config` for its form.

        It holds the models of every chain in the file: calls may ask for another one with the key `routellm_chain`.
        `engine.reload(load_config(path))` takes over a changed file while calls run.

        Args:
            path: The YAML file.
            chain: The chain that calls take which name none; None takes the only one.
            models: Models as objects, by their names in the file; the others are made by `init_chat_model`.
            **arguments: What the constructor takes besides models, router and options: `fallback`, `extract_prompt`, sampling
                arguments, ...

        Raises:
            ConfigurationError: If the file has a mistake, there is no such chain, or a model cannot be made.
            MissingDependencyError: If a model is to be made and LangChain is not installed.
        """
        config = load_config(path)
        if chain is None:
            if len(config.chains) != 1:
                raise ConfigurationError(f"{config.path}: say which chain= to take: {', '.join(config.chains)}")
            (chain,) = config.chains
        engine = config.engine(chain)
        return cls(candidates=configured_models(config, models or {}), engine=engine, **arguments)

    def _connect(self) -> None:
        self._capabilities = {name: capabilities_of(model) for name, model in self.candidates.items()}
        self._routing = self._routing_for(self._needs, self._unable)

    def _routing_for(self, needs: CallNeeds, unable: Sequence[str]) -> RoutingRunnable:
        """Return what decides calls with these needs, which some candidates turned out not to take."""
        routing = RoutingRunnable(
            engine=self.engine, extract_prompt=self.extract_prompt, config_prefix=self.config_prefix
        )
        refuses = Capabilities(
            tools=False if needs.tools else None, structured_output=False if needs.schema is not None else None
        )
        told = {
            name: refuses.completed_by(able) if name in unable else able for name, able in self._capabilities.items()
        }
        return routing.with_needs(needs, told)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; a new threshold is validated and reaches its engine."""
        copied = super().model_copy(update=update, deep=deep)
        update = update or {}
        if "threshold" in update:
            copied.engine = copied.engine.with_threshold(copied.threshold)
        if "candidates" in update:
            copied._bound, copied._unable, copied._needs = None, (), CallNeeds()
        copied._connect()
        return copied

    def with_threshold(self, threshold: float | None) -> Self:
        """Return a copy with another threshold, which shares the engine's router and cache.

        Args:
            threshold: In [0, 1]; None takes the router's calibrated value for a strong fraction of 0.5.

        Raises:
            InvalidThresholdError: If it is not a number in [0, 1].
        """
        return self.model_copy(update={"threshold": threshold})

    def with_model_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return a copy whose models have these settings, such as `temperature`; see the class."""
        changed = {name: with_settings(name, model, settings) for name, model in self.candidates.items()}
        return self.model_copy(update={"candidates": changed})

    def decide(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RoutingDecision:
        """Decide where a call would go, without calling any model.

        Args:
            input: What a chat model takes: a string, messages, or a prompt value.
            config: Its `configurable` is read; None takes that of the chain or graph around the call.
            **kwargs: The arguments of the call; tools and a schema for the answer count.

        Raises:
            InvalidThresholdError: If a threshold is not in [0, 1].
            UnknownTargetError: If a forced route or a chain is not there.
            NoCandidateError: If no candidate can take the call.
            ScoringError: If scoring fails and `on_router_error` is "raise".
        """
        return self.engine.decide(replace(self.routing.request(input, config, **kwargs), dry_run=True))

    async def adecide(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> RoutingDecision:
        """Decide where a call would go, without calling any model or blocking the event loop; see `decide`."""
        return await self.engine.adecide(replace(self.routing.request(input, config, **kwargs), dry_run=True))

    # --- what delegation needs ---------------------------------------------------------------------------------------

    @property
    def routing(self) -> RoutingRunnable:
        """What decides, as a runnable of its own."""
        return self._routing

    @property
    def targets(self) -> Mapping[str, Runnable[LanguageModelInput, AIMessage]]:
        """The candidates, with the tools bound to them if there are any."""
        return self.candidates if self._bound is None else self._bound

    @property
    def falls_back(self) -> bool:
        """Whether the next alternative takes over from a model that fails."""
        return self.fallback

    @property
    def run_settings(self) -> RunSettings:
        """What this model adds to its runs."""
        return RunSettings(
            name=self.get_name(),
            callbacks=self.callbacks,
            tags=tuple(self.tags or ()),
            metadata=self.metadata,
            verbose=self.verbose,
        )

    # --- binding -----------------------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to every candidate, in the way of its own class.

        Args:
            tools: The tools, in any form the candidates take.
            tool_choice: Which tool must be called, as the candidates take it; None leaves it to the model.
            **kwargs: Passed on to each candidate's `bind_tools`.

        Candidates that cannot bind tools are ruled out of the calls.

        Raises:
            NotImplementedError: If no candidate can bind tools.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        copied = self.model_copy()
        copied._bound, copied._unable = bound_in_each(
            self.candidates, lambda name, model: with_tools(name, model, tools, **kwargs)
        )
        copied._needs = CallNeeds(tools=tuple(tools)).and_of(kwargs)
        copied._connect()
        return copied.bind()

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Let every candidate answer in a schema, in the way of its own class.

        Args:
            schema: A Pydantic class, a `TypedDict` class, a JSON schema, or an OpenAI tool.
            include_raw: Return the message next to the parsed answer; the decision is on the message.
            **kwargs: Passed on to each candidate's `with_structured_output`.

        Candidates that cannot do it are ruled out. A model whose profile says it has no structured output of its own counts as
        one that cannot, unless this is so of all of them, or `method="function_calling"` asks for tools instead.

        Raises:
            NotImplementedError: If no candidate can do it.
        """
        bound, unable = bound_in_each(
            self.candidates,
            lambda name, model: with_schema(name, model, schema, include_raw=include_raw, **kwargs),
        )
        return RoutedRunnable(
            self._routing_for(self._needs_of_schema(schema, kwargs.get("method")), unable),
            bound,
            self.run_settings,
            falls_back=self.fallback,
        )

    def _needs_of_schema(self, schema: dict[str, Any] | type, method: object) -> CallNeeds:
        if method == "json_mode":  # asks for no schema, only for JSON
            return CallNeeds()
        given, nothing = self.engine.capabilities, Capabilities()
        able = [given.get(name, nothing).completed_by(told) for name, told in self._capabilities.items()]
        by_tools = method == "function_calling" or all(one.structured_output is False for one in able)
        return CallNeeds(tools=(schema,)) if by_tools else CallNeeds(schema=schema)

    # --- what others ask about it ------------------------------------------------------------------------------------

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "candidates": {name: describe(model) for name, model in self.candidates.items()},
            "router": self.engine.router.name,
            "threshold": self.engine.threshold,
        }

    def _resolve_model_profile(self) -> ModelProfile | None:
        return common_profile(self.candidates, self.engine.capabilities)


_CONSTRUCTOR_ARGUMENTS = set(RoutedChatModel.__init__.__annotations__) - {"arguments", "return"}


def models_by_name(
    strong: Model | None, weak: Model | None, candidates: Mapping[str, Model] | None
) -> dict[str, Model]:
    """Return the models by their names, from either way of giving them.

    Raises:
        ConfigurationError: If both ways are used, or one of a pair is missing.
    """
    if candidates is not None:
        if strong is not None or weak is not None:
            raise ConfigurationError("give either strong= and weak=, or candidates=")
        return dict(candidates)
    if strong is None or weak is None:
        missing = " and ".join(name for name, model in (("strong=", strong), ("weak=", weak)) if model is None)
        raise ConfigurationError(f"{missing} missing: give strong= and weak=, or candidates={{name: model, ...}}")
    return {"weak": weak, "strong": strong}


def _list_prices(models: Mapping[str, Runnable[Any, Any]]) -> dict[str, Price]:
    prices = {}
    for candidate, model in models.items():
        name, provider = call_name(model)
        price = None if name is None else look_up_price(name, provider) or look_up_price(name)
        if price is None:
            raise ConfigurationError(
                f'prices="list": no list price is known for candidate {candidate!r} (model {name!r} of {provider!r}); give '
                "prices= for every candidate"
            )
        prices[candidate] = price
    return prices
