"""Preferences as labels: for each prompt, how often the better of two models won."""

import numpy as np
import pandas as pd

from benchmarks.replication.common import Run

PREFERENCES = ("PandaLM", "Vicuna", "AlpacaEval")


def preference_rows(run: Run, name: str) -> pd.DataFrame:
    """Return for each prompt of the split "train" what the better model of a battle won, on average; models by their mean."""
    file = {"PandaLM": "prefs_pandalm_human", "Vicuna": "prefs_vicuna_gpt4", "AlpacaEval": "prefs_alpacaeval_gpt4"}[
        name
    ]
    table = pd.read_parquet(run.table(file))
    table = table[table["split"] == "train"]
    if name == "AlpacaEval":
        table = table[(table["model_a"] == "gpt4_1106_preview") | (table["model_b"] == "gpt4_1106_preview")]
    a = table["winner"].map({"model_a": 1.0, "model_b": 0.0}).fillna(0.5).to_numpy(float)
    won = pd.Series(np.concatenate([a, 1 - a])).groupby([*table["model_a"], *table["model_b"]]).mean()
    better = (table["model_a"].map(won) >= table["model_b"].map(won)).to_numpy()
    if name == "AlpacaEval":
        better = (table["model_a"] == "gpt4_1106_preview").to_numpy()
    means = pd.Series(np.where(better, a, 1 - a)).groupby(table["prompt"].to_numpy()).mean()
    return pd.DataFrame({"prompt": means.index, "won": means.to_numpy(), "set": name})
