"""mf on real preferences: what the prompt adds to Bradley-Terry."""

import numpy as np
import pyarrow.parquet
import pytest

from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import win_probability
from routellm_core.training.held_out import paired_gain
from routellm_core.training.matrix_factorization import train_matrix_factorization
from routellm_core.training.measures import log_losses, model_columns, prompt_blind_rates

pytestmark = pytest.mark.slow


def is_honest(model: str) -> bool:
    return model not in ("NullModel", "gpt4_gamed") and not model.endswith(("_concise", "_verbose"))


def test_mf_beats_bradley_terry_on_prompts_it_has_not_seen(outcome_data):
    """Five folds of AlpacaEval's instructions; the interval is over prompts, with all of their battles."""
    columns = pyarrow.parquet.read_table(outcome_data / "prefs_alpacaeval_gpt4.parquet").to_pydict()
    kept = [
        i
        for i, pair in enumerate(zip(columns["model_a"], columns["model_b"], strict=True))
        if all(map(is_honest, pair))
    ]
    chosen = {name: [columns[name][i] for i in kept] for name in ("prompt", "model_a", "model_b", "winner")}
    battles = PreferenceDataset.from_columns(**chosen, source="judge")
    embedder = BundledEmbedder()
    fold = np.random.default_rng(0).permutation(len(battles.prompts)) % 5
    losses, blind = np.full(len(battles), np.nan), np.full(len(battles), np.nan)
    for k in range(5):
        test = fold[battles.prompt_index] == k
        training, held_out = battles.select(~test), battles.select(test)
        router, _ = train_matrix_factorization(training, embedder)
        qualities = router.model_qualities_from_embeddings(embedder.embed(held_out.prompts))
        a, b = model_columns(held_out, router.known_models)
        rates = win_probability(qualities[held_out.prompt_index, a], qualities[held_out.prompt_index, b])
        losses[test] = log_losses(held_out.outcome, rates)
        blind[test] = log_losses(held_out.outcome, prompt_blind_rates(training, held_out))
    gain = paired_gain(losses, blind, battles.prompt_index)
    print(f"{len(battles)} battles; log loss {losses.mean():.4f}, Bradley-Terry {blind.mean():.4f}, gain {gain}")
    assert gain.low > 0
