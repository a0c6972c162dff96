"""What else the constructor of a routed model takes: settings for its models, and a word about everything it does not take."""

import warnings
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from routellm_core.errors import ConfigurationError
from routellm_langchain.models import SAMPLING, STREAMING

INNER_ONLY = ("cache", "rate_limiter", "max_retries", "timeout", "request_timeout", "api_key", "base_url")
"""Arguments that have an effect on a model of a provider only, and none on a routed one."""


def model_settings(arguments: Mapping[str, Any], *, known: Collection[str]) -> dict[str, Any]:
    """Return the arguments that are settings of the models being routed to.

    Args:
        arguments: What was given beyond the constructor's named arguments and the fields of every chat model.
        known: The names of those, for suggestions.

    Raises:
        ConfigurationError: If an argument is none of these; the message suggests the nearest one.
    """
    settings = {name: value for name, value in arguments.items() if name in (*SAMPLING, *STREAMING)}
    for name in arguments:
        if name not in settings and name not in INNER_ONLY:
            raise ConfigurationError(_unknown(name, {*known, *SAMPLING, *STREAMING, *INNER_ONLY}))
    inert = [name for name in INNER_ONLY if arguments.get(name) is not None]
    if inert:
        warnings.warn(
            f"{', '.join(f'{name}=' for name in inert)} given to RoutedChatModel has no effect: caching, rate limiting, "
            "retries, timeouts and keys belong to the models it routes to; give it to those",
            UserWarning,
            stacklevel=3,
        )
    # The values that stand for "not given" where LangChain itself rebuilds a model from its fields.
    return {name: value for name, value in settings.items() if value is not None and (name, value) != _STREAMS_FREELY}


_STREAMS_FREELY = ("disable_streaming", False)


def _unknown(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"RoutedChatModel takes no {name!r}; did you mean {close[0]!r}?"
    return (
        f"RoutedChatModel takes no {name!r}. It takes {', '.join(sorted(known))}; "
        "what belongs to one model is given to that model"
    )
