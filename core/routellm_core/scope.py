"""`routing(...)`: settings for every call made inside a with-block, whatever framework makes it."""

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from routellm_core.calibration import validate_threshold


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingScope:
    """What the with-blocks around the current call ask for; None where they do not say."""

    threshold: float | None = None
    route: str | None = None
    session: str | None = None
    chain: str | None = None


_NOTHING = RoutingScope()
_scope: ContextVar[RoutingScope] = ContextVar("routellm_routing_scope", default=_NOTHING)


def current_scope() -> RoutingScope:
    """Return the settings in force for the current thread or task."""
    return _scope.get()


class routing(ContextDecorator):  # noqa: N801  (reads as a statement: with routing(...))
    """Route the calls made inside the block differently.

    Works as `with`, as `async with` and as a decorator of synchronous functions. It reaches calls deep inside chains,
    agents and query engines, and the tasks and threads they start from this context. Blocks nest: the inner one wins
    where it says something. What a single call says itself (LangChain's `configurable`) wins over the block.

    Args:
        threshold: In [0, 1]; higher sends fewer calls to strong. None leaves it.
        route: The candidate that must take the calls ("strong", "weak" or a name of the pool). None leaves it.
        session: The conversation the calls belong to. None leaves it.
        chain: The section of the configuration file whose settings apply. None leaves it.

    Raises:
        InvalidThresholdError: If the threshold is not a number in [0, 1].

    Example:
        >>> with routing(threshold=0.7):
        ...     current_scope().threshold
        0.7
    """

    def __init__(
        self,
        *,
        threshold: float | None = None,
        route: str | None = None,
        session: str | None = None,
        chain: str | None = None,
    ) -> None:
        self._changes: dict[str, float | str] = {}
        if threshold is not None:
            self._changes["threshold"] = validate_threshold(threshold)
        if route is not None:
            self._changes["route"] = route
        if session is not None:
            self._changes["session"] = session
        if chain is not None:
            self._changes["chain"] = chain
        self._tokens: list[Token[RoutingScope]] = []

    def _recreate_cm(self) -> Self:
        # A decorated function may run in several threads at once, each needs its own token.
        return type(self)(**self._changes)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self._tokens.append(_scope.set(replace(_scope.get(), **self._changes)))  # type: ignore[arg-type]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _scope.reset(self._tokens.pop())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
