"""`routellm data`, through its entry point: what is printed, written and refused."""

import json
import sys

import pytest

from routellm_core.cli import main
from routellm_core.preferences.battles import read_battles
from routellm_core.preferences.outcomes import read_outcomes
from support.embeddings_server import EmbeddingsServer
from support.openai_server import OpenAIServer

ROW = {"prompt": "What is the reason for it?", "model_a": "a", "model_b": "b", "winner": "model_a"}


@pytest.fixture
def routellm(monkeypatch, capsys, tmp_path):
    """Run the command line in this process, in a folder of its own; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["routellm", "data", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def succeeded(result):
    code, out, _ = result
    assert code == 0, result
    return json.loads(out)


def refused(result) -> str:
    code, out, err = result
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    return err


def test_inspect_battles(routellm, tmp_path):
    name = jsonl(
        tmp_path / "b.jsonl",
        ROW,
        ROW,
        {**ROW, "winner": "tie", "source": "gold"},
        {**ROW, "prompt": "Hi!", "model_b": "c"},
    )
    found = succeeded(routellm("inspect", "--data", name, "--format", "json"))
    assert (found["kind"], found["battles"], found["prompts"], found["models"]) == ("battles", 4, 2, 3)
    assert found["winners"] == {"model_a": 3, "model_b": 0, "tie": 1}
    assert found["sources"] == {"human": 3, "judge": 0, "gold": 1}
    assert (found["duplicates"], found["short_prompts"]) == (1, 1)
    assert found["tiers"]["model_pairs_covered"] == pytest.approx(2 / 3)
    assert next(iter(found["tiers"]["tiers"])) == "a"
    code, table, _ = routellm("inspect", "--data", name)
    assert code == 0
    for part in ("model_a 3", "gold 1", "tier_pairs_covered"):
        assert part in table


def test_inspect_outcomes_and_answers(routellm, tmp_path):
    name = jsonl(tmp_path / "o.jsonl", {"prompt": "p", "score::x": 1, "score::y": None, "task": "t"})
    found = succeeded(routellm("inspect", "--data", name, "--format", "json"))
    assert found["models"] == {"x": {"scores": 1, "mean": 1.0}, "y": {"scores": 0, "mean": None}}
    assert (found["groups"], found["complete_rows"]) == ({"t": 1}, 0)
    name = jsonl(tmp_path / "a.jsonl", {"prompt": "p", "answer::x": "1", "answer::y": "2", "reference": "3"})
    found = succeeded(routellm("inspect", "--data", name, "--format", "json"))
    assert (found["kind"], found["references"], found["pairs"]) == ("answers", 1, 1)


def test_merge(routellm, tmp_path):
    one = jsonl(tmp_path / "one.jsonl", ROW, {**ROW, "prompt": "Hi!"})
    two = jsonl(tmp_path / "two.jsonl", {**ROW, "winner": "tie"}, ROW)
    arguments = (
        "merge",
        "--data",
        one,
        "--data",
        two,
        "--min-characters",
        "16",
        "--out",
        "all.csv",
        "--format",
        "json",
    )
    dry = succeeded(routellm(*arguments, "--dry-run"))
    assert (dry["out"], dry["kept"]) == (None, 2)
    assert not (tmp_path / "all.csv").exists()
    done = succeeded(routellm(*arguments))
    assert done["tables"] == dry["tables"]
    assert done["tables"][0]["dropped"] == {"short": 1}
    assert done["tables"][1]["dropped"] == {"duplicate": 1}
    assert [b.winner for b in read_battles("all.csv")] == ["model_a", "tie"]
    code, table, _ = routellm(*arguments[:-2])
    assert code == 0
    assert "1. one.jsonl: kept" in table


def test_decontaminate(routellm, tmp_path):
    data = jsonl(tmp_path / "b.jsonl", ROW, {**ROW, "prompt": "Name the capital of France, please."})
    against = jsonl(tmp_path / "e.jsonl", {"question": "name the capital of FRANCE,  please."})
    arguments = ("decontaminate", "--data", data, "--against", against, "--against-field", "question")
    done = succeeded(routellm(*arguments, "--out", "clean.jsonl", "--report", "report.json", "--format", "json"))
    assert (done["rows"], done["dropped"], done["found"][0]["found_by"]) == (2, 1, "text")
    assert done["found"][0]["row"] == "b.jsonl, line 2"
    assert json.loads((tmp_path / "report.json").read_text()) == done
    assert [b.prompt for b in read_battles("clean.jsonl")] == [ROW["prompt"]]
    code, table, _ = routellm(*arguments, "--dry-run", "--embedder", "none")
    assert code == 0
    assert "b.jsonl, line 2 = e.jsonl, line 1 (text, 1.000)" in table


def test_embeddings_are_bought_once(routellm, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    pytest.importorskip("lmdb")
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    data = jsonl(tmp_path / "b.jsonl", ROW, {**ROW, "prompt": "Name the capital of France, please."})
    against = jsonl(tmp_path / "e.jsonl", {"prompt": "What is the capital of Chile?"})
    arguments = ("decontaminate", "--data", data, "--against", against, "--out", "clean.jsonl", "--format", "json")
    with EmbeddingsServer(dimension=1536) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        arguments += ("--embedder", "openai:text-embedding-3-small", "--embedding-cache", "vectors")
        first = succeeded(routellm(*arguments))
        sent = [text for request in server.requests for text in request["input"]]
        assert len(sent) == len(set(sent)) == 3
        assert succeeded(routellm(*arguments)) == first
        assert sum(len(request["input"]) for request in server.requests) == 3


def test_a_cache_that_cannot_be_is_named(routellm, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    data = jsonl(tmp_path / "b.jsonl", ROW)
    (tmp_path / "file").write_text("")
    arguments = ("decontaminate", "--data", data, "--against", data, "--dry-run", "--embedding-cache", "file")
    assert "--embedder none, which embeds nothing" in refused(routellm(*arguments, "--embedder", "none"))
    costly = (*arguments, "--embedder", "openai:text-embedding-3-small")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert 'pip install "routellm-plugins[cache]"' in refused(routellm(*costly))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("lmdb")
    assert "--embedding-cache: directory='file' cannot be opened" in refused(routellm(*costly))


def test_a_report_that_cannot_be_written_is_refused_before_the_work(routellm, tmp_path):
    data = jsonl(tmp_path / "b.jsonl", ROW)
    (tmp_path / "folder").mkdir()
    arguments = ("decontaminate", "--data", data, "--against", data, "--out", "clean.jsonl", "--report")
    assert "--report 'folder' cannot be written: it is a folder" in refused(routellm(*arguments, "folder"))
    assert "there is no folder 'none'" in refused(routellm(*arguments, "none/report.json"))
    assert not (tmp_path / "clean.jsonl").exists()
    assert "--out 'none/clean.jsonl' cannot be written" in refused(routellm(*arguments[:6], "none/clean.jsonl"))


ANSWERS = [
    {"prompt": "p", "reference": "B", "answer::x": "The answer is B.\nScore: 4\n", "answer::y": "A"},
    {"prompt": "q", "reference": "C", "answer::x": "C\nScore: 2\n", "answer::y": "B or C"},
]


def test_label_by_reference(routellm, tmp_path):
    data = jsonl(tmp_path / "a.jsonl", *ANSWERS)
    arguments = ("label", "--data", data, "--method", "multiple-choice", "--out", "o.csv", "--format", "json")
    dry = succeeded(routellm(*arguments, "--dry-run"))
    assert not (tmp_path / "o.csv").exists()
    done = succeeded(routellm(*arguments))
    assert (done["labels"], done["unparsable"]) == (dry["labels"], dry["unparsable"])
    assert (done["rows"], done["labels"], done["unparsable"], done["unlabelled_rows"]) == (2, 3, 1, ["a.jsonl, line 2"])
    assert read_outcomes("o.csv").scores.tolist()[0] == [1.0, 0.0]


def test_label_by_judge(routellm, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    data = jsonl(tmp_path / "a.jsonl", *({k: v for k, v in row.items() if k != "answer::y"} for row in ANSWERS))
    arguments = ("label", "--data", data, "--method", "score", "--judge", "j", "--out", "s.jsonl", "--price", "1,10")
    with OpenAIServer() as server:
        arguments += ("--base-url", server.url, "--format", "json")
        dry = succeeded(routellm(*arguments, "--dry-run"))
        assert (dry["questions"], dry["known"], dry["tokens_out"]) == (2, 0, 600)
        assert dry["usd"] == pytest.approx((dry["tokens_in"] + 6000) / 1e6)
        assert "--max-usd allows $0.00" in refused(routellm(*arguments, "--max-usd", "0.0001"))
        assert server.requests == []
        code, out, err = routellm(*arguments, "--max-usd", "1")
        assert (code, err) == (0, "asking j 2 questions (0 known); cost about $0.01\n")
        done = json.loads(out)
        assert (done["calls"], done["labels"]) == (2, 2)
        again = succeeded(routellm(*arguments))
        assert (again["calls"], again["known"], len(server.requests)) == (0, 2, 2)
        more = ("--judge-option", "max_tokens=null", "--judge-option", "max_completion_tokens=5000", "--judge", "k")
        assert succeeded(routellm(*arguments, *more, "--dry-run"))["tokens_out"] == 10_000
        succeeded(routellm(*arguments, *more))
        assert server.requests[-1].body.keys() & {"max_tokens", "max_completion_tokens"} == {"max_completion_tokens"}
        assert "NAME=VALUE" in refused(routellm(*arguments, "--judge-option", "max_tokens"))
    assert read_outcomes("s.jsonl").scores.tolist() == [[0.75], [0.25]]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("inspect", "--data", "none.csv"), "'none.csv': there is no such file"),
        (("inspect", "--data", "bad.jsonl"), "bad.jsonl, line 2: winner must be 'model_a', 'model_b', 'tie'"),
        (("merge", "--data", "good.jsonl"), "name the table to write with --out, or give --dry-run"),
        (("merge", "--data", "good.jsonl", "--out", "x.txt"), "must end in .jsonl, .csv, .parquet"),
        (("merge", "--data", "bad.jsonl", "--out", "x.csv"), "bad.jsonl, line 2"),
        (("merge", "--data", "good.jsonl", "--out", "x.csv", "--source", "me"), "--source"),
        (("decontaminate", "--data", "good.jsonl", "--against", "good.jsonl"), "--out"),
        (
            ("decontaminate", "--data", "good.jsonl", "--against", "good.jsonl", "--dry-run", "--embedder", "bert"),
            "--embedder 'bert' must be none, default, openai:MODEL",
        ),
        (
            ("decontaminate", "--data", "good.jsonl", "--against", "good.jsonl", "--dry-run", "--similarity", "2"),
            "similarity must be in (0, 1]",
        ),
        (("label", "--data", "good.jsonl", "--method", "score", "--out", "x.csv"), "--method score needs a --judge"),
        (("label", "--data", "good.jsonl", "--method", "exact", "--out", "x.csv"), "has no answers"),
        (("label", "--data", "good.jsonl", "--method", "guess", "--out", "x.csv"), "multiple-choice"),
        (
            (
                "label",
                "--data",
                "answers.jsonl",
                "--method",
                "pairwise",
                "--out",
                "x.csv",
                "--judge",
                "j",
                "--price",
                "dear",
            ),
            "--price: 'dear' must be one number",
        ),
        (
            ("label", "--data", "answers.jsonl", "--method", "pairwise", "--out", "x.csv", "--judge", "j"),
            "OPENAI_API_KEY",
        ),
        (
            ("label", "--data", "answers.jsonl", "--method", "number", "--out", "x.csv"),
            "line 1: the reference must hold",
        ),
    ],
)
def test_bad_input(routellm, tmp_path, arguments, match):
    jsonl(tmp_path / "good.jsonl", ROW)
    jsonl(tmp_path / "bad.jsonl", ROW, {**ROW, "winner": "a"})
    jsonl(tmp_path / "answers.jsonl", *ANSWERS)
    error = refused(routellm(*arguments))
    assert match in " ".join(error.replace("│", " ").split())
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("command", ["inspect", "merge", "decontaminate", "label"])
def test_help_gives_an_example(routellm, command):
    code, out, _ = routellm(command, "--help")
    assert code == 0
    assert f"routellm data {command} --data" in out
    assert "--format" in out
