"""Outcomes: how well each of several models answered each of several prompts."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.battles import SOURCES, PreferenceDataset, Source
from routellm_core.preferences.tables import Batch, Table, as_float, write_table

_PER_MODEL = ("cost_usd", "tokens_in", "tokens_out")
_GROUPS = ("task", "group")


@dataclass(frozen=True, eq=False)
class OutcomeTable:
    """One row a prompt, one score column a model; the format of benchmarks and of logged outcomes.

    Attributes:
        prompts: n prompts.
        models: m names, all different.
        scores: Shape (n, m), higher is better, on any finite scale (usually [0, 1]); NaN where a model was not run.
        prompt_ids: n ids; None if the table has none.
        groups: The task or subject of each row; None if the table has none.
        split: "train", "dev", … of each row; None if the table has none.
        samples: Shape (n, m, k), the scores of repeated answers, NaN where there are fewer than k; None if there are none.
        cost_usd: Shape (n, m), US dollars, NaN where unknown; None if nowhere known.
        tokens_in: Shape (n, m), tokens of the prompt; as above.
        tokens_out: Shape (n, m), tokens of the answer; as above.
        flags: Every column of truth values, shape (n,).
        provenance: Where the table comes from: source, prompt template, scoring rule, seed.
        name: What reports call the table.

    Raises:
        ConfigurationError: If the parts do not fit together.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: NDArray[np.float64]
    prompt_ids: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    split: tuple[str, ...] | None = None
    samples: NDArray[np.float64] | None = None
    cost_usd: NDArray[np.float64] | None = None
    tokens_in: NDArray[np.float64] | None = None
    tokens_out: NDArray[np.float64] | None = None
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "outcomes"

    def __post_init__(self) -> None:
        n, m = len(self.prompts), len(self.models)
        if len(set(self.models)) != m or m == 0:
            raise ConfigurationError(f"the models of a table must be one or more, all different, not {self.models!r}")
        for name in ("scores", *_PER_MODEL):
            values = getattr(self, name)
            if values is not None and (values.shape != (n, m) or np.isinf(values).any()):
                raise ConfigurationError(f"{name} must hold {n} x {m} finite numbers, or NaN where unknown")
            if values is not None and name != "scores" and (values < 0).any():
                raise ConfigurationError(f"{name} must hold no number below 0")
        if self.samples is not None and (self.samples.shape[:2] != (n, m) or self.samples.ndim != 3):
            raise ConfigurationError(f"samples must have the shape ({n}, {m}, k), not {self.samples.shape}")
        for name in ("prompt_ids", "groups", "split"):
            if getattr(self, name) is not None and len(getattr(self, name)) != n:
                raise ConfigurationError(f"{name} must have {n} entries, not {len(getattr(self, name))}")
        for name, flag in self.flags.items():
            if flag.shape != (n,):
                raise ConfigurationError(f"flag {name!r} must have {n} entries, not the shape {flag.shape}")

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return f"OutcomeTable({self.name!r}, {len(self)} prompts, {len(self.models)} models)"

    def column(self, model: str) -> NDArray[np.float64]:
        """Return the scores of a model, shape (n,).

        Raises:
            UnknownModelError: If the table does not have it; lists those it has.
        """
        return self.scores[:, self._index(model)]

    def select(self, rows: ArrayLike) -> "OutcomeTable":
        """Return some rows.

        Args:
            rows: Indices, or a boolean mask of shape (n,).
        """
        mask = np.asarray(rows)
        if mask.dtype == np.bool_ and mask.shape != (len(self),):
            raise ConfigurationError(f"a mask of rows must have {len(self)} entries, not the shape {mask.shape}")
        chosen = np.flatnonzero(mask) if mask.dtype == np.bool_ else mask.astype(np.int64)
        changed: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[chosen] for name in _ARRAYS
        }
        for name in _TEXTS:
            texts = getattr(self, name)
            changed[name] = None if texts is None else tuple(texts[i] for i in chosen)
        flags = {name: flag[chosen] for name, flag in self.flags.items()}
        return replace(self, **changed, flags=flags)

    def for_models(self, models: Sequence[str]) -> "OutcomeTable":
        """Return the columns of some models, in the order given.

        Raises:
            UnknownModelError: If the table does not have one; lists those it has.
        """
        chosen = [self._index(model) for model in models]
        changed: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[:, chosen] for name in _ARRAYS
        }
        return replace(self, **changed, models=tuple(models))

    def complete(self, models: Sequence[str] | None = None) -> "OutcomeTable":
        """Return the rows in which all of these models have a score.

        Args:
            models: Which; None takes all of the table.
        """
        chosen = [self._index(model) for model in (self.models if models is None else models)]
        return self.select(~np.isnan(self.scores[:, chosen]).any(axis=1))

    def to_battles(
        self,
        *,
        pairs: Iterable[tuple[str, str]] | None = None,
        margin: float = 0.0,
        source: Source = "gold",
    ) -> PreferenceDataset:
        """Let models battle on every prompt on which both have a score: the higher one wins.

        Args:
            pairs: Which models meet, (model_a, model_b); None lets every two models meet once a prompt, in the table's order.
            margin: A tie if the scores differ by this much or less, 0 or more, on the scale of the scores.
            source: Who made the scores: "gold" (references), "judge" or "human".

        Raises:
            UnknownModelError: If the table does not have a model.
            ConfigurationError: If the margin is negative or the source unknown.
        """
        if not 0 <= margin < np.inf:
            raise ConfigurationError(f"margin must be a finite number, 0 or more, not {margin!r}")
        if source not in SOURCES:
            raise ConfigurationError(f"source must be one of {', '.join(map(repr, SOURCES))}, not {source!r}")
        chosen = combinations(range(len(self.models)), 2) if pairs is None else map(self._pair, pairs)
        indices = np.array(list(chosen), np.int64).reshape(-1, 2)
        difference = self.scores[:, indices[:, 0]] - self.scores[:, indices[:, 1]]
        row, pair = np.nonzero(~np.isnan(difference))
        gap = difference[row, pair]
        outcome = np.where(np.abs(gap) <= margin, 0.5, (gap > 0).astype(np.float64))
        return PreferenceDataset.from_indices(
            self.prompts, self.models, row, indices[pair, 0], indices[pair, 1], outcome, source
        )

    def _pair(self, pair: tuple[str, str]) -> tuple[int, int]:
        a, b = (self._index(model) for model in pair)
        if a == b:
            raise ConfigurationError(f"a battle is between two different models, not {pair!r}")
        return a, b

    def _index(self, model: str) -> int:
        try:
            return self.models.index(model)
        except ValueError:
            raise UnknownModelError(
                f"table {self.name!r} has no model {model!r}; it has: {', '.join(self.models)}"
            ) from None


def read_outcomes(
    path: str | os.PathLike[str],
    *,
    prompt_field: str = "prompt",
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    token: str | bool | None = None,
) -> OutcomeTable:
    """Read a table of outcomes from a .csv, .jsonl or .parquet file, or from a data set on the Hub.

    Columns: the prompt; `score::<model>`, or `samples::<model>` (a list of scores, whose mean is the score where there is no
    `score::`), `cost_usd::<model>`, `tokens_in::<model>`, `tokens_out::<model>`; `prompt_id`, `task` or `group`, `split`; and
    columns of truth values, which become flags. Others are left aside. What `write_outcomes` put beside the file is read too; if
    nothing is there, the column `provenance`.

    Args:
        path: See `Table`.
        prompt_field: The column of the prompt: text, a list of user turns or a list of messages (the first user turn counts).
        name: What reports call the table; None takes the file's name.
        columns: Model to score column, where these are not called `score::<model>`; None goes by the names.
        token: For a data set on the Hub; None takes the stored one, False none.

    Raises:
        ConfigurationError: If the file cannot be read, has no score column, or a value is no number or a cost below 0; names file
            and row.
        CheckpointError: If the Hub does not deliver.
    """
    table = Table(path, token=token)
    reader = _Reader(prompt_field, columns)
    for batch in table.batches():
        reader.add(batch)
    beside = _provenance_path(table.path)
    try:
        provenance = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except ValueError as error:
        raise ConfigurationError(f"{beside} is not JSON: {error}") from error
    return reader.table(table.origin, name or table.path.stem, provenance or reader.told())


def write_outcomes(
    table: OutcomeTable, path: str | os.PathLike[str], *, in_rows: bool | Sequence[Mapping[str, Any]] = False
) -> Path:
    """Write a table to a .csv, .jsonl or .parquet file that `read_outcomes` reads, and its provenance beside it.

    Args:
        table: The table.
        path: The file; an existing one is replaced. Provenance, if there is any, goes to `<file>.provenance.json`.
        in_rows: Also write it into every row, as a column of JSON: rows that are taken elsewhere then still tell it. Or what
            each row says otherwise than the table does, n mappings.
    """
    texts = {"prompt_id": table.prompt_ids, "task": table.groups, "prompt": table.prompts, "split": table.split}
    columns: dict[str, Sequence[Any]] = {name: values for name, values in texts.items() if values is not None}
    columns |= {name: flag.tolist() for name, flag in table.flags.items()}
    for kind, values in (("score", table.scores), *((kind, getattr(table, kind)) for kind in _PER_MODEL)):
        if values is not None:
            columns |= {f"{kind}::{model}": _without_nan(values[:, j]) for j, model in enumerate(table.models)}
    if table.samples is not None:
        for j, model in enumerate(table.models):
            columns[f"samples::{model}"] = [_without_nan(row) for row in table.samples[:, j]]
    if in_rows:
        own = [{}] * len(table) if in_rows is True else in_rows
        columns["provenance"] = [json.dumps({**table.provenance, **row}, ensure_ascii=False) for row in own]
    names = list(columns)
    rows = (dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True))
    written = write_table(rows, path, columns=names)
    beside = _provenance_path(written)
    if table.provenance:
        beside.write_text(json.dumps(dict(table.provenance), indent=2) + "\n", encoding="utf-8")
    else:
        beside.unlink(missing_ok=True)
    return written


_ARRAYS = ("scores", "samples", *_PER_MODEL)
_TEXTS = ("prompts", "prompt_ids", "groups", "split")


class _Reader:
    """Collects batches whose columns may differ, as the fields of JSON lines may."""

    def __init__(self, prompt_field: str, columns: Mapping[str, str] | None) -> None:
        self._prompt_field = prompt_field
        self._score_columns = None if columns is None else {column: model for model, column in columns.items()}
        self._n = 0
        self._prompts: list[str] = []
        self._parts: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        self._told: dict[str, None] = {}

    def add(self, batch: Batch) -> None:
        self._prompts += batch.prompts(self._prompt_field)
        for column in self._score_columns or ():
            batch.require(column)
        for column, values in batch.columns.items():
            if column == self._prompt_field:
                continue
            kind, _, model = column.partition("::")
            if self._score_columns is not None and column in self._score_columns:
                kind, model = "score", self._score_columns[column]
            elif self._score_columns is not None and kind == "score":
                continue
            if model and kind in ("score", *_PER_MODEL):
                numbers = batch.floats(column)
                if kind != "score" and (wrong := np.flatnonzero(numbers < 0)).size:
                    raise ConfigurationError(
                        f"{batch.where(int(wrong[0]))}: {column!r} must be 0 or more, not {numbers[wrong[0]]}"
                    )
                self._keep(kind, model, numbers)
            elif model and kind == "samples":
                self._keep(kind, model, [_sample(value, batch, i, column) for i, value in enumerate(values)])
            elif column == "provenance":
                self._told |= dict.fromkeys(value for value in values if isinstance(value, str) and value)
            elif column in ("prompt_id", "split", *_GROUPS):
                self._keep("text", column, ["" if value is None else str(value) for value in values])
            elif (truth := _truth_values(values)) is not None:
                self._keep("flag", column, truth)
        self._n += len(batch)

    def _keep(self, kind: str, name: str, values: Any) -> None:
        self._parts.setdefault((kind, name), []).append((self._n, values))

    def told(self) -> Mapping[str, Any]:
        """Return what the rows say of their provenance: one, or, of rows from several tables, each that there is."""
        found = [_json_object(text) for text in self._told]
        return found[0] if len(found) == 1 else {"rows": found} if found else {}

    def table(self, origin: str, name: str, provenance: Mapping[str, Any]) -> OutcomeTable:
        models = tuple(dict.fromkeys(model for kind, model in self._parts if kind in ("score", "samples")))
        if not models:
            raise ConfigurationError(
                f"{origin} has no scores: name the columns score::<model>, or say which they are with columns="
            )
        samples = self._samples(models) if any(kind == "samples" for kind, _ in self._parts) else None
        scores = self._floats("score", models)
        if samples is not None:
            counts = (~np.isnan(samples)).sum(axis=2)
            means = np.nansum(samples, axis=2) / np.maximum(counts, 1)
            scores = np.where(np.isnan(scores) & (counts > 0), means, scores)
        per_model = {
            kind: self._floats(kind, models) if any(k == kind for k, _ in self._parts) else None for kind in _PER_MODEL
        }
        group = next((column for column in _GROUPS if ("text", column) in self._parts), "")
        return OutcomeTable(
            prompts=tuple(self._prompts),
            models=models,
            scores=scores,
            prompt_ids=self._texts("prompt_id"),
            groups=self._texts(group),
            split=self._texts("split"),
            samples=samples,
            flags={column: self._flag(column) for kind, column in self._parts if kind == "flag"},
            provenance=provenance,
            name=name,
            **per_model,
        )

    def _floats(self, kind: str, models: Sequence[str]) -> NDArray[np.float64]:
        filled = np.full((self._n, len(models)), np.nan)
        for j, model in enumerate(models):
            for start, values in self._parts.get((kind, model), ()):
                filled[start : start + len(values), j] = values
        return filled

    def _samples(self, models: Sequence[str]) -> NDArray[np.float64]:
        lists = [
            (values, j, start) for j, m in enumerate(models) for start, values in self._parts.get(("samples", m), ())
        ]
        longest = max((len(value) for values, _, _ in lists for value in values), default=0)
        filled = np.full((self._n, len(models), longest), np.nan)
        for values, j, start in lists:
            for i, value in enumerate(values):
                filled[start + i, j, : len(value)] = value
        return filled

    def _texts(self, column: str) -> tuple[str, ...] | None:
        parts = self._parts.get(("text", column))
        if parts is None:
            return None
        filled = [""] * self._n
        for start, values in parts:
            filled[start : start + len(values)] = values
        return tuple(filled)

    def _flag(self, column: str) -> NDArray[np.bool_]:
        filled = np.zeros(self._n, np.bool_)
        for start, values in self._parts[("flag", column)]:
            filled[start : start + len(values)] = values
        return filled


def _sample(value: Any, batch: Batch, index: int, column: str) -> list[float]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise ConfigurationError(f"{batch.where(index)}: {column!r} must be a list of numbers")
    return [as_float(number, batch.where, index, column) for number in value]


def _truth_values(values: Sequence[Any]) -> list[bool] | None:
    """Return a column of truth values; None if it is none. A missing value is False; .csv has them as words."""
    words = {"true": True, "false": False, "True": True, "False": False, True: True, False: False}
    present = [value for value in values if value is not None and value != ""]
    if not present or not all(isinstance(value, bool | str) and value in words for value in present):
        return None
    return [bool(value) and words[value] for value in values]


def _without_nan(values: NDArray[np.float64]) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]


def _json_object(text: str) -> dict[str, Any]:
    """Read a JSON object; any other text is where rows come from, in words."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"source": text}


def _provenance_path(path: Path) -> Path:
    return path.with_name(path.name + ".provenance.json")
