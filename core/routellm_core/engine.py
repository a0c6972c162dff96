"""The routing engine: everything both adapters do before they call a model."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from copy import copy
from typing import Literal, Self, get_args, overload

import numpy as np

from routellm_core.calibration import validate_threshold
from routellm_core.decision import Reason, RoutingDecision, RoutingRequest
from routellm_core.errors import ConfigurationError, RouteLLMError, ScoringError, UnknownModelError
from routellm_core.policies import Policy, get_policy
from routellm_core.registry import load_router
from routellm_core.routers.base import PairRouter, Router
from routellm_core.scope import current_scope
from routellm_core.scoring import Row, ScoringService

logger = logging.getLogger(__name__)

OnRouterError = Literal["strong", "weak", "raise"]
"""What to do with a call that could not be scored."""

PAIR = ("weak", "strong")
"""The candidates of an engine that routes between two models, in the order of a pair router's columns."""


class RoutingEngine:
    """Decides which model takes a call.

    Safe to share between threads, tasks and event loops: nothing of a call is kept on the engine.

    Args:
        router: A router, or what `load_router` takes: a registered name, a folder or a Hub repository.
        candidates: The names of the models to choose among, weakest (cheapest) first; None means `("weak", "strong")`.
        references: Which model of the router stands for each candidate; a candidate that is missing here must be a
            model of the router by its own name. Not for pair routers, whose columns are weak and strong.
        prices: The price of each candidate, in any one unit; orders candidates of equal score, and says which is the
            "strong" (dearest) and the "weak" (cheapest) of a pool. None takes the order of `candidates`.
        policy: How scores become a choice: a name of `routellm_core.policies.POLICIES`, or a policy.
        threshold: In [0, 1]; higher sends fewer calls to strong. None takes the router's calibrated value for a
            strong fraction of 0.5.
        on_router_error: Where calls go that could not be scored; "raise" raises `ScoringError`.
        score_timeout_s: How long a call waits for its score before it counts as failed; None waits.
        cache_size: How many scores to keep; 0 keeps none.
        executor: Where blocking routers run in asynchronous calls; None makes a thread pool when first needed.
        max_batch: Up to how many concurrent scorings are gathered into one call of the router; 1 gathers none.
        max_wait_ms: How long the first of a gathered batch waits for others.

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
        prices: Mapping[str, float] | None = None,
        policy: str | Policy = "threshold",
        threshold: float | None = None,
        on_router_error: OnRouterError = "strong",
        score_timeout_s: float | None = None,
        cache_size: int = 4096,
        executor: Executor | None = None,
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
    ) -> None:
        if on_router_error not in get_args(OnRouterError):
            raise ConfigurationError(
                f"on_router_error must be one of {get_args(OnRouterError)}, not {on_router_error!r}"
            )
        self.router = load_router(router) if isinstance(router, str) else router
        if not isinstance(self.router, Router):
            raise ConfigurationError(f"router must be a Router or a name, not {type(router).__name__}")
        self.candidates = _checked_candidates(candidates)
        self.policy = get_policy(policy)
        self.policy.check(len(self.candidates))
        if self.router.score_kind not in self.policy.score_kinds:
            raise ConfigurationError(
                f"policy {self.policy.name!r} understands {sorted(self.policy.score_kinds)}, "
                f"and router {self.router.name!r} gives {self.router.score_kind!r}"
            )
        self.on_router_error: OnRouterError = on_router_error
        self._columns = _columns(self.router, self.candidates, references)
        self._by_price = _by_price(self.candidates, prices)
        self._threshold = None if threshold is None else validate_threshold(threshold)
        self._scoring = ScoringService(
            self.router,
            cache_size=cache_size,
            timeout_s=score_timeout_s,
            executor=executor,
            max_batch=max_batch,
            max_wait_ms=max_wait_ms,
        )
        self._require_threshold()

    def __repr__(self) -> str:
        return f"RoutingEngine({self.router!r}, candidates={self.candidates!r}, threshold={self.threshold!r})"

    @property
    def threshold(self) -> float | None:
        """The threshold of calls that name none; None if the policy has none."""
        if self._threshold is not None or not self.policy.uses_threshold:
            return self._threshold
        return None if self.router.thresholds is None else self.router.thresholds.threshold_for(0.5)

    def with_threshold(self, threshold: float | None) -> Self:
        """Return an engine with another threshold that shares this one's router, cache and everything else.

        Args:
            threshold: In [0, 1]; None takes the router's calibrated value for a strong fraction of 0.5.

        Raises:
            InvalidThresholdError: If it is not a number in [0, 1].
        """
        other = copy(self)
        other._threshold = None if threshold is None else validate_threshold(threshold)
        other._require_threshold()
        return other

    def _require_threshold(self) -> None:
        if self.policy.uses_threshold and self.threshold is None:
            raise ConfigurationError(
                f"router {self.router.name!r} is not calibrated, so threshold=None has no value: give a threshold in "
                "[0, 1], or find one with calibrate_threshold(router.strong_win_rates(prompts), strong_fraction=0.5)"
            )

    def decide(self, request: RoutingRequest | str) -> RoutingDecision:
        """Decide where one call goes; blocks while the router scores.

        Args:
            request: The call, or just its text.

        Raises:
            ConfigurationError: If a threshold or a forced route of the call is not valid.
            ScoringError: If scoring fails and `on_router_error` is "raise".
        """
        call = self._prepare(request)
        decision = self._without_score(call)
        if decision is not None:
            return decision
        start = time.perf_counter()
        try:
            outcome: Row | ScoringError = self._scoring.score(call.text)
        except ScoringError as error:
            outcome = error
        return self._conclude(call, outcome, _ms_since(start))

    async def adecide(self, request: RoutingRequest | str) -> RoutingDecision:
        """Decide where one call goes without blocking the event loop; see `decide`."""
        call = self._prepare(request)
        decision = self._without_score(call)
        if decision is not None:
            return decision
        start = time.perf_counter()
        try:
            outcome: Row | ScoringError = await self._scoring.ascore(call.text)
        except ScoringError as error:
            outcome = error
        return self._conclude(call, outcome, _ms_since(start))

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
        batch = self._open(requests, return_exceptions=return_exceptions)
        start = time.perf_counter()
        outcomes = self._scoring.score_many([item.text for item in batch if isinstance(item, RoutingRequest)])
        return self._close(batch, outcomes, _ms_since(start), return_exceptions=return_exceptions)

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
        batch = self._open(requests, return_exceptions=return_exceptions)
        start = time.perf_counter()
        outcomes = await self._scoring.ascore_many([item.text for item in batch if isinstance(item, RoutingRequest)])
        return self._close(batch, outcomes, _ms_since(start), return_exceptions=return_exceptions)

    def _open(
        self, requests: Sequence[RoutingRequest | str], *, return_exceptions: bool
    ) -> list[RoutingRequest | RoutingDecision | RouteLLMError]:
        """Decide what needs no score; the requests that remain do."""
        batch: list[RoutingRequest | RoutingDecision | RouteLLMError] = []
        for request in requests:
            try:
                call = self._prepare(request)
                batch.append(self._without_score(call) or call)
            except RouteLLMError as error:
                if not return_exceptions:
                    raise
                batch.append(error)
        return batch

    def _close(
        self,
        batch: Sequence[RoutingRequest | RoutingDecision | RouteLLMError],
        outcomes: Sequence[Row | ScoringError],
        scoring_ms: float,
        *,
        return_exceptions: bool,
    ) -> list[RoutingDecision | RouteLLMError]:
        """Decide the requests of an opened batch with the outcomes of their scoring."""
        remaining = iter(outcomes)
        decided: list[RoutingDecision | RouteLLMError] = []
        for item in batch:
            try:
                decided.append(
                    self._conclude(item, next(remaining), scoring_ms) if isinstance(item, RoutingRequest) else item
                )
            except ScoringError as error:
                if not return_exceptions:
                    raise
                decided.append(error)
        return decided

    def _prepare(self, request: RoutingRequest | str) -> RoutingRequest:
        """Complete a request with the scope around it; what the request says itself wins."""
        if isinstance(request, str):
            request = RoutingRequest(text=request)
        scope = current_scope()
        threshold = request.threshold if request.threshold is not None else scope.threshold
        route = request.route if request.route is not None else scope.route
        if route is not None and route not in self.candidates:
            raise ConfigurationError(f"route={route!r} is not a candidate; there are: {', '.join(self.candidates)}")
        return RoutingRequest(
            text=request.text,
            threshold=self.threshold if threshold is None else validate_threshold(threshold),
            route=route,
            session=request.session if request.session is not None else scope.session,
        )

    def _without_score(self, call: RoutingRequest) -> RoutingDecision | None:
        if call.route is not None:
            return self._decision(call.route, "forced", f"route {call.route!r} was asked for")
        if not call.text.strip():
            choice = self._safe_choice()
            return self._decision(choice, "empty_prompt", f"there is no text to score; {choice!r} takes such calls")
        return None

    def _conclude(self, call: RoutingRequest, outcome: Row | ScoringError, scoring_ms: float) -> RoutingDecision:
        if isinstance(outcome, ScoringError):
            if self.on_router_error == "raise":
                raise outcome
            choice = self._safe_choice()
            logger.warning("%s; the call goes to %r (on_router_error)", outcome, choice)
            why = f"{outcome}; on_router_error={self.on_router_error!r}"
            return self._decision(choice, "router_error", why, scoring_ms=scoring_ms)
        row = outcome if self._columns is None else outcome[self._columns]
        order = [self.candidates[column] for column in self.policy.order(row, call.threshold, self._by_price)]
        scores = {name: float(score) for name, score in zip(self.candidates, row, strict=True)}
        win_rate = float(row[1]) if isinstance(self.router, PairRouter) else None
        if win_rate is not None and call.threshold is not None:
            relation = "reaches" if win_rate >= call.threshold else "is below"
            why = f"strong win rate {win_rate:.4f} {relation} the threshold {call.threshold:.4f}"
        else:
            why = f"policy {self.policy.name!r} chose among the scores"
        return RoutingDecision(
            choice=order[0],
            alternatives=tuple(order[1:]),
            scores=scores,
            strong_win_rate=win_rate,
            threshold=call.threshold if self.policy.uses_threshold else None,
            router=self.router.name,
            policy=self.policy.name,
            reason="policy",
            explanation=why,
            scoring_ms=scoring_ms,
        )

    def _decision(self, choice: str, reason: Reason, why: str, *, scoring_ms: float = 0.0) -> RoutingDecision:
        dearest_first = [self.candidates[column] for column in reversed(self._by_price)]
        return RoutingDecision(
            choice=choice,
            alternatives=tuple(name for name in dearest_first if name != choice),
            router=self.router.name,
            policy=self.policy.name,
            reason=reason,
            explanation=why,
            scoring_ms=scoring_ms,
        )

    def _safe_choice(self) -> str:
        return self.candidates[self._by_price[0 if self.on_router_error == "weak" else -1]]


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000


def _checked_candidates(candidates: Sequence[str] | None) -> tuple[str, ...]:
    names = PAIR if candidates is None else tuple(candidates)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigurationError(f"candidates must be two or more different names, not {names!r}")
    return names


def _columns(
    router: Router, candidates: tuple[str, ...], references: Mapping[str, str] | None
) -> np.ndarray[tuple[int], np.dtype[np.intp]] | None:
    """Return the router's column of each candidate; None if they are the router's columns as they are."""
    if isinstance(router, PairRouter):
        if len(candidates) != 2:
            raise ConfigurationError(
                f"router {router.name!r} compares two models and cannot choose among {len(candidates)}: "
                "give a pool router, or router.for_pool(...) where the router offers it"
            )
        return None
    references = references or {}
    wanted = [references.get(name, name) for name in candidates]
    unknown = [name for name in wanted if name not in router.models]
    if unknown:
        raise UnknownModelError(
            f"router {router.name!r} does not score {', '.join(map(repr, unknown))}; map each candidate to one of its "
            f"models with references={{candidate: model}}. It scores: {', '.join(router.models)}"
        )
    return np.array([router.models.index(name) for name in wanted], dtype=np.intp)


def _by_price(candidates: tuple[str, ...], prices: Mapping[str, float] | None) -> tuple[int, ...]:
    """Return the candidates' positions, cheapest first."""
    if prices is None:
        return tuple(range(len(candidates)))
    missing = [name for name in candidates if name not in prices]
    if missing:
        raise ConfigurationError(f"prices has no entry for {', '.join(map(repr, missing))}")
    return tuple(sorted(range(len(candidates)), key=lambda column: prices[candidates[column]]))
