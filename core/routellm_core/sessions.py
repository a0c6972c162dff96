"""Sessions: which model a conversation is on, and what leaving it would cost."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from routellm_core.errors import ConfigurationError
from routellm_core.pricing import TYPICAL_OUTPUT_TOKENS, Price

PROMPT_CACHE_SECONDS = 300.0
"""How long providers keep a prompt in their cache after its last use; five minutes is the shortest common time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionState:
    """Where a conversation stands.

    Attributes:
        choice: The candidate it is on.
        prompts: For each candidate it was on, the tokens of its last prompt there and when (seconds since the epoch).
    """

    choice: str
    prompts: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def cached_tokens(self, candidate: str, now: float) -> int:
        """Return how many tokens the candidate's provider probably still has in its cache."""
        tokens, when = self.prompts.get(candidate, (0, 0.0))
        return tokens if now - when <= PROMPT_CACHE_SECONDS else 0

    def moved(self, choice: str, tokens: int | None, now: float) -> "SessionState":
        """Return the state after a call."""
        prompts = dict(self.prompts)
        if tokens is not None:
            prompts[choice] = (tokens, now)
        return SessionState(choice=choice, prompts=prompts)


class SessionStore(Protocol):
    """Where sessions are kept; one that several processes share keeps conversations together across them."""

    def get(self, key: str) -> SessionState | None:
        """Return the state of a session, or None if it is not known."""
        ...

    def set(self, key: str, state: SessionState) -> None:
        """Keep the state of a session."""
        ...


class MemorySessionStore:
    """Keeps the sessions that were used last, in this process.

    Args:
        max_sessions: How many.
    """

    def __init__(self, max_sessions: int = 10_000) -> None:
        if max_sessions < 1:
            raise ConfigurationError(f"max_sessions must be 1 or more, not {max_sessions!r}")
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[str, SessionState] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> SessionState | None:
        """Return the state of a session, or None if it is not known (any more)."""
        with self._lock:
            if key in self._sessions:
                self._sessions.move_to_end(key)
            return self._sessions.get(key)

    def set(self, key: str, state: SessionState) -> None:
        """Keep the state of a session; the one that was not used for longest makes room."""
        with self._lock:
            self._sessions[key] = state
            self._sessions.move_to_end(key)
            if len(self._sessions) > self._max_sessions:
                self._sessions.popitem(last=False)

    def __getstate__(self) -> dict[str, object]:
        with self._lock:
            return {"_max_sessions": self._max_sessions, "_sessions": self._sessions.copy()}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def session_threshold(threshold: float, *, tokens: int, cached: tuple[int, int], prices: tuple[Price, Price]) -> float:
    """Return the threshold of a call whose prompt one of the two models has in its cache.

    A threshold says how many dollars a sure win is worth: at a win rate equal to it, the expected win pays for the
    difference between the strong and the weak model's price. Here the prices are those of this call, a warm prompt cache
    counted, so the threshold scales with their difference: leaving a model whose cache is warm takes a win rate that
    pays for the cold one.

    Args:
        threshold: Without caches, in [0, 1].
        tokens: Of the prompt.
        cached: How many of them the weak and the strong model have in their caches.
        prices: Of the weak and the strong model.

    Returns:
        In [0, 1]; the threshold itself if the strong model is not the dearer one.
    """
    weak, strong = prices
    cold = strong.cost(tokens, TYPICAL_OUTPUT_TOKENS) - weak.cost(tokens, TYPICAL_OUTPUT_TOKENS)
    if cold <= 0:
        return threshold
    warm = strong.cost(tokens, TYPICAL_OUTPUT_TOKENS, min(cached[1], tokens)) - weak.cost(
        tokens, TYPICAL_OUTPUT_TOKENS, min(cached[0], tokens)
    )
    return min(1.0, max(0.0, threshold * warm / cold))
