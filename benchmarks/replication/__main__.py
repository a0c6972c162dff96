"""Run all experiments, one after the other, and write the page.

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.replication [--model SMOLLM2]

Goes on where it was stopped. What needs torch is left out, and named, where it is not installed.
"""

import subprocess
import sys
from importlib.util import find_spec

EXPERIMENTS = (
    "benchmark_datasets",
    "features",
    "multiple_minds",
    "routellm",
    "targets",
    "language_models",
    "language_tables",
)
WITH_TORCH = ("features", "language_models")


def main() -> int:
    """Run them in processes of their own."""
    extra = sys.argv[1:]
    for name in EXPERIMENTS:
        if name in WITH_TORCH and find_spec("torch") is None:
            print(f"{name}: left out, torch is not installed", file=sys.stderr)
            continue
        command = [sys.executable, "-m", f"benchmarks.replication.{name}"]
        subprocess.run([*command, *(extra if name == "language_models" else [])], check=True)
    return subprocess.run([sys.executable, "-m", "benchmarks.replication.page"], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
