"""`RoutedChatModel`: a chat model that sends each call to the strong or the weak model, or to one of many."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr

from routellm_core import Router, RoutingDecision, RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.plan import OnRouterError
from routellm_core.policies import Policy
from routellm_langchain.arguments import INNER_ONLY, model_settings
from routellm_langchain.base import DelegatingChatModel
from routellm_langchain.delegation import RoutedRunnable
from routellm_langchain.messages import ExtractPrompt, last_human_text
from routellm_langchain.models import (
    STREAMING,
    common_profile,
    describe,
    resolve_model,
    with_schema,
    with_settings,
    with_tools,
)
from routellm_langchain.runnable import RoutingRunnable, make_engine
from routellm_langchain.runs import RunSettings

Model = Runnable[Any, Any] | str
"""A chat model, a wrapped one (`.bind`, `.with_retry`, `.with_fallbacks`), or a string for `init_chat_model`."""


class RoutedChatModel(DelegatingChatModel):
    """A chat model that lets a router choose which model answers each call.

    It takes the place of any chat model: in chains, graphs and agents, with tools, structured output and streaming. The
    decision is in `response_metadata["routellm"]` of the answer, and in the metadata of the traced runs.

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
        prices: The price of each candidate, in any one unit; None takes the order of the candidates.
        references: Which model of the router stands for each candidate; see `RoutingEngine`.
        on_router_error: Where calls go that could not be scored: "strong", "weak" or "raise"; None takes "strong".
        score_timeout_s: How long a call waits for its score; None waits.
        engine: A ready-made engine instead of `router` and the options after it.
        extract_prompt: From the messages of a call to the text that is scored; see `routellm_langchain.messages`.
        config_prefix: Put before the `configurable` keys `routellm_threshold`, `routellm_route` and `routellm_session`, to tell
            two routed models of one graph apart; "" puts nothing.
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

    extract_prompt: ExtractPrompt = Field(default=last_human_text, exclude=True)
    """From the messages of a call to the text that is scored."""

    config_prefix: str = ""
    """What is put before the `configurable` keys."""

    _routing: RoutingRunnable = PrivateAttr()
    _bound: dict[str, Runnable[Any, Any]] | None = PrivateAttr(default=None)

    def __init__(
        self,
        *,
        strong: Model | None = None,
        weak: Model | None = None,
        candidates: Mapping[str, Model] | None = None,
        router: Router | str | None = None,
        threshold: float | None = None,
        policy: str | Policy | None = None,
        prices: Mapping[str, float] | None = None,
        references: Mapping[str, str] | None = None,
        on_router_error: OnRouterError | None = None,
        score_timeout_s: float | None = None,
        engine: RoutingEngine | None = None,
        extract_prompt: ExtractPrompt = last_human_text,
        config_prefix: str = "",
        **arguments: Any,
    ) -> None:
        inherited = set(BaseChatModel.model_fields) - {*INNER_ONLY, *STREAMING}
        settings = model_settings(
            {name: value for name, value in arguments.items() if name not in inherited},
            known={*inherited, *_CONSTRUCTOR_ARGUMENTS},
        )
        models = {name: resolve_model(name, model) for name, model in _by_name(strong, weak, candidates).items()}
        engine = make_engine(
            engine,
            router,
            None if candidates is None else tuple(models),
            threshold,
            policy=policy,
            prices=prices,
            references=references,
            on_router_error=on_router_error,
            score_timeout_s=score_timeout_s,
        )
        if set(engine.candidates) != set(models):
            raise ConfigurationError(
                f"the engine routes among {engine.candidates!r}, and the models are {tuple(models)!r}"
            )
        fields: dict[str, Any] = {
            "candidates": {name: with_settings(name, models[name], settings) for name in engine.candidates},
            "engine": engine,
            "threshold": threshold,
            "extract_prompt": extract_prompt,
            "config_prefix": config_prefix,
            **{name: value for name, value in arguments.items() if name in inherited},
        }
        super().__init__(**fields)
        self._connect()

    def _connect(self) -> None:
        self._routing = RoutingRunnable(
            engine=self.engine, extract_prompt=self.extract_prompt, config_prefix=self.config_prefix
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; a new threshold is validated and reaches its engine."""
        copied = super().model_copy(update=update, deep=deep)
        update = update or {}
        if "threshold" in update:
            copied.engine = copied.engine.with_threshold(copied.threshold)
        if "candidates" in update:
            copied._bound = None
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

    def decide(self, input: LanguageModelInput, config: RunnableConfig | None = None) -> RoutingDecision:  # noqa: A002
        """Decide where a call would go, without calling any model.

        Args:
            input: What a chat model takes: a string, messages, or a prompt value.
            config: Its `configurable` is read; None takes that of the chain or graph around the call.

        Raises:
            ConfigurationError: If a threshold or a forced route is not valid.
            ScoringError: If scoring fails and `on_router_error` is "raise".
        """
        return self.engine.decide(self.routing.request(input, config))

    async def adecide(self, input: LanguageModelInput, config: RunnableConfig | None = None) -> RoutingDecision:  # noqa: A002
        """Decide where a call would go, without calling any model or blocking the event loop; see `decide`."""
        return await self.engine.adecide(self.routing.request(input, config))

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

        Raises:
            NotImplementedError: If a candidate cannot bind tools.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        copied = self.model_copy()
        copied._bound = {name: with_tools(name, model, tools, **kwargs) for name, model in self.candidates.items()}
        return copied.bind()

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Let every candidate answer in a schema, in the way of its own class.

        Args:
            schema: A Pydantic class, a `TypedDict` class, a JSON schema, or an OpenAI tool.
            include_raw: Return the message next to the parsed answer; the decision is on the message.
            **kwargs: Passed on to each candidate's `with_structured_output`.

        Raises:
            NotImplementedError: If a candidate cannot do it.
        """
        return RoutedRunnable(
            self.routing,
            {
                name: with_schema(name, model, schema, include_raw=include_raw, **kwargs)
                for name, model in self.candidates.items()
            },
            self.run_settings,
        )

    # --- what others ask about it ------------------------------------------------------------------------------------

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "candidates": {name: describe(model) for name, model in self.candidates.items()},
            "router": self.engine.router.name,
            "threshold": self.engine.threshold,
        }

    def _resolve_model_profile(self) -> ModelProfile | None:
        return common_profile(list(self.candidates.values()))


_CONSTRUCTOR_ARGUMENTS = set(RoutedChatModel.__init__.__annotations__) - {"arguments", "return"}


def _by_name(strong: Model | None, weak: Model | None, candidates: Mapping[str, Model] | None) -> dict[str, Model]:
    if candidates is not None:
        if strong is not None or weak is not None:
            raise ConfigurationError("give either strong= and weak=, or candidates=")
        return dict(candidates)
    if strong is None or weak is None:
        missing = " and ".join(name for name, model in (("strong=", strong), ("weak=", weak)) if model is None)
        raise ConfigurationError(f"{missing} missing: give strong= and weak=, or candidates={{name: model, ...}}")
    return {"weak": weak, "strong": strong}
