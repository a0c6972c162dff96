"""The statistics that the default router reads off a prompt."""

import re
from collections.abc import Sequence
from math import log1p

import numpy as np
from numpy.typing import NDArray

from routellm_core.routers.prompt_reading import NUMBER, Reading

Array = NDArray[np.float64]

_SENTENCE_END = re.compile("[.!?\u3002\uff01\uff1f\u061f]+(?=\\s|$)")
_SUM = re.compile(r"[0-9]\s*[+*/-]\s*[0-9]")
_NEGATED = frozenset({"not", "except", "least"})
_ASKING = frozenset({"which", "what", "who", "when", "where"})
_REASON = frozenset({"how", "why", "explain", "prove"})
_PRODUCE = frozenset(
    {"write", "create", "generate", "suggest", "describe", "story", "poem", "email", "draft", "compose"}
)
_CAPITAL, _DIGIT, _LINE, _CODE, _BEYOND = (bytes([kind]) for kind in range(1, 6))
_KINDS = bytearray(256)
for _kind, _characters in (
    (_CAPITAL, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    (_DIGIT, b"0123456789"),
    (_LINE, b"\n"),
    (_CODE, b"{}();[]=<>"),
    (_BEYOND, bytes(range(128, 256))),
):
    for _character in _characters:
        _KINDS[_character] = _kind[0]

STATISTICS = (
    "log length of the stem",
    "log length",
    "log length of the choices",
    "more than four choices",
    "letters per word",
    "log numbers",
    "share of digits",
    "log lines",
    "question mark",
    "blank",
    "negation",
    "log sentences",
    "share of capitals",
    "share beyond ASCII",
    "formula",
    "log code characters",
    "choices are numbers",
    "asks which",
    "asks how or why",
    "asks for a text",
    "repetition of words",
    "ends like a sentence",
    "speaks of statements",
)
"""What `prompt_statistics` returns, column by column."""


def prompt_statistics(readings: Sequence[Reading]) -> Array:
    """Return the statistics of n prompts, shape (n, len(STATISTICS))."""
    return np.array([_statistics(reading) for reading in readings], dtype=np.float64).reshape(-1, len(STATISTICS))


def _statistics(reading: Reading) -> list[float]:
    text, question, words = reading.text, reading.question, reading.words
    chosen = reading.n_choices > 1
    choices = len(text) - len(question)
    distinct = reading.distinct
    kinds = text.encode("utf-8", "replace").translate(_KINDS)
    size = max(len(kinds), 1)
    digits = kinds.count(_DIGIT)
    return [
        log1p(len(question) if chosen else reading.length),
        log1p(reading.length),
        log1p(choices),
        float(reading.n_choices > 4),
        sum(map(len, words)) / max(len(words), 1),
        log1p(len(NUMBER.findall(question)) if digits else 0),
        digits / size,
        log1p(kinds.count(_LINE)),
        float("?" in question),
        float("__" in question),
        float(not distinct.isdisjoint(_NEGATED)),
        log1p(len(_SENTENCE_END.findall(question))),
        kinds.count(_CAPITAL) / size,
        kinds.count(_BEYOND) / size,
        float("\\" in text or "^" in text or "$" in text or (digits and _SUM.search(text) is not None)),
        log1p(kinds.count(_CODE)),
        digits / max(choices, 1) if chosen else 0.0,
        float(not distinct.isdisjoint(_ASKING)),
        float(not distinct.isdisjoint(_REASON)),
        float(not distinct.isdisjoint(_PRODUCE)),
        log1p(len(words)) - log1p(len(distinct)),
        float(question.rstrip()[-1:] in {".", ","}),
        float("statement" in distinct or "\nII." in text),
    ]
