"""`routellm evaluate` through its entry point, on a table made here."""

import json
import sys

import numpy as np
import pytest

from routellm_core.cli import main
from routellm_core.preferences.outcomes import OutcomeTable, write_outcomes


@pytest.fixture
def routellm(monkeypatch, capsys, tmp_path):
    """Run the command line in this process; returns exit code, standard output and standard error."""
    monkeypatch.setenv("ROUTELLM_CACHE", str(tmp_path / "cache"))

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
def table(tmp_path):
    rng = np.random.default_rng(0)
    length = rng.integers(1, 400, 120)
    right = rng.random((120, 2)) < np.stack([1 - length / 500, np.full(120, 0.9)], axis=1)
    made = OutcomeTable(
        prompts=tuple("x" * n + str(i) for i, n in enumerate(length)),
        models=("small", "big"),
        scores=right.astype(float),
        groups=tuple("a" if i % 2 else "b" for i in range(120)),
        split=tuple("dev" if i % 3 else "train" for i in range(120)),
        flags={"routellm_contaminated": np.arange(120) < 5},
    )
    return write_outcomes(made, tmp_path / "made.jsonl")


PAIR = ("--strong", "big", "--weak", "small", "--bootstrap", "50")


def refused(result):
    code, out, err = result
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    return err


def test_json(routellm, table):
    code, out, err = routellm(
        "evaluate", "--router", "length", "--router", "random", "--benchmark", table, *PAIR, "--format", "json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["benchmark"], found["n"], found["strong"], found["weak"]) == ("made", 115, "big", "small")
    assert set(found["routers"]) == {"length", "random"}
    for key in ("apgr", "cpt50", "cpt80"):
        assert set(found["routers"]["length"][key]) == {"value", "low", "high"}
    assert set(found["baselines"]) == {"random", "length", "oracle", "best_single"}
    assert found["routers"]["length"]["apgr"] == found["baselines"]["length"]["apgr"]
    assert found["baselines"]["random"]["apgr"]["value"] == pytest.approx(0.5)
    assert found["excluded"] == {"routellm_contaminated": 5}


def test_table_for_people(routellm, table):
    code, out, err = routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR)
    assert (code, err) == (0, "")
    for part in ("APGR", "CPT50", "CPT80", "length (baseline)", "oracle (baseline)", "prompts/s", "115 prompts", "[0."):
        assert part in out
    assert "5 rows left out: routellm_contaminated" in out


def test_split_flags_and_seed(routellm, table):
    def n(*options):
        _, out, _ = routellm(
            "evaluate", "--router", "length", "--benchmark", table, *PAIR, "--format", "json", *options
        )
        return json.loads(out)["n"]

    assert n("--keep-flagged") == 120
    assert n("--split", "dev", "--keep-flagged") == 80
    error = refused(routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, "--split", "test"))
    assert "--split 'test': the table has 'dev', 'train'" in error


def test_prices(routellm, table):
    prices = ("--price", "big=10,30", "--price", "small=0.5")
    _, out, _ = routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, *prices, "--format", "json")
    savings = json.loads(out)["routers"]["length"]["savings"]
    assert savings[0]["usd_per_1000_calls_strong"] == pytest.approx((95 * 10 + 264 * 30) / 1000)
    for wrong in ("big", "big=", "big=cheap", "big=1,2,3,4", "big=inf", "bog=1"):
        assert "price" in refused(
            routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, "--price", wrong)
        )


def test_the_machine_of_the_router_counts(routellm, table):
    prices = ("--price", "big=10", "--price", "small=1", "--router-usd-per-hour", "3600000")
    _, out, _ = routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, *prices, "--format", "json")
    saving = json.loads(out)["routers"]["length"]["savings"][0]
    assert saving["usd_per_1000_calls_router"] > 0
    assert saving["saved"]["value"] < 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*PAIR, "--seed", "-1"), "--seed"),
        ((*PAIR, "--model", "big"), "--model says nothing for a pair"),
        ((*PAIR, "--seconds", "big=1"), "--seconds says nothing for a pair"),
        (("--parameters", "big=x"), "--parameters: 'x' of 'big' must be a number of 0 or more"),
        ((*PAIR, "--reference", "bog=x"), "has no model 'bog'"),
        ((*PAIR, "--transfer", "--out", "report"), "--out says nothing with --transfer"),
        ((*PAIR, "--transfer", "--price", "big=1"), "--price says nothing with --transfer"),
        (("--router-usd-per-hour", "1"), "--router-usd-per-hour says nothing for a pool"),
        ((*PAIR, "--router-usd-per-hour", "-1"), "0 or more"),
    ],
)
def test_options_that_would_be_taken_no_notice_of(routellm, table, options, message):
    assert message in refused(routellm("evaluate", "--router", "length", "--benchmark", table, *options))


def test_report_into_a_file_is_refused_before_anything_is_scored(routellm, table, tmp_path):
    (tmp_path / "report").write_text("")
    refusal = refused(
        routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, "--out", tmp_path / "report")
    )
    assert "is a file: name a folder" in refusal
    assert not (tmp_path / "cache").exists()


def test_report(routellm, table, tmp_path):
    pytest.importorskip("matplotlib")
    code, out, _ = routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, "--out", tmp_path / "report")
    assert code == 0
    assert "report.html" in out
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def test_transfer(routellm, table):
    _, out, _ = routellm("evaluate", "--router", "length", "--benchmark", table, "--transfer", "--bootstrap", "20")
    assert "Transfer" in out
    _, out, _ = routellm(
        "evaluate", "--router", "length", "--benchmark", table, "--transfer", "--bootstrap", "20", "--format", "json"
    )
    rows = json.loads(out)["transfer"]
    assert {(row["strong"], row["weak"]) for row in rows} == {("big", "small")}


def test_scores_are_kept_unless_told_otherwise(routellm, table, tmp_path):
    assert routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, "--no-cache")[0] == 0
    assert not (tmp_path / "cache").exists()
    assert routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR)[0] == 0
    assert (tmp_path / "cache" / "scores.sqlite").is_file()
    own = tmp_path / "own.sqlite"
    assert routellm("evaluate", "--router", "length", "--benchmark", table, *PAIR, "--cache", own)[0] == 0
    assert own.is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strong", "big"), "give both --strong and --weak for a pair, or neither for a pool"),
        (("--strong", "big", "--weak", "tiny"), "'tiny'"),
        (("--strong", "big", "--weak", "big"), "must be two columns"),
        ((), "give strong and weak"),
        (("--strong", "big", "--weak", "small", "--reference", "big"), "--reference 'big' must be NAME=VALUE"),
        (("--strong", "big", "--weak", "small", "--bootstrap", "0"), "bootstrap"),
    ],
)
def test_bad_input(routellm, table, options, message):
    assert message in refused(routellm("evaluate", "--router", "length", "--benchmark", table, *options))


def test_unknown_router_and_file(routellm, table, tmp_path):
    assert "no registered name" in refused(routellm("evaluate", "--router", "lenght", "--benchmark", table, *PAIR))
    missing = tmp_path / "missing.jsonl"
    assert "missing.jsonl" in refused(routellm("evaluate", "--router", "length", "--benchmark", missing, *PAIR))


def test_help_teaches(routellm):
    _, out, _ = routellm("evaluate", "--help")
    text = " ".join(out.replace("│", " ").split())
    for part in ("APGR", "0.5 is chance", "routellm evaluate --router default", "--transfer", "--out"):
        assert part in text


def test_golden_numbers_through_the_command_line(routellm, outcome_data):
    pytest.importorskip("pyarrow")
    models = ("--strong", "gpt-4-1106-preview", "--weak", "mixtral-8x7b-instruct-v0.1", "--bootstrap", "50")
    _, out, _ = routellm(
        "evaluate",
        "--router",
        "length",
        "--benchmark",
        outcome_data / "routellm_mtbench_gpt4judge.parquet",
        *models,
        "--format",
        "json",
    )
    found = json.loads(out)
    assert found["n"] == 39
    assert found["routers"]["length"]["apgr"]["value"] == pytest.approx(0.43030, abs=5e-6)
    assert found["routers"]["length"]["apgr_deciles"]["value"] == pytest.approx(0.43689, abs=5e-6)
    assert found["routers"]["length"]["cpt50"]["value"] == pytest.approx(0.61686, abs=5e-6)
    assert found["baselines"]["oracle"]["apgr"]["value"] == pytest.approx(0.89099, abs=5e-6)
