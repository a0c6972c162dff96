import importlib.util

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import MissingDependencyError
from routellm_core.training.outcome_encoder import EncoderConfig, fine_tune_encoder
from routellm_core.training.outcome_linear import LinearConfig, train_multilabel
from support.outcomes import TOPICS, topic_table
from support.tiny_transformers import require_torch, tokenizer


def tiny_encoder(folder):
    """Write a sentence encoder of random weights."""
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel

    made = tokenizer(["<s>", "</s>"], begin="<s>", end="</s>", limit=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(made),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "bert")
    made.save_pretrained(folder / "bert")
    transformer = models.Transformer(str(folder / "bert"), max_seq_length=64)
    pooling = models.Pooling(transformer.get_word_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_fine_tuned_encoder_tells_topics_apart_that_it_could_not(tmp_path):
    require_torch()
    pytest.importorskip("sentence_transformers")
    table, new = topic_table(120, missing=0.1), topic_table(60, seed=5)
    config = EncoderConfig(epochs=8, learning_rate=1e-3, batch=16)
    embedder = fine_tune_encoder(table, tiny_encoder(tmp_path), tmp_path / "tuned", config, device="cpu")
    router, report = train_multilabel(table, embedder, LinearConfig(confidence=False))
    assert report.validation_loss < 0.8 * report.baseline_loss
    right = np.array([TOPICS.index(topic) for topic in new.groups])
    assert (router.score(new.prompts).argmax(axis=1) == right).mean() > 0.9
    router.save_pretrained(tmp_path / "router")
    loaded = load_router(tmp_path / "router")  # finds the encoder by its folder
    np.testing.assert_allclose(loaded.score(new.prompts), router.score(new.prompts), atol=1e-6)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    if importlib.util.find_spec("sentence_transformers") is not None:
        pytest.skip("the library is there")
    with pytest.raises(MissingDependencyError, match=r"routellm-plugins\[sentence-transformers\]"):
        fine_tune_encoder(topic_table(12), "any", tmp_path)
