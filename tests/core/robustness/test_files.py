"""Questions from files."""

import json

import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.files import read_items


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_prompts(tmp_path):
    rows = [
        {"id": "q1", "prompt": "Q?\nA. x\nB. y\nAnswer:", "gold": "B", "task": "law"},
        {"id": "q2", "prompt": "What?", "gold": "", "task": "law"},
        {"id": "q3", "prompt": "Q?\n(1) x\n(2) y\nAnswer:", "gold": "1", "task": None},
    ]
    first, second, third = read_items(write(tmp_path / "q.jsonl", rows))
    assert (first.id, first.gold, first.group) == ("q1", 1, "law")
    assert second is None
    assert (third.gold, third.symbols, third.group) == (0, ("1", "2"), "")
    assert third.prompt == rows[2]["prompt"]


def test_questions_and_choices(tmp_path):
    file = tmp_path / "q.csv"
    file.write_text('question,choices,gold\nQ?,"[""x"", ""y"", ""z""]",2\nR?,"[""x"", ""y""]",A\n', encoding="utf-8")
    first, second = read_items(file)
    assert (first.prompt, first.gold, first.id) == ("Q?\nA. x\nB. y\nC. z\nAnswer:", 2, "0")
    assert (second.gold_symbol, second.id) == ("A", "1")


def numbered(path, golds):
    prompt = "Q{}?\n1. cat\n2. dog\n3. cow\n4. fox\nAnswer:"
    return write(path, [{"prompt": prompt.format(i), "gold": gold} for i, gold in enumerate(golds)])


def test_numbers_are_symbols_or_positions_throughout_a_file(tmp_path):
    assert [item.gold for item in read_items(numbered(tmp_path / "a.jsonl", [1, 2, 3, 4]))] == [0, 1, 2, 3]
    assert [item.gold for item in read_items(numbered(tmp_path / "b.jsonl", [2, 0, 1, 3]))] == [2, 0, 1, 3]
    with pytest.raises(
        ConfigurationError, match=r"c\.jsonl, line 1: 'gold' '4' is a symbol, but a row of the file has '0'"
    ):
        read_items(numbered(tmp_path / "c.jsonl", [4, 0]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q?", "choices": ["x", "y"], "gold": "C"}, "'gold' 'C' must be one of A, B, or 0 to 1"),
        ({"question": "Q?", "choices": ["x", "y"], "gold": 2}, "'gold' '2' must be one of A, B"),
        ({"question": "Q?", "choices": ["x", "y"], "gold": "²"}, "'gold' '²' must be one of A, B"),
        (
            {"question": "Q?", "choices": ["x"], "gold": 0},
            r"bad\.jsonl, line 1: there must be 2 to 26 'choices', not 1",
        ),
        ({"question": "Q?", "choices": "x, y", "gold": 0}, "'choices' must be a list of texts"),
        ({"question": "Q?", "choices": [1, 2], "gold": 0}, "'choices' must be a list of texts"),
        ({"prompt": "Q?\nA. x\nB. y"}, "gold"),
    ],
)
def test_refuses(tmp_path, row, message):
    with pytest.raises(ConfigurationError, match=message):
        read_items(write(tmp_path / "bad.jsonl", [row]))
