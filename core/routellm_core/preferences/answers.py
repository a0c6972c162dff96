"""Tables of answers: what labels are made from."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from routellm_core.errors import ConfigurationError, MissingColumnError
from routellm_core.preferences.tables import Table

_PREFIX = "answer::"
_KEPT = ("prompt_id", "task", "group", "split")
_PAIR = ("model_a", "model_b", "answer_a", "answer_b")


@dataclass(frozen=True)
class AnswerRow:
    """A prompt and what models answered.

    Attributes:
        where: Names the row, for an error.
        prompt: What was asked.
        answers: Model to answer; None where it gave none.
        reference: An answer that is known to be good; None if the table has none.
        kept: What the labelled table takes over.
    """

    where: str
    prompt: str
    answers: Mapping[str, str | None]
    reference: str | None
    kept: Mapping[str, Any]

    def pairs(self) -> list[tuple[str, str]]:
        """Return every two models that both answered, in the order of the columns."""
        return list(combinations([model for model, answer in self.answers.items() if answer is not None], 2))


def read_answers(
    source: str | os.PathLike[str],
    *,
    prompt_field: str = "prompt",
    reference_field: str = "reference",
    need_reference: bool = False,
    token: str | bool | None = None,
) -> Iterator[AnswerRow]:
    """Go through a table of answers a row at a time.

    The answers are in columns `answer::<model>`, or in `model_a, model_b, answer_a, answer_b`.

    Args:
        source: See `Table`.
        prompt_field: The column of the prompt.
        reference_field: The column of the reference answer.
        need_reference: Whether every row must have one.
        token: For a data set on the Hub.

    Raises:
        ConfigurationError: If the table has no answers, or a value is of another kind; names file and row.
    """
    required = (prompt_field, reference_field) if need_reference else (prompt_field,)
    for batch in Table(source, token=token).batches():
        for name in required:
            batch.require(name)
        models = [name for name in batch.columns if name.startswith(_PREFIX)]
        if not models and not set(_PAIR) <= set(batch.columns):
            raise MissingColumnError(
                f"{batch.origin} has no answers: name their columns answer::<model>, or model_a, model_b, answer_a and "
                f"answer_b; it has {', '.join(map(repr, batch.columns))}"
            )
        prompts = batch.prompts(prompt_field)
        for index, row in batch.rows():
            yield AnswerRow(
                where=batch.where(index),
                prompt=prompts[index],
                answers=_answers(row, models, batch.where(index)),
                reference=_reference(row.get(reference_field), reference_field, batch.where(index), need_reference),
                kept={name: row[name] for name in _KEPT if row.get(name) is not None},
            )


def _answers(row: Mapping[str, Any], models: list[str], where: str) -> dict[str, str | None]:
    if not models and row["model_a"] == row["model_b"]:
        raise ConfigurationError(f"{where}: model_a and model_b are both {row['model_a']!r}: remove the row")
    answers = {name.removeprefix(_PREFIX): row[name] for name in models} or {
        row["model_a"]: row["answer_a"],
        row["model_b"]: row["answer_b"],
    }
    for model, answer in answers.items():
        if not isinstance(model, str) or not isinstance(answer, str | None):
            raise ConfigurationError(
                f"{where}: models are names and their answers text or empty, not {model!r} with {type(answer).__name__}"
            )
    return {model: answer or None for model, answer in answers.items()}


def _reference(value: Any, field: str, where: str, needed: bool) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str | None) or (needed and not value):
        raise ConfigurationError(f"{where}: {field!r} must be text, not {value!r}")
    return value
