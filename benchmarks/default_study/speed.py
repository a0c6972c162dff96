"""What a decision of the shipped router takes, and what a million of them cost, beside Table 7 of RouteLLM.

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.speed

The paper's formula: the price of the machine an hour over decisions an hour. Ours are one process on one core, priced as the
whole machine the paper rented for its router without a GPU. Processor time is what counts where a machine is busy with other
work; the time on the clock is given beside it. This part alone differs from run to run and from machine to machine.
"""

import gc
import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.default_study.data import benchmarks, mmlu, study_run
from benchmarks.replication.common import Run
from routellm_core.routers.default import DefaultRouter

CALLS, BATCH = 1500, 5000
VM_USD_PER_HOUR = 0.39
"""What the paper paid for the machine without a GPU (n2-standard-8)."""


def texts(run: Run) -> dict[str, list[str]]:
    """Return prompts of different lengths."""
    sets = benchmarks(run)
    long = [prompt for prompt in mmlu(run, "train")["prompt"] if 1000 <= len(prompt) <= 2000]
    return {
        "GSM8K": sets["GSM8K"]["prompt"].tolist(),
        "MMLU": sets["MMLU"]["prompt"].tolist(),
        "MMLU, 1,000 to 2,000 characters": long,
    }


def single(router: DefaultRouter, prompts: Sequence[str]) -> dict[str, list[float]]:
    """Return milliseconds of processor and of clock of calls with one prompt."""
    processor, clock = [], []
    for i in range(CALLS):
        prompt = [f"{i} {prompts[i % len(prompts)]}"]
        started, at = time.process_time_ns(), time.perf_counter_ns()
        router.strong_win_rates(prompt)
        clock.append((time.perf_counter_ns() - at) / 1e6)
        processor.append((time.process_time_ns() - started) / 1e6)
    return {"processor": processor, "clock": clock}


def speed(run: Run) -> dict[str, Any]:
    """Measure one at a time, and in batches."""
    router, rows = DefaultRouter.by_name(), {}
    for name, prompts in texts(run).items():
        router.strong_win_rates(prompts[:50])
        gc.collect()
        times = single(router, prompts)
        batch = (prompts * (BATCH // len(prompts) + 1))[:BATCH]
        started = time.process_time()
        router.strong_win_rates(batch)
        seconds = (time.process_time() - started) / BATCH
        alone = float(np.mean(times["processor"])) / 1e3
        rows[name] = {
            "characters": float(np.median([len(prompt) for prompt in prompts])),
            "processor ms": [float(np.percentile(times["processor"], q)) for q in (50, 99)],
            "clock ms": [float(np.percentile(times["clock"], q)) for q in (50, 99)],
            "one at a time": {"requests/s": 1 / alone, "usd": 1e6 * alone * VM_USD_PER_HOUR / 3600},
            "batches": {"requests/s": 1 / seconds, "usd": 1e6 * seconds * VM_USD_PER_HOUR / 3600},
        }
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"
    )
    return {"machine": machine, "rows": rows}


def main() -> None:
    """Measure."""
    run = study_run(__doc__)
    run.part("speed-decisions", lambda: speed(run))


if __name__ == "__main__":
    main()
