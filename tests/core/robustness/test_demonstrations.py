"""Few-shot demonstrations and their biases."""

import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.demonstrations import TRIVIAL_ITEMS, demonstrate
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
        assert any(d.item.group == "b" for d in shown)
        places = [d.answer for d in shown]
        assert max(places.count(place) for place in range(4)) <= 2
        positions.add(tuple(places))
    assert len(positions) > 25


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
