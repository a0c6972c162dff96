"""Compare the two normalisers of similarity-weighted ranking: held-out battles of the same kind, and benchmarks of another.

    ROUTELLM_OUTCOME_DATA=FOLDER python benchmarks/similarity_weighted_normalizers.py
        [--out docs/benchmarks/similarity_weighted_normalizers.md] [--resamples 1000]

The folder holds `prefs_alpacaeval_gpt4.parquet` (prompt, model_a, model_b, winner) and, with scores of a strong and a weak model
for each prompt, `routellm_mmlu.parquet`, `routellm_gsm8k.parquet` and `routellm_mtbench_gpt4judge.parquet`. Battles: AlpacaEval's
GPT-4 annotations without models that game the judge or vary another one's length, with the embedded default embedding; the data
is CC BY-NC 4.0 and nothing that is trained on it here is kept. "One fit for all" weighs every battle alike (gamma = 1), so it
knows nothing about the prompt.

1. Log-loss of held-out battles, ten folds over prompts: the mean over prompts of the mean over a prompt's battles.
2. APGR (exact) on each benchmark of a router of all battles between the tiers of GPT-4 and Mixtral.

Intervals: 95%, percentile bootstrap over prompts; the differences are paired.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.evaluation.bootstrap import bootstrap_interval
from routellm_core.evaluation.curve import CostQualityCurve
from routellm_core.evaluation.metrics import average_performance_gap_recovered
from routellm_core.preferences.battles import PreferenceDataset, read_battles
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes
from routellm_core.ratings import win_probability
from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter

GAMED = {"NullModel", "gpt4_gamed"}
VARIANTS: dict[str, dict[str, object]] = {
    "user_query": {"normalizer": "user_query"},
    "train_query": {"normalizer": "train_query"},
    "one fit for all": {"normalizer": "user_query", "gamma": 1.0},
}
BENCHMARKS = ("routellm_mmlu", "routellm_gsm8k", "routellm_mtbench_gpt4judge")
STRONG, WEAK = "gpt4_1106_preview", "Mixtral-8x7B-Instruct-v0.1"
FOLDS = 10


def usable_battles(path: Path) -> PreferenceDataset:
    """Read AlpacaEval without the models that game the judge or vary another model's length."""
    every = read_battles(path, label_source="judge")
    kept = np.array([m not in GAMED and not m.endswith(("_concise", "_verbose")) for m in every.models])
    return every.select(kept[every.model_a] & kept[every.model_b])


def log_losses(
    battles: PreferenceDataset, embeddings: NDArray[np.float32], options: dict[str, object]
) -> NDArray[np.float64]:
    """Return the mean log-loss of each prompt's battles, predicted from the battles of other folds, shape (prompts,)."""
    fold_of = np.random.default_rng(0).permutation(len(battles.prompts)) % FOLDS
    sums, counts = np.zeros(len(battles.prompts)), np.zeros(len(battles.prompts))
    row_of = {prompt: row for row, prompt in enumerate(battles.prompts)}
    for fold in range(FOLDS):
        held_out = fold_of[battles.prompt_index] == fold
        train = battles.select(~held_out)
        router = SimilarityWeightedRouter.from_battles(
            train,
            embeddings=embeddings[[row_of[prompt] for prompt in train.prompts]],
            reference_strong=0,
            reference_weak=9,
            **options,  # type: ignore[arg-type]
        )
        prompts = np.flatnonzero(fold_of == fold)
        strengths = np.zeros((len(battles.prompts), 10))
        strengths[prompts] = router.tier_strengths_from_embeddings(embeddings[prompts])
        tier = np.array([router.tiers.get(model, -1) for model in battles.models])
        rows = np.flatnonzero(held_out & (tier[battles.model_a] >= 0) & (tier[battles.model_b] >= 0))
        prompt, y = battles.prompt_index[rows], battles.outcome[rows]
        p = win_probability(
            strengths[prompt, tier[battles.model_a[rows]]], strengths[prompt, tier[battles.model_b[rows]]]
        )
        p = np.clip(p, 1e-9, 1 - 1e-9)
        np.add.at(sums, prompt, -(y * np.log(p) + (1 - y) * np.log(1 - p)))
        np.add.at(counts, prompt, 1)
    return sums / counts


def benchmark(path: Path) -> OutcomeTable:
    """Read a benchmark without its contaminated prompts."""
    table = read_outcomes(path)
    flags = table.flags.get("routellm_contaminated")
    return table if flags is None else table.select(~flags)


def apgr(
    win_rates: NDArray[np.float64], weak: NDArray[np.float64], strong: NDArray[np.float64]
) -> Callable[..., float]:
    """Return APGR as a function of the prompts that count."""

    def of(rows: NDArray[np.intp]) -> float:
        curve = CostQualityCurve.from_win_rates(win_rates[rows], weak[rows], strong[rows])
        return average_performance_gap_recovered(curve)

    return of


def minus(of: Callable[..., float], first: Callable[..., float], rows: NDArray[np.intp]) -> float:
    """Return the difference of two figures on the same prompts."""
    return of(rows) - first(rows)


def mean_over(losses: NDArray[np.float64], rows: NDArray[np.intp]) -> float:
    """Return the mean over some prompts."""
    return float(losses[rows].mean())


def compared(name: str, figure: Mapping[str, Callable[..., float]], n: int, resamples: int) -> list[str]:
    """Return the lines of one table: each variant, and its paired difference to the first."""
    first = next(iter(figure.values()))
    lines = []
    for variant, of in figure.items():
        own = bootstrap_interval(of, n, resamples=resamples)
        difference = bootstrap_interval(partial(minus, of, first), n, resamples=resamples)
        shown = "-" if of is first else f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
        lines.append(f"| {name} | {n:,} | {variant} | {own.value:.4f} ({own.low:.4f} to {own.high:.4f}) | {shown} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    folder = os.environ.get("ROUTELLM_OUTCOME_DATA")
    if not folder:
        print("set ROUTELLM_OUTCOME_DATA to the folder of the data", file=sys.stderr)
        return 2
    battles = usable_battles(Path(folder) / "prefs_alpacaeval_gpt4.parquet")
    embedder = BundledEmbedder()
    embeddings = embedder.embed(battles.prompts)
    losses = {name: log_losses(battles, embeddings, variant) for name, variant in VARIANTS.items()}
    means = {name: partial(mean_over, loss) for name, loss in losses.items()}
    n = len(battles.prompts)
    lines = compared("log-loss of held-out battles (lower is better)", means, n, options.resamples)
    for name in BENCHMARKS:
        table = benchmark(Path(folder) / f"{name}.parquet")
        vectors = embedder.embed(table.prompts)
        weak, strong = table.column("mixtral-8x7b-instruct-v0.1"), table.column("gpt-4-1106-preview")
        figure = {}
        for variant, given in VARIANTS.items():
            router = SimilarityWeightedRouter.from_battles(
                battles,
                embeddings=embeddings,
                reference_strong=STRONG,
                reference_weak=WEAK,
                **given,  # type: ignore[arg-type]
            )
            figure[variant] = apgr(router.strong_win_rates_from_embeddings(vectors), weak, strong)
        del figure["one fit for all"]  # one win rate for every prompt: 0.5 by definition
        lines += compared(f"APGR on {name} (higher is better)", figure, len(table), min(options.resamples, 300))
    about = (
        f"`python benchmarks/similarity_weighted_normalizers.py`: {len(battles):,} battles of {len(battles.models)} models on "
        f"{n} prompts, embedding {embedder.id}. In brackets 95% intervals."
    )
    head = ["| figure | prompts | normaliser | value | minus user_query |", "|---|---|---|---|---|"]
    text = "\n".join(["# The normaliser of similarity-weighted ranking", "", about, "", *head, *lines, ""])
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
