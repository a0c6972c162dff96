"""`RoutedLLM`: two or more LlamaIndex models behind the interface of one."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    MessageRole,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.llm import LLM

from routellm_core.config import load_config
from routellm_core.constraints import Capabilities
from routellm_core.decision import RoutingDecision, RoutingRequest
from routellm_core.engine import RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.plan import PAIR, OnRouterError
from routellm_core.policies import Policy
from routellm_core.pricing import Price
from routellm_core.routers.base import Router
from routellm_core.traffic import DecisionLog
from routellm_llamaindex.capabilities import check_tools
from routellm_llamaindex.engines import make_engine
from routellm_llamaindex.metadata import warn_of_default_window
from routellm_llamaindex.models import open_models
from routellm_llamaindex.prompts import PromptRouting
from routellm_llamaindex.text import RoutingText
from routellm_llamaindex.tools import ToolRouting

_BESIDES_ENGINE = frozenset(
    ("fallback", "routing_text", "emit_events", "context_window", "num_output", "callback_manager")
)


class RoutedLLM(PromptRouting, ToolRouting):
    """An LLM that sends each call to the strong or the weak model, or to one of many, by what the call asks.

    Every response carries the decision in `additional_kwargs["routellm"]`, every chunk of a stream too; query engines,
    which return text, and agents show it as a `RoutingDecisionEvent`. `routing(threshold=..., route=..., chain=...,
    session=...)` of the core reaches the calls inside them. `ledger` adds up tokens and costs. What is scored is described in
    `routellm_llamaindex.text`. Retries, rate limits, system prompts and output parsers belong to the models.

    Args:
        strong: The model for hard calls; goes with `weak`.
        weak: The model for the others.
        candidates: Instead of the two, any number of models by name, weakest (cheapest) first.
        router: A router, or what `load_router` takes; None takes the engine's default, the embedded router.
        threshold: In [0, 1]; higher sends fewer calls to strong. None takes the router's calibrated value for a
            strong fraction of 0.5.
        policy: How scores become a choice; None takes the engine's default.
        prices: The price of each candidate: a `Price`, its fields, or one number, in US dollars per million tokens.
        capabilities: What a candidate can take; what is left out is read from the model's metadata: tools, and a context window
            other than LlamaIndex's default. A call never goes to a candidate that cannot take it.
        references: Which model of the router stands for each candidate.
        tools_route: The candidate that takes every call with tools it can take; None routes them like others.
        sticky: Keep a conversation on its model: by `routing(session=...)`, else by the user message that was answered first.
            Calls that come with a template, as those of query engines, belong to no conversation but the former, unless
            the bare question ends it, as in the chat engines that retrieve.
        on_router_error: Where calls go that could not be scored: "strong", "weak" or "raise"; None takes the
            engine's default, "strong".
        score_timeout_s: How long a call waits for its score; None waits.
        log: Where calls are written as JSON lines, a `routellm_core.traffic.DecisionLog` or a path; None writes none.
        engine: A `RoutingEngine` instead of all arguments from `router` on.
        fallback: Whether a call whose model raises goes to the next candidate that can take it, as a new decision; a stream
            only before its first chunk, which is then fetched when the stream is asked for.
        routing_text: A function of the messages and the template variables that returns the text to score, or None
            for the rule.
        emit_events: Whether every decision is dispatched as a `RoutingDecisionEvent`.
        context_window: In tokens, for packing prompts; None takes that of the model with the least room.
        num_output: In tokens, as above.
        callback_manager: Handed on to every model that has no handlers of its own, now and when LlamaIndex assigns
            another.

    Raises:
        ConfigurationError: If an argument is out of range or does not fit the others.
        RouterUnavailableError: If the router of that name cannot be used here.

    Example:
        >>> from llama_index.core.llms.mock import MockFunctionCallingLLM
        >>> llm = RoutedLLM(strong=MockFunctionCallingLLM(), weak=MockFunctionCallingLLM(), router="length", threshold=0.5)
        >>> llm.complete("Hi!").additional_kwargs["routellm"]["choice"]
        'weak'
    """

    def __init__(
        self,
        *,
        strong: LLM | None = None,
        weak: LLM | None = None,
        candidates: Mapping[str, LLM] | None = None,
        router: Router | str | None = None,
        threshold: float | None = None,
        policy: str | Policy | None = None,
        prices: Mapping[str, Price | float | Mapping[str, Any]] | None = None,
        capabilities: Mapping[str, Capabilities] | None = None,
        references: Mapping[str, str] | None = None,
        tools_route: str | None = None,
        sticky: bool = False,
        on_router_error: OnRouterError | None = None,
        score_timeout_s: float | None = None,
        log: DecisionLog | str | os.PathLike[str] | None = None,
        engine: RoutingEngine | None = None,
        fallback: bool = False,
        routing_text: RoutingText | None = None,
        emit_events: bool = True,
        context_window: int | None = None,
        num_output: int | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        models = _models(strong, weak, candidates)
        _check_capabilities(capabilities)
        for name, value in (("sticky", sticky), ("fallback", fallback), ("emit_events", emit_events)):
            _check_flag(name, value)
        _check_count("context_window", context_window)
        _check_count("num_output", num_output)
        if routing_text is not None and not callable(routing_text):
            raise ConfigurationError(f"routing_text must be a function or None, not {type(routing_text).__name__}")
        if callback_manager is not None and not isinstance(callback_manager, CallbackManager):
            raise ConfigurationError(
                f"callback_manager must be a CallbackManager, not {type(callback_manager).__name__}"
            )
        super().__init__(
            candidates=models,
            engine=make_engine(
                engine,
                tuple(models),
                router=router,
                threshold=threshold,
                policy=policy,
                prices=prices,
                capabilities=capabilities,
                references=references,
                tools_route=tools_route,
                sticky=sticky or None,
                on_router_error=on_router_error,
                score_timeout_s=score_timeout_s,
                log=log,
            ),
            fallback=fallback,
            routing_text=routing_text,
            emit_events=emit_events,
            context_window=context_window,
            num_output=num_output,
            callback_manager=callback_manager or CallbackManager([]),
        )
        check_tools(models, self.engine.capabilities)
        self._hand_on(self.callback_manager)
        self._constructed = True
        if context_window is None:
            warn_of_default_window(models, self.engine.capabilities)

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str], *, chain: str, models: Mapping[str, LLM] | None = None, **options: Any
    ) -> Self:
        """Make a routed LLM from a configuration file, the same as for `routellm_langchain.RoutedChatModel`.

        Its candidates are the models of every chain, so that `routing(chain=...)` can choose another one for a block.

        Args:
            path: The YAML file; `routellm_core.config` describes it.
            chain: The chain that calls take which name none.
            models: Models by their names in the file. Those that are missing are made from `provider`, `model` and
                `arguments`; the integration package of that provider must be installed.
            **options: `fallback`, `routing_text`, `emit_events`, `context_window`, `num_output` and `callback_manager`,
                as in the constructor.

        Raises:
            ConfigurationError: If the file, a model or an option is wrong; names the line and the key.
            MissingDependencyError: If the integration package of a provider is not installed.
        """
        refused = sorted(options.keys() - _BESIDES_ENGINE)
        if refused:
            raise ConfigurationError(
                f"from_config does not take {', '.join(refused)}: the file says it. It takes models, "
                f"{', '.join(sorted(_BESIDES_ENGINE))}"
            )
        config = load_config(path)
        return cls(candidates=open_models(config, models or {}), engine=config.engine(chain), **options)

    def decide(self, prompt: str | ChatMessage | Sequence[ChatMessage]) -> RoutingDecision:
        """Decide where a call would go, without calling any model; blocks while the router scores.

        Args:
            prompt: What would be sent: a text, a message or messages.
        """
        return self.engine.decide(self._asked(prompt, dry_run=True))

    async def adecide(self, prompt: str | ChatMessage | Sequence[ChatMessage]) -> RoutingDecision:
        """Decide where a call would go without blocking the event loop; see `decide`."""
        return await self.engine.adecide(self._asked(prompt, dry_run=True))

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Chat with the chosen model."""
        return self._call(self._asked(messages), lambda llm: llm.chat(messages, **kwargs))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Chat with the chosen model without blocking the event loop."""
        return await self._acall(self._asked(messages), lambda llm: llm.achat(messages, **kwargs))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Chat with the chosen model, chunk by chunk."""
        return self._stream(self._asked(messages), lambda llm: llm.stream_chat(messages, **kwargs))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Chat with the chosen model, chunk by chunk, without blocking the event loop."""
        return await self._astream(self._asked(messages), lambda llm: llm.astream_chat(messages, **kwargs))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt with the chosen model.

        Args:
            prompt: What to complete.
            formatted: Whether it is already in the model's own format.
            **kwargs: Passed on to the model.
        """
        return self._call(self._asked(prompt), lambda llm: llm.complete(prompt, formatted=formatted, **kwargs))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt without blocking the event loop; see `complete`."""
        return await self._acall(self._asked(prompt), lambda llm: llm.acomplete(prompt, formatted=formatted, **kwargs))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Complete a prompt chunk by chunk; see `complete`."""
        return self._stream(self._asked(prompt), lambda llm: llm.stream_complete(prompt, formatted=formatted, **kwargs))

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Complete a prompt chunk by chunk without blocking the event loop; see `complete`."""
        return await self._astream(
            self._asked(prompt), lambda llm: llm.astream_complete(prompt, formatted=formatted, **kwargs)
        )

    def _asked(self, prompt: str | ChatMessage | Sequence[ChatMessage], *, dry_run: bool = False) -> RoutingRequest:
        if isinstance(prompt, str):
            prompt = ChatMessage(role=MessageRole.USER, content=prompt)
            return self._request([prompt], dry_run=dry_run)  # a text is no turn of a conversation
        messages = [prompt] if isinstance(prompt, ChatMessage) else prompt
        wrong = (
            next((type(message).__name__ for message in messages if not isinstance(message, ChatMessage)), None)
            if isinstance(messages, Sequence)
            else type(messages).__name__
        )
        if wrong is not None:
            raise ConfigurationError(f"a call is given as a text, a ChatMessage or a list of them, not as {wrong}")
        request = self._request(messages, conversation=True, dry_run=dry_run)
        if not dry_run:
            self._tool_loops.discard(messages)
        return request


def _models(strong: LLM | None, weak: LLM | None, candidates: Mapping[str, LLM] | None) -> dict[str, LLM]:
    if candidates is not None and (strong is not None or weak is not None):
        raise ConfigurationError("give strong= and weak=, or candidates=, not both")
    if candidates is not None and not isinstance(candidates, Mapping):
        raise ConfigurationError(
            f"candidates must map names to models, weakest first, as {{name: model, ...}}, not {type(candidates).__name__}"
        )
    models = dict(zip(PAIR, (weak, strong), strict=True)) if candidates is None else dict(candidates)
    for name, llm in models.items():
        if llm is None:
            raise ConfigurationError(f"{name}= is missing: give strong= and weak=, or candidates={{name: model, ...}}")
        if not isinstance(llm, LLM):
            raise ConfigurationError(
                f"{name} must be a LlamaIndex LLM, not {type(llm).__module__}.{type(llm).__name__}"
            )
    return {name: llm for name, llm in models.items() if llm is not None}


def _check_capabilities(capabilities: object) -> None:
    if capabilities is None:
        return
    if not isinstance(capabilities, Mapping):
        raise ConfigurationError(
            f"capabilities must map names to Capabilities, as {{name: Capabilities(tools=True)}}, "
            f"not {type(capabilities).__name__}"
        )
    for name, able in capabilities.items():
        if not isinstance(able, Capabilities):
            raise ConfigurationError(
                f"capabilities of {name!r} must be Capabilities, such as Capabilities(tools=True), not {able!r}"
            )


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r}")


def _check_count(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigurationError(f"{name} must be a whole number of tokens of 1 or more, or None, not {value!r}")
