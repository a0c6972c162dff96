"""Few-shot demonstrations and their biases."""

import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.demonstrations import TRIVIAL_ITEMS, demonstrate, split_pool
from routellm_core.robustness.items import Item
from routellm_core.robustness.perturbations import replace_symbols

POOL = [
    Item(f"p{i}", f"Question {i}?", tuple(f"{i}.{j}" for j in range(4)), i % 4, group="ab"[i % 2]) for i in range(12)
]
ITEM = POOL[2]


def right(shown):
    return shown.item.choices[shown.answer]


def test_none_and_first():
    assert demonstrate(ITEM, POOL, "none") == ()
    shown = demonstrate(ITEM, POOL, "first", shots=3)
    assert [d.item.id for d in shown] == ["p0", "p1", "p3"]
    assert [right(d) for d in shown] == ["0.0", "1.1", "3.3"]


def test_order_is_of_the_same_items_and_seeded():
    first = {d.item.id for d in demonstrate(ITEM, POOL, "first")}
    orders = [tuple(d.item.id for d in demonstrate(ITEM, POOL, "order", seed=seed)) for seed in range(30)]
    assert all(set(order) == first for order in orders)
    assert len(set(orders)) > 10
    assert orders[3] == tuple(d.item.id for d in demonstrate(ITEM, POOL, "order", seed=3))


@pytest.mark.parametrize("position", [0, 3])
def test_biased_puts_every_right_answer_at_one_position(position):
    shown = demonstrate(ITEM, POOL, "biased", position=position)
    assert [d.answer for d in shown] == [position] * 5
    assert [right(d) for d in shown] == [right(d) for d in demonstrate(ITEM, POOL, "first")]


def test_trivial_and_out_of_domain():
    assert {d.item.id for d in demonstrate(ITEM, [], "trivial")} == {item.id for item in TRIVIAL_ITEMS}
    assert {d.item.group for d in demonstrate(ITEM, POOL, "out-of-domain")} == {"b"}


def test_the_answer_in_context():
    (shown,) = demonstrate(ITEM, POOL, "correct-in-context")
    assert (shown.item, shown.answer) == (ITEM, ITEM.gold)
    wrong = {demonstrate(ITEM, POOL, "incorrect-in-context", seed=seed)[0].answer for seed in range(40)}
    assert wrong == {0, 1, 3}


def test_mixed_has_a_trivial_and_a_foreign_item_and_no_pattern():
    positions = set()
    for seed in range(40):
        shown = demonstrate(ITEM, POOL, "mixed", seed=seed)
        ids = [d.item.id for d in shown]
        assert len(set(ids)) == 5
        assert "p2" not in ids
        assert sum(name.startswith("trivial") for name in ids) == 1
        assert [d.item.group for d in shown].count("b") == 1
        places = [d.answer for d in shown]
        assert max(places.count(place) for place in range(4)) <= 2
        positions.add(tuple(places))
    assert len(positions) > 25


def test_mixed_takes_other_groups_only_where_its_own_has_too_few():
    few = [one for one in POOL if one.group == "b" or one.id in ("p0", "p4")]
    shown = demonstrate(ITEM, few, "mixed", shots=5)
    assert sorted(d.item.group for d in shown) == ["", "a", "a", "b", "b"]
    alone = demonstrate(ITEM, [one for one in POOL if one.group == "a"], "mixed", shots=5)
    assert sorted(d.item.group for d in alone) == ["", "a", "a", "a", "a"]


def test_a_pool_is_drawn_by_seed_from_every_group_in_turn():
    items = sorted(POOL, key=lambda item: item.group)
    pool, asked = split_pool(items, 4)
    assert sorted(one.group for one in pool) == ["a", "a", "b", "b"]
    assert asked == [one for one in items if one not in pool]
    assert split_pool(items, 4) == (pool, asked)
    assert len({tuple(one.id for one in split_pool(items, 4, seed=seed)[0]) for seed in range(20)}) > 10
    with pytest.raises(ConfigurationError, match="a pool of 12 of 12 questions"):
        split_pool(POOL, 12)


def test_demonstrations_are_put_as_the_item_is():
    shown = demonstrate(replace_symbols(ITEM), POOL, "first")
    assert all(d.item.symbols == ("$", "&", "#", "@") for d in shown)


@pytest.mark.parametrize(
    ("kind", "shots", "message"),
    [
        ("first", 12, "'first' demonstrations: shots must be 1 to 11, not 12"),
        ("out-of-domain", 7, "shots must be 1 to 6"),
        ("mixed", 0, "shots must be 1 to"),
        ("some", 5, "kind must be one of none, first"),
    ],
)
def test_refuses(kind, shots, message):
    with pytest.raises(ConfigurationError, match=message):
        demonstrate(ITEM, POOL, kind, shots=shots)


def test_names_what_the_pool_lacks():
    with pytest.raises(ConfigurationError, match="of another group than 'a', and the pool has none"):
        demonstrate(ITEM, [one for one in POOL if one.group == "a"], "out-of-domain")
    with pytest.raises(ConfigurationError, match="'first' demonstrations: the pool is empty"):
        demonstrate(ITEM, [], "first")
