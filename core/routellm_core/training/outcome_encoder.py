"""Fine-tuning of a sentence encoder on outcomes, for the heads of `multilabel` and `separate` (extra `sentence-transformers`)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import encodable
from routellm_core.embedders.sentence_transformers import SentenceTransformerEmbedder
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.progress import progress_bar
from routellm_core.training.outcome_data import LabelConfig, make_labels


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(LabelConfig):
    """Settings of `fine_tune_encoder`; the defaults are those of Srivatsa et al. (arXiv 2405.00467) but for the batch.

    Attributes:
        learning_rate: Of AdamW; the linear head that is trained along, and thrown away, learns a hundred times as fast.
        epochs: How many passes.
        batch: How many prompts a step sees.
        max_length: How many tokens of a prompt are read.
    """

    learning_rate: float = 2e-5
    epochs: int = 5
    batch: int = 32
    max_length: int = 128


def fine_tune_encoder(
    table: OutcomeTable,
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: EncoderConfig | None = None,
    *,
    device: str | None = None,
) -> SentenceTransformerEmbedder:
    """Fine-tune an encoder to tell which models will be right, and store it; train a router on what is returned.

    The encoder and one sigmoid per model are trained together on the unit vectors of the prompts. Routers that are
    trained on the result name its folder, and load it from there.

    Args:
        table: Prompts and how well each model did on them; keep some aside to measure on.
        model: A sentence-transformers model: a name or a folder.
        out: The folder for the fine-tuned encoder.
        config: The settings; None takes the defaults.
        device: Where it runs; None lets the library choose.

    Returns:
        The fine-tuned encoder.

    Raises:
        MissingDependencyError: If the extra is not installed.
        ConfigurationError: If there is nothing to learn from.
    """
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingDependencyError.for_extra("Fine-tuning an encoder", "sentence-transformers") from error
    config = config or EncoderConfig()
    labels = make_labels(table, config)
    seen = np.flatnonzero(~np.isnan(labels).all(axis=1))
    if not len(seen):
        raise ConfigurationError(f"table {table.name!r} has no score to learn from")
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        encoder: Any = SentenceTransformer(os.fspath(model), device=device)
        encoder.max_seq_length = min(config.max_length, encoder.max_seq_length or config.max_length)
        _train(encoder, [encodable(table.prompts[row]) for row in seen], labels[seen], config)
    folder = Path(out).resolve()
    encoder.save(str(folder))
    return SentenceTransformerEmbedder(str(folder), device=device)


def _train(encoder: Any, prompts: list[str], labels: NDArray[np.float64], config: EncoderConfig) -> None:
    import torch

    width = encoder.encode(["width"], show_progress_bar=False).shape[1]
    head = torch.nn.Linear(width, labels.shape[1]).to(encoder.device)
    known = torch.tensor(~np.isnan(labels), device=encoder.device)
    truth = torch.tensor(np.nan_to_num(labels), dtype=torch.float32, device=encoder.device)
    groups = [
        {"params": list(encoder.parameters()), "lr": config.learning_rate},
        {"params": list(head.parameters()), "lr": 100 * config.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups)
    order = np.random.default_rng(config.seed)
    steps = config.epochs * -(-len(prompts) // config.batch)
    encoder.train()
    with progress_bar("Fine-tuning", steps) as advance:
        done = 0
        for _ in range(config.epochs):
            shuffled = order.permutation(len(prompts))
            for start in range(0, len(shuffled), config.batch):
                rows = shuffled[start : start + config.batch]
                vectors = encoder(_features(encoder, [prompts[row] for row in rows]))["sentence_embedding"]
                logits = head(torch.nn.functional.normalize(vectors, dim=1))
                losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth[rows], reduction="none")
                loss: Any = losses[known[rows]].mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                optimizer.step()
                done += 1
                advance(done, remark=f"loss {loss.item():.3f}")
    encoder.eval()


def _features(encoder: Any, prompts: list[str]) -> dict[str, Any]:
    prepare = getattr(encoder, "preprocess", None) or encoder.tokenize  # the older name, for versions before 5.4
    return {
        name: value.to(encoder.device) if hasattr(value, "to") else value for name, value in prepare(prompts).items()
    }
