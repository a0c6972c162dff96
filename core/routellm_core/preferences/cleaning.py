"""Tables of battles merged, cleaned and held against evaluations, a batch at a time: they may be larger than memory."""

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.preferences.battle_layouts import layout_of
from routellm_core.preferences.battles import (
    BATTLE_COLUMNS,
    PreferenceDataset,
    Source,
    battle_rows,
    iter_battles,
)
from routellm_core.preferences.decontamination import SIMILARITY, EvaluationPrompts
from routellm_core.preferences.filters import Filtered, drop_duplicates, drop_short, keep_languages
from routellm_core.preferences.inspection import table_kind
from routellm_core.preferences.outcomes import read_outcomes
from routellm_core.preferences.tables import Table, write_table

_BATTLES_AT_ONCE = 1 << 16

Progress = Callable[[int], None]
"""Called with the number of rows that were just read."""


@dataclass
class SourceReport:
    """What came of one table.

    Attributes:
        table: Its name.
        battles: How many it had.
        self_battles: Further rows, in which a model met itself.
        dropped: Reason to number of battles.
        kept: How many are in the merged table.
    """

    table: str
    battles: int = 0
    self_battles: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    kept: int = 0


def merge_battles(
    sources: Sequence[str],
    out: str | os.PathLike[str] | None,
    *,
    min_characters: int = 0,
    languages: Collection[str] = (),
    keep_duplicates: bool = False,
    label_source: Source | None = None,
    margin: float = 0.0,
    prompt_field: str = "prompt",
    progress: Progress | None = None,
) -> list[SourceReport]:
    """Write the battles of several tables to one, filtered.

    In memory are a batch of battles, 16 bytes for every battle that is kept, and a table of outcomes while it is read.

    Args:
        sources: Tables of battles, in any layout of `read_battles`; tables of outcomes become battles by `to_battles`.
        out: The table to write; None writes none.
        min_characters: See `drop_short`; 0 keeps all.
        languages: See `keep_languages`; none keeps all.
        keep_duplicates: Whether battles that repeat an earlier one, of any table, stay.
        label_source: Who made the labels of tables that do not say it; None means "human" for battles and "gold" for outcomes.
        margin: Scores of outcomes that differ by this much or less are a tie.
        prompt_field: The column of the prompt.
        progress: Told of the rows that were read.

    Raises:
        ConfigurationError: If a table cannot be read or written; names file and row.
    """
    reports = [SourceReport(source) for source in sources]
    seen: set[bytes] = set()

    def rows() -> Iterator[dict[str, Any]]:
        for report in reports:
            for part in _parts(report.table, label_source, margin, prompt_field):
                report.battles += len(part)
                report.self_battles += part.self_battles
                filtered = part
                if min_characters:
                    filtered = _noted(drop_short(filtered, min_characters=min_characters), report)
                if languages:
                    filtered = _noted(keep_languages(filtered, languages), report)
                if not keep_duplicates:
                    filtered = _noted(drop_duplicates(filtered, seen=seen), report)
                report.kept += len(filtered)
                if progress is not None:
                    progress(len(part))
                yield from battle_rows(filtered)

    if out is None:
        deque(rows(), maxlen=0)
    else:
        # Any line of .jsonl may have a weight.
        tables = map(Table, sources)
        weighted = any(table.kind == ".jsonl" or "weight" in table.columns for table in tables)
        write_table(rows(), out, columns=(*BATTLE_COLUMNS, "weight") if weighted else BATTLE_COLUMNS)
    return reports


@dataclass
class DecontaminationReport:
    """What was dropped from a table.

    Attributes:
        table: Its name.
        rows: How many it had.
        dropped: How many of them went.
        similarity: The cosine from which a prompt went.
        embedder: Whose vectors were compared; None if only texts were.
        found: For each row that went: "row" and "evaluation_row" (file and line), "similarity", "found_by".
    """

    table: str
    rows: int
    dropped: int
    similarity: float
    embedder: str | None
    found: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def decontaminate_table(
    source: str,
    evaluations: Sequence[str],
    out: str | os.PathLike[str] | None,
    *,
    embedder: EmbedderLike | None = None,
    similarity: float = SIMILARITY,
    prompt_field: str = "prompt",
    evaluation_field: str = "prompt",
    progress: Progress | None = None,
) -> DecontaminationReport:
    """Write a table without the rows whose prompt is in an evaluation; other columns stay as they are.

    In memory are the prompts of the evaluations, their vectors, a batch of rows, and an entry for every row that goes.

    Args:
        source: A table of battles, outcomes or answers.
        evaluations: Tables with the prompts of evaluations.
        out: The table to write; None writes none.
        embedder: See `EvaluationPrompts`; None compares texts alone.
        similarity: See `EvaluationPrompts`.
        prompt_field: The column of the prompt.
        evaluation_field: The same in the evaluations.
        progress: Told of the rows that were read.

    Raises:
        ConfigurationError: If a table cannot be read or written; names file and row.
    """
    held_out = [pair for name in evaluations for pair in _prompts(name, evaluation_field)]
    known = EvaluationPrompts([prompt for _, prompt in held_out], embedder=embedder, similarity=similarity)
    table = Table(source)
    read = layout_of(table.columns, prompt_field).prompts
    report = DecontaminationReport(source, 0, 0, known.similarity, known.embedder_id, [])

    def rows() -> Iterator[dict[str, Any]]:
        for batch in table.batches():
            found = {match.row: match for match in known.find(read(batch))}
            report.rows += len(batch)
            report.dropped += len(found)
            report.found += [
                {
                    "row": batch.where(row),
                    "evaluation_row": held_out[match.evaluation_row][0],
                    "similarity": match.similarity,
                    "found_by": match.found_by,
                }
                for row, match in found.items()
            ]
            if progress is not None:
                progress(len(batch))
            yield from (row for index, row in batch.rows() if index not in found)

    if out is None:
        deque(rows(), maxlen=0)
    else:
        write_table(rows(), out, columns=_all_columns(table))
    return report


def _parts(source: str, label_source: Source | None, margin: float, prompt_field: str) -> Iterator[PreferenceDataset]:
    if table_kind(Table(source).columns) == "outcomes":
        table = read_outcomes(source, prompt_field=prompt_field)
        pairs = max(1, len(table.models) * (len(table.models) - 1) // 2)
        step = max(1, _BATTLES_AT_ONCE // pairs)
        for start in range(0, len(table), step):
            part = table.select(np.arange(start, min(start + step, len(table))))
            yield part.to_battles(margin=margin, source=label_source or "gold")
    else:
        yield from iter_battles(source, prompt_field=prompt_field, label_source=label_source)


def _noted(filtered: Filtered, report: SourceReport) -> PreferenceDataset:
    for reason, n in filtered.counts.items():
        report.dropped[reason] = report.dropped.get(reason, 0) + n
    return filtered.dataset


def _prompts(source: str, field: str) -> Iterator[tuple[str, str]]:
    table = Table(source)
    read = layout_of(table.columns, field).prompts
    for batch in table.batches():
        yield from ((batch.where(i), prompt) for i, prompt in enumerate(read(batch)))


def _all_columns(table: Table) -> list[str]:
    if table.kind != ".jsonl":
        return list(table.columns)
    return list(dict.fromkeys(name for batch in table.batches() for name in batch.columns))
