"""Report pages and figures of robustness."""

import json

import numpy as np
import pytest

from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.items import Item
from routellm_core.robustness.labels import average_answers
from routellm_core.robustness.report import (
    label_ranking,
    label_tables,
    router_tables,
    write_label_report,
    write_router_report,
)
from routellm_core.robustness.routers import measure_routers
from routellm_core.robustness.scoring import Answers
from routellm_core.routers.length import LengthRouter

FILES = ["report.html", "result.json", "robustness.png", "robustness.svg"]


@pytest.fixture(scope="module")
def measured():
    items = [Item(str(i), "Q" * (i + 1), tuple("wxyz")) for i in range(30)]
    scores = np.column_stack([np.arange(30) < 20, np.ones(30)]).astype(float)
    table = OutcomeTable(tuple(item.prompt for item in items), ("<small>", "big"), scores, name="made & up")
    routers = {"length": LengthRouter(max_characters=99), "<b>": LengthRouter(max_characters=50)}
    return measure_routers(
        routers, table, strong="big", weak="<small>", perturbations=["derange", "spaces"], resamples=20
    )


def test_router_report(measured, tmp_path):
    assert [path.name for path in write_router_report(measured, tmp_path / "new")] == FILES
    page = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    for text in ("length: APGR", "&lt;b&gt;", "made &amp; up", "derange", "change in APGR", "&lt;small&gt;"):
        assert text in page
    assert "<small>" not in page
    assert not any(address in page for address in ('src="http', 'href="http', "<script"))
    assert "spaces flips" in page  # more than 5%: a warning
    assert "derange flips" not in page
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == measured.to_dict()


def test_router_tables(measured):
    tables = router_tables(measured)
    assert [table.title.partition(":")[0] for table in tables] == ["length", "<b>"]
    assert tables[0].rows[0][:2] == ("derange", "0.0% [0.0, 0.0]")
    assert tables[0].rows[0][4] == "+0.000 [+0.000, +0.000]"


def test_label_report(tmp_path):
    items = [Item(str(i), "Q?", tuple("wxyz"), i % 4) for i in range(8)]
    rounds = [Answers(tuple(items), (0,) * 8, "symbol"), Answers(tuple(items), (0, 1, 2, None) * 2, "symbol")]
    table = average_answers(items, {"small": rounds}, name="made up", provenance={"averaged over": "2 rounds"})
    assert label_tables(table)[0].rows == (("small", "0.500", "0.333", "2"),)
    assert [path.name for path in write_label_report(table, tmp_path)] == FILES
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "2 rounds" in page
    assert "unparsable" in page
    assert json.loads((tmp_path / "result.json").read_text())["models"]["small"] == pytest.approx(0.5)


def test_two_models_are_ranked_by_the_first_round_and_by_the_means(tmp_path):
    items = [Item(str(i), "Q?", tuple("wxyz"), i % 4) for i in range(8)]
    steady = [Answers(tuple(items), tuple(item.gold for item in items), "symbol")] * 2
    worse = [Answers(tuple(items), (0, 1, 0, 0) * 2, "symbol")] * 2
    moves = [Answers(tuple(items), (None, 1, 1, 1) * 2, "symbol"), steady[0]]
    table = average_answers(items, {"steady": steady, "worse": worse, "moves": moves})
    assert label_ranking(table) == {
        "first round": "the questions as they are",
        "tau_b": pytest.approx(1 / 3),
        "displacement": {"steady": 0, "worse": 1, "moves": -1},
    }
    write_label_report(table, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "tau-b 0.333, places moved steady +0, worse +1, moves -1" in page
    assert "moves: 12.5% of the answers cannot be read" in page
    assert json.loads((tmp_path / "result.json").read_text())["ranking"]["displacement"]["moves"] == -1
    assert label_ranking(average_answers(items, {"worse": worse})) is None
