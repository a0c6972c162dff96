"""The rules of routing, in their order: capability, forced route, tools_route, session, policy. No I/O, no concurrency."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import validate_threshold
from routellm_core.constraints import Capabilities, rule_out
from routellm_core.decision import Reason, RoutingDecision, RoutingRequest
from routellm_core.errors import (
    ConfigurationError,
    NoCandidateError,
    ScoringError,
    UnknownModelError,
    UnknownTargetError,
)
from routellm_core.policies import ContextPolicy, Policy, PolicyContext, TaskPolicy, ThresholdPolicy
from routellm_core.pricing import Price
from routellm_core.routers.base import AnyPairRouter, PairRouter, Router
from routellm_core.scope import current_scope
from routellm_core.sessions import SessionState, SessionStore, session_threshold
from routellm_core.task_state import TaskState, TaskSummary

logger = logging.getLogger(__name__)

OnRouterError = Literal["strong", "weak", "raise"]
"""What to do with a call that could not be scored."""

PAIR = ("weak", "strong")
"""The candidates of an engine that routes between two models, in the order of a pair router's columns."""

_NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request with everything that is known before it is scored.

    Attributes:
        request: The request as it came.
        threshold: What the score is compared with: the call's own, else that of the scope, else the plan's.
        route: The candidate that must take it, from the call or the scope; None if there is none.
        allowed: The candidates that can take it, in the order of the plan.
        ruled_out: The others, each with why.
        session: The state of its session; None if there is none or the plan is not sticky.
        session_key: Under which the state is kept; None if it is not kept.
        note: What the explanation must add; empty if nothing.
    """

    request: RoutingRequest
    threshold: float | None
    route: str | None
    allowed: tuple[str, ...]
    ruled_out: Mapping[str, str]
    session: SessionState | None
    session_key: str | None
    note: str


def router_for_references(router: Router, candidates: Sequence[str], references: Mapping[str, str]) -> Router:
    """Return the router of the pair that references name; a pool's router has a column for each of them already.

    Args:
        router: The router.
        candidates: The names of the models that are routed to, of a pair weak and strong.
        references: Which model or tier of the router stands for each candidate; one that is missing keeps the router's own.

    Raises:
        ConfigurationError: If the router compares no other pair.
        UnknownModelError: If it does not know what a candidate is mapped to.
    """
    if not isinstance(router, PairRouter) or not references or len(candidates) != 2:
        return router
    weak, strong = (references.get(candidate, own) for candidate, own in zip(candidates, router.models, strict=True))
    if (weak, strong) == router.models:
        return router
    if not isinstance(router, AnyPairRouter):
        raise ConfigurationError(
            f"router {router.name!r} compares {router.reference_strong!r} with {router.reference_weak!r} alone, so references "
            "cannot name others; mf and sw_ranking compare any two models that they know"
        )
    return router.for_pair(strong, weak)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How calls are routed: everything that is fixed between two reloads of the configuration."""

    router: Router
    candidates: tuple[str, ...]
    policy: Policy
    references: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    capabilities: Mapping[str, Capabilities] = field(default_factory=dict)
    own_threshold: float | None = None
    tools_route: str | None = None
    on_router_error: OnRouterError = "strong"
    sessions: SessionStore | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.router, Router):
            raise ConfigurationError(f"router must be a Router or a name, not {type(self.router).__name__}")
        if len(self.candidates) < 2 or len(set(self.candidates)) != len(self.candidates):
            raise ConfigurationError(f"candidates must be two or more different names, not {self.candidates!r}")
        if self.on_router_error not in get_args(OnRouterError):
            raise ConfigurationError(
                f"on_router_error must be one of {get_args(OnRouterError)}, not {self.on_router_error!r}"
            )
        self.policy.check(len(self.candidates))
        if isinstance(self.policy, ThresholdPolicy) and not self.is_pair:
            raise ConfigurationError(
                f"policy 'threshold' compares the win rate of a pair's strong model, and router {self.router.name!r} scores "
                "a pool: take the policy 'cheapest_above' or 'argmax'"
            )
        if self.router.score_kind not in self.policy.score_kinds:
            raise ConfigurationError(
                f"policy {self.policy.name!r} understands {sorted(self.policy.score_kinds)}, "
                f"and router {self.router.name!r} gives {self.router.score_kind!r}"
            )
        for what, names in (
            ("prices", self.prices),
            ("capabilities", self.capabilities),
            ("references", self.references),
        ):
            unknown = [name for name in names if name not in self.candidates]
            if unknown:
                raise ConfigurationError(
                    f"{what} names {unknown[0]!r}; the candidates are {', '.join(self.candidates)}"
                )
        if self.own_threshold is not None:
            validate_threshold(self.own_threshold)
        object.__setattr__(self, "router", router_for_references(self.router, self.candidates, self.references))
        object.__setattr__(self, "tools_route", self._resolved_tools_route())
        object.__setattr__(self, "_columns", self._find_columns())
        object.__setattr__(self, "_by_price", self._order_by_price())
        if isinstance(self.policy, ContextPolicy):
            object.__setattr__(self, "policy", self.policy.bind(self._policy_context()))
        if self.policy.uses_threshold and self.threshold is None:
            remedy = (
                ", or find one with calibrate_threshold(router.strong_win_rates(prompts), strong_fraction=0.5)"
                if self.is_pair
                else ""
            )
            raise ConfigurationError(
                f"router {self.router.name!r} is not calibrated, so threshold=None has no value: give a threshold in "
                f"[0, 1]{remedy}"
            )

    _columns: NDArray[np.intp] | None = field(init=False, repr=False, compare=False)
    _by_price: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def _resolved_tools_route(self) -> str | None:
        try:
            return None if self.tools_route is None else self.resolve(self.tools_route, what="tools_route")
        except UnknownTargetError as error:
            raise ConfigurationError(str(error)) from None

    def with_threshold(self, threshold: float | None) -> Self:
        """Return the plan with another threshold; None takes the router's calibrated one."""
        return replace(self, own_threshold=None if threshold is None else validate_threshold(threshold))

    @cached_property
    def threshold(self) -> float | None:
        """The threshold of calls that name none; None if the policy has none."""
        if self.own_threshold is not None or not self.policy.uses_threshold:
            return self.own_threshold
        return None if self.router.thresholds is None else self.router.thresholds.threshold_for(0.5)

    @property
    def strong(self) -> str:
        """The strong model of a pair, the dearest of a pool."""
        return self.candidates[1 if self.is_pair else self._by_price[-1]]

    @property
    def weak(self) -> str:
        """The weak model of a pair, the cheapest of a pool."""
        return self.candidates[0 if self.is_pair else self._by_price[0]]

    @cached_property
    def is_pair(self) -> bool:
        """Whether the candidates are (weak, strong)."""
        return isinstance(self.router, PairRouter)

    @cached_property
    def uses_task(self) -> bool:
        """Whether the policy chooses by all calls of the chain so far."""
        return self._task_policy is not None

    @cached_property
    def uses_distance(self) -> bool:
        """Whether the policy needs to know how far prompts are from the router's training prompts."""
        return self._task_policy is not None and self._task_policy.uses_distance

    @cached_property
    def _task_policy(self) -> TaskPolicy | None:
        # Asked of every call, and looking for the methods of a protocol takes longer than the rest of a decision.
        return self.policy if isinstance(self.policy, TaskPolicy) else None

    def _policy_context(self) -> PolicyContext:
        columns = np.arange(len(self.candidates)) if self._columns is None else self._columns
        confidence = self.router.confidence
        closest = self.router.closest
        if closest is not None and sorted(columns) != list(range(len(closest) - 1)):
            closest = None  # a regression on the scores of all models says nothing about some of them
        return PolicyContext(
            candidates=self.candidates,
            models=PAIR if self.is_pair else tuple(self.router.models[column] for column in columns),
            prices=tuple(self.prices[name].typical_call for name in self.candidates) if self.prices else None,
            confidence=None if confidence is None else confidence.for_columns(columns),
            model_thresholds=self.router.model_thresholds,
            closest=None if closest is None else closest[[*columns, -1]],
        )

    def resolve(self, route: str, *, what: str = "route") -> str:
        """Return the candidate that a name means: its own, or "strong" and "weak".

        Raises:
            UnknownTargetError: If it means none.
        """
        if route in self.candidates:
            return route
        if route == "strong":
            return self.strong
        if route == "weak":
            return self.weak
        raise UnknownTargetError(f"{what}={route!r} is not a candidate; there are: {', '.join(self.candidates)}")

    def prepare(self, request: RoutingRequest) -> Call:
        """Complete a request with the scope around it, where what the request says itself wins, and rule candidates out.

        Raises:
            InvalidThresholdError: If its threshold is not in [0, 1].
            UnknownTargetError: If its route is no candidate.
            NoCandidateError: If no candidate can take it.
        """
        scope = current_scope()
        threshold = request.threshold if request.threshold is not None else scope.threshold
        route = request.route if request.route is not None else scope.route
        if route is not None:
            route = self.resolve(route)
        capabilities = self._capabilities_for(request)
        ruled_out = rule_out(request, capabilities) if capabilities else _NOBODY
        allowed = self.candidates
        if ruled_out:
            allowed = tuple(name for name in allowed if name not in ruled_out)
            if not allowed:
                raise NoCandidateError(ruled_out.items())
        key = self._session_key(request, request.session if request.session is not None else scope.session)
        return Call(
            request=request,
            threshold=self.threshold if threshold is None else validate_threshold(threshold),
            route=route,
            allowed=allowed,
            ruled_out=ruled_out,
            session=None if key is None or self.sessions is None else self.sessions.get(key),
            session_key=key,
            note=f"route {route!r} was asked for, but it {ruled_out[route]}"
            if route is not None and route in ruled_out
            else "",
        )

    def without_score(self, call: Call) -> RoutingDecision | None:
        """Decide a call that needs no score; None if it needs one."""
        request, allowed = call.request, call.allowed
        if call.route is not None and call.route in allowed:
            return self._decided(call, call.route, "forced", f"route {call.route!r} was asked for")
        if request.tools and self.tools_route is not None and self.tools_route in allowed:
            return self._decided(call, self.tools_route, "tools_route", f"calls with tools go to {self.tools_route!r}")
        if call.session is not None and call.session.choice in allowed and not self._may_leave(call):
            return self._decided(
                call, call.session.choice, "session", f"the conversation is on {call.session.choice!r}"
            )
        if len(allowed) == 1:
            return self._decided(call, allowed[0], "only_candidate", f"only {allowed[0]!r} can take this call")
        if not request.text.strip():
            choice = self._safe_choice(allowed)
            return self._decided(
                call, choice, "empty_prompt", f"there is no text to score; {choice!r} takes such calls"
            )
        return None

    def conclude(
        self,
        call: Call,
        outcome: NDArray[np.float64] | ScoringError,
        scoring_ms: float,
        task: TaskState | None = None,
    ) -> RoutingDecision:
        """Decide a call from its score, or by the error policy.

        Args:
            call: The call.
            outcome: Its row of scores, or why there is none.
            scoring_ms: How long its caller waited for it.
            task: The calls of its chain so far, for a policy that chooses by them; None takes the call alone.

        Raises:
            ScoringError: If it could not be scored and the policy is "raise".
        """
        if isinstance(outcome, ScoringError):
            if self.on_router_error == "raise":
                raise outcome
            choice = self._safe_choice(call.allowed)
            logger.warning("%s; the call goes to %r (on_router_error)", outcome, choice)
            why = f"{outcome}; on_router_error={self.on_router_error!r}"
            return self._decided(call, choice, "router_error", why, scoring_ms=scoring_ms)
        row = outcome if self._columns is None else outcome[self._columns]
        plain = call.threshold
        threshold = self._session_threshold(call, plain)
        seen: TaskSummary | None = None
        if self._task_policy is not None:
            distance = float(outcome[-1]) if self.uses_distance else None
            seen = (task or TaskState()).observe(row, distance, keep=not call.request.dry_run)
            columns = self._task_policy.order_for_task(seen, self._by_price)
        else:
            columns = self.policy.order(row, threshold, self._by_price)
        order = [self.candidates[column] for column in columns]
        allowed = [name for name in order if name in call.allowed]
        win_rate = float(row[1]) if self.is_pair else None
        reason: Reason = "policy"
        if win_rate is not None and threshold is not None and plain is not None:
            relation = "reaches" if win_rate >= threshold else "is below"
            why = f"strong win rate {win_rate:.4f} {relation} the threshold {threshold:.4f}"
            if (win_rate >= threshold) != (win_rate >= plain):
                reason = "session"
                why += f", which counts what leaving {allowed[0]!r} and its warm prompt cache would cost (else {plain:.4f})"
        else:
            of = "" if seen is None else f" of {seen.n:.0f} calls of this chain"
            why = f"policy {self.policy.name!r} chose among the scores{of}"
            if model := self._assumed(allowed[0]):
                why += f"; that of {allowed[0]!r} was not learned: {model}"
        return RoutingDecision(
            choice=allowed[0],
            alternatives=tuple(allowed[1:]),
            scores=dict(zip(self.candidates, row.tolist(), strict=True)),
            strong_win_rate=win_rate,
            threshold=threshold if self.policy.uses_threshold else None,
            router=self.router.name,
            policy=self.policy.name,
            reason=reason,
            explanation=f"{call.note}; {why}" if call.note else why,
            ruled_out=call.ruled_out,
            scoring_ms=scoring_ms,
            baseline=self.strong,
            session_key=call.session_key,
        )

    def _assumed(self, candidate: str) -> str | None:
        return self.router.assumed.get(self.references.get(candidate, candidate))

    def remember(self, call: Call, decision: RoutingDecision) -> None:
        """Keep where the conversation now is, if the plan is sticky; what was forced from outside does not move it."""
        if self.sessions is None or call.session_key is None or call.request.dry_run:
            return
        if decision.reason in ("policy", "session", "only_candidate"):
            state = call.session or SessionState(choice=decision.choice)
            self.sessions.set(call.session_key, state.moved(decision.choice, call.request.tokens, time.time()))

    def _capabilities_for(self, request: RoutingRequest) -> Mapping[str, Capabilities]:
        if not request.capabilities:
            return self.capabilities
        told, unknown = request.capabilities, Capabilities()
        return {
            name: self.capabilities.get(name, unknown).completed_by(told.get(name, unknown)) for name in self.candidates
        }

    def move_session(self, key: str, choice: str) -> None:
        """Note that another candidate answered for the one the conversation was on."""
        state = None if self.sessions is None else self.sessions.get(key)
        if self.sessions is not None and state is not None:
            self.sessions.set(key, state.moved(choice, None, time.time()))

    def _session_key(self, request: RoutingRequest, session: str | None) -> str | None:
        if self.sessions is None:
            return None
        if session is not None:
            return f"session:{session}"
        if request.conversation:
            digest = hashlib.blake2b(request.conversation.encode("utf-8", "surrogatepass"), digest_size=16)
            return f"conversation:{digest.hexdigest()}"
        return None

    def _may_leave(self, call: Call) -> bool:
        """Whether it is known what leaving the session's model would cost; otherwise the conversation stays."""
        if call.session is None or call.request.tokens is None or not isinstance(self.policy, ThresholdPolicy):
            return False
        price = self.prices.get(call.session.choice)
        return len(self.prices) == len(self.candidates) and price is not None and price.cached_input is not None

    def _session_threshold(self, call: Call, threshold: float | None) -> float | None:
        tokens, state = call.request.tokens, call.session
        if threshold is None or state is None or tokens is None or not self._may_leave(call):
            return threshold
        weak, strong = self.candidates
        now = time.time()
        return session_threshold(
            threshold,
            tokens=tokens,
            cached=(state.cached_tokens(weak, now), state.cached_tokens(strong, now)),
            prices=(self.prices[weak], self.prices[strong]),
        )

    def _decided(
        self, call: Call, choice: str, reason: Reason, why: str, *, scoring_ms: float = 0.0
    ) -> RoutingDecision:
        dearest_first = [self.candidates[column] for column in reversed(self._by_price)]
        return RoutingDecision(
            choice=choice,
            alternatives=tuple(name for name in dearest_first if name != choice and name in call.allowed),
            router=self.router.name,
            policy=self.policy.name,
            reason=reason,
            explanation=f"{call.note}; {why}" if call.note else why,
            ruled_out=call.ruled_out,
            scoring_ms=scoring_ms,
            baseline=self.strong,
            session_key=call.session_key,
        )

    def _safe_choice(self, allowed: Sequence[str]) -> str:
        preferred = self.weak if self.on_router_error == "weak" else self.strong
        if preferred in allowed:
            return preferred
        dearest_first = [self.candidates[column] for column in reversed(self._by_price)]
        left = [name for name in dearest_first if name in allowed]
        return left[-1] if self.on_router_error == "weak" else left[0]

    def _find_columns(self) -> NDArray[np.intp] | None:
        """Return the router's column of each candidate; None if they are the router's columns as they are."""
        router = self.router
        if isinstance(router, PairRouter):
            if len(self.candidates) != 2:
                raise ConfigurationError(
                    f"router {router.name!r} compares two models and cannot choose among {len(self.candidates)}: "
                    "give a pool router, or router.for_pool(...) where the router offers it"
                )
            return None
        wanted = [self.references.get(name, name) for name in self.candidates]
        unknown = [name for name in wanted if name not in router.models]
        if unknown:
            raise UnknownModelError(
                f"router {router.name!r} does not score {', '.join(map(repr, unknown))}; map each candidate to one of its "
                f"models with references={{candidate: model}}. It scores: {', '.join(router.models)}"
            )
        return np.array([router.models.index(name) for name in wanted], dtype=np.intp)

    def _order_by_price(self) -> tuple[int, ...]:
        """Return the candidates' positions, cheapest first; without prices they are given in that order."""
        positions = range(len(self.candidates))
        if not self.prices:
            return tuple(positions)
        missing = [name for name in self.candidates if name not in self.prices]
        if missing:
            raise ConfigurationError(f"prices has no entry for {', '.join(map(repr, missing))}")
        return tuple(sorted(positions, key=lambda column: self.prices[self.candidates[column]].typical_call))
