"""Outcome tables: what is read and kept, and the battles that they make."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.battles import Battle
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes, write_outcomes

NAN = float("nan")


def small(**changes) -> OutcomeTable:
    parts = {
        "prompts": ("p", "q", "p"),
        "models": ("x", "y"),
        "scores": np.array([[1.0, 0.0], [0.5, NAN], [0.25, 0.3]]),
        "prompt_ids": ("1", "2", "3"),
        "groups": ("math", "law", "math"),
        "split": ("train", "train", "dev"),
        "samples": np.array([[[1.0, 1.0], [0.0, 0.0]], [[0.5, NAN], [NAN, NAN]], [[0.0, 0.5], [0.3, 0.3]]]),
        "cost_usd": np.array([[0.1, 0.2], [NAN, NAN], [0.3, 0.4]]),
        "tokens_in": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "tokens_out": None,
        "flags": {"contaminated": np.array([True, False, False])},
        "provenance": {"source": "a test", "seed": 3},
        "name": "small",
    }
    return OutcomeTable(**{**parts, **changes})


def same(a: OutcomeTable, b: OutcomeTable) -> None:
    for name in ("prompts", "models", "prompt_ids", "groups", "split", "provenance"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("scores", "samples", "cost_usd", "tokens_in", "tokens_out"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert {name: flag.tolist() for name, flag in a.flags.items()} == {n: f.tolist() for n, f in b.flags.items()}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_what_is_written_is_read(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = write_outcomes(small(), tmp_path / f"table{suffix}")
    again = read_outcomes(path)
    same(small(), again)
    assert again.name == "table"
    assert read_outcomes(path, name="mine").name == "mine"
    write_outcomes(small(provenance={}), path)
    assert read_outcomes(path).provenance == {}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_rows_tell_where_they_come_from(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = write_outcomes(small(), tmp_path / f"table{suffix}", in_rows=True)
    same(small(), read_outcomes(path))
    (tmp_path / f"table{suffix}.provenance.json").unlink()
    same(small(), read_outcomes(path))


def test_rows_of_several_tables_tell_each_of_their_sources(tmp_path):
    rows = [
        {"prompt": "a", "score::m": 1, "provenance": '{"seed": 1}'},
        {"prompt": "b", "score::m": 0, "provenance": '{"seed": 2}'},
        {"prompt": "c", "score::m": 0, "provenance": "a friend"},
        {"prompt": "d", "score::m": 0},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_outcomes(path).provenance == {"rows": [{"seed": 1}, {"seed": 2}, {"source": "a friend"}]}


def test_selections():
    table = small()
    assert len(table) == 3
    assert table.column("y").tolist()[::2] == [0.0, 0.3]
    kept = table.select(np.array([False, True, True]))
    assert (kept.prompts, kept.groups, kept.prompt_ids) == (("q", "p"), ("law", "math"), ("2", "3"))
    assert kept.flags["contaminated"].tolist() == [False, False]
    same(table.select([2, 0]).select([1]), table.select([0]))
    assert table.complete().prompt_ids == ("1", "3")
    assert table.complete(["x"]).prompt_ids == ("1", "2", "3")
    turned = table.for_models(["y", "x"])
    assert turned.models == ("y", "x")
    np.testing.assert_array_equal(turned.scores, table.scores[:, ::-1])
    np.testing.assert_array_equal(turned.samples, table.samples[:, ::-1])


@pytest.mark.parametrize("use", [lambda t: t.column("z"), lambda t: t.for_models(["z"]), lambda t: t.complete(["z"])])
def test_unknown_models_are_answered_with_the_known_ones(use):
    with pytest.raises(UnknownModelError, match="'small' has no model 'z'; it has: x, y"):
        use(small())


@pytest.mark.parametrize(
    "change",
    [
        {"scores": np.zeros((3, 1))},
        {"scores": np.full((3, 2), np.inf)},
        {"models": ("x", "x")},
        {"models": ()},
        {"groups": ("a",)},
        {"samples": np.zeros((3, 2))},
        {"flags": {"f": np.array([True])}},
        {"cost_usd": np.full((3, 2), -0.1)},
    ],
)
def test_parts_that_do_not_fit(change):
    with pytest.raises(ConfigurationError):
        small(**change)


# --- battles ------------------------------------------------------------------------------------------------------------


def test_the_higher_score_wins():
    assert list(small().to_battles()) == [
        Battle("p", "x", "y", "model_a", "gold"),
        Battle("p", "x", "y", "model_b", "gold"),
    ]
    assert [b.winner for b in small().to_battles(margin=0.1)] == ["model_a", "tie"]
    assert [(b.model_a, b.winner, b.source) for b in small().to_battles(pairs=[("y", "x")], source="judge")] == [
        ("y", "model_b", "judge"),
        ("y", "model_a", "judge"),
    ]


@given(
    st.lists(st.lists(st.sampled_from([NAN, 0.0, 0.25, 0.5, 1.0]), min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.25, 0.5]),
)
def test_every_two_models_with_a_score_meet_once_a_row(scores, margin):
    models = ("a", "b", "c")
    table = OutcomeTable(prompts=tuple(f"p{i}" for i in range(len(scores))), models=models, scores=np.array(scores))
    expected = []
    for i, row in enumerate(scores):
        for a in range(3):
            for b in range(a + 1, 3):
                gap = row[a] - row[b]
                if gap == gap:
                    winner = "tie" if abs(gap) <= margin else "model_a" if gap > 0 else "model_b"
                    expected.append(Battle(f"p{i}", models[a], models[b], winner, "gold"))
    assert list(table.to_battles(margin=margin)) == expected


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"margin": -0.1}, "margin"),
        ({"margin": NAN}, "margin"),
        ({"source": "me"}, "source must be one of"),
        ({"pairs": [("x", "x")]}, "two different models"),
    ],
)
def test_wrong_arguments(arguments, match):
    with pytest.raises(ConfigurationError, match=match):
        small().to_battles(**arguments)


# --- reading ------------------------------------------------------------------------------------------------------------


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_lines_may_have_different_models(tmp_path):
    path = jsonl(
        tmp_path / "x.jsonl",
        {"prompt": "p", "score::a": 1},
        {"prompt": "q", "score::b": 0.5, "group": "g"},
    )
    table = read_outcomes(path)
    assert table.models == ("a", "b")
    np.testing.assert_array_equal(table.scores, [[1, NAN], [NAN, 0.5]])
    assert table.groups == ("", "g")


def test_samples_without_a_score_are_averaged(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('prompt,samples::a,score::b\np,"[1, 0, 0.5, 0.5]",1\nq,,\n')
    table = read_outcomes(path)
    np.testing.assert_array_equal(table.column("a"), [0.5, NAN])
    np.testing.assert_array_equal(table.samples[0, table.models.index("a")], [1, 0, 0.5, 0.5])


def test_columns_of_other_names(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("question,gpt4,llama,score::other\nWhy?,1,0,1\n")
    table = read_outcomes(path, prompt_field="question", columns={"GPT-4": "gpt4", "Llama": "llama"})
    assert (table.models, table.scores.tolist()) == (("GPT-4", "Llama"), [[1, 0]])
    with pytest.raises(ConfigurationError, match=r"no column 'nope'; it has 'question', 'gpt4'"):
        read_outcomes(path, prompt_field="question", columns={"GPT-4": "nope"})


def test_truth_values_become_flags(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prompt,score::a,improper,task\np,1,true,yes\nq,0,,no\nr,0,False,no\n")
    table = read_outcomes(path)
    assert {name: flag.tolist() for name, flag in table.flags.items()} == {"improper": [True, False, False]}
    assert table.groups == ("yes", "no", "no")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("prompt,score::a\np,good\n", "line 2: 'score::a' must be a finite number or empty, not 'good'"),
        ("prompt,score::a\np,inf\n", "line 2: 'score::a' must be a finite number"),
        ("prompt,a\np,1\n", "has no scores: name the columns score::<model>"),
        ("question,score::a\np,1\n", "has no column 'prompt'; it has 'question', 'score::a'"),
        (
            "prompt,score::a,cost_usd::a\np,1,\np,-1,-0.5\n",
            "line 3: 'cost_usd::a' must be 0 or more, not -0.5",
        ),
        ("prompt,score::a,tokens_out::a\np,1,-7\n", "line 2: 'tokens_out::a' must be 0 or more"),
        ('prompt,samples::a\np,[1]\np,"[1, Infinity]"\n', "line 3: 'samples::a' must be a finite number"),
        ("prompt,samples::a\np,5\n", "line 2: 'samples::a' must be a list of numbers"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, match):
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=match):
        read_outcomes(path)


@pytest.mark.parametrize("table", ["routellm_mmlu", "mmlupro_tiger", "llmrouter_9models", "evouna_human_judged"])
def test_real_tables(outcome_data, tmp_path, table):
    pytest.importorskip("pyarrow")
    read = read_outcomes(outcome_data / f"{table}.parquet")
    same(read, read_outcomes(write_outcomes(read, tmp_path / "again.parquet")))
    complete = read.complete(read.models[:2])
    battles = complete.for_models(read.models[:2]).to_battles()
    a, b = complete.scores[:, 0], complete.scores[:, 1]
    assert len(battles) == len(complete)
    assert battles.outcome.tolist() == np.where(a > b, 1.0, np.where(a < b, 0.0, 0.5)).tolist()
