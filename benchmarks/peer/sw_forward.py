"""Print what routellm 0.2.0's own similarity-weighted ranking answers for given battles and vectors, and how long it takes.

Runs in the environment that `setup.sh` makes, which has the peer and not this library:

    python sw_forward.py INPUT.npz EMBEDDINGS.npy OUTPUT.npz [--tight] [--repeat 3]

The input holds `model_a`, `model_b`, `winner` ("model_a", "model_b", "tie"), each of shape (n,); `queries`, shape (q, d); and
`pairs`, shape (p, 2), names of a strong and a weak model. The embeddings have one row per battle. The output holds `win_rates`,
shape (q, p); `models` and `tiers`; and, with --repeat, `seconds` of shape (repeat, q) for the first pair, and `peak_mb`.
Nothing of the peer is changed on disk. What is changed in this process, and why:

1. OPENAI_API_KEY is set to a dummy, because the peer makes an OpenAI client when it is imported.
2. Data loading: `load_dataset` and `concatenate_datasets` return the given battles and embeddings instead of the published ones,
   in the published columns and in double precision, which the peer's own loading gives.
3. Embedding call: the OpenAI client is replaced by one that returns the given queries; embedding time is not part of any time.
4. Of `datasets` and `transformers`, which the module imports for this and for other routers, stand-ins are imported where they
   are not installed.
5. With --tight, scikit-learn's solver is Newton's method with a tolerance of 1e-12 instead of L-BFGS with 1e-4, which
   separates the formula from the solver. Without it, it runs as it is.

Similarities, weights, fit, tiers and win rate are the peer's.
"""

# ruff: noqa: E402 (what stands in must be there before the peer is imported)

import argparse
import json
import os
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

os.environ["OPENAI_API_KEY"] = "dummy"
for name in ("datasets", "transformers"):
    if find_spec(name) is None:
        sys.modules[name] = MagicMock()

import numpy as np
import pandas as pd
import sklearn
from routellm.routers import routers as peer
from routellm.routers.similarity_weighted import utils
from sklearn.linear_model import LogisticRegression


class GivenQueries:
    """Stands where the peer has its OpenAI client: the prompt is the number of a row."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows.tolist()
        self.embeddings = self

    def create(self, *, input: list[str], model: str) -> SimpleNamespace:  # noqa: A002, ARG002
        """Answer like `OpenAI().embeddings.create`, which gives lists of Python floats."""
        return SimpleNamespace(data=[SimpleNamespace(embedding=self._rows[int(input[0])])])


def make_router(given: Any, embeddings: np.ndarray) -> Any:
    """Make the peer's router of the given battles."""
    winner = given["winner"]
    battles = pd.DataFrame(
        {
            "prompt": json.dumps(["a prompt of sixteen characters or more"]),
            "model_a": given["model_a"],
            "model_b": given["model_b"],
            "winner_model_a": (winner == "model_a").astype(int),
            "winner_model_b": (winner == "model_b").astype(int),
            "winner_tie": (winner == "tie").astype(int),
        }
    )
    sets = {
        "battles": SimpleNamespace(to_pandas=lambda: battles),
        "embeddings": SimpleNamespace(to_dict=lambda: {"embeddings": embeddings.astype(np.float64)}),
    }
    peer.load_dataset = lambda name, split: sets[name]  # noqa: ARG005
    peer.concatenate_datasets = lambda parts: parts[0]
    peer.OPENAI_CLIENT = GivenQueries(given["queries"])
    return peer.SWRankingRouter(["battles"], ["embeddings"])


def peak_mb() -> float:
    """Return the peak resident memory of this process alone; getrusage begins with that of the one it was forked from."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Read, ask, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("embeddings")
    parser.add_argument("output")
    parser.add_argument("--tight", action="store_true")
    parser.add_argument("--repeat", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn deprecates how the peer says that it wants no penalty
    if options.tight:
        utils.LogisticRegression = lambda **given: LogisticRegression(
            **given, solver="newton-cg", tol=1e-12, max_iter=10_000
        )
    with np.load(options.input) as loaded:
        given = dict(loaded)
    router = make_router(given, np.load(options.embeddings))
    queries = [str(row) for row in range(len(given["queries"]))]

    def ask(pair: Any) -> list[float]:
        router.strong_model, router.weak_model = pair
        return [router.calculate_strong_win_rate(query) for query in queries]

    win_rates = np.array([ask(pair) for pair in given["pairs"].tolist()], dtype=np.float64).T
    router.strong_model, router.weak_model = given["pairs"][0].tolist()
    seconds = []
    for _ in range(options.repeat):
        row = []
        for query in queries:
            start = time.perf_counter()
            router.calculate_strong_win_rate(query)
            row.append(time.perf_counter() - start)
        seconds.append(row)
    np.savez(
        options.output,
        win_rates=win_rates,
        models=np.array(list(router.model2tier)),
        tiers=np.array(list(router.model2tier.values())),
        seconds=np.array(seconds),
        peak_mb=peak_mb(),
        versions=f"routellm 0.2.0, scikit-learn {sklearn.__version__}, numpy {np.__version__}",
    )


if __name__ == "__main__":
    main()
