"""One check for everything that takes several texts."""

from collections.abc import Sequence
from typing import TypeVar

from routellm_core.errors import ConfigurationError

T = TypeVar("T")


def require_list(texts: Sequence[T], *, what: str = "prompts") -> Sequence[T]:
    """Refuse a single string, which Python would take for a list of its characters.

    Args:
        texts: What should be a list of texts.
        what: What the error calls it.

    Raises:
        ConfigurationError: If it is a string, or no sequence.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        kind = "one string" if isinstance(texts, str) else type(texts).__name__
        raise ConfigurationError(f"{what} must be a list of strings, not {kind}: write [text]")
    return texts
