"""Make a benchmark of one's own: ask chat models, keep every answer, grade, and go on where a run was broken off."""

import hashlib
import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.evaluation.scores import Progress
from routellm_core.preferences.golden import GRADERS, extract_choice, extract_number, grade_answers
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.pricing import Price


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One prompt of a benchmark to be.

    Attributes:
        id: Its id, different from all others.
        prompt: What is asked, and what routers will see.
        reference: What a grader compares answers with.
        group: Its task or subject; "" for none.
    """

    id: str
    prompt: str
    reference: str
    group: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer of one model to one question; a line of the file of answers.

    Attributes:
        id: Of the question.
        model: The name the model has in the table.
        sample: Which of the repeated answers, from 0.
        text: What the model wrote; "" for nothing.
        finish_reason: Why it stopped; "length" is an answer that was cut off.
        tokens_in: Of the prompt; None if the server does not say.
        tokens_out: Of the answer; None if the server does not say.
        asked: A digest of what was asked, of whom and how: an answer to another prompt, of another served model, or at another
            temperature, is not reused.
    """

    id: str
    model: str
    sample: int
    text: str
    finish_reason: str
    tokens_in: int | None
    tokens_out: int | None
    asked: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatModel:
    """A chat model behind an OpenAI-compatible address.

    Attributes:
        name: What it is called in the table.
        model: What the server calls it.
        base_url: The address of the server; None for OpenAI's.
        price: US dollars per million tokens; None if unknown.
    """

    name: str
    model: str
    base_url: str | None = None
    price: Price | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCounts:
    """What became of one model's answers."""

    answers: int
    truncated: int
    unparsable: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Majority:
    """What most of one model's answers to one question say.

    Attributes:
        id: Of the question.
        model: The model's name in the table.
        answer: The letter, number or text that most answers come to, of equally many the first; None if none could be read.
        agreement: The share of all answers that come to it.
        right: Whether it is right; None if none could be read.
    """

    id: str
    model: str
    answer: str | None
    agreement: float
    right: bool | None


@dataclass(frozen=True, kw_only=True, eq=False)
class BenchmarkRun:
    """What a run made.

    Attributes:
        table: The outcomes: the score of a question is the share of right ones among the answers that could be read.
        counts: Model -> how many answers, and how many truncated, unparsable, failed.
        majorities: A row a question and model.
        answers: The file of answers.
    """

    table: OutcomeTable
    counts: Mapping[str, ModelCounts]
    majorities: Sequence[Majority]
    answers: Path


def run_benchmark(
    questions: Sequence[Question],
    models: Sequence[ChatModel],
    answers: str | os.PathLike[str],
    *,
    grader: str,
    samples: int = 1,
    temperature: float | None = None,
    max_tokens: int | None = None,
    instruction: str | None = None,
    api_key: str | None = None,
    concurrency: int = 8,
    name: str = "benchmark",
    progress: Progress | None = None,
) -> BenchmarkRun:
    """Ask every model every question, keep the answers, and grade them.

    Every answer is written down as it arrives, so a run that is broken off, by hand or by an error of a server, goes on with
    what is missing when it is called again with the same arguments. Calls that fail are counted and asked again the next time.

    Args:
        questions: What is asked; ids must differ.
        models: Who is asked; names must differ.
        answers: The .jsonl file of answers; read if it is there, and added to.
        grader: One of `GRADERS` ("multiple-choice", "number", "exact").
        samples: How many answers each model gives to each question.
        temperature: Of the sampling; None leaves it to the server. Several answers at 0 are one answer.
        max_tokens: The most tokens of an answer; None leaves it to the server.
        instruction: A system message; None sends none. Routers do not see it.
        api_key: For the servers; None takes what the client takes ($OPENAI_API_KEY).
        concurrency: How many calls are under way at once.
        name: What reports call the table.
        progress: Told how many answers there are.

    Raises:
        ConfigurationError: If a number is out of range, an id or name is there twice, or no call succeeds.
        MissingDependencyError: If the extra `openai` is not installed.
    """
    _check(questions, models, grader, samples)
    options = {"temperature": temperature, "max_tokens": max_tokens}
    options = {key: value for key, value in options.items() if value is not None}
    file = Path(answers)
    kept = {(a.id, a.model, a.sample): a for a in read_answers(file)} if file.is_file() else {}
    jobs = []
    found: dict[tuple[str, str, int], Answer] = {}
    for question in questions:
        for model in models:
            digest = _digest([question.prompt, instruction, options, model.model, model.base_url])
            for sample in range(samples):
                old = kept.get((question.id, model.name, sample))
                if old is not None and old.asked == digest:
                    found[question.id, model.name, sample] = old
                else:
                    jobs.append((question, model, sample, digest))
    failed, last_error = _ask_all(jobs, found, file, instruction, options, api_key, concurrency, progress)
    if not found:
        raise ConfigurationError(f"no call succeeded; the last error: {last_error}")
    table, unparsable, majorities = _graded(questions, models, found, grader, samples, name)
    counts = {}
    for model in models:
        given = [answer for (_, asked, _), answer in found.items() if asked == model.name]
        counts[model.name] = ModelCounts(
            answers=len(given),
            truncated=sum(answer.finish_reason == "length" for answer in given),
            unparsable=unparsable[model.name],
            failed=failed[model.name],
        )
    provenance = {
        "source": "routellm benchmark run",
        "models": {model.name: model.model for model in models},
        "prompt template": "the prompt alone"
        if instruction is None
        else f"system message {instruction!r} and the prompt",
        "scoring": f"{grader}; answers that cannot be read have no score",
        "samples": samples,
        **options,
        "counts": {model: asdict(count) for model, count in counts.items()},
    }
    return BenchmarkRun(table=replace(table, provenance=provenance), counts=counts, majorities=majorities, answers=file)


def read_answers(path: str | os.PathLike[str]) -> list[Answer]:
    """Read a file of answers; of several with the same id, model and sample the last counts.

    Raises:
        ConfigurationError: If a line is no answer. A last line that was broken off is left aside.
    """
    lines = Path(path).read_text(encoding="utf-8").split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(Answer(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break  # the run was broken off while it was written
            raise ConfigurationError(f"{path}, line {number} is no answer: {error}") from None
    return found


def _check(questions: Sequence[Question], models: Sequence[ChatModel], grader: str, samples: int) -> None:
    if samples < 1:
        raise ConfigurationError(f"samples must be 1 or more, not {samples!r}")
    if grader not in GRADERS:
        raise ConfigurationError(f"there is no grader {grader!r}; there are: {', '.join(GRADERS)}")
    for what, values in (("question ids", [q.id for q in questions]), ("models", [m.name for m in models])):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice or not values:
            raise ConfigurationError(
                f"{what} must be one or more, all different{f'; twice: {twice[0]!r}' if twice else ''}"
            )


def _ask_all(
    jobs: Sequence[tuple[Question, ChatModel, int, str]],
    found: dict[tuple[str, str, int], Answer],
    file: Path,
    instruction: str | None,
    options: Mapping[str, Any],
    api_key: str | None,
    concurrency: int,
    progress: Progress | None,
) -> tuple[Counter[str], str]:
    """Ask what is missing; return how many calls failed by model, and the last error."""
    failed: Counter[str] = Counter()
    last = ""
    done = len(found)
    if not jobs:
        return failed, last
    ask = _asker({job[1] for job in jobs}, instruction, options, api_key)
    file.parent.mkdir(parents=True, exist_ok=True)
    _end_last_line(file)
    lock = threading.Lock()
    with file.open("a", encoding="utf-8") as stream, ThreadPoolExecutor(concurrency) as pool:

        def one(job: tuple[Question, ChatModel, int, str]) -> str | None:
            question, model, sample, digest = job
            answer = ask(question, model, sample, digest)
            if isinstance(answer, str):
                return answer
            with lock:
                stream.write(json.dumps(asdict(answer)) + "\n")
                stream.flush()
                found[question.id, model.name, sample] = answer
            return None

        for count, (job, error) in enumerate(zip(jobs, pool.map(one, jobs), strict=True), start=1):
            if error is not None:
                failed[job[1].name] += 1
                last = error
            if progress is not None:
                progress(done + count, done + len(jobs))
    return failed, last


def _asker(
    models: set[ChatModel], instruction: str | None, options: Mapping[str, Any], api_key: str | None
) -> Callable[[Question, ChatModel, int, str], Answer | str]:
    try:
        from openai import OpenAI, OpenAIError  # no other part of an evaluation asks a model
    except ImportError as error:
        raise MissingDependencyError.for_extra("Asking chat models", "openai") from error
    try:
        clients = {url: OpenAI(base_url=url, api_key=api_key) for url in {model.base_url for model in models}}
    except OpenAIError as error:
        raise ConfigurationError(f"no client for the chat models: {error}") from None

    def ask(question: Question, model: ChatModel, sample: int, digest: str) -> Answer | str:
        system = [] if instruction is None else [{"role": "system", "content": instruction}]
        messages: Any = [*system, {"role": "user", "content": question.prompt}]
        try:
            reply = clients[model.base_url].chat.completions.create(model=model.model, messages=messages, **options)
        except OpenAIError as error:
            return f"{type(error).__name__} from {model.name}"
        if not reply.choices:
            return f"an answer without a choice from {model.name}"
        choice = reply.choices[0]
        return Answer(
            id=question.id,
            model=model.name,
            sample=sample,
            text=choice.message.content or "",
            finish_reason=str(choice.finish_reason),
            tokens_in=reply.usage.prompt_tokens if reply.usage else None,
            tokens_out=reply.usage.completion_tokens if reply.usage else None,
            asked=digest,
        )

    return ask


def _graded(
    questions: Sequence[Question],
    models: Sequence[ChatModel],
    found: Mapping[tuple[str, str, int], Answer],
    grader: str,
    samples: int,
    name: str,
) -> tuple[OutcomeTable, dict[str, int], list[Majority]]:
    """Return the table, how many answers of each model could not be read, and what most of its answers say."""
    shape = (len(questions), len(models), samples)
    scores, tokens_in, tokens_out, costs = (np.full(shape, np.nan) for _ in range(4))
    unparsable: Counter[str] = Counter()
    prompts, references = [q.prompt for q in questions], [q.reference for q in questions]
    for k in range(samples):
        answers = {m.name: [found.get((q.id, m.name, k)) for q in questions] for m in models}
        graded = grade_answers(
            prompts,
            {m: [None if a is None else a.text for a in given] for m, given in answers.items()},
            references,
            grader=grader,
        )
        scores[:, :, k] = graded.table.scores
        unparsable.update(graded.unparsable)
        for j, model in enumerate(models):
            for i, answer in enumerate(answers[model.name]):
                if answer is not None and answer.tokens_in is not None and answer.tokens_out is not None:
                    tokens_in[i, j, k], tokens_out[i, j, k] = answer.tokens_in, answer.tokens_out
                    if model.price is not None:
                        costs[i, j, k] = model.price.cost(answer.tokens_in, answer.tokens_out)
    table = OutcomeTable(
        prompts=tuple(prompts),
        models=tuple(m.name for m in models),
        scores=_means(scores),
        prompt_ids=tuple(q.id for q in questions),
        groups=tuple(q.group for q in questions) if any(q.group for q in questions) else None,
        samples=scores if samples > 1 else None,
        cost_usd=_means(costs) if any(m.price for m in models) else None,
        tokens_in=_means(tokens_in),
        tokens_out=_means(tokens_out),
        name=name,
    )
    majorities = [
        majority
        for i, q in enumerate(questions)
        for j, m in enumerate(models)
        if (
            majority := _majority(
                q.id, m.name, [found.get((q.id, m.name, k)) for k in range(samples)], scores[i, j], grader
            )
        )
    ]
    return table, dict(unparsable), majorities


def _majority(
    question: str, model: str, answers: Sequence[Answer | None], scores: NDArray[np.float64], grader: str
) -> Majority | None:
    read = _READERS[grader]
    said: dict[str, list[int]] = defaultdict(list)
    given = [(k, answer) for k, answer in enumerate(answers) if answer is not None]
    for k, answer in given:
        value = read(answer.text)
        if value is not None:
            said[str(value)].append(k)
    if not given:
        return None
    if not said:
        return Majority(id=question, model=model, answer=None, agreement=0.0, right=None)
    value, members = max(said.items(), key=lambda item: len(item[1]))
    score = float(scores[members[0]])
    right = None if np.isnan(score) else score == 1.0
    return Majority(id=question, model=model, answer=value, agreement=len(members) / len(given), right=right)


def _means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of what is there; NaN where nothing is."""
    there = ~np.isnan(samples)
    return np.where(there.any(axis=-1), np.nansum(samples, axis=-1) / np.maximum(there.sum(axis=-1), 1), np.nan)


def _digest(asked: Any) -> str:
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()


def _end_last_line(file: Path) -> None:
    """Cut off a line that an earlier run did not finish, so that the next answer does not continue it."""
    if file.is_file() and not (text := file.read_bytes()).endswith(b"\n") and text:
        file.write_bytes(text[: text.rfind(b"\n") + 1])


_READERS: dict[str, Callable[[str], object]] = {
    "multiple-choice": extract_choice,
    "number": extract_number,
    "exact": lambda text: normalise_text(text) or None,
}
