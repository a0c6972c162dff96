"""What is in a table: of battles, of outcomes, or of answers."""

from collections import Counter
from typing import Any, Literal

import numpy as np

from routellm_core.preferences.answers import read_answers
from routellm_core.preferences.battles import SOURCES, PreferenceDataset, read_battles
from routellm_core.preferences.filters import MIN_CHARACTERS, drop_duplicates
from routellm_core.preferences.languages import guess_language
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes
from routellm_core.preferences.tables import Table
from routellm_core.preferences.tiers import tiers_from_battles

PAPER_TIERS = 10

Kind = Literal["battles", "outcomes", "answers"]


def table_kind(columns: tuple[str, ...]) -> Kind:
    """Tell by its columns what a table holds; battles if nothing says otherwise.

    Args:
        columns: Their names.
    """
    if any(name.startswith(("score::", "samples::")) for name in columns):
        return "outcomes"
    has_winner = any(name.startswith("winner") for name in columns)
    if not has_winner and any(name.startswith(("answer::", "answer_a")) for name in columns):
        return "answers"
    return "battles"


def inspect_table(source: str, *, prompt_field: str = "prompt") -> dict[str, Any]:
    """Describe a table, as plain JSON; every row is read and checked, and the distinct prompts are held in memory.

    Args:
        source: See `Table`.
        prompt_field: The column of the prompt.

    Raises:
        ConfigurationError: If the table cannot be read; names file and row.
    """
    kind = table_kind(Table(source).columns)
    if kind == "outcomes":
        return {"table": source, "kind": kind, **_describe_outcomes(read_outcomes(source, prompt_field=prompt_field))}
    if kind == "answers":
        return {"table": source, "kind": kind, **_describe_answers(source, prompt_field)}
    return {"table": source, "kind": kind, **_describe_battles(read_battles(source, prompt_field=prompt_field))}


def _describe_battles(dataset: PreferenceDataset) -> dict[str, Any]:
    n = len(dataset)
    wins = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5}
    described: dict[str, Any] = {
        "battles": n,
        "self_battles_left_out": dataset.self_battles,
        "winners": {name: int((dataset.outcome == value).sum()) for name, value in wins.items()},
        "sources": {name: int((dataset.source == i).sum()) for i, name in enumerate(SOURCES)},
        "duplicates": len(drop_duplicates(dataset).dropped),
        **_describe_prompts(dataset.prompts),
        "models": len(dataset.models),
    }
    if n:
        tiers = tiers_from_battles(dataset, n_tiers=min(PAPER_TIERS, len(dataset.models)))
        described["tiers"] = tiers.to_dict()
    return described


def _describe_outcomes(table: OutcomeTable) -> dict[str, Any]:
    there = ~np.isnan(table.scores)
    return {
        "rows": len(table),
        "complete_rows": int(there.all(axis=1).sum()),
        **_describe_prompts(table.prompts),
        "models": {
            model: {
                "scores": int(there[:, j].sum()),
                "mean": float(np.nanmean(table.scores[:, j])) if there[:, j].any() else None,
            }
            for j, model in enumerate(table.models)
        },
        "groups": {} if table.groups is None else dict(Counter(table.groups).most_common()),
        "split": {} if table.split is None else dict(Counter(table.split)),
        "flags": {name: int(flag.sum()) for name, flag in table.flags.items()},
        "provenance": dict(table.provenance),
    }


def _describe_answers(source: str, prompt_field: str) -> dict[str, Any]:
    rows = references = pairs = 0
    answered: Counter[str] = Counter()
    prompts: dict[str, None] = {}
    for row in read_answers(source, prompt_field=prompt_field):
        rows += 1
        references += row.reference is not None
        pairs += len(row.pairs())
        answered.update({model: int(answer is not None) for model, answer in row.answers.items()})
        prompts[row.prompt] = None
    return {
        "rows": rows,
        "references": references,
        "pairs": pairs,
        **_describe_prompts(tuple(prompts)),
        "models": {model: {"answers": n} for model, n in answered.items()},
    }


def _describe_prompts(prompts: tuple[str, ...]) -> dict[str, Any]:
    distinct = set(prompts)
    lengths = [len(prompt) for prompt in distinct] or [0]
    return {
        "prompts": len(distinct),
        "short_prompts": sum(len(prompt.strip()) < MIN_CHARACTERS for prompt in distinct),
        "prompt_characters": {"median": float(np.median(lengths)), "longest": max(lengths)},
        "languages": dict(Counter(map(guess_language, distinct)).most_common()),
    }
