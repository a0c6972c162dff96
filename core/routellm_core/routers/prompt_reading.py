"""What the default router reads of a prompt: its form, and the part that is the question rather than padding."""

import re
from dataclasses import dataclass

from routellm_core.routers.prompt_paragraphs import asking_paragraphs

FORMS = ("choices", "many choices", "quantities", "free")
"""The forms of a prompt; see `Reading`."""

HEAD, TAIL = 500, 700
"""Of a prompt that is longer than both together, this many characters at its beginning and at its end are read."""

_EITHER_END = 2000  # of a longer prompt, so much at both ends is looked through for paragraphs that ask
_FEW_CHOICES = 5
_LETTERS = 10
_WORDS_PER_NUMBER = 25
_FOREIGN_LETTERS = 0.25

WORD = re.compile(r"[^\W\d_]+")
NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_LOWER_OR_SPACE = str.maketrans({code: chr(code).lower() if chr(code).isalpha() else " " for code in range(128)})
_PERHAPS_LETTERS = re.compile("[a-z\x80-\U0010ffff]+")
_LETTER_CHOICE = re.compile(r"[ \t]*\(?[A-J][.):](?:\s|$)")
_SYMBOL_CHOICE = re.compile(r"[ \t]*\(?([^\w\s]|[^\W\d_A-Za-z])[.):](?=\s|$)")
_FORMULA = re.compile(r"[\\^{}=<>\[\]|]")
_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?](?!\s)[^.!?\n]*)*(?:[.!?]+|\n|$)")
_COURTESY = (
    r"(?:hi|hello|hey|dear|good (?:morning|day|evening)|i hope (?:you|this)|thanks|thank you|many thanks|kind regards|"
    r"best regards|please (?:answer|respond|reply|be|keep)|answer (?:briefly|concisely|shortly|in detail)|be (?:brief|concise)|"
    r"(?:please )?(?:give|provide) (?:me )?a (?:brief|clear|complete|concise|detailed|full|short|thorough) (?:answer|response)|"
    r"let'?s think|think step)\b[^.!?,\n]{0,80}[.!?,\n]+\s*"
)
_BEFORE = re.compile(rf"\s*(?:{_COURTESY})+", re.IGNORECASE)
_AFTER = re.compile(rf"[.!?:\n]\s*(?:{_COURTESY})+$", re.IGNORECASE)  # a look-behind would be tried at every character
_LONGEST_COURTESY = 200

_NUMBER_WORDS = frozenset(
    WORD.findall(
        """
        two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty hundred thousand million
        half twice double triple third quarter dozen
        """
    )
)
_QUANTITY = frozenset(
    WORD.findall(
        """
        many much calculate compute determine find total average mean percent percentage probability number sum rate
        ratio cost price amount value long far fast old tall heavy
        """
    )
)
_FOREIGN = frozenset(  # German, Spanish, French, Italian, Portuguese, Dutch
    WORD.findall(
        """
        der das und ist nicht ein eine einen einem einer mit auf für von zu wie wo wer wann warum welche welcher welches wenn sich
        dem den des sind wird kann können soll hat habe ich wir im zum zur bei nach über aus oder auch nur kein keine mein meine
        meinen dass viele gibt bitte erkläre nenne schreibe zwei drei
        el los las una un unos unas que por para con como de del en al lo su sus y es son se más sobre entre qué cuál cuáles cómo
        quién dónde cuándo cuánto cuántos cuántas dame escribe nombra
        le les du et est pour dans qui une au aux ce cette il elle je vous nous ne pas avec sont où quel quelle pourquoi comment
        combien quand sur
        di che gli della sono non per perché quale quanti dove chi cosa più è come
        um uma não é são em do da no na com os quem qual onde mais
        het een voor niet van wat waarom hoe zijn
        """
    )
)
_ENGLISH = frozenset(
    WORD.findall(
        """
        the a an of to in is are was and or for with on that this it as be by from at what which how why who when
        where does do did can you your i my me not if write give make find explain describe list
        """
    )
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt as the default router reads it.

    Attributes:
        form: "choices": two to five lines begin with a letter from A to J as a choice does, or with symbols that all
            differ, which are then read as such letters; "many choices": more lines do; "quantities": prose that asks for a
            quantity, with two or more numbers in digits or in words, one for every 25 words or more, and no formula;
            "free": all else.
        text: The part that is read. Courtesies at either end and paragraphs that ask nothing are left out
            (`prompt_paragraphs`). Of choices: the paragraph that leads to them, and
            them; of quantities: from the first to the last sentence that has a number or asks.
        question: `text` without choices.
        words: The words of `text` in lower case.
        distinct: The different ones among them.
        length: The number of characters of `text`, and of those between `HEAD` and `TAIL`.
        n_choices: How many choices there are.
        english: Whether it is taken for English: few letters of other scripts, and not more function words of other
            languages than of English.
    """

    form: str
    text: str
    question: str
    words: tuple[str, ...]
    distinct: frozenset[str]
    length: int
    n_choices: int
    english: bool


def read(prompt: str) -> Reading:
    """Read a prompt."""
    whole = prompt if len(prompt) <= 2 * _EITHER_END else f"{prompt[:_EITHER_END]}\n\n{prompt[-_EITHER_END:]}"
    plain = _without_courtesies(whole)
    asked = asking_paragraphs(plain)
    between = max(len(prompt) - len(whole), 0) if asked is plain else 0
    unread = max(len(asked) + between - HEAD - TAIL, 0)
    text, starts = _choices(asked if not unread else f"{asked[:HEAD]}\n{asked[-TAIL:]}")
    if len(starts) > 1:
        end = text.find("\n", starts[-1])
        begin = text.rfind("\n\n", 0, starts[0])
        begin = begin + 2 if text[begin + 2 : starts[0]].strip() and begin >= 0 else 0
        text = text[begin : end if end >= 0 else len(text)]
        question = text[: starts[0] - begin].strip()
        form = "choices" if len(starts) <= _FEW_CHOICES else "many choices"
        words = _words(text)
    else:
        form, words = "free", _words(text)
        if not _QUANTITY.isdisjoint(words) and _numbers(text, words) > 1 and _FORMULA.search(text) is None:
            window = _from_first_to_last_number(text)
            inside = words if len(window) == len(text) else _words(window)
            numbers = _numbers(window, inside)
            if numbers > 1 and 2 * numbers < len(inside) <= _WORDS_PER_NUMBER * numbers:
                form, text, words = "quantities", window, inside
        question = text
    distinct = frozenset(words)
    length = len(text) + unread
    return Reading(form, text, question, tuple(words), distinct, length, len(starts), _is_english(words, distinct))


def stem(prompt: str) -> str:
    """Return a multiple-choice question without its choices, any other prompt as it is."""
    text, starts = _choices(prompt)
    return text[: starts[0]].strip() if len(starts) > 1 else prompt


def _choices(text: str) -> tuple[str, list[int]]:
    """Return a text with letters before its choices, and where these begin; fewer than two are none."""
    lines = text.split("\n")
    chosen = [i for i, line in enumerate(lines) if _LETTER_CHOICE.match(line)]
    if len(chosen) < 2:
        found = [(i, match) for i, line in enumerate(lines) if (match := _SYMBOL_CHOICE.match(line))]
        if 1 < len(found) <= _LETTERS and len({match.group(1) for _, match in found}) == len(found):
            chosen = [i for i, _ in found]
            for letter, (i, match) in enumerate(found, ord("A")):
                lines[i] = f"{lines[i][: match.start(1)]}{chr(letter)}{lines[i][match.end(1) :]}"
            text = "\n".join(lines)
    starts, begin, last = [], 0, 0
    for i in chosen:
        begin += sum(map(len, lines[last:i])) + i - last
        starts.append(begin)
        last = i
    return text, starts


def _words(text: str) -> list[str]:
    # All the words of WORD, but most of them without asking what kind of letter each is.
    if text.isascii():
        return text.translate(_LOWER_OR_SPACE).split()
    runs = _PERHAPS_LETTERS.findall(text.lower())
    return [word for run in runs for word in ((run,) if run.isascii() else WORD.findall(run))]


def _without_courtesies(text: str) -> str:
    begin = match.end() if (match := _BEFORE.match(text)) else 0
    kept = text[begin:]
    match = _AFTER.search(kept, max(len(kept) - _LONGEST_COURTESY - 1, 0))
    kept = kept[: match.start() + 1] if match else kept
    return kept if kept.strip() else text


def _from_first_to_last_number(text: str) -> str:
    spans = [match.span() for match in _SENTENCE.finditer(text)]
    first = next((begin for begin, end in spans if _counts(text[begin:end])), None)
    if first is None:
        return text
    last = next(end for begin, end in reversed(spans) if _counts(text[begin:end]))
    return text[first:last].strip()


def _counts(sentence: str) -> bool:
    return "?" in sentence or NUMBER.search(sentence) is not None or not _NUMBER_WORDS.isdisjoint(_words(sentence))


def _numbers(text: str, words: list[str]) -> int:
    return len(NUMBER.findall(text)) + sum(map(_NUMBER_WORDS.__contains__, words))


def _is_english(words: list[str], distinct: frozenset[str]) -> bool:
    letters = "".join(words)
    if not letters.isascii() and len(letters.encode("ascii", "ignore")) < (1 - _FOREIGN_LETTERS) * len(letters):
        return False
    foreign = len(distinct & _FOREIGN)
    return foreign < 2 or foreign <= len(distinct & _ENGLISH)
