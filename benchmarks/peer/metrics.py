"""Upstream's own benchmark class and metrics on given win rates and scores, for tests/parity/test_metrics.py.

    python metrics.py input.npz output.json

Runs in the environment that `setup.sh` makes. Nothing of the peer is changed on disk. What this process changes, and why:
  1. Modules that the peer imports and that metrics do not use are empty here (litellm, pandarallel, matplotlib, psutil, tqdm,
     yaml, the routers). None is called, except that figures are drawn into nothing.
  2. `numpy.trapz`, gone from numpy 2.4, is `numpy.trapezoid`, its new name.
  3. The benchmark object is made without its constructor, which reads files that the package does not carry; it gets the same
     table that the constructor would have read.
  4. `print` of the peer's module hands its table of metrics over, at full precision.
"""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd

ABSENT = (
    "litellm",
    "matplotlib",
    "matplotlib.pyplot",
    "pandarallel",
    "psutil",
    "routellm.controller",
    "routellm.routers.routers",
    "tqdm",
    "yaml",
)


class Absent(ModuleType):
    """A module whose every name is a mock."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


def main(source: str, target: str) -> None:
    for name in ABSENT:
        sys.modules[name] = Absent(name)
    defects: dict[str, Any] = {"numpy has trapz": hasattr(np, "trapz")}
    if not hasattr(np, "trapz"):
        vars(np)["trapz"] = np.trapezoid
    from routellm.evals import benchmarks, evaluate  # after what it imports has been taken away

    with np.load(source) as data:
        cases = {name.removesuffix("/rates"): name for name in data.files if name.endswith("/rates")}
        found = {
            case: _case(benchmarks, evaluate, *(data[f"{case}/{k}"] for k in ("rates", "weak", "strong")))
            for case in cases
        }
    defects |= _defects(benchmarks, evaluate)
    Path(target).write_text(json.dumps({"cases": found, "defects": defects}), encoding="utf-8")


def _case(benchmarks: Any, evaluate: Any, rates: Any, weak: Any, strong: Any) -> dict[str, Any]:
    pair = SimpleNamespace(strong="strong", weak="weak")
    benchmark = object.__new__(benchmarks.GSM8K)
    benchmark.routed_pair, benchmark.overwrite_cache, benchmark.cache = pair, [], {"router": rates}
    benchmark.all_data = pd.DataFrame(
        {"prompt": [str(i) for i in range(len(rates))], "weak": weak == 1, "strong": strong == 1}
    )
    try:
        points = [
            {
                "method": "router",
                "threshold": t,
                "strong_percentage": counts["strong"] / total * 100,
                "accuracy": accuracy,
            }
            for t, accuracy, counts, total in benchmark.evaluate(None, "router", 10, False)
        ]
    except ValueError as error:
        return {"error": str(error)}
    printed: list[Any] = []
    evaluate.print = lambda *values: printed.extend(values)
    evaluate.generate_results(pd.DataFrame(points), benchmark, "case", pair, "nowhere")
    (metrics,) = (value for value in printed if isinstance(value, pd.DataFrame))
    row = metrics.iloc[0]
    return {
        "strong_percentage": [p["strong_percentage"] for p in points],
        "accuracy": [p["accuracy"] for p in points],
        "apgr": float(row["APGR"]),
        "auc": float(row["AUC"]),
        **{f"cpt{level}": float(row[f"{level}% qual"].removesuffix("%")) for level in (20, 50, 80)},
        "optimal": [float(benchmark.get_optimal_accuracy(tenth / 10)) for tenth in range(11)],
    }


def _defects(benchmarks: Any, evaluate: Any) -> dict[str, Any]:
    """Show two defects that need no win rates."""
    bench = object.__new__(benchmarks.MTBench)
    bench.routed_pair = SimpleNamespace(strong="strong", weak="weak")
    bench.questions = pd.DataFrame(
        {"question_id": [1, 2]}
    )  # what is left of three after the contaminated one is removed
    bench.judgements = pd.DataFrame(
        [(1, "weak", 4), (1, "strong", 8), (2, "weak", 6), (2, "strong", 9), (3, "weak", 1), (3, "strong", 10)],
        columns=["question_id", "model", "score"],
    )
    try:  # its own __main__ passes the strong model's name where the pair is wanted
        evaluate.generate_results(pd.DataFrame({"method": []}), bench, "case", "strong", "nowhere")
        error = ""
    except AttributeError as raised:
        error = str(raised)
    return {
        "mt-bench weak": float(bench.get_model_accuracy("weak")),
        "mt-bench optimal at no strong call": float(bench.get_optimal_accuracy(0.0)),
        "generate_results with a name": error,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
