"""docs/results.md is what its stored results say, and the study's own figures are those of the library."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.default_study.behaviour_prompts import PADDING, TEXTS, TRANSLATIONS, kinds
from benchmarks.default_study.beside import area_over_random, holm
from benchmarks.default_study.data import folds
from routellm_core.evaluation import CostQualityCurve

ROOT = Path(__file__).parents[2]


def test_the_page_is_written_from_the_stored_results(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.default_study.page",
        "--text-only",
        "--out",
        str(tmp_path / "results.md"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "results.md").read_text()
    assert (tmp_path / "results.md").read_text() == page
    shown = set(re.findall(r"\(results/([\w-]+\.svg)\)", page))
    assert shown == {path.name for path in (ROOT / "docs" / "results").iterdir()}


def test_the_area_over_random_is_that_of_the_curve():
    rng = np.random.default_rng(0)
    weak, strong = rng.random((2, 60))
    for rates in (rng.random(60), rng.integers(0, 5, 60) / 5.0, np.full(60, 0.5)):
        curve = CostQualityCurve.from_win_rates(rates, weak, strong)
        expected = 100 * (curve.auc - (curve.weak_quality + curve.strong_quality) / 2)
        assert area_over_random(rates, strong - weak) == pytest.approx(expected)


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_equal_prompts_are_in_one_fold():
    keys = [f"prompt {i % 50}" for i in range(200)]
    found = folds(keys)
    assert set(found) == {0, 1, 2}
    assert (found.reshape(4, 50) == found[:50]).all()


def test_there_are_twenty_prompts_of_each_kind_and_all_are_translated():
    assert {name: len(set(texts)) for name, texts in kinds().items()} == dict.fromkeys(kinds(), 20)
    assert {len(texts) for texts in TRANSLATIONS.values()} == {len(TEXTS["questions"])}
    assert all("Why?" in pad("Why?", i) for pad in PADDING.values() for i in range(20))
