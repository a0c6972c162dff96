"""The keys of a config's `configurable` that steer the routing of one call or one chain."""

from difflib import get_close_matches
from typing import Any, TypedDict, cast

from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig

from routellm_core.errors import ConfigurationError

_FIELDS: dict[str, tuple[Any, str]] = {
    "threshold": (float | None, "In [0, 1]; higher sends fewer calls to the strong model."),
    "route": (str | None, "The candidate that must take the calls."),
    "session": (str | None, "The conversation the calls belong to."),
}


class ConfiguredFields(TypedDict, total=False):
    """The fields of a `RoutingRequest` that a config may set."""

    threshold: float | None
    route: str | None
    session: str | None


class RoutingKeys:
    """`routellm_threshold`, `routellm_route` and `routellm_session`, each behind an optional prefix.

    Args:
        prefix: Put before each key with an underscore, to tell two routed models of one graph apart; "" puts nothing.
    """

    def __init__(self, prefix: str = "") -> None:
        self._stem = f"{prefix.rstrip('_')}_routellm_" if prefix else "routellm_"
        self._fields = {self._stem + field: field for field in _FIELDS}

    def read(self, config: RunnableConfig) -> ConfiguredFields:
        """Return the fields that the config sets.

        Raises:
            ConfigurationError: If a key begins like ours and is none.
        """
        found: dict[str, Any] = {}
        for key, value in config.get("configurable", {}).items():
            if key in self._fields:
                found[self._fields[key]] = value
            elif isinstance(key, str) and key.startswith(self._stem):
                close = get_close_matches(key, self._fields, n=1)
                meant = f"did you mean {close[0]!r}? " if close else ""
                raise ConfigurationError(
                    f"configurable key {key!r} is unknown; {meant}There are: {', '.join(self._fields)}"
                )
        return cast("ConfiguredFields", found)

    def without(self, config: RunnableConfig) -> RunnableConfig:
        """Return the config without the keys, for what runs after the decision."""
        configurable = config.get("configurable", {})
        if not any(key in self._fields for key in configurable):
            return config
        return {
            **config,
            "configurable": {key: value for key, value in configurable.items() if key not in self._fields},
        }

    @property
    def specs(self) -> list[ConfigurableFieldSpec]:
        """How LangChain advertises the keys."""
        return [
            ConfigurableFieldSpec(id=key, name=key, description=_FIELDS[field][1], annotation=_FIELDS[field][0])
            for key, field in self._fields.items()
        ]
