"""What the study of the default router trains on and measures on.

Training rows are those of `scripts/train_default.py`, of the split "train" alone. Three folds of them, equal prompts in one fold,
choose between candidates; the sets here are what is then reported, and none of their rows is trained on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.replication.common import Run, run_for
from routellm_core.preferences.normalise import normalise_text
from scripts.train_default import TABLES, load_outcomes

Array = NDArray[np.float64]

RESULTS = Path(__file__).parent / "results"
WORK = Path("default_study_work")
"""What can be made again: vectors, and the win rates of candidates."""

FOLDS = 3
TUNED_FOLDS = 1
"""For so many of them MiniLM is fine-tuned without the fold; each takes minutes."""

PAIR = ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
OPEN_PAIR = ("llama-3.1-nemotron-51b-instruct", "mistral-7b-instruct-v0.3")
PRO_PAIRS = {
    "Llama-3.1 70B / 8B": ("Meta-Llama-3.1-70B-Instruct", "Meta-Llama-3.1-8B-Instruct"),
    "Gemini-1.5-pro / Mixtral-8x7B": ("gemini-1.5-pro-002", "Mixtral-8x7B-Instruct-v0.1"),
    "Qwen1.5-72B / 7B": ("Qwen1.5-72B-Chat", "Qwen1.5-7B-Chat"),
    "Yi-34B / 6B": ("Yi-34B", "Yi-6B"),
}
SHIPPED = "statistics and tokens"
"""What the heads of the shipped router read of MMLU, as a candidate."""

MINILM_LABELS = 1500
"""For so many training rows of MMLU the vectors of MiniLM are made: they take long."""

PANDALM_STRONG = "llama-7b"
UNSEEN_TASKS = ("arc_challenge", "gpqa", "mbpp", "natural_qa", "gsm8k", "agentverse-logicgrid")
"""Tasks of the table of nine models that nothing is trained on."""


def study_run(description: str | None) -> Run:
    """Read the command line of a part of the study."""
    return run_for(description, ["--results", str(RESULTS), *sys.argv[1:]])


def kept(run: Run) -> Run:
    """Return a run whose results are win rates, which are too large to be kept beside the script."""
    return Run(run.data, WORK, run.quick, inputs=run.inputs)


def file_name(name: str) -> str:
    """Return a name for a file."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def training_rows(run: Run) -> pd.DataFrame:
    """Return the rows of the split "train" with their fold: prompt, task, table, strong, best, weak, key, fold."""
    for name in TABLES:
        run.table(name)
    rows = load_outcomes(run.data)
    rows = rows[rows["split"] == "train"].reset_index(drop=True)
    return rows.assign(fold=folds(rows["key"].tolist()))


def folds(keys: Sequence[str], n: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Return a fold for each key; equal keys are in one fold."""
    _, index = np.unique(np.array(keys, dtype=object), return_inverse=True)
    of = np.random.default_rng(seed).permutation(int(index.max()) + 1) % n
    return np.asarray(of[index], dtype=np.int64)


def read_table(run: Run, name: str) -> pd.DataFrame:
    """Read a table without the prompts that RouteLLM's authors took out."""
    table = pd.read_parquet(run.table(name))
    return table[~table["routellm_contaminated"]] if "routellm_contaminated" in table else table


def sides(table: pd.DataFrame, strong: str, weak: str) -> pd.DataFrame:
    """Return prompt, task, split and the scores of a pair."""
    kept = table[[name for name in ("prompt", "task", "split") if name in table]].copy()
    kept["strong"], kept["weak"] = table[f"score::{strong}"], table[f"score::{weak}"]
    return kept.dropna(subset=["strong", "weak"]).reset_index(drop=True)


def mt_bench(run: Run) -> pd.DataFrame:
    """Return the questions of MT-Bench with the mean score of their two turns."""
    table = read_table(run, "routellm_mtbench_gpt4judge")
    question = table["prompt_id"].str.rsplit("-", n=1).str[0].to_numpy()
    table = sides(table, *PAIR).assign(question=question)
    return table.groupby("question", as_index=False).agg({"prompt": "first", "strong": "mean", "weak": "mean"})


def mmlu(run: Run, split: str) -> pd.DataFrame:
    """Return a split of MMLU."""
    table = sides(read_table(run, "routellm_mmlu"), *PAIR)
    return table[table["split"] == split].reset_index(drop=True)


def benchmarks(run: Run) -> dict[str, pd.DataFrame]:
    """Return the three benchmarks that RouteLLM publishes: MMLU dev, GSM8K, MT-Bench."""
    return {
        "MMLU": mmlu(run, "dev"),
        "GSM8K": sides(read_table(run, "routellm_gsm8k"), *PAIR),
        "MT-Bench": mt_bench(run),
    }


def transfer_sets(run: Run) -> dict[str, pd.DataFrame]:
    """Return MMLU-Pro dev for several pairs: seen in form, other prompts and other models."""
    pro = read_table(run, "mmlupro_tiger")
    pro = pro[pro["split"] == "dev"]
    trained = TABLES["mmlupro_tiger"]
    means = {
        side: pro[[f"score::{model}" for model in models]].mean(axis=1)
        for side, models in (("score::strong", trained.strong), ("score::weak", trained.weak))
    }
    found = {"MMLU-Pro dev, means of the three strong and three weak it was trained on": pro.assign(**means)}
    tables = {name: sides(table, "strong", "weak") for name, table in found.items()}
    return tables | {f"MMLU-Pro dev, {name}": sides(pro, *pair) for name, pair in PRO_PAIRS.items()}


def unseen_sets(run: Run) -> dict[str, pd.DataFrame]:
    """Return the tasks that nothing was trained on, without prompts that a training row repeats."""
    known = set(training_rows(run)["key"])
    nine = read_table(run, "llmrouter_9models")
    found = {}
    for task in UNSEEN_TASKS:
        part = sides(nine[nine["task"] == task], *OPEN_PAIR)
        found[task] = part[~part["prompt"].map(normalise_text).isin(known)].reset_index(drop=True)
    return found


def human_judged(run: Run) -> dict[str, pd.DataFrame]:
    """Return Natural Questions with answers judged by people, without questions they call improper, and PandaLM's votes."""
    table = read_table(run, "evouna_human_judged")
    table = table[~table["improper"].astype(bool)]
    pairs = {
        "GPT-4 / GPT-3.5": ("gpt-4-2023", "gpt-3.5-turbo-2023"),
        "GPT-4 / davinci-003": ("gpt-4-2023", "text-davinci-003"),
    }
    found = {f"Natural Questions, {name}": sides(table, *pair) for name, pair in pairs.items()}
    return found | {f"PandaLM, {PANDALM_STRONG} / four other base models": pandalm(run)}


def pandalm(run: Run) -> pd.DataFrame:
    """Return what the best of five base models won against the others on each prompt, by the votes of three people."""
    table = read_table(run, "prefs_pandalm_human")
    a = table["winner"].map({"model_a": 1.0, "model_b": 0.0}).fillna(0.5)
    won = a.where(table["model_a"] == PANDALM_STRONG, 1.0 - a)
    of_it = (table["model_a"] == PANDALM_STRONG) | (table["model_b"] == PANDALM_STRONG)
    strong = won[of_it].groupby(table["prompt"][of_it]).mean()
    return pd.DataFrame({"prompt": strong.index, "strong": strong.to_numpy(), "weak": 1.0 - strong.to_numpy()})
