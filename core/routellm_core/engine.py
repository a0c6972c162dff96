"""The routing engine: everything both adapters do before and after they call a model."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from copy import copy
from dataclasses import replace
from typing import Any, Literal, Self, overload

from routellm_core.constraints import Capabilities
from routellm_core.decision import RoutingDecision, RoutingRequest
from routellm_core.errors import ConfigurationError, RouteLLMError, ScoringError, UnknownTargetError
from routellm_core.ledger import Ledger, Usage
from routellm_core.plan import PAIR, Call, OnRouterError, Plan
from routellm_core.policies import Policy, get_policy
from routellm_core.pricing import Price
from routellm_core.registry import load_router
from routellm_core.routers.base import Router
from routellm_core.scope import current_scope
from routellm_core.scoring import Row, ScoringService
from routellm_core.sections import Section, SectionSource, all_prices, require_chain, with_states_of
from routellm_core.sessions import MemorySessionStore, SessionStore
from routellm_core.texts import require_list
from routellm_core.traffic import DecisionLog

_DEFAULT = "default"


class RoutingEngine:
    """Decides which model takes a call.

    Safe to share between threads, tasks and event loops: nothing of a call is kept on the engine.

    Args:
        router: A router, or what `load_router` takes: a registered name, a folder or a Hub repository.
        candidates: The names of the models to choose among, weakest (cheapest) first; None means `("weak", "strong")`.
            With a pair router the first is the weak, the second the strong one.
        references: Which model of the router stands for each candidate. Of a pool router, a candidate that is missing here must
            be one of its models by its own name. Of a pair router that knows many models ("mf", "sw_ranking"), a model or a tier
            ("tier 0"), and a candidate that is missing keeps the router's own; its calibrated thresholds are those of its own
            pair, so another one needs a threshold.
        prices: The price of each candidate: a `Price`, its fields, or one number, in US dollars per million tokens. Orders
            candidates of equal score, and says which is the "strong" (dearest) and the "weak" (cheapest) of a pool. None takes
            the order of `candidates`.
        capabilities: What each candidate can take; one that is missing can take every call.
        policy: How scores become a choice: a name of `routellm_core.policies.POLICIES`, or a policy.
        threshold: In [0, 1]; higher sends fewer calls to strong. None takes the router's calibrated value for a
            strong fraction of 0.5.
        tools_route: The candidate that takes every call with tools it can take; None routes them like others.
        sticky: Keep a conversation on its model. Where prices and the length of the prompt are known, it moves when that
            pays for the cold prompt cache (`routellm_core.sessions.session_threshold`); otherwise it stays.
        sessions: Where conversations are kept if `sticky`; None keeps them in memory.
        on_router_error: Where calls go that could not be scored; "raise" raises `ScoringError`.
        score_timeout_s: How long a call waits for its score before it counts as failed; None waits.
        cache_size: How many scores to keep; 0 keeps none.
        executor: Where blocking routers run in asynchronous calls; None makes a thread pool when first needed.
        max_batch: Up to how many concurrent scorings are gathered into one call of the router; 1 gathers none.
        max_wait_ms: How long the first of a gathered batch waits for others.
        log: Where recorded calls are written, a `DecisionLog` or the path of one; None writes none.

    Attributes:
        ledger: Tokens and money per model, of the calls that were recorded.
        log: The decision log; None if there is none.

    Raises:
        ConfigurationError: If an argument is out of range or does not fit the others.

    Example:
        >>> engine = RoutingEngine("length", threshold=0.001)
        >>> engine.decide("Prove that there are infinitely many primes.").choice
        'strong'
    """

    def __init__(
        self,
        router: Router | str = "default",
        *,
        candidates: Sequence[str] | None = None,
        references: Mapping[str, str] | None = None,
        prices: Mapping[str, Price | float | Mapping[str, Any]] | None = None,
        capabilities: Mapping[str, Capabilities] | None = None,
        policy: str | Policy = "threshold",
        threshold: float | None = None,
        tools_route: str | None = None,
        sticky: bool = False,
        sessions: SessionStore | None = None,
        on_router_error: OnRouterError = "strong",
        score_timeout_s: float | None = None,
        cache_size: int = 4096,
        executor: Executor | None = None,
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
        log: DecisionLog | str | os.PathLike[str] | None = None,
    ) -> None:
        plan = Plan(
            router=load_router(router) if isinstance(router, str) else router,
            candidates=PAIR if candidates is None else tuple(require_list(candidates, what="candidates")),
            policy=get_policy(policy),
            references=dict(references or {}),
            prices={name: Price.parse(price) for name, price in (prices or {}).items()},
            capabilities=dict(capabilities or {}),
            own_threshold=threshold,
            tools_route=tools_route,
            on_router_error=on_router_error,
            sessions=(MemorySessionStore() if sessions is None else sessions) if sticky else None,
        )
        scoring = ScoringService(
            plan.router,
            cache_size=cache_size,
            timeout_s=score_timeout_s,
            executor=executor,
            max_batch=max_batch,
            max_wait_ms=max_wait_ms,
            with_distance=plan.uses_distance,
        )
        self._set_up({_DEFAULT: Section(plan=plan, scoring=scoring)}, _DEFAULT)
        self.log = DecisionLog(log) if isinstance(log, str | os.PathLike) else log

    def _set_up(self, sections: Mapping[str, Section], chain: str) -> None:
        self._chain = chain
        self._sections = sections
        self._known_models = {name for section in sections.values() for name in section.plan.candidates}
        plan = sections[chain].plan
        self.ledger = Ledger(all_prices(sections), plan.strong)

    @classmethod
    def from_source(cls, source: SectionSource, chain: str) -> Self:
        """Make the engine of one chain of a configuration; its calls may ask for the other chains.

        Args:
            source: The configuration.
            chain: The chain that calls take which name none.

        Raises:
            ConfigurationError: If there is no such chain.
        """
        sections = source.build_sections()
        engine = cls.__new__(cls)
        require_chain(chain, sections, ConfigurationError)
        engine._set_up(sections, chain)
        engine.log = source.build_log()
        return engine

    def reload(self, source: SectionSource) -> None:
        """Take over a new configuration, all chains at once; calls that are under way finish by the old one.

        Sessions and the ledger's totals go on. Engines made by `with_threshold` keep what they have.

        Args:
            source: The new configuration. It may route among the models that are there, not bring new ones.

        Raises:
            ConfigurationError: If it cannot be taken over; then nothing has changed.
        """
        sections = source.build_sections()
        require_chain(self._chain, sections, ConfigurationError)
        new = sorted({name for section in sections.values() for name in section.plan.candidates} - self._known_models)
        if new:
            raise ConfigurationError(f"a reload cannot add models ({', '.join(new)}); make a new engine for them")
        kept = {name: with_states_of(self._sections.get(name), section) for name, section in sections.items()}
        if (log := source.build_log()) is None or self.log is None or log.settings != self.log.settings:
            self.log = log
        self.ledger.update_prices(all_prices(kept), kept[self._chain].plan.strong)
        self._sections = kept  # one assignment: a call sees the old configuration or the new one

    def __repr__(self) -> str:
        return f"RoutingEngine({self.router!r}, candidates={self.candidates!r}, threshold={self.threshold!r})"

    @property
    def plan(self) -> Plan:
        """How calls are routed that name no chain."""
        return self._sections[self._chain].plan

    @property
    def router(self) -> Router:
        """The router of calls that name no chain."""
        return self.plan.router

    @property
    def candidates(self) -> tuple[str, ...]:
        """The models that calls are routed among which name no chain."""
        return self.plan.candidates

    @property
    def threshold(self) -> float | None:
        """The threshold of calls that name none; None if the policy has none."""
        return self.plan.threshold

    @property
    def chains(self) -> tuple[str, ...]:
        """The chains that calls may ask for."""
        return tuple(self._sections)

    def candidates_of(self, chain: str | None = None) -> tuple[str, ...]:
        """Return the models that the calls of a chain are routed among.

        Args:
            chain: None takes that of `routing()`, else the engine's own.

        Raises:
            UnknownTargetError: If it is not in the configuration.
        """
        return self._section(chain, self._sections).plan.candidates

    @property
    def models(self) -> tuple[str, ...]:
        """The models that any chain routes among."""
        return tuple(dict.fromkeys(name for section in self._sections.values() for name in section.plan.candidates))

    @property
    def capabilities(self) -> dict[str, Capabilities]:
        """What the engine was told the models of any chain can take."""
        return {name: able for section in self._sections.values() for name, able in section.plan.capabilities.items()}

    @property
    def sticky(self) -> bool:
        """Whether any chain keeps conversations on their models."""
        return any(section.plan.sessions is not None for section in self._sections.values())

    def with_threshold(self, threshold: float | None) -> Self:
        """Return an engine with another threshold that shares this one's router, cache and everything else.

        Args:
            threshold: In [0, 1]; None takes the router's calibrated value for a strong fraction of 0.5.

        Raises:
            InvalidThresholdError: If it is not a number in [0, 1].
        """
        other = copy(self)
        section = self._sections[self._chain]
        changed = replace(section, plan=section.plan.with_threshold(threshold))
        other._sections = {**self._sections, self._chain: changed}
        return other

    def decide(self, request: RoutingRequest | str) -> RoutingDecision:
        """Decide where one call goes; blocks while the router scores.

        Args:
            request: The call, or just its text.

        Raises:
            InvalidThresholdError: If the threshold of the call is not in [0, 1].
            UnknownTargetError: If its route is no candidate, or its chain is not in the configuration.
            NoCandidateError: If no candidate can take the call.
            ScoringError: If scoring fails and `on_router_error` is "raise".
        """
        section, call, decision = self._open(request, self._sections)
        if decision is not None:
            return decision
        start = time.perf_counter()
        try:
            outcome: Row | ScoringError = section.scoring.score(call.request.text)
        except ScoringError as error:
            outcome = error
        return self._close(section, call, outcome, start)

    async def adecide(self, request: RoutingRequest | str) -> RoutingDecision:
        """Decide where one call goes without blocking the event loop; see `decide`."""
        section, call, decision = self._open(request, self._sections)
        if decision is not None:
            return decision
        start = time.perf_counter()
        try:
            outcome: Row | ScoringError = await section.scoring.ascore(call.request.text)
        except ScoringError as error:
            outcome = error
        return self._close(section, call, outcome, start)

    @overload
    def decide_batch(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: Literal[False] = False
    ) -> list[RoutingDecision]: ...

    @overload
    def decide_batch(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: Literal[True]
    ) -> list[RoutingDecision | RouteLLMError]: ...

    def decide_batch(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: bool = False
    ) -> Sequence[RoutingDecision | RouteLLMError]:
        """Decide where many calls go, with one call of the router; see `decide`.

        Args:
            requests: The calls, or just their texts.
            return_exceptions: Return the error of a call that cannot be decided in its place, instead of raising it.
        """
        batch = _Batch(self, requests, return_exceptions=return_exceptions)
        for scoring, texts in batch.to_score():
            batch.add(scoring, scoring.score_many(texts))
        return batch.decisions()

    @overload
    async def adecide_batch(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: Literal[False] = False
    ) -> list[RoutingDecision]: ...

    @overload
    async def adecide_batch(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: Literal[True]
    ) -> list[RoutingDecision | RouteLLMError]: ...

    async def adecide_batch(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: bool = False
    ) -> Sequence[RoutingDecision | RouteLLMError]:
        """Decide where many calls go without blocking the event loop; see `decide_batch`."""
        batch = _Batch(self, requests, return_exceptions=return_exceptions)
        for scoring, texts in batch.to_score():
            batch.add(scoring, await scoring.ascore_many(texts))
        return batch.decisions()

    def fall_back(self, decision: RoutingDecision, error: BaseException) -> RoutingDecision | None:
        """Return the decision that follows the failure of a model: its next alternative; None if none is left.

        Args:
            decision: The decision whose model failed.
            error: What it raised; only its type is mentioned.
        """
        if not decision.alternatives:
            return None
        choice, *alternatives = decision.alternatives
        if decision.session_key is not None:
            # The conversation goes on where it is answered, instead of trying the model that failed again every time.
            for section in self._sections.values():
                section.plan.move_session(decision.session_key, choice)
        return replace(
            decision,
            choice=choice,
            alternatives=tuple(alternatives),
            reason="fallback",
            explanation=f"{decision.choice!r} failed with {type(error).__name__}",
            fallback_from=decision.choice,
        )

    def record(
        self, decision: RoutingDecision, usage: Usage | None = None, *, error: BaseException | None = None
    ) -> None:
        """Enter a finished call in the ledger and in the decision log.

        Args:
            decision: Where it went.
            usage: The tokens the model reported; None if it reported none.
            error: What the model raised; None if it answered.
        """
        self.ledger.record(decision.choice, usage, failed=error is not None, strong=decision.baseline)
        if self.log is not None:
            self.log.write(decision, usage, error)

    def _open(
        self, request: RoutingRequest | str, sections: Mapping[str, Section]
    ) -> tuple[Section, Call, RoutingDecision | None]:
        """Prepare a call, and decide it if it needs no score.

        Args:
            request: The call.
            sections: What the caller read once, for a reload may replace it at any time.
        """
        if isinstance(request, str):
            request = RoutingRequest(text=request)
        if not isinstance(request, RoutingRequest) or not isinstance(request.text, str):
            kind = type(getattr(request, "text", request)).__name__
            raise ConfigurationError(f"a call is given as its text or as a RoutingRequest with one, not as {kind}")
        section = self._section(request.chain, sections)
        call = section.plan.prepare(request)
        decision = section.plan.without_score(call)
        if decision is not None:
            decision = self._keep(section, call, decision)
        return section, call, decision

    def _close(self, section: Section, call: Call, outcome: Row | ScoringError, start: float) -> RoutingDecision:
        decision = section.plan.conclude(call, outcome, (time.perf_counter() - start) * 1000, section.task)
        return self._keep(section, call, decision)

    def _keep(self, section: Section, call: Call, decision: RoutingDecision) -> RoutingDecision:
        section.plan.remember(call, decision)
        if self.log is None:
            return decision
        plan = section.plan
        return replace(
            decision,
            logged=self.log.describe(
                chain=section.chain,
                strong=plan.strong,
                weak=plan.weak,
                fingerprint=plan.router.fingerprint,
                prompt=call.request.text,
                session=call.session_key,
            ),
        )

    def _section(self, chain: str | None, sections: Mapping[str, Section]) -> Section:
        asked = chain if chain is not None else current_scope().chain
        if asked is not None:
            require_chain(asked, sections, UnknownTargetError)
        return sections[self._chain if asked is None else asked]


class _Batch:
    """The calls of one batch: some are decided, some wait for scores, some cannot be decided."""

    def __init__(
        self, engine: RoutingEngine, requests: Sequence[RoutingRequest | str], *, return_exceptions: bool
    ) -> None:
        self._engine = engine
        self._return_exceptions = return_exceptions
        self._results: list[RoutingDecision | RouteLLMError | None] = []
        self._waiting: dict[int, tuple[Section, Call]] = {}
        self._start = time.perf_counter()
        sections = engine._sections
        for position, request in enumerate(require_list(requests, what="requests")):
            try:
                section, call, decision = engine._open(request, sections)
            except RouteLLMError as error:
                self._fail(error)
            else:
                self._results.append(decision)
                if decision is None:
                    self._waiting[position] = section, call

    def _fail(self, error: RouteLLMError, position: int | None = None) -> None:
        if not self._return_exceptions:
            raise error
        if position is None:
            self._results.append(error)
        else:
            self._results[position] = error

    def to_score(self) -> list[tuple[ScoringService, list[str]]]:
        """Return what to score, by who scores it; calls of different chains may have different routers."""
        services = dict.fromkeys(section.scoring for section, _ in self._waiting.values())
        return [
            (scoring, [call.request.text for section, call in self._waiting.values() if section.scoring is scoring])
            for scoring in services
        ]

    def add(self, scoring: ScoringService, outcomes: Sequence[Row | ScoringError]) -> None:
        """Decide the calls that waited for these scores."""
        remaining = iter(outcomes)
        for position, (section, call) in self._waiting.items():
            if section.scoring is scoring:
                try:
                    self._results[position] = self._engine._close(section, call, next(remaining), self._start)
                except RouteLLMError as error:
                    self._fail(error, position)

    def decisions(self) -> list[RoutingDecision | RouteLLMError]:
        """Return what came of every call, in the order of the requests."""
        return [result for result in self._results if result is not None]
