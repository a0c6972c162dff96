"""Reports: every file, from real results."""

import csv
import io
import json
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from routellm_core import PairRouter
from routellm_core.evaluation.evaluate import evaluate
from routellm_core.evaluation.pool import evaluate_pool
from routellm_core.evaluation.report import to_csv, to_html, write_report
from routellm_core.evaluation.tables import result_tables, transfer_table
from routellm_core.evaluation.transfer import transfer
from routellm_core.preferences.outcomes import OutcomeTable

pytest.importorskip("matplotlib")

from routellm_core.evaluation.plots import draw


class Hash(PairRouter):
    name = "hash"

    def __init__(self, factor):
        self.factor = factor

    def strong_win_rates(self, prompts):
        return np.array([(self.factor * sum(map(ord, prompt))) % 997 / 997 for prompt in prompts])


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    scores = (rng.random((120, 2)) < [0.5, 0.8]).astype(float)
    return OutcomeTable(
        prompts=tuple(f"question {i} <script>" for i in range(120)),
        models=("weak", "strong"),
        scores=scores,
        groups=tuple("odd & <b>bold</b>" if i % 2 else "even" for i in range(120)),
        provenance={"source": "made <here>"},
        name="made & <measured>",
    )


@pytest.fixture(scope="module")
def pair(table):
    routers = {"first <x>": Hash(31), "second": Hash(71)}
    return evaluate(routers, table, strong="strong", weak="weak", resamples=50, prices={"strong": 20, "weak": 1})


@pytest.fixture(scope="module")
def pool(table):
    return evaluate_pool(
        {"pool": _Pool()},
        table,
        prices={"strong": 20, "weak": 1},
        resamples=50,
        references={"weak": "w", "strong": "s"},
    )


@pytest.fixture(scope="module")
def reports(pair, pool, tmp_path_factory):
    """Both reports, written once: drawing takes seconds."""
    folders = {kind: tmp_path_factory.mktemp(kind) / "deep" / "report" for kind in ("pair", "pool")}
    return {
        kind: write_report(result, folders[kind]) and folders[kind] for kind, result in (("pair", pair), ("pool", pool))
    }


class _Pool(PairRouter):
    name, models = "pool", ("w", "s")

    def strong_win_rates(self, prompts):
        return Hash(31).strong_win_rates(prompts)


class Links(HTMLParser):
    """Collects tags, and whatever a page would load."""

    def __init__(self):
        super().__init__()
        self.tags, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value[:1] != "#"]


@pytest.mark.parametrize("kind", ["pair", "pool"])
def test_folder_is_complete(kind, reports, request):
    folder, result = reports[kind], request.getfixturevalue(kind)
    figures = {"curve", "apgr", "reliability", "groups"} if kind == "pair" else {"quality", "frontier"}
    expected = {"report.html", "result.json", "figures.csv", *(f"{f}.{end}" for f in figures for end in ("png", "svg"))}
    assert {file.name for file in folder.iterdir()} == expected
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    for file in folder.glob("*.png"):
        content = file.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert width > 700
        assert height > 200


@pytest.mark.parametrize("kind", ["pair", "pool"])
def test_page_loads_nothing_and_escapes_names(kind, reports):
    page = (reports[kind] / "report.html").read_text(encoding="utf-8")
    reader = Links()
    reader.feed(page)
    assert reader.loads == []
    assert not {"script", "link", "iframe", "img"} & set(reader.tags)
    assert reader.tags.count("svg") == (4 if kind == "pair" else 2)
    assert not re.search(r"url\((?!#)|@import", page)
    assert "made &amp; &lt;measured&gt;" in page
    assert "made &lt;here&gt;" in page


def test_clips_and_markers_of_one_figure_are_not_those_of_another(reports):
    page = (reports["pair"] / "report.html").read_text(encoding="utf-8")
    referred = {
        name for svg in page.split("<svg")[1:] for name in set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    }
    assert referred
    for name in referred:
        definitions = re.findall(rf'<(?:clipPath|path|g) id="{name}"[^>]*>(.*?)</', page, flags=re.DOTALL)
        assert len(set(definitions)) <= 1, name


def test_page_shows_what_matters(pair, reports):
    page = (reports["pair"] / "report.html").read_text(encoding="utf-8").lower()
    for part in ("APGR", "CPT50", "CPT80", "By group", "Savings", "Latency and throughput", "Differences"):
        assert part.lower() in page
    assert "are the win rates probabilities?" in page
    assert str(pair.bootstrap.figures["second"]["apgr"]) in page
    assert "prefers-color-scheme:dark" in page


def test_svg_takes_the_readers_colour(reports):
    svg = (reports["pair"] / "curve.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "prefers-color-scheme:dark" in svg


def test_files_are_the_same_every_time(pool, reports, tmp_path):
    again = {file.name: file.read_bytes() for file in write_report(pool, tmp_path)}
    assert again == {file.name: file.read_bytes() for file in reports["pool"].iterdir()}


def test_csv_has_every_figure(pair, pool):
    rows = list(csv.DictReader(io.StringIO(to_csv(pair))))
    by_key = {(row["group"], row["router"], row["figure"]): row for row in rows}
    found = by_key["", "second", "cpt80"]
    assert float(found["value"]) == pair.bootstrap.figures["second"]["cpt80"].value
    assert float(found["low"]) == pair.bootstrap.figures["second"]["cpt80"].low
    assert ("even", "second", "apgr") in by_key
    assert ("", "oracle", "apgr") in by_key
    assert ("", "first <x> - second", "apgr") in by_key
    pooled = {(row["router"], row["figure"]) for row in csv.DictReader(io.StringIO(to_csv(pool)))}
    assert {("pool", "quality"), ("oracle", "quality"), ("model strong", "quality"), ("pool", "aiq")} <= pooled


def test_undefined_figures_are_written_with_their_reason(table):
    few = evaluate({"r": Hash(3)}, table.select(range(8)), strong="strong", weak="weak", resamples=10, speed=False)
    row = next(row for row in csv.DictReader(io.StringIO(to_csv(few))) if row["figure"] == "apgr")
    assert (row["value"], row["reason"]) == ("", "8 prompts are fewer than 10")
    assert "NaN" not in json.dumps(few.to_dict())
    assert "n/a" in to_html(few, {})
    assert all(png and svg for png, svg in draw(few).values())


def test_tables_are_rectangular(pair, pool, table):
    rows = transfer({"r": Hash(31)}, table, [("strong", "weak")], resamples=20)
    for shown in (*result_tables(pair), *result_tables(pool), transfer_table(rows)):
        assert {len(row) for row in shown.rows} == {len(shown.header)}


def test_matplotlib_is_not_needed_to_evaluate():
    code = (
        "import sys, builtins\nsys.modules['matplotlib'] = None\n"
        "import routellm_core.evaluation.evaluate, routellm_core.evaluation.report, routellm_core.evaluation.benchmarks\n"
        "from routellm_core.errors import MissingDependencyError\n"
        "try:\n    import routellm_core.evaluation.plots\nexcept MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "Drawing figures needs the extra 'eval': pip install \"routellm-plugins[eval]\"", (
        done.stderr
    )
