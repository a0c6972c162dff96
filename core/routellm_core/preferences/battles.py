"""Battles: two models, one prompt, and whose answer was better."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battle_layouts import layout_of
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.tables import BATCH_ROWS, Table, write_table

logger = logging.getLogger(__name__)

Winner = Literal["model_a", "model_b", "tie"]
Source = Literal["human", "judge", "gold"]
SOURCES: tuple[Source, ...] = get_args(Source)
BATTLE_COLUMNS = ("prompt", "model_a", "model_b", "winner", "source")

_OUTCOMES = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}
_WINNERS: dict[float, Winner] = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}


@dataclass(frozen=True)
class Battle:
    """One comparison of two models' answers to a prompt.

    Attributes:
        prompt: What both were asked.
        model_a: One model.
        model_b: Another one.
        winner: Whose answer was better: "model_a", "model_b" or "tie".
        source: Who said so: people ("human"), a language model ("judge"), or a reference answer ("gold").
    """

    prompt: str
    model_a: str
    model_b: str
    winner: Winner
    source: Source = "human"


@dataclass(frozen=True, eq=False)
class PreferenceDataset:
    """Battles, column by column; equal prompts are stored once.

    Attributes:
        prompts: The u distinct prompts, in the order of their first battle.
        models: The distinct models, sorted.
        prompt_index: Shape (n,); which prompt.
        model_a: Shape (n,); which model.
        model_b: Shape (n,); which other model.
        outcome: Shape (n,); 1 where a wins, 0 where b wins, 0.5 for a tie.
        source: Shape (n,); which of `SOURCES`.
        weight: Shape (n,), 0 or more; None weighs all alike.
        self_battles: How many rows were left out because a model met itself in them: they say nothing about any pair.

    Raises:
        ConfigurationError: If the columns do not fit together.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    prompt_index: NDArray[np.int64]
    model_a: NDArray[np.int32]
    model_b: NDArray[np.int32]
    outcome: NDArray[np.float64]
    source: NDArray[np.int8]
    weight: NDArray[np.float64] | None = None
    self_battles: int = 0

    def __post_init__(self) -> None:
        n = len(self.prompt_index)
        _check_index("prompt_index", self.prompt_index, n, len(self.prompts))
        _check_index("model_a", self.model_a, n, len(self.models))
        _check_index("model_b", self.model_b, n, len(self.models))
        _check_index("source", self.source, n, len(SOURCES))
        if (self.model_a == self.model_b).any():
            raise ConfigurationError("model_a and model_b must differ in every battle")
        known = np.isin(self.outcome, (0.0, 0.5, 1.0))
        if self.outcome.shape != (n,) or not known.all():
            culprit = f"; {_battle(int(np.argmin(known)))} has {self.outcome[~known][0]}" if not known.all() else ""
            raise ConfigurationError(f"outcome must be 1 (a wins), 0 (b wins) or 0.5 (tie) for every battle{culprit}")
        if self.weight is not None:
            _check_weights(self.weight, n, _battle)

    @classmethod
    def from_battles(cls, battles: Iterable[Battle]) -> "PreferenceDataset":
        """Collect battles.

        Raises:
            ConfigurationError: If a label is unknown; names the battle, from 1.
        """
        rows = [(b.prompt, b.model_a, b.model_b, b.winner, b.source) for b in battles]
        columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(5)]
        return cls.from_columns(**dict(zip(("prompt", "model_a", "model_b", "winner", "source"), columns, strict=True)))

    @classmethod
    def from_columns(
        cls,
        *,
        prompt: Sequence[str],
        model_a: Sequence[str],
        model_b: Sequence[str],
        winner: Sequence[str],
        source: str | Sequence[str] = "human",
        weight: ArrayLike | None = None,
    ) -> "PreferenceDataset":
        """Collect battles from columns of equal length n.

        Args:
            prompt: Prompts.
            model_a: Names of models.
            model_b: Names of the other models.
            winner: "model_a", "model_b", "tie", or "tie (bothbad)", which is a tie.
            source: One for all, or one for each: "human", "judge" or "gold".
            weight: n numbers, 0 or more; None weighs all alike.

        Raises:
            ConfigurationError: If a label is unknown or a weight no such number; names the battle, from 1.
        """
        lengths = {len(column) for column in (prompt, model_a, model_b, winner)}
        sources = [source] * len(prompt) if isinstance(source, str) else list(source)
        if lengths != {len(sources)}:
            raise ConfigurationError("prompt, model_a, model_b, winner and source must be equally long")
        collector = _Collector()
        collector.add(prompt, model_a, model_b, winner, sources, weight, _battle)
        return collector.dataset()

    @classmethod
    def from_indices(
        cls,
        prompts: Sequence[str],
        models: Sequence[str],
        prompt_index: ArrayLike,
        model_a: ArrayLike,
        model_b: ArrayLike,
        outcome: ArrayLike,
        source: Source = "human",
    ) -> "PreferenceDataset":
        """Collect n battles given by indices.

        Args:
            prompts: Prompts; equal ones become one.
            models: Names of models, all different.
            prompt_index: Shape (n,), into `prompts`.
            model_a: Shape (n,), into `models`.
            model_b: Shape (n,), into `models`.
            outcome: Shape (n,); 1 where a wins, 0 where b wins, 0.5 for a tie.
            source: Who made the labels.
        """
        rows = np.asarray(outcome, np.float64)
        collector = _Collector()
        collector.add_indices(
            prompts,
            models,
            (
                np.asarray(prompt_index, np.int64),
                np.asarray(model_a, np.int64),
                np.asarray(model_b, np.int64),
                rows,
                np.full(len(rows), SOURCES.index(source), np.int8),
            ),
            None,
        )
        everything = collector.dataset()
        return everything.select(np.arange(len(everything)))

    def __len__(self) -> int:
        return len(self.prompt_index)

    def __repr__(self) -> str:
        return f"PreferenceDataset({len(self)} battles, {len(self.prompts)} prompts, {len(self.models)} models)"

    def __iter__(self) -> Iterator[Battle]:
        columns = (self.prompt_index, self.model_a, self.model_b, self.outcome, self.source)
        for p, a, b, outcome, source in zip(*(column.tolist() for column in columns), strict=True):
            yield Battle(self.prompts[p], self.models[a], self.models[b], _WINNERS[outcome], SOURCES[source])

    def select(self, rows: ArrayLike) -> "PreferenceDataset":
        """Return some battles; prompts and models that occur in none of them are left out.

        Args:
            rows: Indices, or a boolean mask of shape (n,).
        """
        chosen = np.asarray(rows)
        if chosen.dtype != np.bool_:
            chosen = chosen.astype(np.int64)
        used, first, prompt_index = np.unique(self.prompt_index[chosen], return_index=True, return_inverse=True)
        order = np.argsort(first)  # the order of their first battle
        both = np.concatenate([self.model_a[chosen], self.model_b[chosen]])
        models, inverse = np.unique(both, return_inverse=True)
        model_a, model_b = np.split(inverse.astype(np.int32), 2)
        return PreferenceDataset(
            prompts=tuple(self.prompts[i] for i in used[order]),
            models=tuple(self.models[i] for i in models),
            prompt_index=np.argsort(order)[prompt_index].astype(np.int64),
            model_a=model_a,
            model_b=model_b,
            outcome=self.outcome[chosen],
            source=self.source[chosen],
            weight=None if self.weight is None else self.weight[chosen],
        )

    @classmethod
    def concat(cls, datasets: Iterable["PreferenceDataset"]) -> "PreferenceDataset":
        """Return the battles of several sets, one after the other; where some have weights, the others weigh 1."""
        collector = _Collector()
        for d in datasets:
            columns = (d.prompt_index, d.model_a, d.model_b, d.outcome, d.source)
            collector.add_indices(d.prompts, d.models, columns, d.weight)
            collector.self_battles += d.self_battles
        return collector.dataset()

    def split(
        self, *, validation_fraction: float = 0.1, seed: int = 0
    ) -> tuple["PreferenceDataset", "PreferenceDataset"]:
        """Return a training and a validation part that have no prompt in common.

        Prompts that are equal after `normalise_text` stay together, and the order of the battles does not matter.

        Args:
            validation_fraction: The share of the distinct prompts that goes to validation, in (0, 1).
            seed: Another seed, another split.

        Raises:
            ConfigurationError: If the share is out of range, or there are fewer than two distinct prompts.
        """
        if not 0 < validation_fraction < 1:
            raise ConfigurationError(f"validation_fraction must be in (0, 1), not {validation_fraction!r}")
        salt = f"{seed}\0".encode()
        digests = [
            hashlib.blake2b(salt + normalise_text(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()
            for text in self.prompts
        ]
        groups = sorted(set(digests))
        if len(groups) < 2:
            raise ConfigurationError(f"a split needs two distinct prompts or more, and there are {len(groups)}")
        held_out = set(groups[: min(max(round(validation_fraction * len(groups)), 1), len(groups) - 1)])
        validation = np.array([digest in held_out for digest in digests])[self.prompt_index]
        return self.select(~validation), self.select(validation)


def iter_battles(
    source: str | os.PathLike[str],
    *,
    prompt_field: str = "prompt",
    label_source: Source | None = None,
    token: str | bool | None = None,
    size: int = BATCH_ROWS,
) -> Iterator[PreferenceDataset]:
    """Read battles from a table a batch at a time, for a table larger than memory; see `read_battles`."""
    table = Table(source, token=token)
    read = layout_of(table.columns, prompt_field)
    optional = ("source", "weight")
    for batch in table.batches(read.required, optional, size=size):
        prompts, winners = read.prompts(batch), read.winners(batch)
        sources = [label_source or "human" if given in (None, "") else given for given in batch.columns["source"]]
        weights = batch.floats("weight")
        given = np.array([value not in (None, "") for value in batch.columns["weight"]])  # so NaN is, and is refused
        collector = _Collector()
        collector.add(
            prompts,
            batch.texts("model_a"),
            batch.texts("model_b"),
            winners,
            sources,
            np.where(given, weights, 1.0) if given.any() else None,
            batch.where,
        )
        yield collector.dataset()


def read_battles(
    source: str | os.PathLike[str],
    *,
    prompt_field: str = "prompt",
    label_source: Source | None = None,
    token: str | bool | None = None,
) -> PreferenceDataset:
    """Read battles from a .csv, .jsonl or .parquet file, or from a data set on the Hub.

    The layout is known from the columns: `prompt, model_a, model_b, winner`, with `source` and `weight` if there are any; or one
    of the two that were published with Chatbot Arena: `winner_model_a, winner_model_b, winner_tie` with the prompt as a
    JSON list of turns, or `conversation_a` with `winner`. Of several turns the first of the user is the prompt.

    Args:
        source: See `Table`.
        prompt_field: The column of the prompt, where there is one.
        label_source: Who made the labels of a table that has no column `source`; None means "human".
        token: For a data set on the Hub; None takes the stored one, False none.

    Raises:
        ConfigurationError: If the file cannot be read, a label is unknown or a weight no number of 0 or more; names file and
            row.
        CheckpointError: If the Hub does not deliver.
    """
    batches = iter_battles(source, prompt_field=prompt_field, label_source=label_source, token=token)
    dataset = PreferenceDataset.concat(batches)
    if dataset.self_battles:
        logger.warning("%s: %d rows in which a model meets itself were left out", source, dataset.self_battles)
    return dataset


def write_battles(dataset: PreferenceDataset, path: str | os.PathLike[str]) -> Path:
    """Write battles to a .csv, .jsonl or .parquet file that `read_battles` reads; whole or not at all.

    Args:
        dataset: The battles.
        path: The file; an existing one is replaced.
    """
    names = BATTLE_COLUMNS if dataset.weight is None else (*BATTLE_COLUMNS, "weight")
    return write_table(battle_rows(dataset), path, columns=names)


def battle_rows(dataset: PreferenceDataset) -> Iterator[dict[str, Any]]:
    """Go through the rows of a table that `read_battles` reads."""
    weights = [None] * len(dataset) if dataset.weight is None else dataset.weight.tolist()
    for battle, weight in zip(dataset, weights, strict=True):
        values = (battle.prompt, battle.model_a, battle.model_b, battle.winner, battle.source)
        row: dict[str, Any] = dict(zip(BATTLE_COLUMNS, values, strict=True))
        yield row if weight is None else {**row, "weight": weight}


class _Collector:
    """Turns rows into columns, and equal texts into one."""

    def __init__(self) -> None:
        self._prompts: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._weights: list[NDArray[np.float64] | None] = []
        self.self_battles = 0

    def add(
        self,
        prompts: Sequence[str],
        model_a: Sequence[str],
        model_b: Sequence[str],
        winners: Sequence[Any],
        sources: Sequence[Any],
        weight: ArrayLike | None,
        where: Callable[[int], str],
    ) -> None:
        kept: list[int] = []
        for i, (a, b, winner, source) in enumerate(zip(model_a, model_b, winners, sources, strict=True)):
            if not isinstance(winner, str) or winner not in _OUTCOMES:
                raise ConfigurationError(f"{where(i)}: winner must be {_listed(_OUTCOMES)}, not {winner!r}")
            if source not in SOURCES:
                raise ConfigurationError(f"{where(i)}: source must be {_listed(SOURCES)}, not {source!r}")
            if not a or not b:
                raise ConfigurationError(f"{where(i)}: model_a and model_b must be names, not {a!r} and {b!r}")
            if a != b:
                kept.append(i)
        weights = None if weight is None else np.asarray(weight, np.float64)
        if weights is not None:
            _check_weights(weights, len(prompts), where)
        if len(kept) < len(prompts):
            self.self_battles += len(prompts) - len(kept)
            weights = None if weights is None else weights[kept]
            prompts, model_a, model_b, winners, sources = (
                [column[i] for i in kept] for column in (prompts, model_a, model_b, winners, sources)
            )
        self._parts.append(
            (
                _index(prompts, self._prompts, np.int64),
                _index(model_a, self._models, np.int32),
                _index(model_b, self._models, np.int32),
                np.array([_OUTCOMES[winner] for winner in winners], np.float64),
                np.array([SOURCES.index(source) for source in sources], np.int8),
            )
        )
        self._weights.append(weights)

    def add_indices(
        self,
        prompts: Sequence[str],
        models: Sequence[str],
        columns: tuple[NDArray[Any], ...],
        weight: NDArray[np.float64] | None,
    ) -> None:
        prompt_index, model_a, model_b, outcome, source = columns
        prompt_rank = _index(prompts, self._prompts, np.int64)
        model_rank = _index(models, self._models, np.int32)
        self._parts.append((prompt_rank[prompt_index], model_rank[model_a], model_rank[model_b], outcome, source))
        self._weights.append(weight)

    def dataset(self) -> PreferenceDataset:
        types = (np.int64, np.int32, np.int32, np.float64, np.int8)
        empty = tuple(np.zeros(0, dtype) for dtype in types)
        columns = [np.concatenate(parts) for parts in zip(empty, *self._parts, strict=True)]
        names = sorted(self._models)
        rank = np.empty(len(names), np.int32)
        rank[[self._models[name] for name in names]] = np.arange(len(names))
        weight = None
        if any(part is not None for part in self._weights):
            sizes = (len(part[0]) for part in self._parts)
            pairs = zip(self._weights, sizes, strict=True)
            weight = np.concatenate([np.ones(size) if part is None else part for part, size in pairs])
        return PreferenceDataset(
            prompts=tuple(self._prompts),
            models=tuple(names),
            prompt_index=columns[0],
            model_a=rank[columns[1]],
            model_b=rank[columns[2]],
            outcome=columns[3],
            source=columns[4],
            weight=weight,
            self_battles=self.self_battles,
        )


def _index(texts: Sequence[str], known: dict[str, int], dtype: Any) -> NDArray[Any]:
    return np.array([known.setdefault(text, len(known)) for text in texts], dtype)


def _check_index(name: str, values: NDArray[Any], n: int, size: int) -> None:
    if values.shape != (n,) or (n and not (values.min() >= 0 and values.max() < size)):
        raise ConfigurationError(f"{name} must hold {n} indices below {size}")


def _check_weights(weights: NDArray[np.float64], n: int, where: Callable[[int], str]) -> None:
    if weights.shape != (n,):
        raise ConfigurationError(f"weight must hold {n} numbers, not the shape {weights.shape}")
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ConfigurationError(f"{where(row)}: weight must be a finite number, 0 or more, not {weights[row]}")


def _battle(index: int) -> str:
    return f"battle {index + 1}"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(map(repr, values))
