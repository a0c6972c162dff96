"""Route, then delegate: the entry points that every routed runnable shares.

A call opens one chain run. Inside it the call is scored, then the chosen runnable does the work under its own run: its
callbacks, usage, cache, rate limiter and retries are its own and happen once.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, closing, nullcontext
from typing import Any, Generic, TypeVar, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import ConfigurableFieldSpec, Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list, get_executor_for_config

from routellm_core import RoutingDecision
from routellm_core.scope import delegated_call
from routellm_langchain.decisions import attach
from routellm_langchain.ledger import LedgerHandler
from routellm_langchain.runnable import RoutingRunnable
from routellm_langchain.runs import ChainRun, RunSettings, delegated_config, outputs, scoring_config

Output = TypeVar("Output")
Chunk = TypeVar("Chunk")


class Delegating(Runnable[LanguageModelInput, Output], Generic[Output, Chunk]):
    """A runnable that lets a router choose which of several runnables does the work.

    `Output` is what it returns, `Chunk` what it streams: chat models have a type of its own for that.
    """

    @property
    @abstractmethod
    def routing(self) -> RoutingRunnable:
        """What decides."""

    @property
    @abstractmethod
    def targets(self) -> Mapping[str, Runnable[LanguageModelInput, Output]]:
        """What does the work, by the name of its candidate."""

    @property
    @abstractmethod
    def falls_back(self) -> bool:
        """Whether the next alternative takes over from a runnable that fails."""

    @property
    @abstractmethod
    def run_settings(self) -> RunSettings:
        """What this runnable adds to its runs."""

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The `configurable` keys that steer the routing."""
        return self.routing.config_specs

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Output:
        """Route one call and return the chosen runnable's answer."""
        config = ensure_config(config)
        run = self.run_settings.start(input, config)
        try:
            decision = self._decide(input, config, run, kwargs)
            output, decision = self._answer(decision, input, config, run, kwargs)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        if run.handlers:
            run.on_chain_end(outputs(output, decision))
        return output

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Output:
        """Route one call and return the chosen runnable's answer, without blocking the event loop."""
        config = ensure_config(config)
        run = await self.run_settings.astart(input, config)
        try:
            decision = await self._adecide(input, config, run, kwargs)
            output, decision = await self._aanswer(decision, input, config, run, kwargs)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        if run.handlers:
            await run.on_chain_end(outputs(output, decision))
        return output

    def stream(  # type: ignore[override]
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Chunk]:
        """Route one call and pass on the chosen runnable's chunks; the first one carries the decision."""
        config = ensure_config(config)
        run = self.run_settings.start(input, config)
        seen = _Seen[Chunk](keep=bool(run.handlers))
        ledger: LedgerHandler | None = None
        try:
            decision = self._decide(input, config, run, kwargs)
            chunk, chunks, decision, ledger = self._first_chunk(decision, input, config, run, kwargs)
            with closing(chunks):
                while chunk is not _END:
                    yield seen.add(cast("Chunk", chunk), decision)
                    chunk = next(chunks, _END)
            ledger.close()
        except GeneratorExit as end:  # the consumer has had enough, which is no error
            cast("LedgerHandler", ledger).close(end)
            run.on_chain_end(outputs(seen.merged(), decision))
            raise
        except BaseException as error:
            if ledger is not None:
                ledger.close(error)
            run.on_chain_error(error)
            raise
        run.on_chain_end(outputs(seen.merged(), decision))

    async def astream(  # type: ignore[override]
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Chunk]:
        """Route one call and pass on the chosen runnable's chunks; the first one carries the decision."""
        config = ensure_config(config)
        run = await self.run_settings.astart(input, config)
        seen = _Seen[Chunk](keep=bool(run.handlers))
        ledger: LedgerHandler | None = None
        try:
            decision = await self._adecide(input, config, run, kwargs)
            chunk, chunks, decision, ledger = await self._afirst_chunk(decision, input, config, run, kwargs)
            async with aclosing(chunks):
                while chunk is not _END:
                    yield seen.add(cast("Chunk", chunk), decision)
                    chunk = await anext(chunks, _END)
            ledger.close()
        except GeneratorExit as end:
            cast("LedgerHandler", ledger).close(end)
            await run.on_chain_end(outputs(seen.merged(), decision))
            raise
        except BaseException as error:
            if ledger is not None:
                ledger.close(error)
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(outputs(seen.merged(), decision))

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Route many calls with one scoring, and let the chosen runnables answer them in parallel."""
        if not inputs:
            return []
        configs = get_config_list(config, len(inputs))
        runs = [self.run_settings.start(*call) for call in zip(inputs, configs, strict=True)]
        running = dict(enumerate(runs))

        def answer(position: int, decision: RoutingDecision | Exception) -> Output | Exception:
            run = runs[position]
            try:
                output, final = self._answer(decision, inputs[position], configs[position], run, kwargs)
            except BaseException as error:
                running.pop(position).on_chain_error(error)
                if return_exceptions and isinstance(error, Exception):
                    return error
                raise
            running.pop(position).on_chain_end(outputs(output, final))
            return output

        try:
            decisions = self.routing.batch(inputs, _scoring_configs(configs, runs), return_exceptions=True, **kwargs)
            with get_executor_for_config(configs[0]) as executor:
                return cast("list[Output]", list(executor.map(answer, range(len(inputs)), decisions)))
        except BaseException as error:
            # One failed; those that had not begun never will.
            for run in running.values():
                run.on_chain_error(error)
            raise

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Output]:
        """Route many calls with one scoring, and let the chosen runnables answer them concurrently."""
        if not inputs:
            return []
        configs = get_config_list(config, len(inputs))
        runs = await asyncio.gather(*(self.run_settings.astart(*call) for call in zip(inputs, configs, strict=True)))
        limit = configs[0].get("max_concurrency")
        slot: AbstractAsyncContextManager[Any] = asyncio.Semaphore(limit) if limit else nullcontext()

        async def answer(position: int, decision: RoutingDecision | Exception) -> Output | Exception:
            run = runs[position]
            try:
                async with slot:
                    output, final = await self._aanswer(decision, inputs[position], configs[position], run, kwargs)
            except BaseException as error:
                await run.on_chain_error(error)
                if return_exceptions and isinstance(error, Exception):
                    return error
                raise
            await run.on_chain_end(outputs(output, final))
            return output

        try:
            decisions = await self.routing.abatch(
                inputs, _scoring_configs(configs, runs), return_exceptions=True, **kwargs
            )
        except BaseException as error:
            await asyncio.gather(*(run.on_chain_error(error) for run in runs))
            raise
        return cast("list[Output]", await asyncio.gather(*map(answer, range(len(inputs)), decisions)))

    def _decide(
        self, model_input: LanguageModelInput, config: RunnableConfig, run: ChainRun, kwargs: Mapping[str, Any]
    ) -> RoutingDecision:
        if run.handlers:
            return self.routing.invoke(model_input, scoring_config(config, run), **kwargs)
        # Nobody listens, so the scoring needs no run of its own: that would take longer than the scoring.
        routing = self.routing
        return routing.engine.decide(routing.request(model_input, config, **kwargs))

    async def _adecide(
        self, model_input: LanguageModelInput, config: RunnableConfig, run: ChainRun, kwargs: Mapping[str, Any]
    ) -> RoutingDecision:
        if run.handlers:
            return await self.routing.ainvoke(model_input, scoring_config(config, run), **kwargs)
        routing = self.routing
        return await routing.engine.adecide(routing.request(model_input, config, **kwargs))

    def _answer(
        self,
        decision: RoutingDecision | Exception,
        model_input: LanguageModelInput,
        config: RunnableConfig,
        run: ChainRun,
        kwargs: Mapping[str, Any],
    ) -> tuple[Output, RoutingDecision]:
        """Return the answer with its decision on it, and that decision: another one after a fallback."""
        if isinstance(decision, Exception):
            raise decision
        target, inner_config, ledger = self._delegated(decision, config, run)
        try:
            with delegated_call():
                output = target.invoke(model_input, inner_config, **given(kwargs))
        except BaseException as error:
            following = self._following(decision, error, ledger)
            if following is None:
                raise
            return self._answer(following, model_input, config, run, kwargs)
        ledger.close()
        return attach(output, decision), decision

    async def _aanswer(
        self,
        decision: RoutingDecision | Exception,
        model_input: LanguageModelInput,
        config: RunnableConfig,
        run: ChainRun,
        kwargs: Mapping[str, Any],
    ) -> tuple[Output, RoutingDecision]:
        if isinstance(decision, Exception):
            raise decision
        target, inner_config, ledger = self._delegated(decision, config, run)
        try:
            with delegated_call():
                output = await target.ainvoke(model_input, inner_config, **given(kwargs))
        except BaseException as error:
            following = self._following(decision, error, ledger)
            if following is None:
                raise
            return await self._aanswer(following, model_input, config, run, kwargs)
        ledger.close()
        return attach(output, decision), decision

    def _first_chunk(
        self,
        decision: RoutingDecision,
        model_input: LanguageModelInput,
        config: RunnableConfig,
        run: ChainRun,
        kwargs: Mapping[str, Any],
    ) -> tuple[Chunk | object, Any, RoutingDecision, LedgerHandler]:
        """Return the first chunk (`_END` if there is none), what brings the others, and where they come from."""
        target, inner_config, ledger = self._delegated(decision, config, run)
        try:
            with delegated_call():
                chunks: Any = target.stream(model_input, inner_config, **given(kwargs))
                return next(chunks, _END), chunks, decision, ledger
        except BaseException as error:
            following = self._following(decision, error, ledger)
            if following is None:
                raise
            return self._first_chunk(following, model_input, config, run, kwargs)

    async def _afirst_chunk(
        self,
        decision: RoutingDecision,
        model_input: LanguageModelInput,
        config: RunnableConfig,
        run: ChainRun,
        kwargs: Mapping[str, Any],
    ) -> tuple[Chunk | object, Any, RoutingDecision, LedgerHandler]:
        target, inner_config, ledger = self._delegated(decision, config, run)
        try:
            with delegated_call():
                chunks: Any = target.astream(model_input, inner_config, **given(kwargs))
                return await anext(chunks, _END), chunks, decision, ledger
        except BaseException as error:
            following = self._following(decision, error, ledger)
            if following is None:
                raise
            return await self._afirst_chunk(following, model_input, config, run, kwargs)

    def _delegated(
        self, decision: RoutingDecision, config: RunnableConfig, run: ChainRun
    ) -> tuple[Runnable[LanguageModelInput, Output], RunnableConfig, LedgerHandler]:
        ledger = LedgerHandler(self.routing.engine, decision)
        inner_config = delegated_config(config, run, decision, self.routing.keys, ledger)
        return self.targets[decision.choice], inner_config, ledger

    def _following(
        self, decision: RoutingDecision, error: BaseException, ledger: LedgerHandler
    ) -> RoutingDecision | None:
        """Enter a failure in the ledger, and return the decision that follows it; None if none does."""
        ledger.close(error)
        # A task that is cancelled, a program that is stopped: that is no failure of the model.
        if not self.falls_back or not isinstance(error, Exception):
            return None
        return self.routing.engine.fall_back(decision, error)


_END = object()
"""Stands for the end of a stream."""


class RoutedRunnable(Delegating[Output, Output]):
    """A choice among ready-made runnables, such as the candidates of a routed model bound to one output schema.

    Args:
        routing: What decides.
        targets: What does the work, by the name of its candidate.
        run_settings: What is added to its runs.
        falls_back: Whether the next alternative takes over from one that fails.
    """

    def __init__(
        self,
        routing: RoutingRunnable,
        targets: Mapping[str, Runnable[LanguageModelInput, Output]],
        run_settings: RunSettings,
        *,
        falls_back: bool = False,
    ) -> None:
        self._routing = routing
        self._targets = dict(targets)
        self._run_settings = run_settings
        self._falls_back = falls_back

    @property
    def routing(self) -> RoutingRunnable:
        """What decides."""
        return self._routing

    @property
    def targets(self) -> Mapping[str, Runnable[LanguageModelInput, Output]]:
        """What does the work, by the name of its candidate."""
        return self._targets

    @property
    def falls_back(self) -> bool:
        """Whether the next alternative takes over from a runnable that fails."""
        return self._falls_back

    @property
    def run_settings(self) -> RunSettings:
        """What this runnable adds to its runs."""
        return self._run_settings


class _Seen(list[Chunk]):
    """The chunks of a stream, kept only where a tracer wants them merged."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep
        self._first = True

    def add(self, chunk: Chunk, decision: RoutingDecision) -> Chunk:
        if self._first:
            # On one chunk only: merging the chunks of a message would repeat what several carry.
            chunk = attach(chunk, decision)
            self._first = False
        if self._keep:
            self.append(chunk)
        return chunk

    def merged(self) -> Chunk | None:
        if not self:
            return None
        merged: Any = self[0]
        for chunk in self[1:]:
            try:
                merged = merged + chunk
            except TypeError:  # chunks that each hold all there is so far, as of a structured output
                return self[-1]
        return cast("Chunk", merged)


def given(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call arguments without a `stop` of None: it means "not given", but not every runnable takes the word."""
    return {name: value for name, value in kwargs.items() if name != "stop" or value is not None}


def _scoring_configs(configs: Sequence[RunnableConfig], runs: Sequence[ChainRun]) -> list[RunnableConfig]:
    return [scoring_config(config, run) for config, run in zip(configs, runs, strict=True)]
