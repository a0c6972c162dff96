"""Averaged labels: what is averaged, over what, and how far single results differ."""

import math
from dataclasses import replace

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.outcomes import read_outcomes, write_outcomes
from routellm_core.robustness.items import Item, with_style
from routellm_core.robustness.labels import (
    average_answers,
    demonstration_labels,
    label_variances,
    permutation_labels,
    prompt_templates,
    unreadable_shares,
)
from routellm_core.robustness.scoring import Answers

ITEMS = [
    Item(f"i{i}", f"Question {i}?", tuple(f"{i}.{j}" for j in range(4)), i % 4, group="ab"[i % 2]) for i in range(6)
]
POOL = [Item(f"p{i}", f"Pool {i}?", tuple(f"{i}.{j}" for j in range(4)), i % 4, group="ab"[i % 2]) for i in range(8)]


class Model:
    """Answers by a rule of its own; keeps how it was asked."""

    def __init__(self, name, choose):
        self.name, self.choose, self.asked = name, choose, []

    def answer(self, items, demonstrations=None, *, rule="symbol", progress=None):
        self.asked.append((items, demonstrations, rule))
        progress(len(items), len(items))
        shown = demonstrations or [()] * len(items)
        chosen = tuple(self.choose(item, before) for item, before in zip(items, shown, strict=True))
        return Answers(tuple(items), chosen, f"{rule}, made up")


KNOWS = Model("knows", lambda item, _: item.gold)
FIRST = Model("first", lambda item, _: 0)
HALF = Model("half", lambda item, _: item.gold if item.gold % 2 else None)


def test_permutations_take_the_bias_away(tmp_path):
    done = []
    table = permutation_labels(ITEMS, [KNOWS, FIRST, HALF], progress=lambda *at: done.append(at))
    assert table.scores.tolist() == [[1.0, 0.25, 0.5]] * 6  # what cannot be read is wrong
    assert table.samples.shape == (6, 3, 4)
    assert np.isnan(table.samples[:, 2]).sum() == 12
    assert done[-1] == (72, 72)
    assert [at for at, _ in done] == sorted(at for at, _ in done)
    assert label_variances(table) == pytest.approx([0, 0.25, 0])
    assert table.provenance["averaged over"] == "4 cyclic orders of the choices"
    assert table.provenance["prompt template"].startswith("{question}\nA. {choice A}\nB. {choice B}\n")
    assert table.provenance["unparsable"] == {"knows": 0, "first": 0, "half": 12}
    assert table.provenance["variance within a prompt"] == {"knows": 0.0, "first": 0.25, "half": 0.0}
    back = read_outcomes(write_outcomes(table, tmp_path / "labels.jsonl"))
    assert back.scores.tolist() == table.scores.tolist()
    assert np.array_equal(back.samples, table.samples, equal_nan=True)  # each in its place
    assert unreadable_shares(table) == {"knows": 0, "first": 0, "half": 0.5}
    assert back.prompts == tuple(item.prompt for item in ITEMS)
    assert back.groups == ("a", "b") * 3
    assert dict(back.provenance) == dict(table.provenance)


def test_demonstrations_are_drawn_anew():
    model = Model("m", lambda item, before: before[0].answer)
    table = demonstration_labels(ITEMS, [model], POOL, shots=3, draws=5, seed=7)
    assert {rule for _, _, rule in model.asked} == {"hybrid"}
    drawn = {tuple(d.item.id for d in shown[0]) for _, shown, _ in model.asked}
    assert len(drawn) == 5
    assert all(len(shown[0]) == 3 for _, shown, _ in model.asked)
    assert table.provenance["averaged over"] == "5 draws of 3 mixed demonstrations"
    shown = table.provenance["demonstrations"]
    assert shown["pool"] == [item.id for item in POOL]
    assert (shown["shots"], shown["draws"]) == (3, 5)
    assert table.provenance["seed"] == 7
    assert 0 < label_variances(table)[0] < 0.4
    again = demonstration_labels(ITEMS, [Model("m", model.choose)], POOL, shots=3, draws=5, seed=7)
    assert again.samples.tolist() == table.samples.tolist()


def test_nothing_readable_is_an_error():
    silent = Answers(tuple(ITEMS), (None,) * 6, "symbol")
    with pytest.raises(ConfigurationError, match="of 'silent' no answer can be read"):
        average_answers(ITEMS, {"knows": [KNOWS.answer(ITEMS, progress=print)], "silent": [silent]})


def test_labels_and_accuracy_count_what_cannot_be_read_alike():
    answers = Answers(tuple(ITEMS), (0, 1, None, None, 0, 0), "symbol")
    table = average_answers(ITEMS, {"m": [answers]})
    assert table.scores.mean() == answers.accuracy
    assert table.provenance["variance within a prompt"] == {"m": None}  # null in JSON, as there is one round
    assert math.isnan(label_variances(table)[0])


def test_numbers_of_choices_may_differ(tmp_path):
    two = Item("two", "Q?", ("x", "y"), 1)
    table = permutation_labels([two, *ITEMS], [KNOWS, FIRST])
    assert table.scores.tolist() == [[1.0, 0.5], *[[1.0, 0.25]] * 6]
    assert np.isnan(table.samples[0, :, 2:]).all()
    assert table.provenance["averaged over"] == "2 or 4 cyclic orders of the choices"
    assert (table.provenance["asked"], table.provenance["unparsable"]["first"]) == (26, 0)
    back = read_outcomes(write_outcomes(table, tmp_path / "labels.jsonl"))
    assert np.array_equal(back.samples, table.samples, equal_nan=True)


def test_templates_are_those_of_each_item_and_rule():
    bracketed = with_style(ITEMS[0], opening="(", closing=") ", cue="")
    expected = ["{question}\n(A) {choice A}\n(B) {choice B}\n(C) {choice C}\n(D) {choice D}\nAnswer:"]
    assert prompt_templates([bracketed], "symbol") == expected
    assert prompt_templates([bracketed], "cloze") == ["{question}\nAnswer:"]
    answers = {"m": [KNOWS.answer([bracketed, ITEMS[1]], progress=print)]}
    found = average_answers([bracketed, ITEMS[1]], answers).provenance["prompt template"]
    assert found == [*expected, *prompt_templates(ITEMS[1:2], "symbol")]


def test_provenance_names_the_models_and_the_instruction():
    model = Model("m", lambda item, _: item.gold)
    model.about = {"path": "org/m", "revision": "abc"}
    assert permutation_labels(ITEMS, [model]).provenance["models"] == {"m": model.about}
    told = Answers(tuple(ITEMS), (0,) * 6, "symbol", "Reply.")
    assert average_answers(ITEMS, {"m": [told]}).provenance["instruction"] == "Reply."


def test_models_that_are_read_otherwise_are_told_apart():
    chosen = (0,) * 6
    answers = {
        "local": [Answers(tuple(ITEMS), chosen, "symbol, log-likelihood")] * 2,
        "remote": [
            Answers(tuple(ITEMS), chosen, f"symbol, {by}") for by in ("top log-probabilities", "generated text")
        ],
    }
    assert average_answers(ITEMS, answers).provenance["read by"] == {
        "local": "symbol, log-likelihood",
        "remote": "symbol, top log-probabilities; symbol, generated text",
    }
    del answers["remote"]
    assert average_answers(ITEMS, answers).provenance["read by"] == "symbol, log-likelihood"


def test_refuses():
    with pytest.raises(ConfigurationError, match="one item and one model"):
        permutation_labels(ITEMS, [])
    with pytest.raises(ConfigurationError, match="all their orders are one prompt"):
        permutation_labels(ITEMS, [KNOWS], rule="cloze")
    with pytest.raises(ConfigurationError, match="ids of items must differ"):
        permutation_labels([*ITEMS, ITEMS[0]], [KNOWS])
    with pytest.raises(ConfigurationError, match="no gold answer"):
        permutation_labels([Item("n", "Q?", ("x", "y"))], [KNOWS])
    with pytest.raises(ConfigurationError, match="different names"):
        permutation_labels(ITEMS, [KNOWS, KNOWS])
    with pytest.raises(ConfigurationError, match="draws must be 1 or more, not 0"):
        demonstration_labels(ITEMS, [KNOWS], POOL, draws=0)
    with pytest.raises(ConfigurationError, match="6 items are asked and in the pool"):
        demonstration_labels(ITEMS, [KNOWS], ITEMS)
    with pytest.raises(ConfigurationError, match="other items"):
        average_answers(ITEMS, {"m": [Answers((POOL[0],), (0,), "symbol")]})
    with pytest.raises(ConfigurationError, match=r"rounds of answers, 1 or more, not \[0\]"):
        average_answers(ITEMS, {"m": []})


def test_demonstrations_say_where_there_was_no_other_group():
    def kind(items, pool):
        table = demonstration_labels(items, [Model("m", lambda *_: 0)], pool, shots=2, draws=1)
        return table.provenance["demonstrations"]["kind"]

    alike = [replace(item, group="x") for item in POOL]
    inside = [replace(item, group="x") for item in ITEMS]
    assert kind(inside, [*alike[:1], replace(POOL[1], group="y")]) == "mixed"
    assert kind(inside, alike) == "mixed, no other group"
    assert kind([inside[0], replace(ITEMS[1], group="y")], alike) == "mixed, no other group for 1 of 2 items"
