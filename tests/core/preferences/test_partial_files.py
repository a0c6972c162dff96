"""What a killed write leaves behind goes with the next write of the same file."""

import os
import signal
import subprocess
import sys

import pytest

from routellm_core.preferences.partial_files import partial_path
from routellm_core.preferences.tables import write_table

KILLED = """
import os, signal, sys
from routellm_core.preferences.tables import write_table

def rows():
    yield {"prompt": "p"}
    os.kill(os.getpid(), signal.SIGKILL)

write_table(rows(), sys.argv[1], columns=["prompt"])
"""


@pytest.mark.skipif(os.name == "nt", reason="there one cannot ask whether a process runs")
def test_the_next_write_removes_what_a_killed_one_left(tmp_path):
    target = tmp_path / "table [1].csv"  # no pattern
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target)])
    assert killed.returncode == -signal.SIGKILL
    [left] = tmp_path.iterdir()
    assert left.name.endswith(".partial")
    running = left.with_name(f".{target.name}.{os.getppid()}.partial")  # of another write that goes on
    other = left.with_name(left.name.replace("table [1]", "table 1"))  # of another table
    for file in (running, other):
        file.write_text("")
    write_table([{"prompt": "p"}], target, columns=["prompt"])
    assert sorted(tmp_path.iterdir()) == sorted([target, running, other])


def test_a_folder_that_is_not_there_has_nothing_to_remove(tmp_path):
    assert partial_path(tmp_path / "none" / "x.csv").name == f".x.csv.{os.getpid()}.partial"
