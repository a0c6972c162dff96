"""From a table of answers to a table of labels: by references (golden labels) or by a judge.

The rows stream: what is in memory is a few of them, and one short entry for every question a judge was asked.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.answers import AnswerRow, read_answers
from routellm_core.preferences.asking import Progress, ask_all
from routellm_core.preferences.battles import BATTLE_COLUMNS
from routellm_core.preferences.golden import GRADERS
from routellm_core.preferences.journal import Journal
from routellm_core.preferences.judge import (
    MAX_ANSWER_TOKENS,
    Question,
    combine_verdicts,
    pair_questions,
    score_question,
)
from routellm_core.preferences.judge_models import JudgeModel
from routellm_core.preferences.tables import check_table_name, write_table
from routellm_core.pricing import Price

JudgeMethod = Literal["score", "pairwise"]

_CHARACTERS_PER_TOKEN = 4.0
_LOWEST, _HIGHEST = 1, 5
_LISTED = 20


@dataclass(frozen=True)
class CostEstimate:
    """What a judge will cost, estimated before it is asked.

    Attributes:
        questions: Calls that labelling needs in all.
        known: How many of them have their verdict already.
        tokens_in: About how many tokens the questions to be asked have: one for four ASCII characters, or for one other.
        tokens_out: Tokens of the answers, at most.
        usd: US dollars, with answers as long as they may be and no call made twice; None without a price.
    """

    questions: int
    known: int
    tokens_in: int
    tokens_out: int
    usd: float | None


@dataclass
class LabelReport:
    """What labelling did.

    Attributes:
        rows: Rows of the table of answers.
        labels: Labels that were written: scores, or battles.
        unlabelled: Answers or pairs without a label, because a verdict or an answer could not be read or an answer is missing.
        unlabelled_rows: The first twenty rows that this concerns.
        unparsable: Answers (golden labels) or verdicts (judge) that could not be read.
        questions: Calls that a judge's labels needed.
        known: How many of them had a verdict from an earlier run, or from an equal question of this one.
        calls: How many were made now.
        retries: Further calls after failures.
        repeated: How many of the calls had been made by an earlier run that was stopped before it had the answer.
        tokens_in: Tokens of the questions, over all runs, as far as the judge tells.
        tokens_out: Tokens of its answers; as above.
        usd: US dollars for these tokens; None without a price.
    """

    rows: int = 0
    labels: int = 0
    unlabelled: int = 0
    unlabelled_rows: list[str] = field(default_factory=list)
    unparsable: int = 0
    questions: int = 0
    known: int = 0
    calls: int = 0
    retries: int = 0
    repeated: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def label_by_reference(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    grader: str,
    prompt_field: str = "prompt",
    reference_field: str = "reference",
    dry_run: bool = False,
) -> LabelReport:
    """Grade the answers of a table against its references and write a table of outcomes, a row for every row.

    Args:
        source: A table of answers; see `read_answers`.
        out: The table to write: `prompt`, `score::<model>` (1 right, 0 wrong, empty where there is no answer or none that
            can be read).
        grader: One of `GRADERS`.
        prompt_field: The column of the prompt.
        reference_field: The column of the reference.
        dry_run: Grade and report, and write nothing.

    Raises:
        ConfigurationError: If a table cannot be read or written, or a reference cannot be read; names the row.
    """
    if grader not in GRADERS:
        raise ConfigurationError(f"the grader must be one of {', '.join(GRADERS)}, not {grader!r}")
    check_table_name(out)
    grade = GRADERS[grader]
    report = LabelReport()

    def rows() -> Iterator[dict[str, Any]]:
        for row in read_answers(
            source, prompt_field=prompt_field, reference_field=reference_field, need_reference=True
        ):
            try:
                scores = {m: None if a is None else grade(a, row.reference or "") for m, a in row.answers.items()}
            except ConfigurationError as error:
                raise ConfigurationError(f"{row.where}: {error}") from error
            report.unparsable += sum(row.answers[m] is not None and score is None for m, score in scores.items())
            yield _outcome_row(row, {m: None if s is None else float(s) for m, s in scores.items()}, report)

    columns = _outcome_columns(read_answers(source, prompt_field=prompt_field, reference_field=reference_field))
    if dry_run:
        deque(rows(), maxlen=0)
    else:
        write_table(rows(), out, columns=columns)
    return report


def estimate_cost(
    source: str | os.PathLike[str],
    *,
    method: JudgeMethod,
    judge: str,
    journal: str | os.PathLike[str] | None = None,
    price: Price | None = None,
    answer_tokens: int = MAX_ANSWER_TOKENS,
    prompt_field: str = "prompt",
    reference_field: str = "reference",
) -> CostEstimate:
    """Estimate what a judge will cost, without asking it.

    Args:
        source: A table of answers; see `read_answers`.
        method: See `label_by_judge`.
        judge: The judge's name.
        journal: Verdicts of earlier runs, which cost nothing; None means there are none.
        price: The judge's price; None leaves the dollars out.
        answer_tokens: How many tokens the judge may write in answer to a question.
        prompt_field: The column of the prompt.
        reference_field: The column of the reference.
    """
    if not isinstance(answer_tokens, int) or answer_tokens < 1:
        raise ConfigurationError(f"a judge may write a whole number of tokens, 1 or more, not {answer_tokens!r}")
    known: Mapping[str, object] = {}
    if journal is not None and Path(journal).exists():
        with Journal(journal) as earlier:
            known = earlier.verdicts
    seen: set[str] = set()
    total = asked = plain = others = 0
    rows = _read(source, method, prompt_field, reference_field)
    for question in (question for row in rows for _, questions in _jobs(row, method, judge) for question in questions):
        total += 1
        if question.key not in known and question.key not in seen:
            seen.add(question.key)
            asked += 1
            text = question.system + question.user
            ascii_characters = len(text.encode("ascii", "ignore"))
            plain += ascii_characters
            others += len(text) - ascii_characters
    tokens_in, tokens_out = round(plain / _CHARACTERS_PER_TOKEN) + others, asked * answer_tokens
    usd = None if price is None else price.cost(tokens_in, tokens_out)
    return CostEstimate(total, total - asked, tokens_in, tokens_out, usd)


def label_by_judge(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    judge: JudgeModel,
    method: JudgeMethod,
    journal: str | os.PathLike[str] | None = None,
    concurrency: int = 8,
    price: Price | None = None,
    prompt_field: str = "prompt",
    reference_field: str = "reference",
    progress: Progress | None = None,
) -> LabelReport:
    """Let a judge label the answers of a table; a run that was stopped goes on where it was.

    "score" grades every answer from 1 to 5 against the reference of its row and writes a table of outcomes, a row for every row,
    with 0 for 1 and 1 for 5, as trainers want it.
    "pairwise" compares every two answers of a row, once in each order, and writes battles: the same winner both times wins,
    anything else is a tie. What could not be read has no label.

    Args:
        source: A table of answers; see `read_answers`.
        out: The table to write.
        judge: Who judges.
        method: "score" or "pairwise".
        journal: Where verdicts are kept; None means `<out>.journal.jsonl`. The table is made from it, so it is the same
            however often the run was stopped.
        concurrency: How many calls at once.
        price: The judge's price; None leaves the dollars out of the report.
        prompt_field: The column of the prompt.
        reference_field: The column of the reference.
        progress: Told of every verdict.

    Raises:
        ConfigurationError: If a table or the journal cannot be read or written; names the row.
        JudgeError: If the judge cannot be asked; the verdicts so far are kept.
    """
    if method not in ("score", "pairwise"):
        raise ConfigurationError(f"method must be 'score' or 'pairwise', not {method!r}")
    if concurrency < 1:
        raise ConfigurationError(f"concurrency must be 1 or more, not {concurrency!r}")
    check_table_name(out)  # before anything is paid for
    report = LabelReport()
    columns: Sequence[str] = BATTLE_COLUMNS
    if method == "score":
        columns = _outcome_columns(_read(source, method, prompt_field, reference_field))
    with Journal(journal_path(out) if journal is None else journal) as verdicts:
        rows = _read(source, method, prompt_field, reference_field)
        questions = (q for row in rows for _, job in _jobs(row, method, judge.name) for q in job)
        asked = ask_all(questions, judge, verdicts, concurrency=concurrency, progress=progress)
        labelled = _labelled(_read(source, method, prompt_field, reference_field), method, judge.name, verdicts, report)
        write_table(labelled, out, columns=columns)
        report = replace(report, **vars(asked), tokens_in=verdicts.tokens_in, tokens_out=verdicts.tokens_out)
    report.usd = None if price is None else price.cost(report.tokens_in, report.tokens_out)
    return report


def journal_path(out: str | os.PathLike[str]) -> Path:
    """Return where the verdicts for a table are kept."""
    return Path(f"{os.fspath(out)}.journal.jsonl")


def _labelled(
    rows: Iterable[AnswerRow], method: JudgeMethod, judge: str, journal: Journal, report: LabelReport
) -> Iterator[dict[str, Any]]:
    bad: set[str] = set()
    for row in rows:
        found = {}
        for label, questions in _jobs(row, method, judge):
            verdicts = [journal.verdicts[question.key] for question in questions]
            bad.update(question.key for question, verdict in zip(questions, verdicts, strict=True) if verdict is None)
            found[label] = verdicts
        if method == "score":
            scores = {model: found[(model,)][0] if (model,) in found else None for model in row.answers}
            yield _outcome_row(row, {m: None if s is None else _in_unit(s) for m, s in scores.items()}, report)
            continue
        report.rows += 1
        for (model_a, model_b), (first, swapped) in found.items():
            winner = combine_verdicts(first, swapped)
            if winner is None:
                _note_unlabelled(row, report)
                continue
            report.labels += 1
            yield {"prompt": row.prompt, "model_a": model_a, "model_b": model_b, "winner": winner, "source": "judge"}
    report.unparsable = len(bad)


def _jobs(row: AnswerRow, method: JudgeMethod, judge: str) -> Iterator[tuple[tuple[str, ...], tuple[Question, ...]]]:
    """Return what is to be labelled in a row, by models, and the questions that it takes."""
    if method == "score":
        for model, answer in row.answers.items():
            if answer is not None:
                yield (model,), (score_question(judge, row.prompt, answer, row.reference or ""),)
    else:
        for model_a, model_b in row.pairs():
            yield (
                (model_a, model_b),
                pair_questions(judge, row.prompt, row.answers[model_a] or "", row.answers[model_b] or ""),
            )


def _read(
    source: str | os.PathLike[str], method: JudgeMethod, prompt_field: str, reference_field: str
) -> Iterator[AnswerRow]:
    return read_answers(
        source, prompt_field=prompt_field, reference_field=reference_field, need_reference=method == "score"
    )


def _outcome_row(row: AnswerRow, scores: Mapping[str, float | None], report: LabelReport) -> dict[str, Any]:
    report.rows += 1
    report.labels += sum(score is not None for score in scores.values())
    for _ in range(sum(score is None for score in scores.values())):
        _note_unlabelled(row, report)
    return {**row.kept, "prompt": row.prompt, **{f"score::{model}": score for model, score in scores.items()}}


def _in_unit(score: Any) -> float:
    return (float(score) - _LOWEST) / (_HIGHEST - _LOWEST)


def _note_unlabelled(row: AnswerRow, report: LabelReport) -> None:
    report.unlabelled += 1
    if len(report.unlabelled_rows) < _LISTED and row.where not in report.unlabelled_rows:
        report.unlabelled_rows.append(row.where)


def _outcome_columns(rows: Iterable[AnswerRow]) -> list[str]:
    """Return the columns that labelled rows will have: what is taken over, and a score for every model that comes up."""
    kept: dict[str, None] = {}
    models: dict[str, None] = {}
    for row in rows:
        kept.update(dict.fromkeys(row.kept))
        models.update(dict.fromkeys(row.answers))
    return [*kept, "prompt", *(f"score::{model}" for model in models)]
