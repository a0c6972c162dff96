"""`routellm estimate`, as a user runs it."""

import json

import pytest

from routellm_core import RoutingEngine
from routellm_core.ledger import Usage
from routellm_core.traffic import DecisionLog
from support.routers import KeywordRouter

CONFIG = """\
models: {strong: {price: {input: 10, output: 30}}, weak: {price: 0.24}}
chains: {a: {strong: strong, weak: weak}}
"""
PRICES = ["--price", "strong=10,30", "--price", "weak=0.24"]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "decisions.jsonl"
    with DecisionLog(path) as log:
        engine = RoutingEngine(KeywordRouter(), threshold=0.5, log=log)
        for i in range(300):
            decision = engine.decide(f"hard {i}" if i % 3 == 0 else f"easy {i}")
            engine.record(decision, Usage(input_tokens=95_000, output_tokens=264_000))
    return str(path)


def test_prices_from_the_configuration_a_file_or_options(routellm, log, tmp_path):
    (tmp_path / "routing.yaml").write_text(CONFIG)
    (tmp_path / "prices.yaml").write_text("strong: {input: 10, output: 30}\nweak: 0.24\n")
    outs = set()
    for prices in (
        PRICES,
        ["--prices", str(tmp_path / "routing.yaml")],
        ["--prices", str(tmp_path / "prices.yaml")],
        ["--prices", str(tmp_path / "routing.yaml"), "--price", "weak=0.24,0.24,0.24"],
    ):
        code, out, err = routellm("estimate", "--log", log, *prices, "--days", "30", "--format", "json")
        assert (code, err) == (0, "")
        outs.add(out)
    assert len(outs) == 1
    found = json.loads(outs.pop())
    call = (95 * 10 + 264 * 30) / 1000
    assert found["without_routing_usd"]["value"] == pytest.approx(300 * call)
    assert found["actual"]["usd"]["value"] == pytest.approx(100 * call + 200 * 359 * 0.24 / 1000)
    assert found["actual"]["strong_fraction"] == pytest.approx(1 / 3)
    assert found["worth_it"] is True
    assert found["thresholds"][0]["strong_fraction"] == 0
    assert found["thresholds"][-1]["saved_usd"]["value"] == pytest.approx(0)


def test_a_table_for_people(routellm, log):
    code, out, err = routellm("estimate", "--log", log, *PRICES)
    assert code == 0
    assert "as it was" in out
    assert "worth it: saves $" in out
    assert "covers less than a day" in err


def test_list_prices(routellm, log, refused):
    pytest.importorskip("genai_prices", reason="extra prices is not installed")
    prices = ["--price", "strong=list:gpt-4o", "--price", "weak=list:gpt-4o-mini"]
    assert routellm("estimate", "--log", log, *prices)[0] == 0
    assert "no list price is known" in refused(routellm("estimate", "--log", log, "--price", "strong=list:no-such"))


def test_a_small_volume_is_not_worth_it(routellm, log):
    _, out, _ = routellm("estimate", "--log", log, "--price", "strong=0.02", "--price", "weak=0.01", "--days", "300")
    assert "hardly worth it" in out


def test_a_dear_router_is_not_worth_it(routellm, log):
    _, out, _ = routellm(
        *[
            "estimate",
            "--log",
            log,
            "--price",
            "strong=0.02",
            "--price",
            "weak=0.01",
            "--days",
            "30",
            "--format",
            "json",
        ],
        *["--router-usd-per-hour", "3600", "--router-requests-per-second", "2"],
    )
    found = json.loads(out)
    assert found["router_usd"] == pytest.approx(300 * 0.5)
    assert found["worth_it"] is False
    assert found["verdict"].startswith("not worth it")
    assert "$-" in found["verdict"] or "-$" in found["verdict"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "there is no price of 'strong': give --price strong="),
        (["--price", "strong"], "must be NAME=VALUE"),
        (["--price", "strong=dear"], "'dear' must be one number"),
        (["--price", "strong=1,2,3,4"], "'1,2,3,4' must be one number"),
        (["--price", "strong=-1"], "0 or more"),
        (["--price", "strong=inf", "--price", "weak=1"], "0 or more, not inf"),
        (["--price", "strong=10", "--price", "weak=1", "--days", "inf"], "days"),
        (["--prices", "missing.yaml"], "cannot be read"),
        ([*PRICES, "--chain", "other"], "no call of chain 'other'; there are: default"),
        ([*PRICES, "--days", "0"], "days more than 0"),
        ([*PRICES, "--router-usd-per-hour", "-1"], "0 or more"),
        ([*PRICES, "--router-requests-per-second", "0"], "more than 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(routellm, refused, log, options, why):
    assert why in refused(routellm("estimate", "--log", log, *options))


def test_other_files_are_refused(routellm, refused, tmp_path):
    assert "there is no decision log" in refused(routellm("estimate", "--log", str(tmp_path / "d.jsonl"), *PRICES))
    for content, why in (
        ("- 1\n", "must be a configuration file"),
        ("{", "is not YAML"),
        ("strong: dear\n", "a price is"),
    ):
        (tmp_path / "p.yaml").write_text(content)
        (tmp_path / "d.jsonl").write_text("")
        assert why in refused(
            routellm("estimate", "--log", str(tmp_path / "d.jsonl"), "--prices", str(tmp_path / "p.yaml"))
        )
