"""Which choice a written answer settles on."""

import re

from routellm_core.preferences.golden import extract_choice
from routellm_core.preferences.normalise import normalise_text
from routellm_core.robustness.items import LETTERS, Item

_ANSWER_IS = re.compile(
    r"\A\s*(?:the\s+)?(?:correct\s+|right\s+|final\s+)?(?:answer|choice)(?:\s+is\b|\s*:)+\s*", re.IGNORECASE
)


def read_answer(item: Item, text: str) -> int | None:
    r"""Return the position that a written answer settles on; None if it settles on none.

    In this order: where the symbols are capitals, what `preferences.golden.extract_choice` reads; the last `\boxed{2}`; the last
    "the answer is 2", "answer: 2", "option 2" or "it is 2" at the end of a clause; a symbol at the start, behind which a letter
    or a number needs a bracket, a full stop, a colon or the end of the line; the text of one choice alone, perhaps behind
    "the answer is". Small and capital letters are one, unless both are symbols.
    """
    if set(item.symbols) <= set(LETTERS):
        letter = extract_choice(text, choices="".join(item.symbols))
        if letter is not None:
            return item.symbols.index(letter)
    symbol = _symbol(item, text)
    return _text(item, text) if symbol is None else symbol


def _symbol(item: Item, text: str) -> int | None:
    folded = [symbol.casefold() for symbol in item.symbols]
    one_case = len(set(folded)) == len(folded)
    places = {name: i for i, name in enumerate(folded if one_case else item.symbols)}
    flags = re.IGNORECASE if one_case else 0
    star = "" if "*" in item.symbols else "*"  # of Markdown
    named = "|".join(re.escape(name) for name in sorted(item.symbols, key=len, reverse=True))
    alone = rf"[\s(\[{star}]*(?P<symbol>{named})[)\]{star}]*"
    not_one_of_two = r"(?!\W*(?:or|and)\b)"
    said = r"\b(?i:it\s+is|it's|(?:answer|option|choice)(?:\s+is\b|\s*:)*)(?!\w)"
    stated = rf"(?<!\bnot ){said}{alone}(?=[.,;:!?](?!\d)|\s*\n|\s*\Z){not_one_of_two}"
    behind = r"(?:(?<=[)\]])|[.:](?!\d)|[ \t]*(?:\n|\Z))"
    loose = r"(?=[\s.):]|\Z)"
    is_word = all(symbol.isalnum() for symbol in item.symbols)
    patterns = [rf"\\boxed\{{\s*(?:\\text\{{)?{alone}\s*\}}", stated]
    if len(set(re.findall(rf"^[\s(]*({named})[.):]", text, flags | re.MULTILINE))) < 2:  # it does not list them all
        patterns.append(rf"\A{alone}{behind if is_word else loose}{not_one_of_two}")
    for pattern in patterns:
        found = [*re.finditer(pattern, text, flags)]
        if found:
            name = found[-1]["symbol"]
            return places[name.casefold() if one_case else name]
    return None


def _text(item: Item, text: str) -> int | None:
    said = _ANSWER_IS.sub("", text.strip()).rstrip(".")
    for form in (str, normalise_text):
        same = [i for i, choice in enumerate(item.choices) if form(choice.strip().rstrip(".")) == form(said)]
        if len(same) == 1:
            return same[0]
    return None
