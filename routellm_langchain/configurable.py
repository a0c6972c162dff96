"""The keys that steer the routing of one call or one chain.

They are read from a config's `configurable`, and from the runtime context of the LangGraph graph around the call, where
`configurable` wins.
"""

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypedDict, cast

from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from routellm_core.errors import ConfigurationError

_FIELDS: dict[str, tuple[Any, str]] = {
    "threshold": (float | None, "In [0, 1]; higher sends fewer calls to the strong model."),
    "route": (str | None, "The candidate that must take the calls."),
    "chain": (str | None, "The section of the configuration file whose settings apply."),
    "session": (str | None, "The conversation the calls belong to."),
}


class ConfiguredFields(TypedDict, total=False):
    """The fields of a `RoutingRequest` that a config may set."""

    threshold: float | None
    route: str | None
    chain: str | None
    session: str | None


class RoutingKeys:
    """`routellm_threshold`, `routellm_route`, `routellm_chain` and `routellm_session`, each behind an optional prefix.

    Args:
        prefix: Put before each key with an underscore, to tell two routed models of one graph apart; "" puts nothing.
    """

    def __init__(self, prefix: str = "") -> None:
        self._stem = f"{prefix.rstrip('_')}_routellm_" if prefix else "routellm_"
        self._fields = {self._stem + field: field for field in _FIELDS}
        # With two underscores in front LangChain leaves it out of traces.
        self._read_context = f"__{self._stem}read"

    def read(self, config: RunnableConfig) -> ConfiguredFields:
        """Return the fields that the config, or the context of the graph around the call, sets.

        Raises:
            ConfigurationError: If a key begins like ours and is none, or a name is no string.
        """
        found: dict[str, Any] = {}
        context = _runtime_context()
        if context is config.get("configurable", {}).get(self._read_context):
            context = None  # by the routed model around this one
        if isinstance(context, Mapping):
            self._collect(context, found)
        elif context is not None:
            self._collect({key: getattr(context, key, None) for key in self._fields}, found)
        self._collect(config.get("configurable", {}), found)
        return cast("ConfiguredFields", found)

    def _collect(self, settings: Mapping[Any, Any], found: dict[str, Any]) -> None:
        for key, value in settings.items():
            if key in self._fields:
                field = self._fields[key]
                if field != "threshold" and not isinstance(value, str | None):
                    raise ConfigurationError(
                        f"configurable key {key!r} must be a string or None, not {value!r}: {_FIELDS[field][1]}"
                    )
                if value is not None:
                    found[field] = value
            elif isinstance(key, str) and key.startswith(self._stem):
                close = get_close_matches(key, self._fields, n=1)
                meant = f"did you mean {close[0]!r}? " if close else ""
                raise ConfigurationError(
                    f"configurable key {key!r} is unknown; {meant}There are: {', '.join(self._fields)}"
                )

    def without(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config without the keys, for what runs after the decision."""
        configurable = config.get("configurable", {})
        context = _runtime_context()
        if context is None and not any(key in self._fields for key in configurable):
            return config
        others = {key: value for key, value in configurable.items() if key not in self._fields}
        return {**config, "configurable": others if context is None else {**others, self._read_context: context}}

    @property
    def specs(self) -> list[ConfigurableFieldSpec]:
        """How LangChain advertises the keys."""
        return [
            ConfigurableFieldSpec(id=key, name=key, description=_FIELDS[field][1], annotation=_FIELDS[field][0])
            for key, field in self._fields.items()
        ]


def _runtime_context() -> object:
    """Return the context that the LangGraph graph around the call was run with; None if there is none."""
    module = sys.modules.get("langgraph.runtime")  # no graph can run that has not imported it
    config = var_child_runnable_config.get()
    if module is None or not config or not config.get("configurable"):
        return None
    return getattr(module.get_runtime(), "context", None)
