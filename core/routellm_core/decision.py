"""What goes into the engine and what comes out: plain records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from routellm_core.constraints import Capabilities

Reason = Literal[
    "policy", "forced", "tools_route", "session", "only_candidate", "empty_prompt", "router_error", "fallback"
]
"""Which rule made the choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingRequest:
    """One call that is to be routed.

    Attributes:
        text: What the router reads.
        threshold: For this call only, in [0, 1]; None takes that of `routing()`, else the engine's.
        route: The candidate that must take the call ("strong" and "weak" always name those of a pair); None lets the engine
            choose.
        chain: The section of the configuration whose settings apply; None takes that of `routing()`, else the engine's own.
        session: The conversation the call belongs to; None if unknown.
        conversation: The first user message, by which a sticky engine knows a conversation again if `session` is None.
        tools: Whether the call offers tools.
        images: Whether the prompt holds images.
        structured_output: Whether the answer must follow a schema.
        tokens: About how many tokens the whole prompt has; None if unknown.
        dry_run: Whether nobody will call the model, so that a sticky engine must not note where the conversation goes.
        capabilities: What the models say of themselves, by name; counts where the engine was told nothing.
    """

    text: str = field(repr=False)
    threshold: float | None = None
    route: str | None = None
    chain: str | None = None
    session: str | None = None
    conversation: str | None = field(default=None, repr=False)
    tools: bool = False
    images: bool = False
    structured_output: bool = False
    tokens: int | None = None
    dry_run: bool = False
    capabilities: "Mapping[str, Capabilities]" = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedCall:
    """What the decision log says of a call next to the decision.

    Attributes:
        chain: The section of the configuration it was routed by.
        strong: The strong model of the pair, or the dearest of the pool.
        weak: The weak model of the pair, or the cheapest of the pool.
        router_fingerprint: Which router's scores these are.
        prompt_hash: A digest of what the router read; None if the log keeps none.
        session_hash: A digest of the conversation it belongs to; None if it is not kept on its model.
        prompt: What the router read, if the log was asked to keep it; else None.
    """

    chain: str
    strong: str
    weak: str
    router_fingerprint: str
    prompt_hash: str | None
    session_hash: str | None = None
    prompt: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingDecision:
    """Which model takes a call, and why. Carries no prompt text.

    Attributes:
        choice: The candidate that takes the call.
        alternatives: The other candidates that could, in the order to try them.
        scores: The router's score of each candidate, in [0, 1]; None if the call was not scored.
        strong_win_rate: The score of the strong model where there is a pair; else None.
        threshold: What the score was compared with; None if it was not.
        router: The router's name.
        policy: The policy's name.
        reason: Which rule made the choice.
        explanation: The same as a sentence.
        ruled_out: The candidates that could not take this call, each with why.
        scoring_ms: How long this caller waited for the score; 0 if it was not scored.
        fallback_from: The candidate that failed before this decision; None if none did.
        baseline: The candidate that would take every call without routing, for the ledger; not part of `to_dict`.
        session_key: Under which a sticky engine keeps the conversation, a digest or what the caller called it; None if it keeps
            none; not part of `to_dict`.
        logged: What the decision log adds; None if there is no log; not part of `to_dict`.
    """

    choice: str
    alternatives: tuple[str, ...] = ()
    scores: Mapping[str, float] | None = None
    strong_win_rate: float | None = None
    threshold: float | None = None
    router: str
    policy: str
    reason: Reason
    explanation: str
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    scoring_ms: float = 0.0
    fallback_from: str | None = None
    baseline: str | None = field(default=None, repr=False, compare=False)
    session_key: str | None = field(default=None, repr=False, compare=False)
    logged: LoggedCall | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, for metadata and logs."""
        return {
            "choice": self.choice,
            "alternatives": list(self.alternatives),
            "scores": None if self.scores is None else dict(self.scores),
            "strong_win_rate": self.strong_win_rate,
            "threshold": self.threshold,
            "router": self.router,
            "policy": self.policy,
            "reason": self.reason,
            "explanation": self.explanation,
            "ruled_out": dict(self.ruled_out),
            "scoring_ms": round(self.scoring_ms, 4),
            "fallback_from": self.fallback_from,
        }
