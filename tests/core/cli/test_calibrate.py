"""`routellm calibrate`, as a user runs it."""

import csv
import json

import numpy as np
import pytest
import yaml

from routellm_core import RoutingEngine, calibrate_threshold, load_router, routing
from routellm_core.traffic import DecisionLog

PROMPTS = [f"{'why ' * (i % 97)}question {i}" for i in range(600)]

CONFIG = """\
models:
  large: {price: {input: 10, output: 30}}   # dear
  small: {price: 0.24}
chains:
  support: {strong: large, weak: small, strong_fraction: 0.3}  # keep me
  summarise:
    # a block
    strong: large
    weak: small
  fixed: {strong: large, weak: small, threshold: 0.9}
"""


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PROMPTS))
    return str(path)


@pytest.fixture
def graded(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "graded.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt", "score::small", "score::large"])
        for prompt in PROMPTS:
            writer.writerow([prompt, int(rng.random() > len(prompt) / 400), 1])
    return str(path)


def log_of(tmp_path, router="length", **options):
    path = tmp_path / "decisions.jsonl"
    with DecisionLog(path, **options) as log:
        engine = RoutingEngine(router, threshold=0.005, log=log)
        for decision in engine.decide_batch(PROMPTS):
            engine.record(decision)
    return str(path)


def test_json_is_the_calibration_of_these_prompts(routellm, prompts):
    command = ["calibrate", "--router", "length", "--file", prompts, "--strong-fraction", "0.3", "--format", "json"]
    code, out, err = routellm(*command)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == [
        "threshold",
        "requested_fraction",
        "achieved_fraction",
        "interval",
        "n_prompts",
        "warnings",
    ]
    expected = calibrate_threshold(load_router("length").strong_win_rates(PROMPTS), 0.3).to_dict()
    assert {**found, "warnings": expected["warnings"]} == expected
    assert found["interval"][0] < found["achieved_fraction"] < found["interval"][1]


def test_the_interval_is_for_as_many_calls_as_asked(routellm, prompts):
    widths = {}
    for fresh in ("50", "0", None):
        option = [] if fresh is None else ["--fresh", fresh]
        _, out, _ = routellm(
            "calibrate",
            "--router",
            "random",
            "--file",
            prompts,
            "--strong-fraction",
            "0.5",
            "--format",
            "json",
            *option,
        )
        low, high = json.loads(out)["interval"]
        widths[fresh] = high - low
    assert widths["50"] > widths[None] > widths["0"]


def test_a_table_for_people_with_warnings_beside_it(routellm, prompts):
    code, out, err = routellm("calibrate", "--file", prompts, "--strong-fraction", "0.3")
    assert code == 0
    assert "30.0% asked for" in out
    assert "on further prompts" in out
    assert "warning: the scores of these prompts are far from those" in err


def test_few_prompts_are_said_to_be_few(routellm):
    _, out, _ = routellm(
        *["calibrate", "--file", "-", "--router", "random", "--strong-fraction", "0.5", "--format", "json"],
        stdin="\n".join(PROMPTS[:20]),
    )
    assert "only 20 prompts" in json.loads(out)["warnings"][0]


def test_a_wanted_quality(routellm, graded):
    command = ["calibrate", "--router", "length", "--file", graded, "--strong", "large", "--weak", "small"]
    found = {}
    for quality in ("0.5", "0.8"):
        code, out, _ = routellm(*command, "--quality", quality, "--format", "json")
        assert code == 0
        found[quality] = json.loads(out)
        assert found[quality]["achieved_quality"] >= float(quality)
        low, high = found[quality]["quality_interval"]
        assert low < float(quality) < high
    assert found["0.8"]["threshold"] < found["0.5"]["threshold"]
    assert found["0.5"]["achieved_fraction"] < 0.5  # the length says something here
    _, out, _ = routellm(*command, "--quality", "0.5")
    assert "gap recovered" in out


def test_a_decision_log_is_already_scored(routellm, tmp_path, prompts):
    log = log_of(tmp_path)
    _, out, _ = routellm("calibrate", "--log", log, "--strong-fraction", "0.3", "--format", "json")
    _, same, _ = routellm(
        "calibrate", "--router", "length", "--file", prompts, "--strong-fraction", "0.3", "--format", "json"
    )
    assert {**json.loads(out), "warnings": json.loads(same)["warnings"]} == json.loads(same)
    _, named, _ = routellm(
        "calibrate", "--router", "length", "--log", log, "--strong-fraction", "0.3", "--format", "json"
    )
    assert json.loads(named) == json.loads(same)


def test_another_router_scores_the_log_if_it_has_the_prompts(routellm, refused, tmp_path):
    command = ["calibrate", "--router", "random", "--strong-fraction", "0.3", "--format", "json", "--log"]
    assert "no prompts to score" in refused(routellm(*command, log_of(tmp_path)))
    (tmp_path / "decisions.jsonl").unlink()
    code, out, _ = routellm(*command, log_of(tmp_path, prompts="text"))
    assert code == 0
    assert json.loads(out)["threshold"] == pytest.approx(0.7, abs=0.1)


def test_logs_of_several_routers_are_not_mixed(routellm, refused, tmp_path):
    log = log_of(tmp_path)
    log_of(tmp_path, router="random")
    error = refused(routellm("calibrate", "--log", log, "--strong-fraction", "0.3"))
    assert "2 routers" in error
    assert "length, random" in error
    code, out, _ = routellm(
        "calibrate", "--log", log, "--router", "length", "--strong-fraction", "0.3", "--format", "json"
    )
    assert (code, json.loads(out)["n_prompts"]) == (0, 600)
    assert "600 of 1200 calls" in json.loads(out)["warnings"][0]


def test_calls_without_a_score_are_told(routellm, refused, tmp_path):
    path = tmp_path / "decisions.jsonl"
    with DecisionLog(path) as log:
        engine = RoutingEngine("random", threshold=0.5, log=log)
        with routing(route="strong"):
            engine.record(engine.decide("forced"))
    assert "no call with a strong win rate" in refused(
        routellm("calibrate", "--log", str(path), "--strong-fraction", "0.3")
    )


@pytest.mark.parametrize("chain", ["support", "summarise", "fixed"])
def test_the_threshold_goes_into_the_configuration(routellm, tmp_path, prompts, chain):
    path = tmp_path / "routing.yaml"
    path.write_bytes(CONFIG.replace("\n", "\r\n").encode() if chain == "fixed" else CONFIG.encode())
    command = ["calibrate", "--router", "length", "--file", prompts, "--strong-fraction", "0.2", "--format", "json"]
    code, out, err = routellm(*command, "--write", str(path), "--chain", chain)
    assert code == 0
    threshold = json.loads(out)["threshold"]
    assert repr(threshold) in err
    before, after = yaml.safe_load(CONFIG), yaml.safe_load(path.read_text())
    assert after["chains"][chain].pop("threshold") == threshold
    assert "strong_fraction" not in after["chains"][chain]
    before["chains"][chain] = {"strong": "large", "weak": "small"}
    assert after == before
    for comment in ("# dear", "# keep me", "# a block"):
        assert comment in path.read_text()
    assert (b"\r\n" in path.read_bytes()) == (chain == "fixed")
    assert [file.name for file in tmp_path.iterdir() if "routing" in file.name] == ["routing.yaml"]


def test_the_configuration_keeps_its_mode_and_its_place(routellm, tmp_path, prompts):
    real, link = tmp_path / "real.yaml", tmp_path / "routing.yaml"
    real.write_text(CONFIG)
    real.chmod(0o600)
    link.symlink_to(real)
    command = ["calibrate", "--router", "length", "--file", prompts, "--strong-fraction", "0.2"]
    assert routellm(*command, "--write", str(link), "--chain", "support")[0] == 0
    assert link.is_symlink()
    assert "threshold" in yaml.safe_load(real.read_text())["chains"]["support"]
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_fallback_is_no_further_call(routellm, tmp_path):
    log = log_of(tmp_path)
    with DecisionLog(log) as again:
        engine = RoutingEngine("length", threshold=0.005, log=again)
        for decision in engine.decide_batch(PROMPTS[:100]):
            engine.record(engine.fall_back(decision, TimeoutError()))
    _, out, _ = routellm("calibrate", "--log", log, "--strong-fraction", "0.3", "--format", "json")
    assert json.loads(out)["n_prompts"] == len(PROMPTS)


def test_a_chain_that_shares_its_text_is_left_alone(routellm, refused, tmp_path, prompts):
    path = tmp_path / "routing.yaml"
    shared = CONFIG.replace("support: {", "support: &pair {") + "  alias: *pair\n"
    path.write_text(shared)
    command = ["calibrate", "--router", "length", "--file", prompts, "--strong-fraction", "0.2", "--write", str(path)]
    assert "write by hand: threshold: 0.0" in refused(routellm(*command, "--chain", "alias"))
    assert path.read_text() == shared
    assert "no chain 'supprt'; there are: support" in refused(routellm(*command, "--chain", "supprt"))


def test_the_router_is_stored_with_these_thresholds(routellm, refused, tmp_path, prompts):
    out = tmp_path / "calibrated"
    command = ["calibrate", "--file", prompts, "--strong-fraction", "0.3", "--format", "json", "--out", str(out)]
    code, printed, _ = routellm(*command, "--router", "length")
    assert code == 0
    stored = load_router(out)
    assert stored.thresholds.n_prompts == 600
    assert stored.thresholds.threshold_for(0.3) == json.loads(printed)["threshold"]
    log = log_of(tmp_path)
    assert "name it with --router" in refused(
        routellm("calibrate", "--log", log, "--strong-fraction", "0.3", "--out", str(out))
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "give prompts with --file"),
        (["--file", "P", "--log", "L", "--strong-fraction", "0.3"], "give prompts with --file"),
        (["--file", "P"], "give --strong-fraction"),
        (["--file", "P", "--strong-fraction", "0.3", "--quality", "0.5"], "give --strong-fraction"),
        (["--file", "P", "--strong-fraction", "30"], "strong_fraction must be in"),
        (["--file", "P", "--strong-fraction", "half"], "strong-fraction"),
        (["--file", "P", "--quality", "0.5"], "--quality needs --strong and --weak"),
        (["--log", "L", "--quality", "0.5"], "--quality needs a --file"),
        (["--file", "P", "--strong-fraction", "0.3", "--strong", "a"], "only --quality needs"),
        (["--file", "P", "--strong-fraction", "0.3", "--write", "c.yaml"], "--write needs --chain"),
        (["--file", "P", "--strong-fraction", "0.3", "--chain", "a"], "--chain names"),
        (["--file", "P", "--strong-fraction", "0.3", "--fresh", "-1"], "--fresh"),
        (["--file", "missing.txt", "--strong-fraction", "0.3"], "no such file"),
        (["--log", "missing.jsonl", "--strong-fraction", "0.3"], "there is no decision log"),
        (["--file", "P", "--strong-fraction", "0.3", "--router", "lenght"], "no registered name"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(routellm, refused, prompts, options, why):
    assert why in refused(routellm("calibrate", *[prompts if option == "P" else option for option in options]))


def test_quality_needs_columns_that_are_there(routellm, refused, graded):
    command = ["calibrate", "--router", "length", "--file", graded, "--quality", "0.5", "--strong"]
    assert "large" in refused(routellm(*command, "huge", "--weak", "small"))
    assert "no better" in refused(routellm(*command, "small", "--weak", "large"))


def test_help_teaches(routellm):
    code, out, _ = routellm("calibrate", "--help")
    assert code == 0
    assert "routellm calibrate --router default --file prompts.jsonl --strong-fraction 0.3" in " ".join(out.split())
