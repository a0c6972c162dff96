"""The layouts of tables of battles: which columns say what was asked and who won."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.normalise import first_user_turn, turns_from_json
from routellm_core.preferences.tables import Batch

_ARENA_FLAGS = ("winner_model_a", "winner_model_b", "winner_tie")


@dataclass(frozen=True)
class Layout:
    """How a kind of table says what was asked and who won.

    Attributes:
        required: The columns it must have.
        prompts: Reads the prompts of a batch.
        winners: Reads who won: "model_a", "model_b", "tie", or what else stands there.
    """

    required: tuple[str, ...]
    prompts: Callable[[Batch], list[str]]
    winners: Callable[[Batch], list[Any]]


def layout_of(columns: Sequence[str], prompt_field: str) -> Layout:
    """Return how to read a table with these columns."""
    models = ("model_a", "model_b")
    if _ARENA_FLAGS[0] in columns and "winner" not in columns:
        return Layout((prompt_field, *models, *_ARENA_FLAGS), partial(_listed_turns, field=prompt_field), _flagged)
    field = "conversation_a" if "conversation_a" in columns and prompt_field not in columns else prompt_field
    return Layout(
        (field, *models, "winner"), lambda batch: batch.prompts(field), lambda batch: list(batch.columns["winner"])
    )


def _listed_turns(batch: Batch, field: str) -> list[str]:
    values = enumerate(batch.require(field))
    return [first_user_turn(turns_from_json(value, batch.where(i)), batch.where(i)) for i, value in values]


def _flagged(batch: Batch) -> list[str]:
    flags = np.stack([batch.floats(name) for name in _ARENA_FLAGS], axis=1)
    wrong = ~(np.isin(flags, (0.0, 1.0)).all(axis=1) & (flags.sum(axis=1) == 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ConfigurationError(
            f"{batch.where(row)}: exactly one of {', '.join(_ARENA_FLAGS)} must be 1 and the others 0, "
            f"not {flags[row].tolist()}"
        )
    labels = ("model_a", "model_b", "tie")
    return [labels[i] for i in flags.argmax(axis=1).tolist()]
