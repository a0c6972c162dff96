"""Answered items before the one that is asked: few-shot prompts, with the biases that examples can have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal, get_args

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.items import Item, known_gold
from routellm_core.robustness.perturbations import fix_gold, item_rng

Kind = Literal[
    "none",
    "first",
    "order",
    "biased",
    "trivial",
    "out-of-domain",
    "correct-in-context",
    "incorrect-in-context",
    "mixed",
]

TRIVIAL_ITEMS = (
    Item("trivial-0", "What is 1 + 1?", ("7", "2", "9", "5"), 1),
    Item("trivial-1", "Which of these is a colour?", ("chair", "Monday", "blue", "seven"), 2),
    Item("trivial-2", "Which of these is an animal?", ("cat", "cloud", "spoon", "music"), 0),
    Item("trivial-3", "Which word has the same meaning as “big”?", ("green", "early", "wet", "large"), 3),
    Item("trivial-4", "How many legs does a dog have?", ("one", "four", "ten", "none"), 1),
)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An item and the position that the prompt says is right, from 0."""

    item: Item
    answer: int


def demonstrate(
    item: Item, pool: Sequence[Item], kind: Kind, *, shots: int = 5, position: int = 0, seed: int = 0
) -> tuple[Demonstration, ...]:
    """Choose what stands before an item.

    Args:
        item: The item that is asked; it is never taken from the pool.
        pool: Items with gold answers.
        kind: "none"; "first", the first of the pool; "order", the same in an order random for each item; "biased", the same with
            the right answer at `position` in each; "trivial", questions anybody can answer; "out-of-domain", items of other
            groups; "correct-in-context" and "incorrect-in-context", the item itself with its right or a wrong answer; "mixed",
            one trivial item, one of another group if there is one, and for the others items of the item's own group, or of any
            where those are too few; right answers stand at positions without a pattern (arXiv 2402.01781 recommends this).
        shots: How many; one for the two "in-context" kinds.
        position: For "biased".
        seed: Another seed, another choice.

    Raises:
        ConfigurationError: If the kind is unknown, or there are not enough items.
    """
    if kind not in get_args(Kind):
        raise ConfigurationError(f"kind must be one of {', '.join(get_args(Kind))}, not {kind!r}")
    if kind == "none":
        return ()
    if kind == "correct-in-context":
        return (Demonstration(item, known_gold(item)),)
    rng = item_rng(seed, item, "demonstrations")
    if kind == "incorrect-in-context":
        wrong = [i for i in range(len(item.choices)) if i != known_gold(item)]
        return (Demonstration(item, int(rng.choice(wrong))),)
    others = [one for one in pool if one.id != item.id]
    if kind == "mixed":
        chosen = _mixed(item, others, shots, seed)
    elif kind == "trivial":
        chosen = _take(TRIVIAL_ITEMS, shots, kind)
    elif kind == "out-of-domain":
        foreign = [one for one in others if one.group != item.group]
        if not foreign:
            raise ConfigurationError(
                f"'out-of-domain' demonstrations need items of another group than {item.group!r}, and the pool has none"
            )
        chosen = _take(foreign, shots, kind)
    else:
        chosen = _take(others, shots, kind)
    if kind == "order":
        chosen = [chosen[i] for i in rng.permutation(len(chosen))]
    elif kind == "biased":
        chosen = [fix_gold(one, position) for one in chosen]
    return tuple(Demonstration(_like(one, item), known_gold(one)) for one in chosen)


def _take(items: Sequence[Item], shots: int, kind: str) -> list[Item]:
    if not items:
        raise ConfigurationError(f"{kind!r} demonstrations: the pool is empty")
    if shots < 1 or len(items) < shots:
        raise ConfigurationError(f"{kind!r} demonstrations: shots must be 1 to {len(items)}, not {shots!r}")
    return list(items[:shots])


def _mixed(item: Item, others: Sequence[Item], shots: int, seed: int) -> list[Item]:
    rng = item_rng(seed, item, "mixed demonstrations")
    foreign, own = (
        _shuffled([one for one in others if (one.group != item.group) is other], rng) for other in (True, False)
    )
    mixed = [TRIVIAL_ITEMS[int(rng.integers(len(TRIVIAL_ITEMS)))]]
    if shots > 1:
        mixed += foreign[:1]
    rest = [*own, *foreign[1:]]  # others of another group only where its own are too few
    if not 0 <= shots - len(mixed) <= len(rest):
        raise ConfigurationError(f"'mixed' demonstrations: shots must be 1 to {len(others) + 1}, not {shots!r}")
    mixed += rest[: shots - len(mixed)]
    start = int(rng.integers(26))
    placed = [fix_gold(one, (start + i) % len(one.choices)) for i, one in enumerate(mixed)]  # as even as can be
    return _shuffled(placed, rng)  # and in no order


def _shuffled(items: Sequence[Item], rng: np.random.Generator) -> list[Item]:
    return [items[int(i)] for i in rng.permutation(len(items))]


def split_pool(items: Sequence[Item], size: int, *, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """Take items to demonstrate with out of those that are asked: at random, and from every group in turn.

    Args:
        items: More than `size`.
        size: How many the pool gets, 1 or more.
        seed: Another seed, another pool.

    Returns:
        The pool, and the others in their order.

    Raises:
        ConfigurationError: If none would be left to ask, or none be in the pool.
    """
    if not 1 <= size < len(items):
        raise ConfigurationError(f"a pool of {size} of {len(items)} questions leaves none to ask, or none to show")
    rng = np.random.default_rng(seed)
    groups: dict[str, list[int]] = {}
    for place in rng.permutation(len(items)).tolist():
        groups.setdefault(items[place].group, []).append(place)
    turns = [place for turn in zip_longest(*groups.values()) for place in turn if place is not None]
    chosen = set(turns[:size])
    return [items[i] for i in sorted(chosen)], [item for i, item in enumerate(items) if i not in chosen]


def _like(one: Item, item: Item) -> Item:
    """Put a demonstration as the item is put: the same style, and the same symbols as far as they are enough."""
    symbols = item.symbols[: len(one.choices)] if len(item.symbols) >= len(one.choices) else one.symbols
    return replace(one, style=replace(item.style, header=""), symbols=symbols)
