"""How far routers move when multiple-choice questions are put otherwise, and what the canonical form mends.

    python benchmarks/robustness_routers.py --data FOLDER --out routers.json [--table NAME]

FOLDER holds tables of outcomes, `routellm_mmlu.parquet` (the answers published with RouteLLM) and `mmlupro_tiger.parquet`
(those published with MMLU-Pro), whose column `split` is `train` or `dev`. Routers that are trained learn from the first and
are measured, as all are, on the second. Prints the tables of docs/robustness.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes
from routellm_core.registry import load_router
from routellm_core.robustness.canonical import CanonicalRouter, canonical_prompt
from routellm_core.robustness.routers import RouterRobustness, measure_routers
from routellm_core.routers.base import PairRouter, Router, index_of_model
from routellm_core.training.matrix_factorization import MatrixFactorizationConfig, train_matrix_factorization
from routellm_core.training.outcome_knn import KNNConfig, train_knn

TABLES = {
    "routellm_mmlu": ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"),
    "mmlupro_tiger": ("Meta-Llama-3.1-70B-Instruct", "Meta-Llama-3.1-8B-Instruct"),
}


class PairOfOutcomes(PairRouter):
    """A router that predicts correctness, read as a strong win rate: half of one more than the difference."""

    def __init__(self, router: Router, strong: str, weak: str) -> None:
        self._router = router
        self.name = router.name
        self._columns = [index_of_model(model, router.models, role="model") for model in (strong, weak)]

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return (1 + p(strong right) - p(weak right)) / 2, shape (n,)."""
        scores = self._router.score(prompts)[:, self._columns]
        return np.asarray((1.0 + scores[:, 0] - scores[:, 1]) / 2)


def routers_for(table: OutcomeTable, strong: str, weak: str) -> dict[str, Router]:
    """Train on a table, and return all routers to measure."""
    embedder = BundledEmbedder()
    canonical = OutcomeTable(
        prompts=tuple(map(canonical_prompt, table.prompts)), models=table.models, scores=table.scores, name=table.name
    )
    found: dict[str, Router] = {"default": load_router("default"), "length": load_router("length")}
    settings = MatrixFactorizationConfig(reference_strong=strong, reference_weak=weak)
    found["mf"] = train_matrix_factorization(table.to_battles(), embedder, settings)[0]
    knn = KNNConfig(k=(16, 32, 64), confidence=False, keep_prompts=False)
    found["knn"] = PairOfOutcomes(train_knn(table, embedder, knn)[0], strong, weak)
    mended: dict[str, Router] = {f"{name}, canonical": CanonicalRouter(router) for name, router in found.items()}
    mended["mf, canonical, trained so"] = CanonicalRouter(
        train_matrix_factorization(canonical.to_battles(), embedder, settings)[0]
    )
    mended["knn, canonical, trained so"] = CanonicalRouter(
        PairOfOutcomes(train_knn(canonical, embedder, knn)[0], strong, weak)
    )
    return found | mended


def show(found: RouterRobustness) -> None:
    """Print a result as a table of Markdown."""
    print(f"\n{found.benchmark}: {found.strong} or {found.weak}, {found.n} questions; left out: {found.left_out}\n")
    print("| router | perturbation | decisions flipped | strong calls | change in APGR | tau-b |")
    print("|---|---|---|---|---|---|")
    for router, effects in found.effects.items():
        print(f"| **{router}** | as it is: APGR {found.apgr[router]} | | | | |")
        for name, effect in effects.items():
            f, c = effect.flip_rate, effect.change
            print(
                f"| {router} | {name} | {100 * f.value:.1f}% [{100 * f.low:.1f}, {100 * f.high:.1f}] | "
                f"{100 * effect.strong_fraction:.1f}% | {c.value:+.3f} [{c.low:+.3f}, {c.high:+.3f}] | {effect.tau:.3f} |"
            )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the tables")
    parser.add_argument("--table", choices=TABLES, action="append", help="only this one")
    parser.add_argument("--out", type=Path, required=True, help="where the results go, as JSON")
    options = parser.parse_args()
    results = {}
    for name in options.table or TABLES:
        started = time.monotonic()
        strong, weak = TABLES[name]
        table = read_outcomes(options.data / f"{name}.parquet").for_models([strong, weak]).complete()
        if "routellm_contaminated" in table.flags:
            table = table.select(~table.flags["routellm_contaminated"])
        train = np.array([part == "train" for part in table.split or ()])
        routers = routers_for(table.select(train), strong, weak)
        found = measure_routers(routers, table.select(~train), strong=strong, weak=weak)
        show(found)
        results[name] = found.to_dict()
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
