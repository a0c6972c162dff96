"""The ways in which `robustness.py` asks its questions, and the likelihoods that were found so far."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustness_questions import question_set

from routellm_core.robustness.demonstrations import Demonstration, Kind, demonstrate
from routellm_core.robustness.items import Item, known_gold
from routellm_core.robustness.perturbations import PERTURBATIONS, item_rng, rotate_choices
from routellm_core.robustness.scoring import Likelihood, Progress, Rule, continuations, render

SEED = 0


@dataclass(frozen=True)
class Run:
    """One way to ask all the questions."""

    rule: Rule = "symbol"
    change: Callable[[Item], Item] = lambda item: item
    shown: Kind = "none"
    shots: int = 5
    position: int = 0
    draw: int = 0

    def ask(self) -> tuple[list[Item], list[tuple[Demonstration, ...]]]:
        """Return the items as they are asked, and what stands before each."""
        pool, asked = question_set(seed=SEED)
        items = [self.change(item) for item in asked]
        shown = [
            demonstrate(item, pool, self.shown, shots=self.shots, position=self.position, seed=SEED + self.draw)
            for item in items
        ]
        return items, shown

    def texts(self) -> list[tuple[str, list[str]]]:
        """Return, for each item, the prompt and what may follow it."""
        items, shown = self.ask()
        return [
            (render(item, before, rule=self.rule), continuations(item, rule=self.rule))
            for item, before in zip(items, shown, strict=True)
        ]


def _perturbed(name: str) -> Callable[[Item], Item]:
    return lambda item: PERTURBATIONS[name].apply(item, SEED)


def _rotated(steps: int) -> Callable[[Item], Item]:
    return lambda item: rotate_choices(item, steps)


def _to_gold(position: int) -> Callable[[Item], Item]:
    return lambda item: rotate_choices(item, position - known_gold(item))


def _moved(item: Item) -> Item:
    return rotate_choices(item, 1 + int(item_rng(SEED, item, "rotation").integers(len(item.choices) - 1)))


# Texts are moved by rotations alone. So every text leaves its place, and the four rotations of a question, which the
# permutation-averaged labels need, are also those with its right answer at A, B, C and D.
RUNS: dict[str, Run] = {
    "symbol": Run(),
    "hybrid": Run("hybrid"),
    "cloze": Run("cloze"),
    "symbol, texts moved": Run(change=_moved),
    "hybrid, texts moved": Run("hybrid", _moved),
    "new symbols": Run(change=_perturbed("common-symbols")),
    "new symbols, then symbols shuffled": Run(change=_perturbed("common-then-symbols")),
    "new symbols, then texts shuffled": Run(change=_perturbed("common-then-texts")),
    **{f"all right answers at {'ABCD'[k]}": Run(change=_to_gold(k)) for k in range(4)},
    **{f"symbol, rotated by {k}": Run(change=_rotated(k)) for k in (1, 2, 3)},
    "5 shots": Run(shown="first"),
    **{f"5 shots, all answered {'ABCD'[k]}": Run(shown="biased", position=k) for k in range(4)},
    "right answer in context": Run(shown="correct-in-context"),
    "wrong answer in context": Run(shown="incorrect-in-context"),
    **{f"hybrid, 3 mixed shots, draw {k}": Run("hybrid", shown="mixed", shots=3, draw=k) for k in (0, 1)},
}
"""Every run by the name that the tables call it."""

ROTATED = ["symbol", *(f"symbol, rotated by {k}" for k in (1, 2, 3))]
MIXED = [f"hybrid, 3 mixed shots, draw {k}" for k in (0, 1)]
GOLD = [f"all right answers at {k}" for k in "ABCD"]
BIASED = [f"5 shots, all answered {k}" for k in "ABCD"]
MOVED = ["symbol, texts moved", "hybrid, texts moved"]
NEW = [name for name in RUNS if name.startswith("new symbols")]
CONTEXT = ["right answer in context", "wrong answer in context"]

# What is read together: an item in all these ways at once, as its question is then read once; or many items in one way, as their
# demonstrations are then read once. What matters most stands at both ends, for a process that begins with the last.
Block = tuple[str, Sequence[str]]
BLOCKS: dict[str, Sequence[Block]] = {
    "strong": [
        ("questions", ["cloze"]),
        ("ways", ["symbol", "hybrid", *MOVED, *NEW, *GOLD, *ROTATED[1:]]),
        *(("questions", [name]) for name in BIASED),
        ("questions", MIXED[1:]),
        ("questions", ["5 shots"]),
        ("ways", CONTEXT),
        ("questions", MIXED[:1]),
    ],
    "weak": [
        ("questions", ["cloze"]),
        ("ways", ROTATED),
        ("questions", MIXED[1:]),
        ("questions", MIXED[:1]),
    ],
}


class Store:
    """Log-likelihoods of one model, kept in a file as they are found; a `Scorer` of what it has.

    Args:
        path: A file of JSON lines, made when something is added.
        name: What tables call the model.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._path = path
        self._read = 0
        self._known: dict[tuple[str, str], Likelihood] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what has come to the file, by other processes perhaps."""
        if not self._path.exists():
            return
        with self._path.open() as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                prompt, text, value, tokens = json.loads(line)
                self._known[prompt, text] = Likelihood(value, tokens)
                self._read = file.tell()

    def lacks(self, prompt: str, texts: Sequence[str]) -> list[str]:
        """Return those of the texts whose likelihood after the prompt is not known."""
        return [text for text in texts if (_key(prompt), text) not in self._known]

    def add(
        self, prompts: Sequence[str], texts: Sequence[Sequence[str]], found: Sequence[Sequence[Likelihood]]
    ) -> None:
        """Keep what was found."""
        rows = [
            json.dumps([_key(prompt), text, *value]) + "\n"
            for prompt, several, values in zip(prompts, texts, found, strict=True)
            for text, value in zip(several, values, strict=True)
        ]
        with self._path.open("a") as file:
            file.write("".join(rows))
        self.refresh()

    def log_likelihoods(
        self,
        prompts: Sequence[str],
        continuations: Sequence[Sequence[str]],
        *,
        progress: Progress | None = None,  # noqa: ARG002
    ) -> list[list[Likelihood]]:
        """Return what is known; raises KeyError for what is not."""
        return [
            [self._known[_key(prompt), text] for text in texts]
            for prompt, texts in zip(prompts, continuations, strict=True)
        ]


def _key(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]
