"""Tables of every kind: what is read, in what pieces, and what is refused, by name and row."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from routellm_core.errors import CheckpointError, ConfigurationError, MissingColumnError
from routellm_core.preferences.battles import read_battles
from routellm_core.preferences.tables import Table, write_table
from support.hub_server import HubServer, hub_client

ROWS = [
    {"prompt": 'two\nlines, "quoted"', "n": 1.5},
    {"prompt": "日本 😀", "n": -2.0},
    {"prompt": "x" * 200_000, "n": 0.1},
]
SUFFIXES = [".csv", ".jsonl", ".parquet"]


@pytest.fixture(params=SUFFIXES)
def suffix(request):
    if request.param == ".parquet":
        pytest.importorskip("pyarrow")
    return request.param


def test_what_is_written_is_read(tmp_path, suffix):
    table = Table(write_table(ROWS, tmp_path / f"x{suffix}", columns=["prompt", "n"]))
    assert table.columns == ("prompt", "n")
    batches = list(table.batches(["n", "prompt"], size=2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert [text for batch in batches for text in batch.texts("prompt")] == [row["prompt"] for row in ROWS]
    assert np.concatenate([batch.floats("n") for batch in batches]).tolist() == [1.5, -2.0, 0.1]


def test_an_empty_table_has_its_columns(tmp_path):
    table = Table(write_table([], tmp_path / "x.csv", columns=["prompt"]))
    assert (table.columns, list(table.batches(["prompt"]))) == (("prompt",), [])


def test_optional_columns_are_empty_where_there_are_none(tmp_path, suffix):
    table = Table(write_table(ROWS, tmp_path / f"x{suffix}", columns=["prompt", "n"]))
    (batch,) = table.batches(["prompt"], ["weight"])
    assert batch.columns["weight"] == [None] * 3
    assert np.isnan(batch.floats("weight")).all()


def test_all_columns_without_names(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n')
    (batch,) = Table(path).batches()
    assert batch.columns == {"a": [1, None], "b": [None, 2]}
    assert [row for _, row in batch.rows()] == [{"a": 1, "b": None}, {"a": None, "b": 2}]


def test_a_broken_write_leaves_the_old_file(tmp_path, suffix):
    path = write_table(ROWS[:1], tmp_path / f"x{suffix}", columns=["prompt", "n"])
    before = path.read_bytes()

    def rows():
        yield ROWS[0]
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_table(rows(), path, columns=["prompt", "n"])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_column_of_scores_or_weights_may_begin_with_whole_numbers_or_nothing(tmp_path):
    pytest.importorskip("pyarrow")
    n = 8200
    rows = [{"score::a": 1, "weight": None}] * n + [{"score::a": 0.5, "weight": 0.25}]
    table = Table(write_table(rows, tmp_path / "x.parquet", columns=["score::a", "weight"]))
    batches = list(table.batches())
    assert (sum(map(len, batches)), batches[-1].floats("score::a")[-1], batches[-1].floats("weight")[-1]) == (
        n + 1,
        0.5,
        0.25,
    )
    with pytest.raises(ConfigurationError, match="'n' holds whole numbers, and then others"):
        write_table([{"n": 1}] * n + [{"n": 0.5}], tmp_path / "y.parquet", columns=["n"])


def test_conversations_come_back_from_text(tmp_path, suffix):
    turns = ["first", "second"]
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    for prompt, read in (
        (turns, "first"),
        (messages, "hello"),
        ("[1, 2] sorted?", "[1, 2] sorted?"),
        ("[1, 2]", "[1, 2]"),
    ):
        table = Table(write_table([{"prompt": prompt}], tmp_path / f"x{suffix}", columns=["prompt"]))
        (batch,) = table.batches(["prompt"])
        assert batch.prompts("prompt") == [read]


def test_dates_become_text(tmp_path):
    pytest.importorskip("pyarrow")
    path = write_table([{"at": datetime(2026, 1, 2, 3, tzinfo=UTC)}], tmp_path / "x.parquet", columns=["at"])
    (batch,) = Table(path).batches()
    (found,) = Table(write_table((row for _, row in batch.rows()), tmp_path / "x.jsonl", columns=["at"])).batches()
    assert found.columns == {"at": ["2026-01-02 03:00:00+00:00"]}


def test_missing_columns_are_named_with_those_that_are_there(tmp_path, suffix):
    table = Table(write_table(ROWS, tmp_path / f"x{suffix}", columns=["prompt", "n"]))
    with pytest.raises(MissingColumnError, match=r"'winner'.*'prompt', 'n'"):
        list(table.batches(["winner"]))


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("x.csv", b"a,b\n1,2,3\n", "line 2 has more fields than the header"),
        ("x.csv", b"a\ncaf\xe9\n", "is not UTF-8 text"),
        ("x.jsonl", b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("x.jsonl", b'{"a": 1}\n[2]\n', "line 2"),
        ("x.jsonl", b'{"a": 1}\n{"b": 2}\n', "line 2 has no field 'a'; it has 'b'"),
    ],
)
def test_damaged_files(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=match):
        list(Table(tmp_path / name).batches(["a"]))


@pytest.mark.parametrize("value", ["nine", "inf", "1,5"])
def test_what_is_no_number_is_named_with_its_row(tmp_path, value):
    path = tmp_path / "x.csv"
    path.write_text(f'n\n1\n"{value}"\n')
    (batch,) = Table(path).batches(["n"])
    with pytest.raises(ConfigurationError, match=f"line 3: 'n' must be a finite number or empty, not '{value}'"):
        batch.floats("n")


def test_names_of_tables(tmp_path):
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(ConfigurationError, match=r"must end in .jsonl, .csv, .parquet"):
        Table(tmp_path / "x.xlsx")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        Table(tmp_path / "none.csv")
    with pytest.raises(ConfigurationError, match=r"must end in .jsonl, .csv, .parquet"):
        write_table([], tmp_path / "x.xlsx", columns=[])


def test_reading_holds_one_batch_in_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "x.jsonl"
    with path.open("w") as stream:
        for i in range(4000):
            stream.write(json.dumps({"prompt": f"{i} " + "word " * 400}) + "\n")
    assert path.stat().st_size > 8_000_000
    tracemalloc.start()
    n = sum(len(batch) for batch in Table(path).batches(["prompt"], size=100))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n == 4000
    assert peak < 2_000_000


# --- the Hub ------------------------------------------------------------------------------------------------------------

BATTLES = b'{"prompt": "Hi!", "model_a": "x", "model_b": "y", "winner": "tie"}\n'


@pytest.fixture
def hub(tmp_path):
    with HubServer(tokens={"secret": "ada"}) as server, hub_client(server.url, tmp_path / "home"):
        yield server


def test_the_only_table_of_a_data_set(hub):
    hub.commit("datasets/ada/votes", {"README.md": b"", "data/train.jsonl": BATTLES})
    assert [b.prompt for b in read_battles("ada/votes")] == ["Hi!"]


def test_a_named_file_and_a_revision(hub):
    hub.commit("datasets/ada/votes", {"a.jsonl": BATTLES, "deep/b.jsonl": BATTLES * 2})
    hub.commit("datasets/ada/votes", {"a.jsonl": BATTLES * 3}, branch="more")
    assert len(read_battles("hf://datasets/ada/votes/deep/b.jsonl")) == 2
    assert len(read_battles("hf://datasets/ada/votes@more/a.jsonl")) == 3


def test_several_tables_are_listed(hub):
    hub.commit("datasets/ada/votes", {"a.jsonl": BATTLES, "b.jsonl": BATTLES})
    with pytest.raises(CheckpointError, match=r"2 tables: name one as hf://datasets/ada/votes/FILE.*a.jsonl, b.jsonl"):
        read_battles("ada/votes")


def test_a_file_that_is_not_there_is_answered_with_those_that_are(hub):
    hub.commit("datasets/ada/votes", {"a.jsonl": BATTLES})
    with pytest.raises(CheckpointError, match=r"has no file 'z.jsonl'; it has: a.jsonl"):
        read_battles("hf://datasets/ada/votes/z.jsonl")


def test_a_data_set_that_is_private_or_missing(hub):
    hub.commit("datasets/ada/secret", {"a.jsonl": BATTLES}, private=True)
    for name in ("ada/secret", "ada/nothing"):
        with pytest.raises(CheckpointError, match=r"wants a token|does not exist"):
            read_battles(name)
    assert len(read_battles("ada/secret", token="secret")) == 1


@pytest.mark.parametrize("name", ["hf://ada/votes", "hf://datasets/ada/votes", "hf://datasets/ada"])
def test_malformed_addresses(name):
    with pytest.raises(ConfigurationError, match="write hf://datasets/owner/name/path"):
        Table(name)
