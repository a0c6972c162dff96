"""When two prompts are the same, and which text of a conversation is the prompt."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from routellm_core.errors import ConfigurationError


def normalise_text(text: str) -> str:
    """Return what equal prompts have in common: NFKC, without case, every run of white space one blank, none at the ends.

    Args:
        text: A prompt.

    Example:
        >>> normalise_text("  What IS  1 + 1?")
        'what is 1 + 1?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def first_user_turn(conversation: Any, where: str) -> str:
    """Return the prompt of a conversation: its first user turn, without white space at the ends.

    That is what the released code of RouteLLM (arXiv 2406.18665) trains on. A text is taken as it is.

    Args:
        conversation: A text; a list of user turns; or a list of messages `{"role": ..., "content": ...}`.
        where: Names the row, for the error.

    Raises:
        ConfigurationError: If there is no user turn with text.
    """
    if isinstance(conversation, str):
        return conversation
    if isinstance(conversation, Sequence) and conversation:
        first = conversation[0]
        if isinstance(first, Mapping):
            users = (m for m in conversation if isinstance(m, Mapping) and m.get("role") in ("user", "human"))
            first = next(users, {}).get("content")
        if isinstance(first, str):
            return first.strip()
    raise ConfigurationError(
        f"{where}: the prompt must be text, a list of user turns, or a list of messages with a user's among them, "
        f"not {type(conversation).__name__}"
    )


def turns_in_text(text: Any) -> Any:
    """Return the conversation that a cell of .csv holds as JSON, a list of turns or of messages; any other value as it is."""
    if not (isinstance(text, str) and text.startswith("[") and text.endswith("]")):
        return text
    try:
        turns = json.loads(text)
    except ValueError:
        return text
    whole = all(isinstance(turn, str) for turn in turns) or all(isinstance(t, dict) and "role" in t for t in turns)
    return turns if turns and whole else text


def turns_from_json(text: Any, where: str) -> Any:
    """Read the JSON list of turns in which the published Arena tables keep a prompt.

    Raises:
        ConfigurationError: If it is no JSON list.
    """
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except ValueError:
            text = None
    if not isinstance(text, list):
        raise ConfigurationError(
            f'{where}: in this layout the prompt is a JSON list of turns, such as ["Hi!", "And now?"]'
        )
    return text
