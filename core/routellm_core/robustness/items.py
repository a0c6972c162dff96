"""Multiple-choice questions: read from prompts, written as prompts, and recognised where the order of choices has a meaning."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from routellm_core.errors import ConfigurationError

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """Everything in the prompt of an item that is neither the question nor a choice.

    Attributes:
        header: Before the question, such as a line that names the subject.
        before_choices: Between the question and the choices; a line of its own, or nothing.
        opening: Before each symbol: "" or "(".
        closing: Between each symbol and its text: ". ", ") " or ": ".
        cue: The last line, which asks for the answer; "" for none.
    """

    header: str = ""
    before_choices: str = ""
    opening: str = ""
    closing: str = ". "
    cue: str = "Answer:"


MMLU_STYLE = PromptStyle()


@dataclass(frozen=True, slots=True)
class Item:
    """A multiple-choice question. It is never changed in place.

    Attributes:
        id: Its id: what is random about it depends on a seed and on this.
        question: What is asked.
        choices: The texts, by position; two at least.
        gold: The position of the right choice, from 0; None if it is not known.
        symbols: What each position is called; none given calls them A, B, C, …
        group: The subject; "" for none.
        style: How it is put.

    Raises:
        ConfigurationError: If there are fewer than two choices, symbols repeat or do not fit, or gold is no position.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    gold: int | None = None
    symbols: tuple[str, ...] = ()
    group: str = ""
    style: PromptStyle = MMLU_STYLE

    def __post_init__(self) -> None:
        n = len(self.choices)
        if n < 2:
            raise ConfigurationError(f"item {self.id!r} must have two choices or more, not {n}")
        if not self.symbols:
            if n > len(LETTERS):
                raise ConfigurationError(f"item {self.id!r} has {n} choices: give symbols=, as there are 26 letters")
            object.__setattr__(self, "symbols", LETTERS[:n])
        if len(self.symbols) != n or len(set(self.symbols)) != n or not all(map(str.strip, self.symbols)):
            raise ConfigurationError(f"item {self.id!r} needs {n} different symbols, not {self.symbols!r}")
        if self.gold is not None and not 0 <= self.gold < n:
            raise ConfigurationError(f"item {self.id!r} has {n} choices: gold must be 0 to {n - 1}, not {self.gold!r}")

    @property
    def gold_symbol(self) -> str:
        """What the right choice is called.

        Raises:
            ConfigurationError: If it is not known.
        """
        return self.symbols[known_gold(self)]

    @property
    def prompt(self) -> str:
        """The question with its choices, as a model or a router sees it."""
        style = self.style
        lines = [style.header + self.question]
        lines += [style.before_choices] if style.before_choices else []
        marked = zip(self.symbols, self.choices, strict=True)
        lines += [f"{style.opening}{symbol}{style.closing}{text}" for symbol, text in marked]
        lines += [style.cue] if style.cue else []
        return "\n".join(lines)

    @property
    def open_prompt(self) -> str:
        """The question without its choices, as cloze scoring puts it."""
        cue = f"\n{self.style.cue}" if self.style.cue else ""
        return f"{self.style.header}{self.question}{cue}"


def known_gold(item: Item) -> int:
    """Return the position of the right choice.

    Raises:
        ConfigurationError: If it is not known.
    """
    if item.gold is None:
        raise ConfigurationError(f"item {item.id!r} has no gold answer, and this needs one")
    return item.gold


_CUE = re.compile(r"\n([ \t]*(?:(?:the|your)\s+)?(?:correct\s+|final\s+)?answer\s*(?:is)?\s*:?[ \t]*)\Z", re.IGNORECASE)
_MARK = re.compile(r"^(\(?)([A-Za-z]|\d{1,2}|[^\w\s(]|[^\W\da-zA-Z_])([.):] )", re.MULTILINE)
_HEADER = re.compile(r"\A\s*the following (?:is|are) (?:an? )?multiple[- ]choice questions?\b[^\n]*\n+", re.IGNORECASE)
_HEADING = re.compile(r"\n((?:choices|options|answer choices)\s*:)\Z", re.IGNORECASE)
_FIRST = {"A", "a", "1"}


def parse_item(prompt: str, *, item_id: str | None = None, gold: int | None = None, group: str = "") -> Item | None:
    """Read a prompt that ends with a list of choices, as the prompts of MMLU and MMLU-Pro do.

    Args:
        prompt: The text.
        item_id: The item's id; None takes the prompt.
        gold: The position of the right choice; None if it is not known.
        group: The subject.

    Returns:
        The item, whose `prompt` is the text again to the letter; None if the text does not end with such a list.
    """
    cue = _CUE.search(prompt)
    body = prompt[: cue.start()] if cue else prompt
    marks = _last_list(list(_MARK.finditer(body)))
    if len(marks) < 2 or marks[0].start() == 0:
        return None
    ends = [mark.start() - 1 for mark in marks[1:]] + [len(body)]
    header = _HEADER.match(body)
    begin = min(header.end(), marks[0].start() - 1) if header else 0
    question = body[begin : marks[0].start() - 1]
    heading = _HEADING.search(question)
    choices = tuple(body[mark.end() : end] for mark, end in zip(marks, ends, strict=True))
    is_numbered = marks[0][2].isdigit()
    if any("\n\n" in text for text in choices) or (is_numbered and not (cue or heading)):
        return None  # a list of something else
    style = PromptStyle(
        header=body[:begin],
        before_choices=heading[1] if heading else "",
        opening=marks[0][1],
        closing=marks[0][3],
        cue=cue[1] if cue else "",
    )
    item = Item(
        id=prompt if item_id is None else item_id,
        question=question[: heading.start()] if heading else question,
        choices=choices,
        symbols=tuple(mark[2] for mark in marks),
        gold=gold,
        group=group,
        style=style,
    )
    return item if item.prompt == prompt else None


def _last_list(marks: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """Return the marks of the list at the end; letters and numbers must be the first ones, in whatever order."""
    if not marks:
        return []
    form = (marks[-1][1], marks[-1][3])
    same = [mark for mark in marks if (mark[1], mark[3]) == form]
    symbols = [mark[2] for mark in same]
    if not _is_alphanumeric(symbols[-1]):  # so those of its list are not either: what is may be a line of the question
        others = [mark for mark in same if not _is_alphanumeric(mark[2])]
        distinct = next(k for k in range(len(others), 0, -1) if len({mark[2] for mark in others[-k:]}) == k)
        if distinct > 1:
            return others[-distinct:]
    starts = [i for i, symbol in enumerate(symbols) if symbol in _FIRST]
    if not starts:
        return []
    expected = [_after(symbols[starts[-1]], i) for i in range(min(len(same), len(LETTERS)))]
    for k in range(len(expected), 1, -1):
        if set(symbols[-k:]) == set(expected[:k]):
            return same[-k:]
    kept: list[re.Match[str]] = []
    for mark in same[starts[-1] :]:  # a line of a choice may look like a mark
        if len(kept) < len(expected) and mark[2] == expected[len(kept)]:
            kept.append(mark)
    return kept


def _is_alphanumeric(symbol: str) -> bool:
    return symbol.isascii() and symbol.isalnum()


def _after(first: str, steps: int) -> str:
    return str(int(first) + steps) if first.isdigit() else chr(ord(first) + steps)


_OPTIONS = r"(?:options?|choices?|answers?|alternatives?)"
_COUNTS = r"(?:all|none|any|some|both|neither|either|each|one|two|three|more|most)"
_ABOUT_CHOICES = re.compile(
    rf"\b{_COUNTS}\s+(?:of\s+)?(?:the\s+|these\s+)?"
    r"(?:above|below|preceding|foregoing|(?:other|previous)?\s*(?:options|choices|answers|alternatives))\b"
    rf"|\b{_COUNTS}\s+of\s+(?:these|those|them)\W*\Z"
    rf"|\A\W*{_COUNTS}\s+(?:of\s+)?(?:the\s+)?others\W*\Z"
    r"|\b(?:the|as|see|listed|mentioned)\s+above\b|(?<!\bfrom)\s+above\W*\Z|\bsame\s+as\s+(?:above|below)\b"
    r"|\b(?:the\s+)?(?:first|second|third|last|previous|preceding|next)\s+(?:(?:two|three|four)\s+)?"
    rf"{_OPTIONS}\b"
    r"|\A\W*(?:only\s+|both\s+)?(?:of\s+)?the\s+(?:first|last|other)\s+(?:two|three|four)\W*\Z",
    re.IGNORECASE,
)
_ABOUT_TEXT = re.compile(
    r"\b(?:first|last)\s+(?:option|choice|answer)\b|\bwhich\s+(?:one\s+)?of\s+the\s+above\b", re.IGNORECASE
)

_BY_NUMBER = re.compile(
    rf"\b(?:both|either|neither|{_OPTIONS})\s+\(?(\d)\)?\s+(?:and|or|nor|&)\s+\(?(\d)\)?\W*\Z", re.IGNORECASE
)


@cache
def _references(symbols: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what speaks of choices by their symbols: in a choice, and in the question.

    A capital, a number or anything in brackets is a reference where the words around it say so; a small letter may be the
    article, so there must be another one beside it. Symbols that are neither letters nor numbers stand for letters, which the
    list may have had before.
    """
    end = r"(?![\w'\u2019])"
    if all(map(str.isdecimal, symbols)):
        names = "|".join(sorted(symbols, key=len, reverse=True))
        sure = loose = rf"(?:\((?:{names})\)|(?:{names})[.)]?){end}"
        joint, span = ",", "through"  # 1/2 is a half, and 1 + 2 a sum
    else:
        letters = symbols if all(map(_is_alphanumeric, symbols)) else LETTERS[: len(symbols)]
        names = f"[{''.join(sorted({letter.upper() for letter in letters}))}]"
        sure = rf"(?:(?-i:\(?{names}\)?)|\({names}\)){end}"
        loose = rf"\(?{names}[.)]?{end}"
        joint, span = r"(?:,|(?-i:(?<=[A-Z])\s*[/+]\s*(?=[A-Z])))", "through|to"  # a/b and a + b are of algebra
    word = rf"(?:and|or|nor|but|&|{span})"
    between = rf"(?:\s*{joint}\s*(?:{word}\s+)?|\s+{word}\s+|\s*&\s*)(?:not\s+)?"
    in_choice = (
        rf"\b{_OPTIONS}\s+(?:{sure}|{loose}{between}{loose})"
        rf"|\b(?:both|either|neither)\s+{loose}\s+(?:and|or|nor|&)\s+{loose}"
        rf"|\A\W*{loose}(?:{between}{loose})+(?:[\s,]+(?:above|only|alone|together))?[\s.,;:!?)]*\Z"
        rf"|\b(?:not|but|except(?:\s+for)?|same\s+as|opposite\s+of)\s+{sure}\W*\Z"
        rf"|\A\W*(?!I\b){sure}\s+only\b|\A\W*only\s+(?!I\b){sure}\W*\Z"  # I is one, in Roman figures
    )
    if joint != ",":
        in_choice += rf"|\A\W*(?:only\s+)?{sure}(?:[\s,]+{sure})*[\s,]*\s(?:and|or|nor|but|&)\s+(?:not\s+)?{sure}"
    in_question = rf"\b{_OPTIONS}\s+{sure}|\((?:{names})\)\s*(?:,|and|or|&)\s*\((?:{names})\)"
    return re.compile(in_choice, re.IGNORECASE), re.compile(in_question, re.IGNORECASE)


def depends_on_order(item: Item) -> bool:
    """Tell whether the item speaks of the order or the symbols of its choices ("all of the above", "both A and B").

    It is cautious: an item that seems to is taken to.
    """
    in_choice, in_question = _references(item.symbols)
    return any(
        _ABOUT_CHOICES.search(text) or in_choice.search(text) or _counts_choices(text, item) for text in item.choices
    ) or bool(_ABOUT_TEXT.search(item.question) or in_question.search(item.question))


def _counts_choices(text: str, item: Item) -> bool:
    """Tell whether "both 2 and 3" is of choices, whatever they are called: the question has no such numbers of its own."""
    found = _BY_NUMBER.search(text)
    return found is not None and all(
        1 <= int(number) <= len(item.choices) and not re.search(rf"\b{number}\b", item.question)
        for number in found.groups()
    )


@dataclass(frozen=True, slots=True)
class Items:
    """Items whose choices can be put in any order.

    Attributes:
        items: Those.
        rows: Where each came from in what was given, from 0.
        unreadable: How many texts were no multiple-choice questions.
        order_dependent: How many items were left out because their meaning depends on the order.
    """

    items: tuple[Item, ...]
    rows: tuple[int, ...]
    unreadable: int
    order_dependent: int

    def __len__(self) -> int:
        return len(self.items)

    def to_dict(self) -> dict[str, int]:
        """Return the counts as plain JSON."""
        return {"items": len(self), "unreadable": self.unreadable, "order_dependent": self.order_dependent}


def select_items(candidates: Iterable[Item | None]) -> Items:
    """Leave out what is no item (None, as `parse_item` returns) and what depends on the order of its choices, and count both."""
    kept: list[Item] = []
    rows: list[int] = []
    unreadable = dependent = 0
    for row, item in enumerate(candidates):
        if item is None:
            unreadable += 1
        elif depends_on_order(item):
            dependent += 1
        else:
            kept.append(item)
            rows.append(row)
    return Items(tuple(kept), tuple(rows), unreadable, dependent)


def with_style(item: Item, **changes: str) -> Item:
    """Return the item with some fields of its style changed."""
    return replace(item, style=replace(item.style, **changes))
