"""`routellm benchmark` with the real client against a server on loopback."""

import json
import sys

import pytest

from routellm_core.cli import main
from routellm_core.preferences.outcomes import read_outcomes
from support.openai_server import Behaviour, OpenAIServer


@pytest.fixture
def routellm(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["routellm", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def server(monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with OpenAIServer() as running:
        running.behaviours["served"] = Behaviour(text="The answer is (B).")
        running.behaviours["other"] = Behaviour(text="The answer is (A).")
        yield running


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text("prompt_id,task,prompt,reference\nq1,law,Which?,B\nq2,law,What?,A\n")
    return path


def test_run_writes_a_benchmark(routellm, server, questions, tmp_path):
    out = tmp_path / "mine.jsonl"
    command = ("benchmark", "run", "--data", questions, "--grader", "multiple-choice", "--out", out)
    models = ("--model", f"big=served@{server.url}", "--model", f"other@{server.url}")
    options = ("--samples", "3", "--temperature", "0.7", "--price", "big=1,2")
    code, printed, err = routellm(*command, *models, *options)
    assert (code, err) == (0, "")
    summary = json.loads(printed)
    assert summary["models"]["big"] == {"answers": 6, "truncated": 0, "unparsable": 0, "failed": 0}
    table = read_outcomes(out)
    assert table.models == ("big", "other")
    assert table.scores.tolist() == [[1, 0], [0, 1]]
    assert table.groups == ("law", "law")
    assert table.samples.shape == (2, 2, 3)
    assert table.provenance["samples"] == 3
    majorities = [json.loads(line) for line in (tmp_path / "mine.majority.jsonl").read_text().splitlines()]
    assert majorities[0] == {"id": "q1", "model": "big", "answer": "B", "agreement": 1.0, "right": True}
    assert len((tmp_path / "mine.answers.jsonl").read_text().splitlines()) == 12
    server.requests.clear()
    assert routellm(*command, *models, *options)[0] == 0
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--grader": "vibes"}, "there is no grader 'vibes'"),
        ({"--data": "missing.csv"}, "missing.csv"),
        ({"--model": "=x"}, "--model '=x' must be NAME"),
        ({"--price": "nobody=1"}, "--price 'nobody': no --model has that name"),
        ({"--reference-field": "right"}, "'right'"),
        ({"--samples": "0"}, "samples"),
        ({"--price": "m=dear"}, "--price: 'dear' must be one number"),
    ],
)
def test_bad_input(routellm, server, questions, tmp_path, change, message):
    options = {"--data": questions, "--grader": "number", "--out": tmp_path / "x.jsonl", "--model": f"m@{server.url}"}
    arguments = [part for pair in (options | change).items() for part in pair]
    code, out, err = routellm("benchmark", "run", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_name_of_the_table_is_checked_before_anybody_is_asked(routellm, server, questions, tmp_path):
    options = ("--grader", "number", "--out", tmp_path / "x.txt", "--model", f"m@{server.url}")
    code, out, err = routellm("benchmark", "run", "--data", questions, *options)
    assert (code, out) == (2, "")
    assert "must end in .jsonl, .csv, .parquet" in err
    assert server.requests == []


def test_list(routellm):
    code, out, _ = routellm("benchmark", "list")
    assert code == 0
    for part in ("routellm-mmlu", "routellm-gsm8k", "routellm-mt-bench", "14,042", "0b64fda"):
        assert part in out


def test_fetch_refuses_an_unknown_name(routellm, tmp_path):
    code, _, err = routellm("benchmark", "fetch", "mmlu", "--out", tmp_path / "x.jsonl")
    assert code == 2
    assert "there is no benchmark 'mmlu'" in err


def test_help_teaches(routellm):
    _, out, _ = routellm("benchmark", "run", "--help")
    text = " ".join(out.replace("│", " ").split())
    for part in ("OPENAI_API_KEY", "--samples", "routellm benchmark run --data"):
        assert part in text
