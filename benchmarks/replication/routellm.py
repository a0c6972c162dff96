"""RouteLLM (Ong et al., arXiv 2406.18665): mf and sw_ranking, trained on preferences and measured on right and wrong answers.

    python -m benchmarks.replication.routellm [--results FOLDER] [--fresh] [--quick]

Parts: `data` (how much of it there is), `tables` (the layout of Tables 1 to 3, with paired differences), `labels` (APGR against
labels of the benchmark's own kind), `transfer` (Table 4), `similarity` (Table 5), `savings` (Table 6), `overhead` (Table 7). The
other two routers are in `language_models.py`. What stands in for the paper's data is in `routellm_data.py`; both routers read the
library's embedding.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from benchmarks.replication.common import Array, Run, bundled, mean_interval, run_for
from benchmarks.replication.routellm_costs import overhead, savings
from benchmarks.replication.routellm_data import (
    STRONG,
    WEAK,
    Preferences,
    alpaca_outcomes,
    benchmark_tables,
    described,
    golden,
    preference_parts,
)
from benchmarks.robustness_routers import PairOfOutcomes
from routellm_core.evaluation.baselines import length_win_rates, oracle_win_rates, random_apgr
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.similarity import nearest_cosines
from routellm_core.evaluation.transfer import transfer
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes
from routellm_core.routers.base import PairRouter
from routellm_core.training.matrix_factorization import MatrixFactorizationConfig, train_matrix_factorization
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.similarity_weighted import SimilarityWeightedConfig, train_similarity_weighted

FIGURES = ("apgr", "apgr_deciles", "cpt50", "cpt80")
LABELS = {"MMLU": (0, 50, 200, 500, 1500), "GSM8K": (0, 50, 200, 330)}
TEST_GSM8K = 331
TWO_DRAWS = 200
"""Up to so many labels are drawn twice: with few, it matters which."""

ROUTERS = ("mf", "sw_ranking")
TRANSFER = {  # table -> (strong, weak)
    "mmlupro_tiger": [
        ("Meta-Llama-3.1-70B-Instruct", "Meta-Llama-3.1-8B-Instruct"),
        ("gemini-1.5-pro-002", "gemini-1.5-flash-002"),
        ("Qwen1.5-72B-Chat", "Qwen1.5-7B-Chat"),
    ],
    "llmrouter_9models": [("llama-3.1-nemotron-51b-instruct", "llama-3.1-8b-instruct")],
    "evouna_human_judged": [("new-bing-2023", "text-davinci-003")],
}
ALPACA_PAIRS = [
    ("FuseChat-Gemma-2-9B-Instruct", "FuseChat-Llama-3.2-1B-Instruct"),
    ("claude-2", "claude-instant-1.2"),
    ("gpt4", "gpt-3.5-turbo-0301"),
]


def train(name: str, battles: PreferenceDataset) -> PairRouter:
    """Train one of the two routers on the pair."""
    if name == "mf":
        config = MatrixFactorizationConfig(reference_strong=STRONG, reference_weak=WEAK, epochs=30, patience=3)
        return train_matrix_factorization(battles, bundled(), config)[0]
    ranked = SimilarityWeightedConfig(reference_strong=STRONG, reference_weak=WEAK)
    return train_similarity_weighted(battles, bundled(), ranked)[0]


class Experiment:
    """The parts, which share data and trained routers."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.benchmarks = benchmark_tables(run)
        self.preferences: Preferences = preference_parts(run)
        self.sets = self.preferences.sets()
        if run.quick:
            self.benchmarks["MMLU"] = self.benchmarks["MMLU"].select(np.arange(200))
            self.sets = {name: part.select(np.arange(0, len(part), 8)) for name, part in self.sets.items()}
        self.resamples = 50 if run.quick else 500
        self.router = cache(lambda name, data: train(name, self.sets[data]))
        self.rates = cache(self._rates)

    def _rates(self, benchmark: str) -> dict[str, Array]:
        prompts = self.benchmarks[benchmark].prompts
        return {
            f"{name}, {data}": self.router(name, data).strong_win_rates(prompts)
            for data in self.sets
            for name in ROUTERS
        }

    def tables(self) -> dict[str, Any]:
        """Return Tables 1 to 3 for every benchmark."""
        return {name: self.table(table, self.rates(name)) for name, table in self.benchmarks.items()}

    def table(self, table: OutcomeTable, rates: Mapping[str, Array]) -> dict[str, Any]:
        weak, strong = table.column(WEAK), table.column(STRONG)
        routers = {**rates, "length": length_win_rates(table.prompts)}
        found = bootstrap_pair(routers, weak, strong, levels=(0.5, 0.8), figures=FIGURES, resamples=self.resamples)
        oracle = bootstrap_pair(
            {"oracle": oracle_win_rates(weak, strong)}, weak, strong, figures=("apgr",), resamples=self.resamples
        )
        return {
            "n": len(table),
            "weak": found.weak,
            "strong": found.strong,
            "routers": found.figures,
            "random, one run": random_apgr(weak, strong),
            "oracle": oracle.figures["oracle"]["apgr"],
            "differences": {f"{a} - {b}": figures["apgr"] for (a, b), figures in found.differences.items()},
            "bands": {name: band[:, ::5] for name, band in found.bands.items()},
            "spread of win rates": {name: np.quantile(values, [0.05, 0.5, 0.95]) for name, values in rates.items()},
        }

    def labels(self) -> dict[str, Any]:
        """Return APGR against the number of labels of the benchmark's own kind that are added to the preferences."""
        gold, gsm8k = golden(self.run), self.benchmarks["GSM8K"]
        order = np.random.default_rng(0).permutation(len(gsm8k))
        cases = {
            "MMLU": (gold, self.benchmarks["MMLU"]),
            "GSM8K": (gsm8k.select(order[TEST_GSM8K:]), gsm8k.select(order[:TEST_GSM8K])),
        }
        found: dict[str, Any] = {}
        for benchmark, (source, test) in cases.items():
            rates: dict[str, Array] = {"length": length_win_rates(test.prompts)}
            for count in LABELS[benchmark]:
                for draw in range(2 if 0 < count <= TWO_DRAWS else 1):
                    given = source.select(np.random.default_rng(draw).permutation(len(source))[:count])
                    added = [given.to_battles()] if count else []
                    for name in ROUTERS:
                        router = train(name, PreferenceDataset.concat([self.sets["arena"], *added]))
                        rates[f"{name} {count} {draw}"] = router.strong_win_rates(test.prompts)
                    if count:
                        rates[f"mf, labels alone {count} {draw}"] = train("mf", added[0]).strong_win_rates(test.prompts)
                        k = tuple(k for k in (16, 32) if 2 * k < count) or (16,)
                        neighbours = train_knn(given, bundled(), KNNConfig(k=k, confidence=False, keep_prompts=False))[
                            0
                        ]
                        rates[f"knn, labels alone {count} {draw}"] = PairOfOutcomes(
                            neighbours, STRONG, WEAK
                        ).strong_win_rates(test.prompts)
            part = bootstrap_pair(
                rates, test.column(WEAK), test.column(STRONG), figures=("apgr",), resamples=min(self.resamples, 300)
            )
            found[benchmark] = {
                "n": len(test),
                "apgr": {name: figures["apgr"] for name, figures in part.figures.items()},
                "gain over none": {
                    name: turned(part.differences[f"{name.split()[0]} 0 0", name]["apgr"])
                    for name in rates
                    if name.split()[0] in ROUTERS and name.split()[1] != "0"
                },
                "labels alone less with arena": {
                    name: turned(part.differences[name.replace(", labels alone", ""), name]["apgr"])
                    for name in rates
                    if name.startswith("mf, labels alone")
                },
            }
        return found

    def transfer(self) -> list[dict[str, Any]]:
        """Use the routers on pairs they were not trained for."""
        sets = ("arena + judge", "arena + judge + gold")
        routers = {f"{name}, {data}": self.router(name, data) for data in sets for name in ROUTERS}
        rows = []
        for name, pairs in TRANSFER.items():
            table = read_outcomes(self.run.table(name))
            if "test_prompt_in_train" in table.flags:
                table = table.select(~table.flags["test_prompt_in_train"])
            if self.run.quick:
                table = table.select(np.arange(100))
            rows += [(name, row) for row in transfer(routers, table, pairs, resamples=min(self.resamples, 300))]
        for pair in ALPACA_PAIRS:
            table = alpaca_outcomes(self.run, pair, "dev")
            rows += [
                ("AlpacaEval, held out", row)
                for row in transfer(routers, table, [pair], resamples=min(self.resamples, 300))
            ]
        return [{"benchmark": name, **row.to_dict()} for name, row in rows]

    def similarity(self) -> dict[str, Any]:
        """Return the similarity of every benchmark to every training set."""
        embedder, found = bundled(), {}
        for data, battles in self.sets.items():
            known = embedder.embed(battles.prompts)
            found[data] = {
                name: mean_interval(nearest_cosines(embedder.embed(table.prompts), known))
                for name, table in self.benchmarks.items()
            }
        return found

    def overhead(self) -> dict[str, Any]:
        """Measure decisions over all prompts of GSM8K; this part alone differs from run to run."""
        routers = {name: self.router(name, "arena + judge") for name in ROUTERS}
        return overhead(routers, self.benchmarks["GSM8K"].prompts)


def turned(one: Interval) -> list[float]:
    """Return an interval with its sign turned."""
    return [-one.value, -one.high, -one.low]


def main() -> None:
    """Run all parts."""
    run = run_for(__doc__)
    experiment = Experiment(run)
    run.part("routellm-data", lambda: described(experiment.preferences, experiment.benchmarks))
    tables = run.part("routellm-tables", experiment.tables)
    run.part("routellm-similarity", experiment.similarity)
    run.part("routellm-savings", lambda: savings(tables))
    run.part("routellm-transfer", experiment.transfer)
    run.part("routellm-overhead", experiment.overhead)
    run.part("routellm-labels", experiment.labels)


if __name__ == "__main__":
    main()
