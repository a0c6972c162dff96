"""Perturbations: the right answer is followed through each, and items are never changed in place."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.items import Item, parse_item
from routellm_core.robustness.perturbations import (
    COMMON_SYMBOLS,
    PERTURBATIONS,
    RARE_SYMBOLS,
    add_spaces,
    fix_gold,
    perturbation,
    reorder,
    replace_symbols,
    reword,
    rotate_choices,
    shuffle_choices,
    swap_neighbours,
)

FOUR = Item("four", "Which one is it?", ("w", "x", "y", "z"), 2)


def made(n, gold, name):
    return Item(name, "Which one of these is it?", tuple(f"text {i}" for i in range(n)), gold)


ITEMS = st.integers(2, 10).flatmap(
    lambda n: st.builds(made, st.just(n), st.integers(0, n - 1), st.integers(0, 10**9).map(str))
)
MODES = st.sampled_from(["text", "symbol", "pair"])


@given(ITEMS, st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 100))
def test_every_perturbation_follows_the_right_answer_and_reproduces(item, name, seed):
    if name.startswith("gold-") and "ABCD".index(name[-1]) >= len(item.choices):
        return
    before = replace(item)
    changed = PERTURBATIONS[name].apply(item, seed)
    assert item == before
    assert changed.choices[changed.gold] == item.choices[item.gold]
    assert sorted(changed.choices) == sorted(item.choices)
    assert changed == PERTURBATIONS[name].apply(item, seed)
    read = parse_item(changed.prompt, item_id=item.id, gold=changed.gold)
    assert read is not None
    assert (read.symbols, [text.strip() for text in read.choices]) == (changed.symbols, list(changed.choices))


@given(ITEMS, MODES, st.integers(0, 1000))
def test_derangement_has_no_fixed_point(item, mode, seed):
    changed = shuffle_choices(item, mode=mode, derangement=True, seed=seed)
    pairs = zip(changed.choices, changed.symbols, item.choices, item.symbols, strict=True)
    for text, symbol, old_text, old_symbol in pairs:
        assert (text != old_text) == (mode != "symbol")
        assert (symbol != old_symbol) == (mode != "text")


@given(ITEMS, MODES, st.integers(0, 1000))
def test_modes(item, mode, seed):
    changed = shuffle_choices(item, mode=mode, seed=seed)
    assert (changed.choices == item.choices) or mode != "symbol"
    assert (changed.symbols == item.symbols) or mode != "text"
    if mode == "pair":
        assert dict(zip(changed.symbols, changed.choices, strict=True)) == dict(
            zip(item.symbols, item.choices, strict=True)
        )
        assert changed.gold_symbol == item.gold_symbol


@given(ITEMS, st.data())
def test_reorder_and_back(item, data):
    order = data.draw(st.permutations(range(len(item.choices))))
    back = [order.index(i) for i in range(len(order))]
    for mode in ("text", "symbol", "pair"):
        assert reorder(reorder(item, order, mode=mode), back, mode=mode) == item


@given(ITEMS)
def test_rotations_put_every_text_once_at_every_position(item):
    n = len(item.choices)
    turned = [rotate_choices(item, steps) for steps in range(n)]
    assert turned[0] == item
    assert [one.gold for one in turned] == [(item.gold + steps) % n for steps in range(n)]
    for position in range(n):
        assert len({one.choices[position] for one in turned}) == n


@given(ITEMS, st.data())
def test_fix_gold_swaps_two_texts(item, data):
    position = data.draw(st.integers(0, len(item.choices) - 1))
    fixed = fix_gold(item, position)
    assert fixed.gold == position
    moved = [i for i in range(len(item.choices)) if fixed.choices[i] != item.choices[i]]
    assert set(moved) == ({position, item.gold} if position != item.gold else set())
    assert fix_gold(fixed, item.gold) == item


def test_swap_is_one_rule_for_all():
    assert swap_neighbours(FOUR).choices == ("x", "w", "z", "y")
    assert swap_neighbours(FOUR).gold == 3
    assert swap_neighbours(made(3, 0, "3")).choices == ("text 1", "text 0", "text 2")
    assert swap_neighbours(swap_neighbours(FOUR)) == FOUR


def test_seeds_and_ids_matter():
    orders = {shuffle_choices(FOUR, seed=seed).choices for seed in range(200)}
    assert len(orders) == 24
    by_id = {shuffle_choices(replace(FOUR, id=str(i))).choices for i in range(200)}
    assert len(by_id) == 24


def test_all_derangements_are_equally_likely():
    found = [shuffle_choices(replace(FOUR, id=str(i)), derangement=True).choices for i in range(1800)]
    counts = [found.count(order) for order in set(found)]
    assert len(counts) == 9
    assert min(counts) > 140  # 200 expected; 4.5 standard deviations below


def test_symbols():
    assert replace_symbols(FOUR).prompt == "Which one is it?\n$. w\n&. x\n#. y\n@. z\nAnswer:"
    assert replace_symbols(FOUR, RARE_SYMBOLS).symbols == ("œ", "§", "\u0417", "ü")
    assert (len(COMMON_SYMBOLS), len(RARE_SYMBOLS)) == (10, 10)
    with pytest.raises(ConfigurationError, match="has 4 choices; there are 3 symbols"):
        replace_symbols(FOUR, "xyz")


def test_spaces_are_seen_and_nothing_else_changes():
    spaced = add_spaces(FOUR, share=1.0)
    assert spaced.prompt == "Which  one  is  it?\nA.  w\nB.  x\nC.  y\nD.  z\nAnswer:"
    assert add_spaces(FOUR, share=0.0).question == FOUR.question
    with pytest.raises(ConfigurationError, match="share"):
        add_spaces(FOUR, share=1.5)


def test_wording():
    with_header = replace(FOUR, style=replace(FOUR.style, header="About letters.\n\n"))
    assert reword(parse_item(f"The following is a multiple choice question about it.\n{FOUR.prompt}")) == reword(
        replace(FOUR, id=f"The following is a multiple choice question about it.\n{FOUR.prompt}", gold=None)
    )
    assert reword(with_header).prompt == "Which one is it?\nA. w\nB. x\nC. y\nD. z\nCorrect Answer:"


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ConfigurationError, match="position must be 0 to 3, not 4"):
        fix_gold(FOUR, 4)
    with pytest.raises(ConfigurationError, match="no gold answer"):
        fix_gold(replace(FOUR, gold=None), 0)
    with pytest.raises(ConfigurationError, match="permutation of 0 to 3"):
        reorder(FOUR, [0, 0, 1, 2])
    with pytest.raises(ConfigurationError, match="mode must be one of text, symbol, pair"):
        shuffle_choices(FOUR, mode="both")
    with pytest.raises(ConfigurationError, match="no perturbation 'shufle'; there are: shuffle, derange"):
        perturbation("shufle")
