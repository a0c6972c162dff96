"""Small changes to how a multiple-choice question is put, none of which changes the right answer (arXiv 2402.01781, section 4).

Every function returns a new item. What is random depends on the seed and the item's id alone, not on what else is perturbed.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.items import Item, known_gold, with_style

Mode = Literal["text", "symbol", "pair"]
"""What moves: the texts under their symbols, the symbols over their texts, or both together."""

COMMON_SYMBOLS = tuple("$&#@%*+=?!")
"""The paper's four, and six more for longer lists."""
RARE_SYMBOLS = tuple("œ§\u0417ü¶ŋжßðþ")
"""The paper's four (the third is the Cyrillic letter Ze), and six more for longer lists."""


def item_rng(seed: int, item: Item, purpose: str) -> np.random.Generator:
    """Return the generator of random numbers of one item and one purpose."""
    digest = hashlib.sha256(f"{seed}\x00{purpose}\x00{item.id}".encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def reorder(item: Item, order: Sequence[int], *, mode: Mode = "text") -> Item:
    """Put the choices of an item in another order.

    Args:
        item: The item.
        order: For each position, the position from which its new content comes; a permutation.
        mode: "text" moves texts and leaves symbols, "symbol" moves symbols and leaves texts, "pair" moves both together.

    Raises:
        ConfigurationError: If the order is no permutation of the positions, or the mode unknown.
    """
    if mode not in get_args(Mode):
        raise ConfigurationError(f"mode must be one of {', '.join(get_args(Mode))}, not {mode!r}")
    if sorted(order) != list(range(len(item.choices))):
        raise ConfigurationError(f"order must be a permutation of 0 to {len(item.choices) - 1}, not {list(order)!r}")
    changes: dict[str, object] = {}
    if mode in ("text", "pair"):
        changes["choices"] = tuple(item.choices[i] for i in order)
        changes["gold"] = None if item.gold is None else list(order).index(item.gold)
    if mode in ("symbol", "pair"):
        changes["symbols"] = tuple(item.symbols[i] for i in order)
    return replace(item, **changes)  # type: ignore[arg-type]


def shuffle_choices(item: Item, *, mode: Mode = "text", derangement: bool = False, seed: int = 0) -> Item:
    """Put the choices in a random order.

    Args:
        item: The item.
        mode: See `reorder`.
        derangement: Every one leaves its place.
        seed: Another seed, another order.
    """
    rng = item_rng(seed, item, "order")
    places = np.arange(len(item.choices))
    order = rng.permutation(places)
    while derangement and (order == places).any():  # a permutation is one with probability 1/e or more
        order = rng.permutation(places)
    return reorder(item, order.tolist(), mode=mode)


def swap_neighbours(item: Item, *, mode: Mode = "text") -> Item:
    """Swap the first with the second choice, the third with the fourth, and so on: one rule for all items.

    The last of an odd number keeps its place.
    """
    n = len(item.choices)
    return reorder(item, [i if i == n - 1 and n % 2 else i ^ 1 for i in range(n)], mode=mode)


def rotate_choices(item: Item, steps: int) -> Item:
    """Move every text on by some positions, the last ones to the front: a cyclic permutation."""
    n = len(item.choices)
    return reorder(item, [(i - steps) % n for i in range(n)])


def fix_gold(item: Item, position: int) -> Item:
    """Swap the right text to a position.

    Raises:
        ConfigurationError: If the item has no such position, or no gold answer.
    """
    n, gold = len(item.choices), known_gold(item)
    if not 0 <= position < n:
        raise ConfigurationError(f"item {item.id!r} has {n} choices: position must be 0 to {n - 1}, not {position!r}")
    order = list(range(n))
    order[gold], order[position] = position, gold
    return reorder(item, order)


def replace_symbols(item: Item, symbols: Sequence[str] = COMMON_SYMBOLS) -> Item:
    """Call the positions otherwise.

    Args:
        item: The item.
        symbols: As many as there are choices, or more, of which the first are taken.

    Raises:
        ConfigurationError: If there are too few, or some are equal.
    """
    if len(symbols) < len(item.choices):
        raise ConfigurationError(f"item {item.id!r} has {len(item.choices)} choices; there are {len(symbols)} symbols")
    return replace(item, symbols=tuple(symbols[: len(item.choices)]))


def add_spaces(item: Item, *, share: float = 0.1, seed: int = 0) -> Item:
    """Double the space behind every symbol, and a random share of those in the question; choices stay as they are."""
    if not 0 <= share <= 1:
        raise ConfigurationError(f"share must be in [0, 1], not {share!r}")
    rng = item_rng(seed, item, "spaces")
    question = re.sub(r"(?<=\S) (?=\S)", lambda _: "  " if rng.random() < share else " ", item.question)
    return with_style(replace(item, question=question), closing=item.style.closing.rstrip(" ") + "  ")


def reword(item: Item, *, cue: str = "Correct Answer:", header: str = "") -> Item:
    """Ask for the answer in other words; the line before the question is dropped unless another is given."""
    return with_style(item, cue=cue, header=header)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A change with a name, for reports.

    Attributes:
        apply: From an item and a seed to the changed item.
        about: What it does, in a few words.
        needs_gold: Whether it must know the right answer.
    """

    apply: Callable[[Item, int], Item]
    about: str
    needs_gold: bool = False


def _shuffle(item: Item, seed: int, *, mode: Mode, derangement: bool) -> Item:
    return shuffle_choices(item, mode=mode, derangement=derangement, seed=seed)


def _shuffled_symbols(item: Item, seed: int, *, mode: Mode) -> Item:
    return shuffle_choices(replace_symbols(item), mode=mode, seed=seed)


PERTURBATIONS: Mapping[str, Perturbation] = {
    "shuffle": Perturbation(partial(_shuffle, mode="text", derangement=False), "texts in a random order"),
    "derange": Perturbation(partial(_shuffle, mode="text", derangement=True), "every text leaves its place"),
    "shuffle-symbols": Perturbation(partial(_shuffle, mode="symbol", derangement=False), "symbols in a random order"),
    "shuffle-pairs": Perturbation(partial(_shuffle, mode="pair", derangement=False), "symbols travel with their texts"),
    "swap": Perturbation(lambda item, _: swap_neighbours(item), "neighbours trade places"),
    "common-symbols": Perturbation(lambda item, _: replace_symbols(item), "$ & # @ instead of letters"),
    "rare-symbols": Perturbation(
        lambda item, _: replace_symbols(item, RARE_SYMBOLS), "œ § \u0417 ü instead of letters"
    ),
    "common-then-symbols": Perturbation(partial(_shuffled_symbols, mode="symbol"), "$ & # @, in a random order"),
    "common-then-texts": Perturbation(partial(_shuffled_symbols, mode="text"), "$ & # @, texts in a random order"),
    "spaces": Perturbation(lambda item, seed: add_spaces(item, seed=seed), "extra spaces"),
    "wording": Perturbation(lambda item, _: reword(item), "“Correct Answer:” instead of “Answer:”"),
    **{
        f"gold-{letter}": Perturbation(
            partial(lambda item, _, position: fix_gold(item, position), position=i),
            f"every right answer is {letter}",
            True,
        )
        for i, letter in enumerate("ABCD")
    },
}
"""Every perturbation of one item, by the name that reports and the command line use."""


def perturbation(name: str) -> Perturbation:
    """Return a perturbation.

    Raises:
        ConfigurationError: If there is none of this name; lists those there are.
    """
    try:
        return PERTURBATIONS[name]
    except KeyError:
        raise ConfigurationError(f"there is no perturbation {name!r}; there are: {', '.join(PERTURBATIONS)}") from None
