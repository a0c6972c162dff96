"""Scoring rules: what is asked, what is compared, and what is read from it."""

import math

import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.demonstrations import Demonstration
from routellm_core.robustness.items import Item, with_style
from routellm_core.robustness.perturbations import replace_symbols
from routellm_core.robustness.scoring import Answers, Likelihood, LikelihoodModel, continuations, length, render

ITEM = Item("i", "Which is red?", ("a rose", "sky", "é"), 0)
SHOWN = Demonstration(Item("d", "Which is blue?", ("a rose", "sky"), 1), 1)


class Table:
    """Likelihoods that are given, by continuation; keeps what it was asked."""

    name = "table"

    def __init__(self, **values):
        self.values = values
        self.prompts = []

    def log_likelihoods(self, prompts, continuations, *, progress=None):
        self.prompts += prompts
        return [[Likelihood(self.values[text.strip()], len(text.split())) for text in texts] for texts in continuations]


def test_render():
    assert render(ITEM, [SHOWN]) == (
        "Which is blue?\nA. a rose\nB. sky\nAnswer: B\n\nWhich is red?\nA. a rose\nB. sky\nC. é\nAnswer:"
    )
    assert render(ITEM, [SHOWN], rule="hybrid").startswith("Which is blue?\nA. a rose\nB. sky\nAnswer: sky\n\n")
    assert render(ITEM, [SHOWN], rule="cloze") == "Which is blue?\nAnswer: sky\n\nWhich is red?\nAnswer:"
    with pytest.raises(ConfigurationError, match="rule must be one of symbol, hybrid, cloze, not 'letter'"):
        render(ITEM, rule="letter")


def test_render_asks_for_the_answer_without_a_blank_behind():
    asked = "Which is red?\nA. a rose\nB. sky\nC. é\n"
    assert render(with_style(ITEM, cue="")) == asked + "Answer:"
    assert render(with_style(ITEM, cue="Answer: ")) == asked + "Answer:"
    assert render(with_style(ITEM, cue="The answer is: "), rule="cloze") == "Which is red?\nThe answer is:"


def test_render_puts_the_header_once_at_the_top():
    item = with_style(ITEM, header="About colours.\n\n")
    for shown in (SHOWN, Demonstration(item, 0)):  # the item itself too
        text = render(item, [shown])
        assert text.startswith("About colours.\n\nWhich is")
        assert text.count("About colours.") == 1
    assert render(item) == item.prompt


def test_continuations():
    assert continuations(replace_symbols(ITEM)) == [" $", " &", " #"]
    assert continuations(ITEM, rule="cloze") == [" a rose", " sky", " é"]


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    # per character -1, -2/3, -1.5; per byte é has two: -0.75; per token -3, -2, -1.5; whole -6, -2, -1.5
    [("chars", 1), ("bytes", 1), ("tokens", 2), ("none", 2)],
)
def test_normalisation(normalisation, expected):
    scorer = Table(**{"a rose": -6.0, "sky": -2.0, "é": -1.5})
    answers = LikelihoodModel(scorer, normalisation=normalisation).answer([ITEM], rule="hybrid")
    assert answers.chosen == (expected,)
    assert answers.how == f"hybrid, log-likelihood / {normalisation}"


def test_lengths():
    assert [length("é ", Likelihood(0, 3), kind) for kind in ("chars", "bytes", "tokens", "none")] == [1, 2, 3, 1]
    assert length("", Likelihood(0, 1), "chars") == 1


def test_symbols_are_compared_as_they_are():
    model = LikelihoodModel(Table(A=-3.0, B=-1.0, C=-2.0))
    answers = model.answer([ITEM], [[SHOWN]])
    assert (answers.chosen, answers.how) == ((1,), "symbol, log-likelihood")
    assert model._scorer.prompts == [render(ITEM, [SHOWN])]


def test_equal_texts_are_one_answer():
    item = Item("t", "Q?", ("x", "y", "x"), 2)
    assert LikelihoodModel(Table(x=-1.0, y=-2.0)).answer([item], rule="cloze").correct.tolist() == [1.0]


def test_answers():
    items = tuple(Item(str(i), "Q?", ("x", "y"), i % 2) for i in range(4))
    answers = Answers(items, (0, 0, None, 1), "symbol")
    assert answers.correct[[0, 1, 3]].tolist() == [1, 0, 1]
    assert math.isnan(answers.correct[2])
    assert (answers.accuracy, answers.unparsable, answers.chance) == (0.5, 1, 0.5)
    assert answers.recall_std() == 0  # each position: 1 of 2
    moved = tuple(Item(str(i), "Q?", ("x", "y"), 0, symbols=("A", "B") if i % 2 else ("B", "A")) for i in range(4))
    by_symbol = Answers(moved, (1, 0, 1, 0), "symbol")  # always A: every A right, no B
    assert by_symbol.recall_std("symbol") == 50
    assert math.isnan(by_symbol.recall_std())


def test_refuses():
    with pytest.raises(
        ConfigurationError, match="normalisation must be one of chars, tokens, bytes, none, not 'words'"
    ):
        LikelihoodModel(Table(), normalisation="words")
    with pytest.raises(ConfigurationError, match="not 2 of 1"):
        LikelihoodModel(Table()).answer([ITEM], [[], []])
    with pytest.raises(ConfigurationError, match="no item"):
        LikelihoodModel(Table()).answer([])
