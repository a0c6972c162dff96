"""When benchmarks are targets (Alzahrani et al., arXiv 2402.01781), asked of routers: do noisy labels change which one is best?

    python -m benchmarks.replication.targets [--results FOLDER] [--fresh] [--quick]

Part `rankings`: routers for the pair of RouteLLM are ranked by APGR on MMLU; then labels are perturbed, of the benchmark or of
the training data, and they are ranked again. Kendall's tau between the two rankings, beside the tau between rankings on two
bootstrap samples of unperturbed labels: what a benchmark of this size leaves open anyway. What the way a question is put does
to a router's own decisions is measured by `benchmarks/robustness_routers.py`, see docs/robustness.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.replication.common import Array, Run, bundled, run_for
from benchmarks.replication.routellm import train
from benchmarks.replication.routellm_data import STRONG, WEAK, benchmark_tables, golden, preference_parts
from benchmarks.robustness_routers import PairOfOutcomes
from routellm_core.evaluation.baselines import length_win_rates
from routellm_core.evaluation.bootstrap import Ranking
from routellm_core.evaluation.metrics import mean_recovered
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness import kendall_tau
from routellm_core.training.outcome_cluster import ClusterConfig, train_cluster
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.outcome_linear import LinearConfig, train_multilabel

FLIPS = (0.01, 0.05, 0.1, 0.2)
DRAWS = 200
TRAINING = 3000
TRAINING_DRAWS = 3


def flipped(scores: Array, share: float, rng: np.random.Generator) -> Array:
    """Return labels of which a share is turned round, each model's on its own."""
    return np.where(rng.random(scores.shape) < share, 1.0 - scores, scores)


def learned(table: OutcomeTable) -> dict[str, Any]:
    """Train routers on right and wrong answers."""
    battles = table.to_battles()
    made: dict[str, Any] = {
        "knn 5": train_knn(table, bundled(), KNNConfig(k=5, shrinkage=0, confidence=False, keep_prompts=False))[0],
        "knn 64": train_knn(table, bundled(), KNNConfig(k=64, confidence=False, keep_prompts=False))[0],
        "clusters": train_cluster(table, bundled(), ClusterConfig(clusters=32, confidence=False, restarts=1))[0],
        "multilabel": train_multilabel(table, bundled(), LinearConfig(confidence=False))[0],
    }
    pairs: dict[str, Any] = {name: PairOfOutcomes(router, STRONG, WEAK) for name, router in made.items()}
    return pairs | {"mf, gold alone": train("mf", battles)}


def apgrs(rankings: Mapping[str, Ranking], scores: Array, counts: Array | None = None) -> Array:
    """Return the APGR of every router on labels of shape (n, 2), strong first; with counts, on a resample."""
    n = len(scores)
    strong, weak = scores.T
    times = np.ones((1, n)) if counts is None else counts
    found = []
    for ranking in rankings.values():
        x, q = ranking.curves(times, times * (strong - weak), times @ weak / n)
        found.append(float(mean_recovered(x, q, n)[0]))
    return np.array(found)


def summary(taus: list[float]) -> list[float]:
    """Return the mean and the middle 95%."""
    return [float(np.mean(taus)), *np.quantile(taus, [0.025, 0.975]).tolist()]


def rankings(run: Run) -> dict[str, Any]:
    """Rank by the labels as they are and by perturbed ones."""
    test, gold = benchmark_tables(run)["MMLU"], golden(run)
    gold = gold.select(np.random.default_rng(0).permutation(len(gold))[: 300 if run.quick else TRAINING])
    parts = preference_parts(run)
    rates: dict[str, Array] = {"length": length_win_rates(test.prompts)}
    for name in ("mf", "sw_ranking"):
        rates[f"{name}, arena"] = train(name, parts.arena).strong_win_rates(test.prompts)
    both = PreferenceDataset.concat([parts.arena, parts.gold])
    rates |= {
        f"{name}, arena + gold": train(name, both).strong_win_rates(test.prompts) for name in ("mf", "sw_ranking")
    }
    rates |= {name: router.strong_win_rates(test.prompts) for name, router in learned(gold).items()}
    ranked = {name: Ranking.of(values) for name, values in rates.items()}
    clean = apgrs(ranked, test.scores)
    rng = np.random.default_rng(0)
    n, draws = len(test), 20 if run.quick else DRAWS
    by_evaluation: dict[str, Any] = {}
    for share in FLIPS:
        drawn = [apgrs(ranked, flipped(test.scores, share, rng)) for _ in range(draws)]
        by_evaluation[str(share)] = {
            "tau": summary([kendall_tau(clean, one) for one in drawn]),
            "same best": float(np.mean([one.argmax() == clean.argmax() for one in drawn])),
            "gap": (1 - 2 * share) * float(np.subtract(*test.scores.mean(axis=0))),
        }
    resampled = []
    for _ in range(2 * draws):
        counts = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)[None, :]
        resampled.append(apgrs(ranked, test.scores, counts))
    by_training: dict[str, Any] = {}
    trained = [
        name
        for name in rates
        if name.split(",")[0].split()[0] in ("knn", "clusters", "multilabel") or name == "mf, gold alone"
    ]
    reference = np.array([clean[list(rates).index(name)] for name in trained])
    for share in FLIPS[1:]:
        taus = []
        for _ in range(1 if run.quick else TRAINING_DRAWS):
            noisy = replace(gold, scores=flipped(gold.scores, share, rng))
            again = {name: Ranking.of(router.strong_win_rates(test.prompts)) for name, router in learned(noisy).items()}
            taus.append(kendall_tau(reference, apgrs({name: again[name] for name in trained}, test.scores)))
        by_training[str(share)] = {"tau": summary(taus), "draws": len(taus), "routers": len(trained)}
    ends = np.quantile(resampled, [0.025, 0.975], axis=0)
    alone = [list(rates).index(name) for name in trained]
    halves = list(zip(resampled[::2], resampled[1::2], strict=True))
    return {
        "n": n,
        "training": len(gold),
        "apgr": {name: [clean[i], *ends[:, i]] for i, name in enumerate(rates)},
        "evaluation labels flipped": by_evaluation,
        "two bootstrap samples": {
            "tau": summary([kendall_tau(a, b) for a, b in halves]),
            "same best": float(np.mean([one.argmax() == clean.argmax() for one in resampled])),
        },
        "one bootstrap sample": summary([kendall_tau(clean, one) for one in resampled]),
        "one bootstrap sample, trained on gold": summary([kendall_tau(reference, one[alone]) for one in resampled]),
        "training labels flipped": by_training,
    }


def main() -> None:
    """Run the part."""
    run = run_for(__doc__)
    run.part("targets-rankings", lambda: rankings(run))


if __name__ == "__main__":
    main()
