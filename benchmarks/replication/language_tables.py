"""What bert and causal_llm come to, beside mf and sw_ranking on the same prompts, from the win rates that were stored.

    python -m benchmarks.replication.language_tables [--results FOLDER] [--fresh] [--quick]

One part for each training of `language_models.py` that has its result: Tables 1 to 3 for that router and training set, paired
differences to the other routers of the same set, and what the added labels change against arena alone. Needs no torch.
"""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.replication.common import Array, Run, run_for
from benchmarks.replication.language_models import SETS, STEPS, sampled, slug
from benchmarks.replication.routellm import FIGURES, ROUTERS, train
from benchmarks.replication.routellm_data import STRONG, WEAK, preference_parts
from routellm_core.evaluation.baselines import length_win_rates
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.evaluation.interval import Interval
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import PairRouter

RESAMPLES = 500


class Tables:
    """The stored trainings of one run, and the two routers that they are compared with."""

    def __init__(self, run: Run) -> None:
        self.run = run
        sets = preference_parts(run).sets()
        self.other: Any = cache(lambda name, data: train(name, sets[data]))

    def trained(self, router: str, data: str) -> Any:
        """Return a training of `language_models.py`; None if it has no result."""
        path = self.run.results / f"language_models-{router}-{slug(data)}.json"
        return self.run.part(path.stem, dict) if path.is_file() else None

    def measure(self, router: str, data: str) -> dict[str, Any]:
        """Compare one training on every benchmark."""
        own, alone = self.trained(router, data), self.trained(router, "arena")
        found = {}
        for name, table in sampled(self.run, router).items():
            rates = {router: np.array(own["rates"][name])}
            if alone is not None and data != "arena":
                rates[f"{router}, arena"] = np.array(alone["rates"][name])
            found[name] = self.compare(router, data, table, rates)
        return {"router": router, "data": data, "benchmarks": found}

    def compare(self, router: str, data: str, table: OutcomeTable, rates: Mapping[str, Array]) -> dict[str, Any]:
        """Return the figures on one benchmark.

        Args:
            router: The one that was fine-tuned.
            data: Its training set.
            table: The prompts.
            rates: Its win rates, and those after arena alone where they are something else.
        """
        others: dict[str, PairRouter] = {name: self.other(name, data) for name in ROUTERS}
        given = dict(rates) | {name: other.strong_win_rates(table.prompts) for name, other in others.items()}
        given["length"] = length_win_rates(table.prompts)
        result = bootstrap_pair(
            given,
            table.column(WEAK),
            table.column(STRONG),
            levels=(0.5, 0.8),
            figures=FIGURES,
            resamples=50 if self.run.quick else RESAMPLES,
        )
        differences: dict[str, Mapping[str, Interval]] = {
            b: figures for (a, b), figures in result.differences.items() if a == router
        }
        shown = [name for name in given if name != f"{router}, arena"]
        return {
            "n": len(table),
            "routers": {name: result.figures[name] for name in shown},
            "less": {name: {key: value[key] for key in ("apgr", "cpt80")} for name, value in differences.items()},
        }


def main() -> None:
    """Compute the parts whose training has its result."""
    run = run_for(__doc__)
    tables = Tables(run)
    for router in STEPS:
        for data in SETS:
            if tables.trained(router, data) is not None:
                run.part(f"language_tables-{router}-{slug(data)}", partial(tables.measure, router, data))


if __name__ == "__main__":
    main()
