"""Measure the evaluation of a million prompts: curve, all figures, 1,000 bootstrap resamples.

    python benchmarks/evaluation_scale.py [--prompts 1000000] [--resamples 1000] [--out docs/benchmarks/evaluation_scale.md]

Targets: under 60 s and 4 GB on two cores, for one router; with the baselines that `evaluate` puts beside it is reported as well.
"""

import argparse
import datetime
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np

from routellm_core import __version__
from routellm_core.evaluation import bootstrap_pair

SECONDS, GIGABYTES = 60, 4


def simulated(n: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    hard = rng.random(n)
    strong, weak = rng.random(n) < 0.95 - 0.2 * hard, rng.random(n) < 0.9 - 0.6 * hard
    rates = {
        "router": hard + rng.normal(scale=0.3, size=n),
        "length": np.round(hard * 500 + rng.exponential(200, size=n)),
        "oracle": strong.astype(float) - weak,
        "random": np.full(n, 0.5),
    }
    return rates, weak.astype(float), strong.astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()
    rates, weak, strong = simulated(arguments.prompts)
    rows = []
    for what, names in (("one router", ["router"]), ("a router and three baselines", list(rates))):
        start = time.perf_counter()
        found = bootstrap_pair(
            {name: rates[name] for name in names}, weak, strong, resamples=arguments.resamples, expectations=["random"]
        )
        seconds = time.perf_counter() - start
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux; the peak so far
        figure = found.figures["router"]["apgr"]
        held = "held" if seconds < SECONDS and gigabytes < GIGABYTES else "missed"
        rows.append(f"| {what} | {seconds:.1f} | {gigabytes:.2f} | {figure} | {held} |")
    day = f"{datetime.datetime.now(tz=datetime.UTC):%Y-%m-%d}"
    machine = (
        f"{platform.machine()} ({os.cpu_count()} cores), Python {platform.python_version()}, numpy {np.__version__}"
    )
    text = f"""# Evaluation of many prompts

`python benchmarks/evaluation_scale.py`, {day}, {machine}, routellm-plugins {__version__}. {arguments.prompts:,} prompts with
distinct win rates: the exact curve, every figure of docs/evaluation.md, bands and paired differences, {arguments.resamples:,}
bootstrap resamples. Target: under {SECONDS} s and {GIGABYTES} GB on two cores.

| what | seconds | peak memory, GB | APGR of the router | target |
|---|---|---|---|---|
"""
    text += "\n".join(rows) + "\n"
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
