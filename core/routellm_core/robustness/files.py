"""Tables of multiple-choice questions with their right answers."""

import json
import os
from typing import Any

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.tables import Table
from routellm_core.robustness.items import LETTERS, Item, parse_item


def read_items(path: str | os.PathLike[str]) -> list[Item | None]:
    """Read questions from a .csv, .jsonl or .parquet file.

    Columns: `question` and `choices` (a list, or one as JSON text), or `prompt`, a whole question as `parse_item` reads it;
    `gold`, the right answer as its symbol or as its position from 0; and, if there are, `id` and `group` (or `task`).

    Args:
        path: The file.

    Returns:
        One item a row; None for a prompt that is no multiple-choice question.

    Raises:
        ConfigurationError: If a column is missing or a value cannot be read; names file and row.
    """
    table = Table(path)
    found: list[Item | None] = []
    for batch in table.batches():
        columns = batch.columns
        whole = "choices" not in columns
        texts = batch.require("prompt" if whole else "question")
        golds = batch.require("gold")
        for i, text in enumerate(texts):
            row = len(found)
            where = batch.where(i)
            name = str(columns["id"][i]) if "id" in columns else f"{row}"
            group = next((str(columns[key][i] or "") for key in ("group", "task") if key in columns), "")
            if whole:
                item = parse_item(str(text), item_id=name, group=group)
                symbols = () if item is None else item.symbols
                choices = () if item is None else item.choices
            else:
                choices = _choices(columns["choices"][i], where)
                symbols, item = LETTERS[: len(choices)], None
            if whole and item is None:
                found.append(None)
                continue
            gold = _gold(golds[i], symbols, where)
            question, style = (item.question, {"style": item.style}) if item is not None else (str(text), {})
            found.append(Item(name, question, choices, gold, symbols, group, **style))
    return found


def _choices(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if value is None or isinstance(value, dict) or not all(isinstance(text, str) for text in value):
        raise ConfigurationError(f"{where}: 'choices' must be a list of texts, or one as JSON")
    return tuple(value)


def _gold(value: Any, symbols: tuple[str, ...], where: str) -> int:
    text = str(value).strip()
    if text in symbols:
        return symbols.index(text)
    if text.isdigit() and int(text) < len(symbols):
        return int(text)
    raise ConfigurationError(
        f"{where}: 'gold' {text!r} must be one of {', '.join(symbols)}, or 0 to {len(symbols) - 1}"
    )
