"""Battles: strict labels, the published layouts, and splits that share no prompt."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import Battle, PreferenceDataset, iter_battles, read_battles, write_battles
from routellm_core.preferences.normalise import normalise_text
from routellm_core.preferences.tables import write_table

BATTLES = [
    Battle("Why?", "gpt", "claude", "model_a"),
    Battle("How?", "claude", "llama", "model_b", "judge"),
    Battle("Why?", "llama", "gpt", "tie", "gold"),
]

texts = st.text(max_size=8)
battles = st.builds(
    lambda prompt, pair, winner, source: Battle(prompt, pair[0], pair[1], winner, source),
    texts,
    st.permutations(["a", "b", "c"]),
    st.sampled_from(["model_a", "model_b", "tie"]),
    st.sampled_from(["human", "judge", "gold"]),
)


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_columns():
    dataset = PreferenceDataset.from_battles(BATTLES)
    assert dataset.prompts == ("Why?", "How?")
    assert dataset.models == ("claude", "gpt", "llama")
    assert dataset.prompt_index.tolist() == [0, 1, 0]
    assert dataset.model_a.tolist() == [1, 0, 2]
    assert dataset.model_b.tolist() == [0, 2, 1]
    assert dataset.outcome.tolist() == [1.0, 0.0, 0.5]
    assert dataset.source.tolist() == [0, 1, 2]
    assert list(dataset) == BATTLES
    assert repr(dataset) == "PreferenceDataset(3 battles, 2 prompts, 3 models)"


@given(st.lists(battles, max_size=12), st.data())
def test_selection_is_that_of_a_list(rows, data):
    dataset = PreferenceDataset.from_battles(rows)
    assert list(dataset) == rows
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    chosen = dataset.select(mask)
    kept = [row for row, keep in zip(rows, mask.tolist(), strict=True) if keep]
    assert list(chosen) == kept
    assert chosen.prompts == tuple(dict.fromkeys(row.prompt for row in kept))
    assert chosen.models == tuple(sorted({m for row in kept for m in (row.model_a, row.model_b)}))
    assert list(PreferenceDataset.concat([dataset, chosen])) == rows + kept


def test_weights():
    pair = {"prompt": ["p", "q"], "model_a": ["a", "a"], "model_b": ["b", "a"], "winner": ["tie", "tie"]}
    weighted = PreferenceDataset.from_columns(**pair, weight=[2.0, 3.0])
    assert (weighted.weight.tolist(), weighted.self_battles) == ([2.0], 1)
    both = PreferenceDataset.concat([weighted, PreferenceDataset.from_battles(BATTLES)])
    assert both.weight.tolist() == [2.0, 1.0, 1.0, 1.0]
    with pytest.raises(ConfigurationError, match=r"battle 2: weight must be a finite number, 0 or more, not -1.0"):
        PreferenceDataset.from_columns(**{**pair, "weight": [0.0, -1.0]})
    with pytest.raises(ConfigurationError, match=r"battle 1: weight must be .*, not nan"):
        replace(weighted, weight=np.array([np.nan]))
    with pytest.raises(ConfigurationError, match="weight must hold 2 numbers"):
        PreferenceDataset.from_columns(**{**pair, "weight": [1.0]})


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_named_with_its_row(tmp_path, suffix, weight):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    row = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie"}
    rows = [{**row, "weight": 2.0}, {**row, "weight": weight}]
    path = write_table(rows, tmp_path / f"x{suffix}", columns=list(rows[0]))
    place = {".csv": "line 3", ".jsonl": "line 2", ".parquet": "row 2"}[suffix]
    with pytest.raises(ConfigurationError) as error:
        read_battles(path)
    for part in (f"{path}, {place}: ", "weight", f"not {weight!r}".replace("inf", "'inf'")):
        assert part in str(error.value)


def test_a_row_without_a_weight_weighs_1(tmp_path):
    row = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie"}
    path = jsonl(tmp_path / "x.jsonl", {**row, "weight": 0}, row, {**row, "weight": None})
    assert read_battles(path).weight.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("winner", ["Model_A", "draw", "", None, "a", 1])
def test_unknown_winner(tmp_path, winner):
    good = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie"}
    path = jsonl(tmp_path / "x.jsonl", good, {**good, "winner": winner})
    with pytest.raises(ConfigurationError) as error:
        read_battles(path)
    for part in (f"{path}, line 2", repr(winner), "'model_a', 'model_b', 'tie', 'tie (bothbad)'"):
        assert part in str(error.value)
    with pytest.raises(ConfigurationError, match="battle 1: winner must be"):
        PreferenceDataset.from_columns(prompt=["p"], model_a=["x"], model_b=["y"], winner=[winner])


def test_both_bad_is_a_tie(tmp_path):
    path = jsonl(
        tmp_path / "x.jsonl",
        {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)", "source": "judge"},
    )
    assert list(read_battles(path)) == [Battle("p", "x", "y", "tie", "judge")]


def test_sources(tmp_path):
    row = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie"}
    path = jsonl(tmp_path / "x.jsonl", row, {**row, "source": "gold"})
    assert [b.source for b in read_battles(path)] == ["human", "gold"]
    assert [b.source for b in read_battles(path, label_source="judge")] == ["judge", "gold"]
    wrong = jsonl(tmp_path / "y.jsonl", {**row, "source": "me"})
    with pytest.raises(ConfigurationError, match="line 1: source must be 'human', 'judge', 'gold', not 'me'"):
        read_battles(wrong)


@pytest.mark.parametrize("field", ["model_a", "model_b", "prompt"])
def test_names_and_prompts_must_be_text(tmp_path, field):
    row = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie"}
    with pytest.raises(ConfigurationError, match=r"line 2.*(must be text|not int)"):
        read_battles(jsonl(tmp_path / "x.jsonl", row, {**row, field: 5}))


def test_a_model_that_meets_itself_is_left_out_and_counted(tmp_path, caplog):
    row = {"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie"}
    with caplog.at_level(logging.WARNING):
        dataset = read_battles(jsonl(tmp_path / "x.jsonl", row, {**row, "model_b": "x"}, row))
    assert (len(dataset), dataset.self_battles) == (2, 1)
    assert "1 rows in which a model meets itself" in caplog.text


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("weight", [None, [1.0, 0.5, 2.0]])
def test_what_is_written_is_read(tmp_path, suffix, weight):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    dataset = PreferenceDataset.from_columns(
        prompt=["a\nb", 'é, "q"', "a\nb"],
        model_a="xyx",
        model_b="yzz",
        winner=["tie", "model_a", "model_b"],
        weight=weight,
    )
    again = read_battles(write_battles(dataset, tmp_path / f"x{suffix}"))
    assert list(again) == list(dataset)
    assert (again.weight is None) == (weight is None)
    assert weight is None or again.weight.tolist() == weight
    assert [len(part) for part in iter_battles(tmp_path / f"x{suffix}", size=2)] == [2, 1]


# --- published layouts --------------------------------------------------------------------------------------------------


def arena_55k(**changes):
    row = {
        "id": 1,
        "model_a": "gpt-4-0613",
        "model_b": "vicuna-13b",
        "prompt": json.dumps([" First turn? ", "Second"]),
        "response_a": "[]",
        "response_b": "[]",
        "winner_model_a": 0,
        "winner_model_b": 1,
        "winner_tie": 0,
    }
    return {**row, **changes}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_arena_human_preference_55k(tmp_path, suffix):
    if suffix != ".jsonl":
        pandas = pytest.importorskip("pandas")
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    rows = [
        arena_55k(),
        arena_55k(winner_model_b=0, winner_tie=1, prompt='["Second?", null]'),
        arena_55k(winner_model_b=0, winner_model_a=1),
    ]
    path = tmp_path / f"train{suffix}"
    if suffix == ".jsonl":
        jsonl(path, *rows)
    else:
        frame = pandas.DataFrame(rows)
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    assert list(read_battles(path)) == [
        Battle("First turn?", "gpt-4-0613", "vicuna-13b", "model_b"),
        Battle("Second?", "gpt-4-0613", "vicuna-13b", "tie"),
        Battle("First turn?", "gpt-4-0613", "vicuna-13b", "model_a"),
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"winner_model_b": 0}, "exactly one of winner_model_a, winner_model_b, winner_tie must be 1"),
        ({"winner_tie": 1}, "exactly one of"),
        ({"winner_tie": 0.5, "winner_model_b": 0.5}, "exactly one of"),
        ({"winner_tie": "yes"}, "'winner_tie' must be a finite number"),
        ({"prompt": "plain"}, "the prompt is a JSON list of turns"),
        ({"prompt": "[]"}, "the prompt must be text, a list"),
        ({"prompt": "[null]"}, "the prompt must be text, a list"),
    ],
)
def test_arena_rows_that_say_no_clear_thing(tmp_path, changes, match):
    with pytest.raises(ConfigurationError, match=f"line 2: .*{match}"):
        read_battles(jsonl(tmp_path / "x.jsonl", arena_55k(), arena_55k(**changes)))


def test_gpt4_judge_battles_have_the_same_layout(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", arena_55k())
    assert [b.source for b in read_battles(path, label_source="judge")] == ["judge"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_chatbot_arena_conversations(tmp_path, suffix):
    turns = [
        {"content": " Who are you? ", "role": "user"},
        {"content": "A model.", "role": "assistant"},
        {"content": "Sure?", "role": "user"},
    ]
    rows = [
        {
            "question_id": "1",
            "model_a": "a",
            "model_b": "b",
            "winner": winner,
            "judge": "arena_user_1",
            "conversation_a": turns,
        }
        for winner in ("model_a", "model_b", "tie", "tie (bothbad)")
    ]
    path = tmp_path / f"x{suffix}"
    if suffix == ".jsonl":
        jsonl(path, *rows)
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert [(b.prompt, b.winner) for b in read_battles(path)] == [
        ("Who are you?", winner) for winner in ("model_a", "model_b", "tie", "tie")
    ]


def test_a_plain_prompt_may_be_turns_too(tmp_path):
    row = {"model_a": "x", "model_b": "y", "winner": "tie"}
    prompts = ["  as it is ", ["one ", "two"], [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]]
    path = jsonl(tmp_path / "x.jsonl", *({**row, "prompt": prompt} for prompt in prompts))
    assert [b.prompt for b in read_battles(path)] == ["  as it is ", "one", "u"]


def test_prompt_field(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", {"question": "p", "model_a": "x", "model_b": "y", "winner": "tie"})
    assert [b.prompt for b in read_battles(path, prompt_field="question")] == ["p"]
    with pytest.raises(ConfigurationError, match="no field 'prompt'"):
        read_battles(path)


# --- splits -------------------------------------------------------------------------------------------------------------


def test_a_split_shares_no_prompt_and_loses_no_battle():
    prompts = [f"{'  PROMPT' if i % 3 else 'prompt'} {i % 50}" for i in range(400)]
    dataset = PreferenceDataset.from_columns(
        prompt=prompts, model_a=["a"] * 400, model_b=["b"] * 400, winner=["tie"] * 400
    )
    train, validation = dataset.split(validation_fraction=0.2, seed=3)
    sides = [{normalise_text(prompt) for prompt in part.prompts} for part in (train, validation)]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (40, 10)
    assert sorted(b.prompt for part in (train, validation) for b in part) == sorted(prompts)


def test_a_split_depends_on_the_seed_and_not_on_the_order():
    rows = [Battle(f"prompt {i}", "a", "b", "tie") for i in range(100)]

    def held_out(battles, seed):
        return set(PreferenceDataset.from_battles(battles).split(seed=seed)[1].prompts)

    assert held_out(rows, 0) == held_out(rows[::-1], 0)
    assert held_out(rows, 0) != held_out(rows, 1)
    assert len(held_out(rows, 0)) == 10


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_shares_out_of_range(fraction):
    with pytest.raises(ConfigurationError, match=r"validation_fraction must be in \(0, 1\)"):
        PreferenceDataset.from_battles(BATTLES).split(validation_fraction=fraction)


def test_one_prompt_cannot_be_split():
    with pytest.raises(ConfigurationError, match="two distinct prompts or more, and there are 1"):
        PreferenceDataset.from_battles([BATTLES[0], Battle(" WHY? ", "gpt", "llama", "tie")]).split()


@pytest.mark.parametrize("change", [{"outcome": np.array([1.0, 0.3, 0.5])}, {"model_a": np.array([0, 1, 9], np.int32)}])
def test_columns_that_do_not_fit(change):
    with pytest.raises(ConfigurationError, match=r"outcome must be.* battle 2 has 0.3|model_a must hold"):
        replace(PreferenceDataset.from_battles(BATTLES), **change)
