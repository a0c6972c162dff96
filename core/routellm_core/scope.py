"""`routing(...)`: settings for every call made inside a with-block, whatever framework makes it."""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from routellm_core.calibration import validate_threshold

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingScope:
    """What the with-blocks around the current call ask for; None where they do not say."""

    threshold: float | None = None
    route: str | None = None
    session: str | None = None
    chain: str | None = None


_NOTHING = RoutingScope()
_Block = tuple["routing", RoutingScope]
_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("routellm_routing_blocks", default=())
"""The blocks around the current call, the innermost last, each with what it and those around it ask for."""


def delegated_call() -> "routing":
    """Return the block to put around the call of the chosen model, which ends what was asked of the model that chose it.

    A candidate may be a routed model with candidates, a configuration and a router of its own, where the same names and numbers
    mean something else or nothing. The conversation is the same, so the session stays.
    """
    return _DELEGATED_CALL


def current_scope() -> RoutingScope:
    """Return the settings in force for the current thread or task."""
    blocks = _blocks.get()
    return blocks[-1][1] if blocks else _NOTHING


class routing:  # noqa: N801  (reads as a statement: with routing(...))
    """Route the calls made inside the block differently.

    Works as `with`, as `async with` and as a decorator of functions and coroutine functions. It reaches calls deep inside
    chains, agents and query engines, the tasks they start, and threads that take the context along, as those of
    LangChain and LlamaIndex do. Blocks nest: the inner one wins
    where it says something. What a single call says itself (LangChain's `configurable`) wins over the block.

    A block speaks to every routed model that is called inside it, a routed model that a tool of an agent calls too. Where
    the chosen candidate is itself a routed model, threshold, route and chain were for the outer one and do not reach it;
    the session does.

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
        self._changes: dict[str, float | str | None] = {}
        if threshold is not None:
            self._changes["threshold"] = validate_threshold(threshold)
        if route is not None:
            self._changes["route"] = route
        if session is not None:
            self._changes["session"] = session
        if chain is not None:
            self._changes["chain"] = chain

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function with this block around every call of it.

        Raises:
            TypeError: If it is a generator function, whose body runs after the call has returned.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"routing(...) cannot decorate the generator function {function.__name__}: use it inside")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_block(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", in_block)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        return call

    def __enter__(self) -> Self:
        # The block is kept in the context, not on the object: one object may be entered by several threads and tasks.
        _blocks.set((*_blocks.get(), (self, replace(current_scope(), **self._changes))))  # type: ignore[arg-type]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        blocks = _blocks.get()
        if blocks and blocks[-1][0] is self:  # not so where a generator is closed from another context
            _blocks.set(blocks[:-1])

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


_DELEGATED_CALL = routing()
_DELEGATED_CALL._changes = dict.fromkeys(("threshold", "route", "chain"))
