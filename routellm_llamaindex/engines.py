"""From constructor arguments to a routing engine, once for everything in this package that takes them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from routellm_core.constraints import Capabilities
from routellm_core.engine import RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.plan import OnRouterError
from routellm_core.policies import Policy
from routellm_core.pricing import Price
from routellm_core.routers.base import Router
from routellm_core.traffic import DecisionLog


class EngineOptions(TypedDict, total=False):
    """Arguments that are the engine's; None, as if not given, takes the engine's default."""

    router: Router | str | None
    threshold: float | None
    policy: str | Policy | None
    prices: Mapping[str, Price | float | Mapping[str, Any]] | None
    capabilities: Mapping[str, Capabilities] | None
    references: Mapping[str, str] | None
    tools_route: str | None
    sticky: bool | None
    on_router_error: OnRouterError | None
    score_timeout_s: float | None
    log: DecisionLog | str | os.PathLike[str] | None


def make_engine(
    engine: RoutingEngine | None, candidates: Sequence[str] | None, **options: Unpack[EngineOptions]
) -> RoutingEngine:
    """Return the engine that was given, or make one.

    Args:
        engine: Excludes all options; None makes one.
        candidates: The names it must choose among, weakest first; None takes the engine's.
        **options: What the new engine is made of.

    Raises:
        ConfigurationError: If an engine comes with options, or chooses among other candidates, or an option is wrong.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if engine is None:
        return RoutingEngine(candidates=candidates, **given)
    if not isinstance(engine, RoutingEngine):
        raise ConfigurationError(f"engine must be a RoutingEngine, not {type(engine).__name__}")
    if given:
        raise ConfigurationError(f"engine= already says what {', '.join(given)} would: give the one or the other")
    if candidates is not None and set(engine.models) != set(candidates):
        raise ConfigurationError(
            f"the engine chooses among {', '.join(engine.models)}, and the models are {', '.join(candidates)}"
        )
    return engine
