"""Tables of multiple-choice questions with their right answers."""

import json
import os
from dataclasses import replace
from typing import Any

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.tables import Table
from routellm_core.robustness.items import LETTERS, Item, parse_item


def read_items(path: str | os.PathLike[str]) -> list[Item | None]:
    """Read questions from a .csv, .jsonl or .parquet file.

    Columns: `question` and `choices` (a list, or one as JSON text), or `prompt`, a whole question as `parse_item` reads it;
    `gold`, the right answer as its symbol or as its position from 0; and, if there are, `id` and `group` (or `task`). Where
    choices are called 1, 2, 3, … a number is a symbol throughout the file, or, if one of them is 0, a position throughout.

    Args:
        path: The file.

    Returns:
        One item a row; None for a prompt that is no multiple-choice question.

    Raises:
        ConfigurationError: If a column is missing or a value cannot be read; names file and row.
    """
    table = Table(path)
    found: list[tuple[Item, str, str] | None] = []  # with its gold answer, and where it stands
    for batch in table.batches():
        columns = batch.columns
        whole = "choices" not in columns
        texts = batch.require("prompt" if whole else "question")
        golds = batch.require("gold")
        for i, text in enumerate(texts):
            where = batch.where(i)
            name = str(columns["id"][i]) if "id" in columns else f"{len(found)}"
            group = next((str(columns[key][i] or "") for key in ("group", "task") if key in columns), "")
            if whole:
                item = parse_item(str(text), item_id=name, group=group)
            else:
                item = Item(name, str(text), _choices(columns["choices"][i], where), group=group)
            found.append(None if item is None else (item, str(golds[i]).strip(), where))
    numbered = [one for one in found if one is not None and all(map(str.isdecimal, one[0].symbols))]
    from_zero = any(gold == "0" and "0" not in item.symbols for item, gold, _ in numbered)
    return [None if one is None else replace(one[0], gold=_gold(*one, from_zero=from_zero)) for one in found]


def _choices(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if value is None or isinstance(value, dict) or not all(isinstance(text, str) for text in value):
        raise ConfigurationError(f"{where}: 'choices' must be a list of texts, or one as JSON")
    if not 2 <= len(value) <= len(LETTERS):
        raise ConfigurationError(f"{where}: there must be 2 to {len(LETTERS)} 'choices', not {len(value)}")
    return tuple(value)


def _gold(item: Item, text: str, where: str, *, from_zero: bool) -> int:
    symbols = item.symbols
    is_numbered = all(map(str.isdecimal, symbols))
    if text in symbols and not (is_numbered and from_zero):
        return symbols.index(text)
    is_position = text.isdecimal() and int(text) < len(symbols)
    if is_position and (from_zero or not is_numbered):
        return int(text)
    if text in symbols:
        raise ConfigurationError(
            f"{where}: 'gold' {text!r} is a symbol, but a row of the file has '0', so they seem to be positions from 0: "
            "write one or the other"
        )
    raise ConfigurationError(
        f"{where}: 'gold' {text!r} must be one of {', '.join(symbols)}, or 0 to {len(symbols) - 1}"
    )
