"""`routellm robustness` through its entry point."""

import json
import sys

import numpy as np
import pytest

from routellm_core.cli import main
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes, write_outcomes
from routellm_core.robustness.items import Item
from support.openai_server import Behaviour, OpenAIServer
from support.tiny_transformers import language_model, require_torch

PAIR = ("--strong", "big", "--weak", "small", "--bootstrap", "20")


@pytest.fixture
def routellm(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["routellm", "robustness", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def outcomes(tmp_path):
    items = [Item(str(i), "Q" * (i + 1), (f"{i}", "x", "y", "z")) for i in range(30)]
    prompts = (*(item.prompt for item in items), "What?")
    scores = np.column_stack([np.arange(31) < 20, np.ones(31)]).astype(float)
    return write_outcomes(OutcomeTable(prompts, ("small", "big"), scores), tmp_path / "o.jsonl")


@pytest.fixture
def asked(tmp_path):
    rows = [{"prompt": f"Q {i}?\nA. x\nB. y\nC. z\nAnswer:", "gold": "ABC"[i % 3]} for i in range(6)]
    rows += [{"prompt": "Q?\nA. x\nB. all of the above\nAnswer:", "gold": "A"}, {"prompt": "What?", "gold": ""}]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_router_json(routellm, outcomes):
    code, out, err = routellm(
        "router", "--router", "length", "--canonical", "--data", outcomes, *PAIR, "--perturbation", "spaces",
        "--format", "json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["n"] == 30
    assert set(found["routers"]) == {"length", "length+canonical"}
    assert found["routers"]["length"]["perturbations"]["spaces"]["flip_rate"]["value"] > 0
    assert found["routers"]["length+canonical"]["perturbations"]["spaces"]["flip_rate"]["value"] == 0


def test_router_table_and_report(routellm, outcomes, tmp_path):
    code, out, _ = routellm("router", "--router", "length", "--data", outcomes, *PAIR, "--out", tmp_path / "report")
    assert code == 0
    assert "derange" in out
    assert "1 rows left out: no multiple-choice question" in out
    assert (tmp_path / "report" / "report.html").is_file()


def test_router_bad_input(routellm, outcomes):
    code, out, err = routellm("router", "--router", "length", "--data", outcomes, *PAIR, "--perturbation", "flip")
    assert (code, out) == (2, "")
    assert "there is no perturbation 'flip'; there are: shuffle" in err


def test_labels_of_a_remote_model(routellm, asked, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    with OpenAIServer(behaviours={"m": Behaviour(text="B")}) as server:
        code, out, err = routellm(
            "labels", "--data", asked, "--remote", "small=m", "--base-url", server.url, "--out", tmp_path / "l.jsonl",
            "--report", tmp_path / "report", "--format", "json",
        )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["items"], found["unreadable"], found["order_dependent"]) == (6, 1, 1)
    assert found["provenance"]["read by"] == "symbol, generated text"
    table = read_outcomes(tmp_path / "l.jsonl")
    assert table.models == ("small",)
    assert table.scores[:, 0] == pytest.approx([1 / 3] * 6)
    assert table.provenance["variance within a prompt"]["small"] == pytest.approx(1 / 3, abs=1e-5)
    rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text(encoding="utf-8").splitlines()]
    told = json.loads(rows[-1]["provenance"])
    assert {"scoring rule", "averaged over", "seed"} <= set(told)
    assert told["prompt template"] == "{question}\nA. {choice A}\nB. {choice B}\nC. {choice C}\nAnswer:"
    assert told["instruction"].startswith("Reply with the symbol")
    assert told["models"] == {"small": {"endpoint": server.url + "/", "model": "m"}}
    assert (tmp_path / "report" / "report.html").is_file()


def test_labels_of_a_local_model(routellm, asked, tmp_path):
    require_torch()
    model, made = language_model()
    model.save_pretrained(tmp_path / "tiny")
    made.save_pretrained(tmp_path / "tiny")
    code, out, _ = routellm(
        "labels", "--data", asked, "--local", f"small={tmp_path / 'tiny'}", "--average", "demonstrations", "--pool", 3,
        "--shots", 2, "--draws", 2, "--normalisation", "tokens", "--out", tmp_path / "l.csv",
    )  # fmt: skip
    assert code == 0
    assert "1 rows left out: choices depend on their order" in out
    table = read_outcomes(tmp_path / "l.csv")
    assert (table.models, len(table), table.samples.shape) == (("small",), 3, (3, 1, 2))
    assert table.provenance["read by"] == "hybrid, log-likelihood / tokens"
    assert table.provenance["averaged over"] == "2 draws of 2 mixed demonstrations"


def test_labels_warn_of_answers_that_cannot_be_read(routellm, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    rows = [
        {"prompt": f"Q {i}?\n{a}. x\n{b}. y\nAnswer:", "gold": a} for i, (a, b) in enumerate([("A", "B"), ("1", "2")])
    ]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with OpenAIServer(behaviours={"m": Behaviour(text="B")}) as server:
        arguments = ("--data", file, "--remote", "a=m", "--base-url", server.url, "--out", tmp_path / "l.jsonl")
        code, _, err = routellm("labels", *arguments)
    assert (code, err) == (0, "warning: a: 50.0% of the answers cannot be read, and count as wrong\n")
    lettered, numbered = (json.loads(line) for line in (tmp_path / "l.jsonl").read_text(encoding="utf-8").splitlines())
    assert (lettered["samples::a"], numbered["samples::a"], numbered["score::a"]) == ([0.0, 1.0], [None, None], 0.0)
    assert "1. {choice 1}" in json.loads(numbered["provenance"])["prompt template"]


def test_labels_bad_input(routellm, asked, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "l.csv")
    for arguments, message in (
        ((), "there is no model to ask: name one with --local NAME=PATH or --remote NAME=MODEL"),
        (("--remote", "m"), "--remote 'm' must be NAME=VALUE"),
        (("--remote", "a=m"), "needs a key"),
        (
            ("--remote", "a=m", "--local", "b=nowhere", "--average", "demonstrations"),
            "rule 'hybrid' cannot be had of --remote",
        ),
        (
            ("--local", "b=nowhere", "--average", "demonstrations"),
            "--pool keeps 20 questions for demonstrations: there are 6, none is left",
        ),
    ):
        code, printed, err = routellm("labels", "--data", asked, *out, *arguments)
        assert (code, printed) == (2, "")
        assert message in err
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    code, _, err = routellm("labels", "--data", asked, *out, "--remote", "a=m", "--rule", "cloze")
    assert code == 2
    assert "rule 'cloze' cannot be had of --remote" in err
    with OpenAIServer(behaviours={"m": Behaviour(text="Well.")}) as server:
        remote = ("--data", asked, "--remote", "a=m", "--base-url", server.url)
        for name, message in (("l.txt", "must end in .jsonl"), ("none/l.csv", "there is no folder")):
            code, _, err = routellm("labels", *remote, "--out", tmp_path / name)
            assert code == 2
            assert message in err
        assert not server.requests
        code, _, err = routellm("labels", *remote, *out)
        assert code == 2
        assert "of 'a' no answer can be read" in err
    assert not (tmp_path / "l.csv").exists()
