"""Golden labels: models' answers graded against references, without a judge.

A grader returns None where it cannot read an answer. Such an answer has no score and makes no battle; it is counted, never
guessed.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.outcomes import OutcomeTable

Grader = Callable[[str, str], bool | None]
"""(answer, reference) to right, wrong, or None where the answer cannot be read. A reference that cannot be is an error."""

# Behind a stated letter comes the end of a clause: "A dog", "A or B" and "A, B" state no single choice.
_STATED = re.compile(
    r"(?:answer|choice|option)\W{0,3}(?:\s*(?:is|would\s+be|:|=))+\W{0,3}(?:(?:option|choice)\s+)?[\s*(\[{$]*([A-Z])\b[)\]}*]*+"
    r"(?=\s*(?:$|[).,:;!(]|because\b|since\b))(?!\s*[,;]\s*\(?[A-Z]\b)",
    re.MULTILINE | re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
_LEADING = re.compile(r"\A[\s*(\[]*([A-Z])(?:[*)\]]*[.:)\]]|[*)\]]*[ \t]*(?:\n|\Z))(?!\W*(?:or|and)\b)")
_OPTION = re.compile(r"^[\s*(\[]*([A-Z])[*)\]]*[.:)]", re.MULTILINE)
_LAST_LINE = re.compile(r"\n[\s*(\[]*([A-Z])[\s*)\].]*\Z")

_NUMBER = re.compile(r"(?<!\w)(?:\d|\.\d)[\d,.]*(?:[eE][-+]?\d+)?(?:\s?/\s?\d[\d,.]*)?")
_PLAIN_NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_STATED_NUMBER = re.compile(r"answer\W{0,3}(?:\s*(?:is|would\s+be|:|=))+(.*)", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[.;](?!\d)|\(|\bbecause\b|\bsince\b", re.IGNORECASE)
_ARTICLES = frozenset({"a", "an", "the"})


def extract_choice(answer: str, *, choices: str = "ABCDEFGHIJ") -> str | None:
    r"""Return the letter that an answer to a multiple-choice question settles on; None if it settles on none.

    In this order: the last `\boxed{B}`; the last statement such as "the answer is (B)" or "Answer: B"; a letter at the start
    that a bracket, a full stop, a colon or the end of the line follows; a letter alone on the last line.

    Args:
        answer: What a model wrote.
        choices: The letters there are.
    """
    stated = [match[1].upper() for match in _STATED.finditer(answer) if _is_a_letter(match)]
    if "\\boxed" in answer:
        letter = _boxed(answer).strip(" ().")
    elif stated:
        letter = stated[-1]
    else:
        leading = (
            None if len(set(_OPTION.findall(answer))) > 1 else _LEADING.search(answer)
        )  # not where it lists the options
        alone = leading or _LAST_LINE.search(answer)
        letter = alone[1] if alone else ""
    return letter if len(letter) == 1 and letter in choices else None


def extract_number(answer: str) -> Fraction | None:
    r"""Return the number that an answer ends up with; None if there is none, or it cannot be told.

    In this order: the number behind the last `####` (GSM8K); in the last `\boxed{}`; in the last clause such as "the answer is
    12", which must hold one number only, or have it behind its last "="; the last number of the text. Signs, decimals, thousands
    commas, exponents and fractions are read; currency and per cent signs are left aside. "1,23" and "1.2.3" are no numbers.

    Args:
        answer: What a model wrote.
    """
    text = _FRACTION.sub(r"\1/\2", answer)
    stated = list(_STATED_NUMBER.finditer(text))
    if "####" in text:
        start = text.rindex("####") + 4
        numbers = _numbers(text, start, start + len(text[start:].partition("\n")[0]))[:1]
    elif "\\boxed" in text:
        numbers = _numbers(_boxed(text))
    elif stated and (clause := _clause(text, stated[-1])):
        numbers = clause
    else:
        numbers = _numbers(text)[-1:]
    return numbers[0] if len(numbers) == 1 else None


def grade_multiple_choice(answer: str, reference: str) -> bool | None:
    """Compare the letter of an answer with the reference, such as "B" or "(B)"; see `extract_choice`."""
    right = reference.strip(" ().").upper()
    if len(right) != 1 or not "A" <= right <= "Z":
        raise ConfigurationError(
            f"the reference of a multiple-choice question must be a letter, not {reference[:40]!r}"
        )
    letter = extract_choice(answer, choices="ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return None if letter is None else letter == right


def grade_number(answer: str, reference: str) -> bool | None:
    """Compare the number of an answer with that of the reference, exactly; see `extract_number`."""
    right = extract_number(reference)
    if right is None:
        raise ConfigurationError(
            f"the reference must hold a number, and {reference[:40]!r} holds none that can be told"
        )
    number = extract_number(answer)
    return None if number is None else number == right


def grade_exact(answer: str, reference: str) -> bool | None:
    """Compare texts without case, punctuation, articles and runs of white space; an answer of nothing else cannot be read."""
    words = _bare(answer)
    return None if not words else words == _bare(reference)


GRADERS: dict[str, Grader] = {
    "multiple-choice": grade_multiple_choice,
    "number": grade_number,
    "exact": grade_exact,
}


@dataclass(frozen=True)
class GoldenLabels:
    """Graded answers.

    Attributes:
        table: 1 where a model's answer is right, 0 where it is wrong, NaN where it cannot be read or there is none. Its
            `to_battles()` makes the labels: equally correct answers are a tie.
        unparsable: How many of each model's answers could not be read.
        missing: How many answers of each model there were not.
    """

    table: OutcomeTable
    unparsable: Mapping[str, int]
    missing: Mapping[str, int]


def grade_answers(
    prompts: Sequence[str],
    answers: Mapping[str, Sequence[str | None]],
    references: Sequence[str | Sequence[str]],
    *,
    grader: str | Grader,
    name: str = "golden",
) -> GoldenLabels:
    """Grade several models' answers to n questions.

    Args:
        prompts: The questions.
        answers: Model to its n answers; None where it gave none.
        references: The right answer of each question, or several of which any will do.
        grader: "multiple-choice", "number", "exact", or a function (answer, reference) to True, False or None.
        name: What reports call the table.

    Raises:
        ConfigurationError: If lengths differ, the grader is unknown, or a reference cannot be read; names the row, from 1.
    """
    if isinstance(grader, str) and grader not in GRADERS:
        raise ConfigurationError(f"grader must be {', '.join(map(repr, GRADERS))} or a function, not {grader!r}")
    grade = GRADERS[grader] if isinstance(grader, str) else grader
    lengths = {len(prompts), len(references), *map(len, answers.values())}
    if len(lengths) != 1 or not answers:
        raise ConfigurationError("there must be one reference and one answer of each model for every prompt")
    scores = np.full((len(prompts), len(answers)), np.nan)
    unparsable, missing = dict.fromkeys(answers, 0), dict.fromkeys(answers, 0)
    for row, reference in enumerate(references):
        allowed = [reference] if isinstance(reference, str) else list(reference)
        for column, (model, given) in enumerate(answers.items()):
            answer = given[row]
            if answer is None:
                missing[model] += 1
                continue
            try:
                grades = [grade(answer, one) for one in allowed]
            except ConfigurationError as error:
                raise ConfigurationError(f"row {row + 1}: {error}") from error
            if True in grades:
                scores[row, column] = 1.0
            elif False in grades:
                scores[row, column] = 0.0
            else:
                unparsable[model] += 1
    table = OutcomeTable(prompts=tuple(prompts), models=tuple(answers), scores=scores, name=name)
    return GoldenLabels(table, unparsable, missing)


def _is_a_letter(stated: re.Match[str]) -> bool:
    """Whether a stated letter is one rather than the article of "the answer is a (rather) long story"."""
    around = stated.string[stated.start(1) - 1 : stated.end()]
    return stated[1].isupper() or around[0] in "([{$*" or stated.string[stated.end() :].lstrip(" ")[:1] != "("


def _boxed(text: str) -> str:
    """Return what the last box holds; nothing if that cannot be told."""
    found = _BOXED.match(text, text.rindex("\\boxed"))
    return found[1] if found else ""


def _clause(text: str, stated: re.Match[str]) -> list[Fraction | None]:
    """Return the numbers of the clause that states the answer."""
    start, end = stated.span(1)
    ended = _CLAUSE_END.search(text, start, end)
    end = ended.start() if ended else end
    equal = text.rfind("=", start, end)
    return _numbers(text, max(start, equal + 1), end)


def _numbers(text: str, start: int = 0, end: int | None = None) -> list[Fraction | None]:
    """Return the numbers in a part of a text in their order; None for one that is malformed."""
    return [_value(text, match) for match in _NUMBER.finditer(text, start, len(text) if end is None else end)]


def _value(text: str, match: re.Match[str]) -> Fraction | None:
    parts = [part.strip().rstrip(".,") for part in match[0].split("/")]
    if not all(part and _PLAIN_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        value = Fraction(parts[0].replace(",", ""))
        for part in parts[1:]:
            value /= Fraction(part.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
    return -value if _is_negative(text[: match.start()]) else value


def _is_negative(before: str) -> bool:
    before = before.rstrip("$€£")
    bare = before.rstrip(" ")
    if not bare.endswith(("-", "\u2212")):
        return False
    apart = len(bare) < len(before)
    ahead = bare[:-1].rstrip(" $€£")
    if apart and (not ahead or ahead.endswith("\n")):
        return False  # the dash of a list
    if ahead and ahead[-1].isalpha():
        return not apart and len(ahead) < len(bare) - 1  # "it is -7", but not "x-7" and "x - 7"
    return not (ahead and (ahead[-1].isdigit() or ahead[-1] in ")]%"))


def _bare(text: str) -> list[str]:
    letters = "".join(" " if unicodedata.category(c).startswith("P") else c for c in normalise_text(text))
    return [word for word in letters.split() if word not in _ARTICLES]
