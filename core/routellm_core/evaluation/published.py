"""Readers for the files in which others publish the answers of models: RouteLLM, MT-Bench, RouterBench."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.preferences.tables import Batch, Table

PathLike = str | os.PathLike[str]

CONTAMINATED = "routellm_contaminated"
"""The flag of rows whose prompt stands, nearly word for word, in the routers' training data, by RouteLLM's own lists."""

_WORDS = {"True": 1.0, "False": 0.0, True: 1.0, False: 0.0}


def read_routellm_responses(
    files: Sequence[PathLike], *, contaminated: PathLike | None = None, name: str = "routellm"
) -> OutcomeTable:
    """Read the response files of RouteLLM's MMLU and GSM8K: a prompt, and for each model whether its answer was right.

    Args:
        files: .csv files with the columns `prompt` and one a model; `<model>_response` and others are left aside. The file
            `mmlu_<subject>.csv` gives its rows the group `<subject>`.
        contaminated: The list of prompts that stand in the training data (.jsonl, field `eval_prompt`); None flags none.
        name: What reports call the table.

    Raises:
        ConfigurationError: If a file lacks the prompts or the models, or a value is not True or False.
    """
    prompts: list[str] = []
    groups: list[str] = []
    scores: dict[str, list[float]] = {}
    for file in files:
        subject = Path(file).stem.removeprefix("mmlu_").removesuffix("_responses")
        for batch in _batches(file, "prompt"):
            models = [column for column, values in batch.columns.items() if column != "prompt" and _is_truth(values)]
            if not models or (scores and set(models) != set(scores)):
                raise ConfigurationError(
                    f"{batch.origin} has columns of True and False for {models!r}; wanted: {list(scores) or 'one a model'!r}"
                )
            prompts += batch.texts("prompt")
            groups += [subject] * len(batch)
            for model in models:
                scores.setdefault(model, []).extend(_WORDS[value] for value in batch.columns[model])
    if not prompts:
        raise ConfigurationError(f"there is no row in {[str(file) for file in files]!r}")
    return OutcomeTable(
        prompts=tuple(prompts),
        models=tuple(scores),
        scores=np.array(list(scores.values())).T,
        groups=tuple(groups),
        flags=_contamination([(prompt,) for prompt in prompts], contaminated),
        provenance={"source": "lm-sys/RouteLLM, routellm/evals", "scoring": "right or wrong"},
        name=name,
    )


def read_mt_bench(
    questions: PathLike, judgements: PathLike, *, contaminated: PathLike | None = None, name: str = "mt-bench"
) -> OutcomeTable:
    """Read MT-Bench: the first turn is what is routed, the mean score of both turns is what counts.

    Args:
        questions: .jsonl with `question_id`, `category` and `turns`.
        judgements: .jsonl with `question_id`, `model`, `turn` and `score`; a score of -1 is a judgement that failed.
        contaminated: A question is flagged if either of its turns is on this list (.jsonl, field `eval_prompt`).
        name: What reports call the table.

    Raises:
        ConfigurationError: If a line is not what it should be.
    """
    asked = {row["question_id"]: row for row in _rows(questions, "question_id", "turns")}
    scores: dict[tuple[Any, str], list[float]] = defaultdict(list)
    models: dict[str, None] = {}
    for row in _rows(judgements, "question_id", "model", "score"):
        models[row["model"]] = None
        if row["score"] != -1:
            scores[row["question_id"], row["model"]].append(float(row["score"]))
    if not asked or not models:
        raise ConfigurationError(f"{questions} and {judgements} must hold questions and judgements; one is empty")
    turns = [tuple(row["turns"]) for row in asked.values()]
    table = [[scores.get((question, model)) for model in models] for question in asked]
    return OutcomeTable(
        prompts=tuple(first for first, *_ in turns),
        models=tuple(models),
        scores=np.array([[np.mean(found) if found else np.nan for found in row] for row in table]),
        prompt_ids=tuple(f"mtbench-{question}" for question in asked),
        groups=tuple(str(row.get("category", "")) for row in asked.values()),
        flags=_contamination(turns, contaminated),
        provenance={"source": "MT-Bench", "scoring": "mean of both turns' scores, 1 to 10; the first turn is routed"},
        name=name,
    )


def read_routerbench(path: PathLike, *, name: str | None = None) -> OutcomeTable:
    """Read a table of RouterBench: one column a model with its score, `<model>|total_cost` with what the call cost.

    RouterBench is published as a pickle, which may run any code when it is read and is not read here; docs/evaluation.md says
    how to turn it into .parquet.

    Args:
        path: .csv, .jsonl or .parquet with `prompt`, `eval_name`, and the models' columns.
        name: What reports call the table; None takes the file's name.

    Raises:
        ConfigurationError: If there are no such columns.
    """
    table = Table(path)
    prompts: list[str] = []
    parts: dict[str, list[Any]] = defaultdict(list)
    models: list[str] = []
    for batch in _batches(path, "prompt"):
        models = models or [c.removesuffix("|total_cost") for c in batch.columns if c.endswith("|total_cost")]
        if not models:
            raise ConfigurationError(f"{batch.origin} has no column <model>|total_cost: it is no table of RouterBench")
        prompts += [_first_text(value) for value in batch.columns["prompt"]]
        for column in ("sample_id", "eval_name"):
            parts[column] += ["" if v is None else str(v) for v in batch.columns.get(column, [""] * len(batch))]
        for model in models:
            parts[model] += batch.floats(model).tolist()
            parts[f"{model}|cost"] += batch.floats(f"{model}|total_cost").tolist()
    return OutcomeTable(
        prompts=tuple(prompts),
        models=tuple(models),
        scores=np.array([parts[model] for model in models], dtype=np.float64).T,
        cost_usd=np.array([parts[f"{model}|cost"] for model in models], dtype=np.float64).T,
        prompt_ids=tuple(parts["sample_id"]) if any(parts["sample_id"]) else None,
        groups=tuple(parts["eval_name"]) if any(parts["eval_name"]) else None,
        provenance={"source": "RouterBench (arXiv 2403.12031)"},
        name=name or table.path.stem,
    )


def merge_turns(table: OutcomeTable) -> OutcomeTable:
    """Return one row a conversation of a table whose ids end in -t1, -t2, …: the first turn's prompt and the mean score.

    A conversation has a flag if one of its turns has. A table without such ids is returned as it is.
    """
    ids = table.prompt_ids or ()
    parts = [prompt_id.rpartition("-t") for prompt_id in ids]
    if not parts or not all(base and turn.isdigit() for base, _, turn in parts):
        return table
    rows: dict[str, list[int]] = defaultdict(list)
    for i, (base, _, _) in enumerate(parts):
        rows[base].append(i)
    members = [sorted(turns, key=lambda i: int(parts[i][2])) for turns in rows.values()]
    first = table.select([turns[0] for turns in members])

    def merged(values: Any, reduce: Callable[..., Any]) -> Any:
        return None if values is None else np.stack([reduce(values[turns], axis=0) for turns in members])

    return OutcomeTable(
        prompts=first.prompts,
        models=table.models,
        scores=merged(table.scores, np.mean),
        prompt_ids=tuple(rows),
        groups=first.groups,
        split=first.split,
        cost_usd=merged(table.cost_usd, np.sum),
        tokens_in=merged(table.tokens_in, np.sum),
        tokens_out=merged(table.tokens_out, np.sum),
        flags={flag: merged(values, np.any) for flag, values in table.flags.items()},
        provenance={**table.provenance, "turns": "mean over turns; the first turn is routed"},
        name=table.name,
    )


def _contamination(turns: Sequence[tuple[str, ...]], path: PathLike | None) -> dict[str, Any]:
    if path is None:
        return {}
    seen = {row["eval_prompt"] for row in _rows(path, "eval_prompt")}
    return {CONTAMINATED: np.array([any(turn in seen for turn in prompt) for prompt in turns], dtype=np.bool_)}


def _batches(path: PathLike, *fields: str) -> Iterator[Batch]:
    """Read all columns of a table in which some must be there."""
    for batch in Table(path).batches():
        missing = [field for field in fields if field not in batch.columns]
        if missing:
            there = ", ".join(map(repr, batch.columns))
            raise ConfigurationError(f"{batch.origin} has no column {missing[0]!r}; it has {there}")
        yield batch


def _rows(path: PathLike, *fields: str) -> Iterator[Mapping[str, Any]]:
    for batch in _batches(path, *fields):
        yield from (row for _, row in batch.rows())


def _is_truth(values: Sequence[Any]) -> bool:
    return all(isinstance(value, bool | str) and value in _WORDS for value in values)


def _first_text(value: Any) -> str:
    """Return the text of a RouterBench prompt: text, or a list of texts (also as JSON or as Python prints it)."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence | np.ndarray) and len(value) and isinstance(value[0], str):
        return str(value[0])
    raise ConfigurationError(f"a prompt must be text or a list of texts, not {type(value).__name__}")
