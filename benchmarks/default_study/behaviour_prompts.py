"""Prompts like those outside the training data: short chat, documents, code, tables, translations, padding; all made here.

The sentences, questions and paragraphs are in the folder `behaviour`; the kinds that are made of them by a template say so below.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "behaviour"
TEXTS: dict[str, list[str]] = json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))
TRANSLATIONS: dict[str, list[str]] = json.loads((FOLDER / "translations.json").read_text(encoding="utf-8"))
"""Of `TEXTS["questions"]`, in the same order."""

_LANGUAGES = ("German", "Spanish", "French", "Japanese")
_GOODS = ("apples", "lamps", "chairs", "kettles", "scarves")
_ASKED_OF_TABLES = (
    "Which row has the largest total?",
    "Add a column with the share of the total in percent.",
    "Describe the trend from the first to the last month in two sentences.",
    "Write the table as JSON.",
)


def kinds() -> dict[str, list[str]]:
    """Return twenty prompts of each kind."""
    paragraphs, questions = TEXTS["paragraphs"], TEXTS["questions on documents"]
    documents = ["\n\n".join(paragraphs[(i + j) % 20] for j in range(8)) for i in range(20)]
    return {
        "short chat": TEXTS["short chat"],
        "questions": TEXTS["questions"],
        "code": TEXTS["code"],
        "several abilities": TEXTS["several abilities"],
        "translation": [
            f"Translate into {_LANGUAGES[i % 4]}: {sentence}" for i, sentence in enumerate(TEXTS["sentences"])
        ],
        "summarisation": [f"Summarise this in one sentence:\n\n{paragraph}" for paragraph in paragraphs],
        "tables": [f"{_table(i)}\n\n{_ASKED_OF_TABLES[i % 4]}" for i in range(20)],
        "long documents": [f"{document}\n\n{questions[i % 5]}" for i, document in enumerate(documents)],
        "retrieved context": [
            with_context(question, [paragraphs[(i + j) % 20] for j in range(3)])
            for i, question in enumerate(TEXTS["questions"])
        ],
    }


def with_context(question: str, passages: list[str]) -> str:
    """Put passages before a question, as programs that retrieve do."""
    found = "\n\n".join(f"[{i}] {passage}" for i, passage in enumerate(passages, 1))
    return f"Use the following passages to answer the question.\n\n{found}\n\nQuestion: {question}"


def _table(i: int) -> str:
    rows = [[good, *(str(20 + (7 * i + 13 * j + 29 * m) % 80) for m in range(3))] for j, good in enumerate(_GOODS)]
    lines = [["goods", "January", "February", "March"], ["---"] * 4, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_FILLER = TEXTS["paragraphs"]
_SIGNATURE = (
    "\n\nKind regards,\nM. Keller\nHead of Purchasing\nKeller and Sons, 12 Mill Lane\nThis message is confidential."
)

PADDING: Mapping[str, Callable[[str, int], str]] = {
    "please answer briefly, behind": lambda text, _: f"{text}\nPlease answer briefly.",
    "please answer briefly, before": lambda text, _: f"Please answer briefly. {text}",
    "greeting and thanks": lambda text, _: f"Hello! I hope you are well. {text}\nThank you very much!",
    "think step by step": lambda text, _: f"{text}\nLet's think step by step.",
    "a role": lambda text, _: f"You are a careful assistant who knows many fields.\n\n{text}",
    "answer in detail": lambda text, _: f"{text}\n\nGive a detailed answer and explain your reasoning.",
    "signature of a mail": lambda text, _: text + _SIGNATURE,
    "spaces and empty lines": lambda text, _: f"\n\n   {text}   \n\n\n",
    "a sentence pasted before": lambda text, i: f"{TEXTS['sentences'][(i + 3) % 20]}\n\n{text}",
    "a paragraph pasted before": lambda text, i: f"{_FILLER[(i + 7) % 20]}\n\n{text}",
    "a paragraph pasted behind": lambda text, i: f"{text}\n\n{_FILLER[(i + 7) % 20]}",
    "five paragraphs pasted before": lambda text, i: "\n\n".join([*(_FILLER[(i + j) % 20] for j in range(5)), text]),
    "three passages as retrieved": lambda text, i: with_context(text, [_FILLER[(i + j) % 20] for j in range(3)]),
}
"""What is put around a prompt and asks nothing else; takes the prompt and its number."""
