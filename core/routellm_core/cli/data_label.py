"""`routellm data label`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routellm_core.cli.data_output import Format, print_report
from routellm_core.cli.named import parse_price, parse_settings
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.pricing import Price, look_up_price
from routellm_core.progress import progress_bar

if TYPE_CHECKING:
    from routellm_core.preferences.labelling import CostEstimate, JudgeMethod


class Method(StrEnum):
    """How labels are made."""

    multiple_choice = "multiple-choice"
    number = "number"
    exact = "exact"
    score = "score"
    pairwise = "pairwise"


def label(
    data: Annotated[
        str, typer.Option(help="The table of answers: prompt, answer::MODEL columns, and perhaps reference.")
    ],
    method: Annotated[
        Method, typer.Option(help="Against the reference: multiple-choice, number, exact. By a judge: score, pairwise.")
    ],
    out: Annotated[Path, typer.Option(help="The table to write; .csv, .jsonl or .parquet.")],
    judge: Annotated[str | None, typer.Option(help="The judge's model name (extra openai).")] = None,
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server; without it OPENAI_BASE_URL, or OpenAI itself.")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            metavar="PRICE",
            help="The judge's price in US dollars per million tokens: 2,8 (input, output); without it the list price.",
        ),
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(help="Do not start if the estimate is above this many US dollars.")
    ] = None,
    judge_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What the judge is sent beside temperature=0 and max_tokens=300; null leaves one out. May be repeated.",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="How many calls at once.")] = 8,
    journal: Annotated[Path | None, typer.Option(help="Where verdicts are kept; without it OUT.journal.jsonl.")] = None,
    field: Annotated[str, typer.Option(help="The column of the prompt.")] = "prompt",
    reference: Annotated[str, typer.Option(help="The column of the reference answer.")] = "reference",
    dry_run: Annotated[
        bool, typer.Option(help="Write nothing and ask nobody: say what it will cost, or how the grading comes out.")
    ] = False,
    format: Annotated[Format, typer.Option("--format", help="A table to read, or JSON to process.")] = Format.table,
) -> None:
    """Make labels from models' answers: graded against references, or judged by a language model.

    [bold]multiple-choice, number, exact[/bold] write outcomes of 1 and 0; [bold]score[/bold] asks for grades of 1 to 5 with
    the reference in view, and writes outcomes of 0 to 1; [bold]pairwise[/bold] asks in both orders and writes battles, a tie
    unless both agree. What cannot be read has no label and is counted. A judge's verdicts are kept: a run that was stopped goes
    on where it was when the same command is given again.

    Examples:
        routellm data label --data answers.jsonl --method multiple-choice --out outcomes.csv

        routellm data label --data answers.jsonl --method pairwise --judge gpt-4.1 --out battles.jsonl --dry-run

        routellm data label --data a.jsonl --method score --judge llama3 --base-url http://localhost:11434/v1 --out scores.csv

        routellm data label ... --judge o4-mini --judge-option max_tokens=null --judge-option max_completion_tokens=2000
    """
    if method in (Method.score, Method.pairwise):
        if judge is None:
            raise ConfigurationError(f"--method {method.value} needs a --judge")
        report = _by_judge(
            data,
            out,
            "score" if method is Method.score else "pairwise",
            judge=judge,
            base_url=base_url,
            price=_price(price, judge),
            max_usd=max_usd,
            options=parse_settings("--judge-option", judge_option),
            concurrency=concurrency,
            journal=journal,
            fields=(field, reference),
            dry_run=dry_run,
        )
    else:
        from routellm_core.preferences.labelling import label_by_reference

        report = label_by_reference(
            data, out, grader=method.value, prompt_field=field, reference_field=reference, dry_run=dry_run
        ).to_dict()
    print_report({"out": None if dry_run else str(out), "method": method.value, **report}, format)


def _by_judge(
    data: str,
    out: Path,
    method: "JudgeMethod",
    *,
    judge: str,
    base_url: str | None,
    price: Price | None,
    max_usd: float | None,
    options: dict[str, Any],
    concurrency: int,
    journal: Path | None,
    fields: tuple[str, str],
    dry_run: bool,
) -> dict[str, Any]:
    from routellm_core.preferences.judge import MAX_ANSWER_TOKENS
    from routellm_core.preferences.judge_models import JudgeModel
    from routellm_core.preferences.labelling import estimate_cost, journal_path, label_by_judge
    from routellm_core.preferences.tables import check_table_name

    check_table_name(out)
    where = journal_path(out) if journal is None else journal
    prompt_field, reference_field = fields
    estimate = estimate_cost(
        data,
        method=method,
        judge=judge,
        journal=where,
        price=price,
        answer_tokens=options.get("max_completion_tokens") or options.get("max_tokens") or MAX_ANSWER_TOKENS,
        prompt_field=prompt_field,
        reference_field=reference_field,
    )
    if dry_run:
        return {"judge": judge, **asdict(estimate)}
    if max_usd is not None and (estimate.usd is None or estimate.usd > max_usd):
        cost = "unknown: give --price INPUT,OUTPUT" if estimate.usd is None else f"${estimate.usd:,.2f}"
        raise ConfigurationError(f"the estimate is {cost}, and --max-usd allows ${max_usd:,.2f}")
    typer.echo(_announced(judge, estimate), err=True)
    try:
        import openai  # only a judge needs it
    except ImportError as error:
        raise MissingDependencyError.for_extra("A judge", "openai") from error
    try:
        client = openai.OpenAI(base_url=base_url, max_retries=0)
    except openai.OpenAIError as error:
        raise ConfigurationError(
            "the judge needs a key: set OPENAI_API_KEY (to anything, for a server of yours)"
        ) from error
    done = 0
    with client, progress_bar("Judging") as advance:

        def count(questions: int) -> None:
            nonlocal done
            done += questions
            advance(done, estimate.questions)

        return label_by_judge(
            data,
            out,
            judge=JudgeModel(client, name=judge, options=options),
            method=method,
            journal=where,
            concurrency=concurrency,
            price=price,
            prompt_field=prompt_field,
            reference_field=reference_field,
            progress=count,
        ).to_dict()


def _announced(judge: str, estimate: "CostEstimate") -> str:
    cost = "unknown without --price" if estimate.usd is None else f"about ${estimate.usd:,.2f}"
    return f"asking {judge} {estimate.questions - estimate.known} questions ({estimate.known} known); cost {cost}"


def _price(text: str | None, judge: str) -> Price | None:
    if text is None:
        try:
            return look_up_price(judge)
        except MissingDependencyError:
            return None
    return parse_price(text)
