"""Training sets and benchmarks of the RouteLLM experiments, and what stands in for what.

Arena's votes and the paper's judge labels are not at hand. In their place:

- `arena`: GPT-4's preferences among the models of AlpacaEval, on half of the instructions of its training part;
- `judge`: GPT-4's preferences between the two models of the pair alone, on the other half;
- `gold`: right and wrong of the pair on 1,500 questions of MMLU that are not evaluated on.

AlpacaEval's data are CC BY-NC 4.0: what is trained on them here is for study, and nothing of it ships.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.replication.common import Run, key_of
from routellm_core.evaluation.published import merge_turns
from routellm_core.preferences.battles import PreferenceDataset, read_battles
from routellm_core.preferences.outcomes import OutcomeTable, read_outcomes

STRONG, WEAK = "gpt4_1106_preview", "Mixtral-8x7B-Instruct-v0.1"
"""The names that AlpacaEval has for the pair."""

LEFT_OUT = ("NullModel", "gpt4_gamed")
GOLD_LABELS = 1500


@dataclass(frozen=True)
class Preferences:
    """The parts that training sets are put together from."""

    arena: PreferenceDataset
    judge: PreferenceDataset
    gold: PreferenceDataset

    def sets(self) -> dict[str, PreferenceDataset]:
        """Return the training sets, as in the paper's tables; "arena" stands for its stand-in."""
        together = PreferenceDataset.concat
        return {
            "arena": self.arena,
            "arena + judge": together([self.arena, self.judge]),
            "arena + gold": together([self.arena, self.gold]),
            "arena + judge + gold": together([self.arena, self.judge, self.gold]),
        }


def preference_parts(run: Run) -> Preferences:
    """Read AlpacaEval's battles of the training part and golden labels of MMLU's."""
    path = run.table("prefs_alpacaeval_gpt4")
    battles = read_battles(path, label_source="judge")
    training = set(_alpaca_prompts(run, "train"))
    left_out = [name in LEFT_OUT or name.endswith(("_concise", "_verbose")) for name in battles.models]
    odd = np.array([int(key_of(prompt), 16) % 2 == 1 for prompt in battles.prompts])[battles.prompt_index]
    known = np.array([prompt in training for prompt in battles.prompts])[battles.prompt_index]
    fair = ~np.array(left_out)[battles.model_a] & ~np.array(left_out)[battles.model_b]
    names = np.array(battles.models)
    of_pair = np.isin(names[battles.model_a], (STRONG, WEAK)) & np.isin(names[battles.model_b], (STRONG, WEAK))
    gold = golden(run)
    return Preferences(
        arena=battles.select(known & fair & odd),
        judge=battles.select(known & of_pair & ~odd),
        gold=gold.select(np.random.default_rng(0).permutation(len(gold))[:GOLD_LABELS]).to_battles(),
    )


def described(parts: Preferences, benchmarks: Mapping[str, OutcomeTable]) -> dict[str, Any]:
    """Return how much data there is."""
    return {
        "arena": {
            "battles": len(parts.arena),
            "prompts": len(set(parts.arena.prompts)),
            "models": len(set(parts.arena.model_a.tolist()) | set(parts.arena.model_b.tolist())),
        },
        "judge": {"battles": len(parts.judge), "prompts": len(set(parts.judge.prompts))},
        "gold": {"battles": len(parts.gold)},
        "benchmarks": {name: len(table) for name, table in benchmarks.items()},
    }


def golden(run: Run) -> OutcomeTable:
    """Return MMLU's training part with the names of the pair that AlpacaEval has."""
    return named_as_pair(_mmlu(run, "train"))


def named_as_pair(table: OutcomeTable) -> OutcomeTable:
    """Return a table of the pair under the names that AlpacaEval has."""
    return replace(table.for_models(["gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"]), models=(STRONG, WEAK))


def benchmark_tables(run: Run) -> dict[str, OutcomeTable]:
    """Return the benchmarks of the pair: name -> table with the columns STRONG and WEAK."""
    gsm8k = read_outcomes(run.table("routellm_gsm8k"))
    bench = merge_turns(read_outcomes(run.table("routellm_mtbench_gpt4judge")))
    tables = {
        "MMLU": _mmlu(run, "dev"),
        "GSM8K": gsm8k.select(~gsm8k.flags["routellm_contaminated"]),
        "MT-Bench": bench.select(~bench.flags["routellm_contaminated"]),
    }
    named = {name: named_as_pair(table) for name, table in tables.items()}
    return named | {"AlpacaEval, held out": alpaca_outcomes(run, (STRONG, WEAK), "dev")}


def alpaca_outcomes(run: Run, models: tuple[str, ...], split: str | None) -> OutcomeTable:
    """Return how probably each model's answer beats GPT-4-1106's, as GPT-4 judges; the mean over judges.

    Args:
        run: Where the data are.
        models: The columns; GPT-4-1106 itself has one half.
        split: "train", "dev", or None for all.
    """
    columns = [_alpaca(run).column(name).to_pylist() for name in ("prompt", "split", "model_a", "model_b", "p_b_wins")]
    of: dict[tuple[str, str], list[float]] = {}
    prompts: dict[str, None] = {}
    for prompt, part, model_a, model_b, wins in zip(*columns, strict=True):
        if split is None or part == split:
            prompts[prompt] = None
            if model_a == STRONG and model_b in models:
                of.setdefault((prompt, model_b), []).append(wins)
    scores = np.array(
        [
            [0.5 if model == STRONG else np.mean(of.get((prompt, model), [np.nan])) for model in models]
            for prompt in prompts
        ]
    )
    return OutcomeTable(prompts=tuple(prompts), models=models, scores=scores, name="alpacaeval").complete()


def _alpaca(run: Run) -> Any:
    """Read AlpacaEval's preferences as a table of arrow."""
    return pq.read_table(run.table("prefs_alpacaeval_gpt4"))


def _alpaca_prompts(run: Run, split: str) -> list[str]:
    prompts, parts = (_alpaca(run).column(name).to_pylist() for name in ("prompt", "split"))
    return [prompt for prompt, part in zip(prompts, parts, strict=True) if part == split]


def _mmlu(run: Run, split: str) -> OutcomeTable:
    table = read_outcomes(run.table("routellm_mmlu"))
    kept = ~table.flags["routellm_contaminated"] & (np.array(table.split) == split)
    return table.select(kept).complete()
