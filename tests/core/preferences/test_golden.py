"""Golden labels: answers are read, or they are not; they are never guessed."""

from fractions import Fraction

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.golden import (
    extract_choice,
    extract_number,
    grade_answers,
    grade_exact,
    grade_multiple_choice,
    grade_number,
)


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("C\nIt is the only one.", "C"),
        ("B.", "B"),
        ("**B**", "B"),
        ("B) Paris", "B"),
        ("C: because it is", "C"),
        ("The answer is B.", "B"),
        ("The best answer is: A. It is", "A"),
        ("Answer:\nB", "B"),
        ("answer: **C**", "C"),
        ("The correct option is (D) because", "D"),
        ("The answer is A? No. The answer is B.", "B"),
        ("The answer is $\\boxed{C}$", "C"),
        ("\\boxed{\\text{C}}", "C"),
        ("Let me think.\nIt follows that\n\nC", "C"),
        ("A) Paris\nB) London\nThe answer is B.", "B"),
        ("A) Paris\nB) London", None),
        ("The answer is A or B", None),
        ("(A) or (B)", None),
        ("the answer is (A) or (B)", None),
        ("Answer: A, B", None),
        ("The answer is not A", None),
        ("the answer is a function of x", None),
        ("The answer is a (rather) long story, but I pick (B).", None),
        ("the answer is (a)", "A"),
        ("the answer is a.", "A"),
        ("A dog is an animal", None),
        ("I think so", None),
        ("\\boxed{A, B}", None),
        ("", None),
    ],
)
def test_choices(answer, choice):
    assert extract_choice(answer) == choice


def test_letters_that_are_no_choice():
    assert extract_choice("E", choices="ABCD") is None
    assert extract_choice("E", choices="ABCDE") == "E"


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("#### 1,234", 1234),
        ("Some steps: 3 + 4\n#### -7\nmore 8", -7),
        ("\\boxed{-12}", -12),
        ("\\boxed{\\frac{1}{2}}", Fraction(1, 2)),
        ("so 10 - 5 = 5", 5),
        ("10-5", 5),
        ("-5", -5),
        ("\u22127", -7),
        ("-$5", -5),
        ("$-5", -5),
        ("answer: - 5", -5),
        ("The answer is -7.", -7),
        ("So we get -5", -5),
        ("It drops to \u22127", -7),
        ("The final temperature was -12 degrees.", -12),
        ("Answer is -$5", -5),
        ("so we count x-5", 5),
        ("that is x - 5", 5),
        ("- 5 apples", 5),
        ("The answer is $1,234.50.", Fraction(2469, 2)),
        ("The answer is 3 + 4 = 7", 7),
        ("The answer is 5 because 3 + 2 is.", 5),
        ("The answer is 42. I used 3 steps.", 42),
        ("Answer: 12 (of 40)", 12),
        ("it is 50%", 50),
        ("3/4", Fraction(3, 4)),
        ("2e3", 2000),
        ("x=.5", Fraction(1, 2)),
        ("1,000,000.", 1_000_000),
        ("The answer is 5 apples and 3 pears", None),
        ("1,23", None),
        ("1.2.3", None),
        ("1/0", None),
        ("five", None),
        ("####", None),
        ("H2O", None),
        ("\\boxed{x_{3}}", None),
        ("", None),
    ],
)
def test_numbers(answer, number):
    assert extract_number(answer) == number


def test_grades():
    assert (grade_multiple_choice("B", "(b)"), grade_multiple_choice("A", "B"), grade_multiple_choice("?", "B")) == (
        True,
        False,
        None,
    )
    assert (
        grade_number("so 72.0", "Natalia sold 48/2 = 24\n#### 72"),
        grade_number("71", "72"),
        grade_number("x", "1"),
    ) == (
        True,
        False,
        None,
    )
    assert (
        grade_exact("The Eiffel-Tower!", "eiffel tower"),
        grade_exact("Rome", "Paris"),
        grade_exact("...", "x"),
    ) == (
        True,
        False,
        None,
    )


@pytest.mark.parametrize(("grade", "reference"), [(grade_multiple_choice, "B or C"), (grade_number, "unknown")])
def test_references_that_cannot_be_read(grade, reference):
    with pytest.raises(ConfigurationError, match="the reference"):
        grade("A 1", reference)


def test_answers_become_outcomes_and_battles():
    labels = grade_answers(
        ["p", "q", "r", "s"],
        {"strong": ["A", "B", "B", "hm"], "weak": ["A", "C", None, "D"]},
        ["A", "B", "C", "D"],
        grader="multiple-choice",
    )
    np.testing.assert_array_equal(labels.table.scores, [[1, 1], [1, 0], [0, np.nan], [np.nan, 1]])
    assert (labels.unparsable, labels.missing) == ({"strong": 1, "weak": 0}, {"strong": 0, "weak": 1})
    assert [(b.prompt, b.winner, b.source) for b in labels.table.to_battles()] == [
        ("p", "tie", "gold"),
        ("q", "model_a", "gold"),
    ]


def test_several_references_and_graders_of_ones_own():
    labels = grade_answers(["p"], {"m": ["New York City"]}, [["NYC", "New York City"]], grader="exact")
    assert labels.table.scores.tolist() == [[1.0]]
    own = grade_answers(["p"], {"m": ["x"]}, ["y"], grader=lambda answer, reference: answer < reference)
    assert own.table.scores.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"grader": "vibes"}, "'multiple-choice', 'number', 'exact' or a function"),
        ({"references": ["A"]}, "one reference and one answer"),
        ({"answers": {}}, "one reference and one answer"),
        ({"references": ["A", "AB"]}, "row 2: the reference"),
    ],
)
def test_wrong_arguments(arguments, match):
    given = {"prompts": ["p", "q"], "answers": {"m": ["A", "B"]}, "references": ["A", "B"], "grader": "multiple-choice"}
    with pytest.raises(ConfigurationError, match=match):
        grade_answers(**{**given, **arguments})
