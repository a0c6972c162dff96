"""docs/replication.md is what its stored results say, and results can be compared."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "replication" / "results"


def run_page(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.replication.page", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_page_is_written_from_the_stored_results(tmp_path: Path) -> None:
    done = run_page("--text-only", "--out", str(tmp_path / "replication.md"))
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "replication.md").read_text()
    assert (tmp_path / "replication.md").read_text() == page
    shown = set(re.findall(r"\(replication/([\w-]+\.svg)\)", page))
    assert shown == {path.name for path in (ROOT / "docs" / "replication").iterdir()}


def test_a_second_run_with_another_number_is_noticed(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    for folder in (same, other):
        folder.mkdir()
        shutil.copy(RESULTS / "multiple_minds-candidates.json", folder)
    assert run_page("--compare", str(same)).returncode == 0
    path = other / "multiple_minds-candidates.json"
    stored = json.loads(path.read_text())
    next(iter(stored["result"].values()))["alone"][0] += 1e-6
    path.write_text(json.dumps(stored))
    done = run_page("--compare", str(other))
    assert done.returncode == 1
    assert "multiple_minds-candidates: different" in done.stdout


def test_times_within_a_part_are_not_compared(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, seconds in ((first, 1.0), (second, 2.0)):
        folder.mkdir()
        result = {"rates": [0.5], "time": {"training s": seconds}}
        (folder / "part.json").write_text(json.dumps({"result": result}))
    done = run_page("--results", str(first), "--compare", str(second))
    assert (done.returncode, done.stdout) == (0, "part: the same\n")
