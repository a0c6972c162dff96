"""Measure time and memory of reading, cleaning and merging preference data, and of decontamination.

    python benchmarks/preference_data.py [--battles 1000000] [--work FOLDER] [--out docs/benchmarks/preference_data.md]

Battles of 100 models on four distinct prompts in five, of 40 words of the documentation each, are made and written as JSON lines.
Every step runs in a process of its own with one thread, so that its peak of memory is its own; a process that has only imported
the package is measured with them. Times are processor times, so that other load on the machine does not make them longer by
waiting. With --work, the tables and the results of finished steps are kept, and a run that was stopped goes on.
"""

import argparse
import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.preferences.battles import read_battles, write_battles
from routellm_core.preferences.cleaning import merge_battles
from routellm_core.preferences.decontamination import EvaluationPrompts
from routellm_core.preferences.inspection import inspect_table

MODELS = 100
WORDS = 40
JSONL, PARQUET, MERGED = "battles.jsonl", "battles.parquet", "merged.jsonl"


@dataclass(frozen=True)
class Measured:
    """One step: what it found, its processor time and the most memory of its process."""

    found: str
    seconds: float
    gigabytes: float


def make(path: Path, n: int) -> None:
    """Write n battles."""
    generator = random.Random(0)
    pages = Path(__file__).parents[1].glob("docs/*.md")
    words = sorted({word for page in pages for word in re.findall(r"[a-z]{4,}", page.read_text(encoding="utf-8"))})
    prompts = [f"{i} {' '.join(generator.choices(words, k=WORDS))}" for i in range(n * 4 // 5)]
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            a, b = generator.sample(range(MODELS), 2)
            row = {
                "prompt": prompts[i % len(prompts)],
                "model_a": f"model {a}",
                "model_b": f"model {b}",
                "winner": generator.choice(("model_a", "model_b", "tie")),
            }
            file.write(json.dumps(row) + "\n")


def decontaminate(folder: Path, n: int) -> str:
    """Hold all prompts but n / 100 against these as an evaluation; half of these are planted among the others, changed a bit."""
    prompts = read_battles(folder / PARQUET).prompts
    training, evaluation = list(prompts[: -n // 100]), list(prompts[-n // 100 :])
    planted = [f"{prompt} please" for prompt in evaluation[: n // 200]]
    training[-len(planted) :] = planted
    found = EvaluationPrompts(evaluation, embedder=BundledEmbedder()).find(training)
    rows = {match.row for match in found}
    missed = len(set(range(len(training) - len(planted), len(training))) - rows)
    return f"{len(training):,} against {len(evaluation):,}; {len(found):,} found, {missed} of {len(planted):,} planted missed"


def steps(folder: Path, n: int) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    return {
        "nothing (imports)": lambda: "",
        "read `.jsonl`": lambda: read_battles(folder / JSONL),
        "read `.jsonl`, write `.parquet`": lambda: write_battles(read_battles(folder / JSONL), folder / PARQUET).name,
        "read `.parquet`": lambda: read_battles(folder / PARQUET),
        "`data inspect`": lambda: f"{len(inspect_table(str(folder / JSONL)))} facts",
        "`data merge`": lambda: (
            f"{merge_battles([str(folder / JSONL)], folder / MERGED, min_characters=16, languages={'en', 'und'})[0].kept:,} kept"
        ),
        "read and split": lambda: read_battles(folder / PARQUET).split()[1],
        "decontaminate": lambda: decontaminate(folder, n),
    }


def measure(name: str, folder: Path, n: int) -> Measured:
    """Run one step in this process."""
    begun = time.process_time()
    found = steps(folder, n)[name]()
    seconds = time.process_time() - begun
    return Measured(str(found), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def in_a_process(name: str, folder: Path, n: int) -> Measured:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--battles", str(n), "--step", name, "--folder", str(folder)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=one_thread)
    return Measured(**json.loads(done.stdout))


def page(results: dict[str, Measured], n: int, size: float) -> str:
    setting = (
        f"`python benchmarks/preference_data.py`: {n:,} battles of {MODELS} models, {WORDS} words a prompt, {size:.2f} GB of "
        f"JSON lines. Each step in a process of its own with one thread; processor seconds. Measured on {platform.machine()}, "
        f"Python {platform.python_version()}."
    )
    lines = [
        "# Preference data at full size",
        "",
        setting,
        "",
        "| step | processor seconds | peak memory, GB | result |",
        "|---|---|---|---|",
        *(f"| {name} | {r.seconds:.1f} | {r.gigabytes:.2f} | {r.found} |" for name, r in results.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battles", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="the page to write")
    parser.add_argument("--work", type=Path, help="a folder that keeps the tables and what was measured")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    n = arguments.battles
    if arguments.step is not None:
        print(json.dumps(measure(arguments.step, arguments.folder, n).__dict__))
        return
    with ExitStack() as stack:
        folder: Path = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / JSONL).exists():
            make(folder / "unfinished", n)
            (folder / "unfinished").rename(folder / JSONL)
        size = (folder / JSONL).stat().st_size / 1e9
        finished = folder / "results.json"
        results = {k: Measured(**v) for k, v in json.loads(finished.read_text()).items()} if finished.exists() else {}
        for step in steps(folder, n):
            if step not in results:
                results[step] = in_a_process(step, folder, n)
                finished.write_text(json.dumps({name: result.__dict__ for name, result in results.items()}))
            print(f"{step}: {results[step]}", file=sys.stderr)
    text = page(results, n, size)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
