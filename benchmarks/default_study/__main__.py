"""Run the study of the default router, part by part, and write docs/results.md.

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study

Goes on where it was stopped: remove a file of `benchmarks/default_study/results`, or of `default_study_work`, where win rates of
single candidates are, to have it computed again. What needs torch is left out, and named, where it is not installed; the rows
that read MiniLM are then left out of the tables.
"""

import subprocess
import sys
from importlib.util import find_spec

PARTS = ("encoder", "choices", "open_questions", "beside", "behaviour", "speed")


def main() -> int:
    """Run them in processes of their own."""
    for name in PARTS:
        if name == "encoder" and find_spec("torch") is None:
            print(f"{name}: left out, torch is not installed", file=sys.stderr)
            continue
        subprocess.run([sys.executable, "-m", f"benchmarks.default_study.{name}"], check=True)
    return subprocess.run([sys.executable, "-m", "benchmarks.default_study.page"], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
