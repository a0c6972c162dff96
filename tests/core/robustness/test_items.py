"""Multiple-choice items: read, written, and left out where their order has a meaning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.items import Item, PromptStyle, depends_on_order, parse_item, select_items

MMLU = "What is 2 + 2?\nA. 3\nB. 4\nC. 5\nD. 22\nAnswer:"
PRO = "Find x.\nIt is small.\nA. 50.0\nB. 60.0\nC. 55.0\nD. 44.0\nE. 48.0\nF. 53.0\nG. 42.0\nH. 46.0\nI. 51.0\nJ. 45.0"
WORDS = st.text(alphabet="abcdefgh XYZé", min_size=1, max_size=12)
ITEMS = st.lists(WORDS, min_size=2, max_size=10).flatmap(
    lambda choices: st.builds(
        Item, id=st.uuids().map(str), question=WORDS, choices=st.just(tuple(choices)),
        gold=st.integers(0, len(choices) - 1),
    )
)  # fmt: skip


def test_reads_the_published_formats():
    item = parse_item(MMLU, item_id="m", gold=1)
    assert (item.question, item.choices, item.symbols) == ("What is 2 + 2?", ("3", "4", "5", "22"), tuple("ABCD"))
    assert (item.gold_symbol, item.style, item.id) == ("B", PromptStyle(), "m")
    pro = parse_item(PRO)
    assert (len(pro.choices), pro.symbols[-1], pro.style.cue) == (10, "J", "")
    assert pro.question == "Find x.\nIt is small."


@pytest.mark.parametrize(
    ("prompt", "question", "choices"),
    [
        ("Q?\nChoices:\n(A) one\n(B) two\nThe correct answer is:", "Q?", ("one", "two")),
        ("Q?\n$. one\n&. two\n#. three\nCorrect Answer:", "Q?", ("one", "two", "three")),
        ("Q?\nœ) one\n\u0417) two\nAnswer:", "Q?", ("one", "two")),
        ("Q?\nOptions:\n1. one\n2. two", "Q?", ("one", "two")),
        ("See:\nA. this\nB. that\nWhich?\nA. yes\nB. no\nAnswer:", "See:\nA. this\nB. that\nWhich?", ("yes", "no")),
        ("Q?\nC. one\nA. two\nB. three\nAnswer:", "Q?", ("one", "two", "three")),
        ("Q?\nA. one\nline two\nB. C. elegans\nC. three\nAnswer:", "Q?", ("one\nline two", "C. elegans", "three")),
        ("Q?\nA. one\nB.  two\nAnswer:", "Q?", ("one", " two")),
        ("I. this\nII. that\nI. more\n$. one\n&. two\n#. three", "I. this\nII. that\nI. more", ("one", "two", "three")),
        ("Q:\nA. this\nWhich?\n$. one\nI. not one\n&. two", "Q:\nA. this\nWhich?", ("one\nI. not one", "two")),
    ],
)  # fmt: skip
def test_reads_other_formats_to_the_letter(prompt, question, choices):
    item = parse_item(prompt)
    assert (item.question, item.choices, item.prompt) == (question, choices, prompt)


def test_the_line_that_names_the_subject_is_a_header():
    header = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    item = parse_item(header + MMLU)
    assert (item.style.header, item.question, item.prompt) == (header, "What is 2 + 2?", header + MMLU)
    assert parse_item("The following are true. Which?\nA. x\nB. y").style.header == ""


@pytest.mark.parametrize(
    "prompt",
    [
        "", "What is the capital of France?", "A. one\nB. two\nAnswer:", "Q?\nA. only one\nAnswer:",
        "Do this:\n1. read\n2. write", "Clues:\nA. red\nB. blue\n\nWhich house is it?", "Q?\nB. two\nC. three?\n\nWell?",
    ],
)  # fmt: skip
def test_reads_nothing_else(prompt):
    assert parse_item(prompt) is None


@given(ITEMS)
def test_round_trip(item):
    assert parse_item(item.prompt, item_id=item.id, gold=item.gold) == item


@given(st.text(max_size=80))
def test_what_is_read_is_written_again(text):
    item = parse_item(text)
    assert item is None or item.prompt == text


@pytest.mark.parametrize(
    "text",
    [
        "All of the above", "none of the above.", "Both A and B", "both a and b", "A and C only", "(a) and (b)", "A, B, and C",
        "A B and C", "Neither of these", "None of these", "any of the above", "Options A", "The first two options", "A only",
        "Neither (A) nor (B)", "Same as above", "B or C", "All the above", "More than one of the above",
        "a. and b. above", "a and b", "a, b, and c", "B, C", "A,B", "A/B", "A+B", "All but C", "A through C", "A to C",
        "Same as A", "Not A", "None of the others", "The first two", "options b and c", "Both choices above", "The opposite of B",
    ],
)  # fmt: skip
def test_order_dependent(text):
    assert depends_on_order(Item("i", "Q?", ("one", "two", "three", text)))


@pytest.mark.parametrize(
    "text",
    [
        "I only", "I and II", "both a strong and a weak one", "just above eye level", "Vitamin A and D", "A monoclonal B cell",
        "All of them were elected to the House", "the next best alternative", "1 and 2", "none", "A", "Statement 1",
        "a/b", "a + b", "heated from above", "not a", "all but a few", "a and an", "E and F", "B", "both 1 and 7",
        "he helps all others", "C, C++",
    ],
)  # fmt: skip
def test_order_independent(text):
    assert not depends_on_order(Item("i", "Which holds?", ("one", "two", "three", text)))


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        ("Both 2 and 3.", True), ("Both 1 and 2", True), ("Both (1) and (2)", True), ("Options 1 and 2", True), ("1 and 2", True),
        ("1, 2", True), ("1 through 3", True), ("not 2", True), ("all of the above", True), ("1/2", False), ("1 + 2", False),
        ("2", False), ("1 and 5", False), ("12 and 3", False), ("both A and B", False),
    ],
)  # fmt: skip
def test_order_dependent_numbers(text, depends):
    assert depends_on_order(Item("i", "Q?", ("one", "two", "three", text), symbols=tuple("1234"))) is depends


def test_numbers_are_of_choices_unless_the_question_has_them():
    choices = ("one", "two", "three", "Both 2 and 3.")
    assert depends_on_order(Item("i", "Which holds?", choices))
    assert depends_on_order(Item("i", "Which holds?", ("one", "two", "three", "Options 1 and 2")))
    assert not depends_on_order(Item("i", "1. It is. 2. It was. 3. It will be. Which holds?", choices))


def test_references_are_to_letters_whatever_the_choices_are_called():
    for symbols in ("abcd", "$&#@", "BDAC"):
        assert depends_on_order(Item("i", "Q?", ("one", "two", "three", "B, C"), symbols=tuple(symbols)))
        assert not depends_on_order(Item("i", "Q?", ("one", "two", "three", "E, F"), symbols=tuple(symbols)))


def test_order_dependent_question():
    assert depends_on_order(Item("i", "Which of (A) and (B) is larger?", ("x", "y")))
    assert depends_on_order(Item("i", "Which of the above is right?", ("x", "y")))
    assert depends_on_order(Item("i", "Why is option B wrong?", ("x", "y")))
    assert not depends_on_order(Item("i", "Why is B wrong?", ("x", "y")))


def test_select_counts_what_is_left_out():
    found = select_items([parse_item(MMLU), None, Item("d", "Q?", ("x", "all of the above")), parse_item(PRO)])
    assert found.to_dict() == {"items": 2, "unreadable": 1, "order_dependent": 1}
    assert found.rows == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"choices": ("one",)}, "two choices or more, not 1"),
        ({"choices": ("one", "two"), "gold": 2}, "gold must be 0 to 1, not 2"),
        ({"choices": ("one", "two"), "gold": -1}, "gold must be 0 to 1, not -1"),
        ({"choices": ("one", "two"), "symbols": ("A", "A")}, "needs 2 different symbols"),
        ({"choices": ("one",) * 27}, "give symbols="),
    ],
)
def test_refuses_what_is_no_item(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        Item("x", "Q?", **arguments)


def test_gold_symbol_needs_a_gold_answer():
    with pytest.raises(ConfigurationError, match="no gold answer"):
        _ = parse_item(MMLU).gold_symbol
