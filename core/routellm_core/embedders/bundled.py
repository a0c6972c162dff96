"""The embedding that comes with the package: static, so embedding is a look-up; loaded from the package, never the network."""

import json
from collections.abc import Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import encodable
from routellm_core.embedders.word_pieces import WordPieces
from routellm_core.errors import CheckpointNotFoundError
from routellm_core.texts import require_list

ASSET = Path(__file__).parent.parent / "assets" / "embedding"


class BundledEmbedder:
    """The embedded default: a static embedding distilled from all-MiniLM-L6-v2 (see `assets/embedding/NOTICE`).

    All instances share one copy of the weights, which the first one reads.
    """

    def __init__(self) -> None:
        facts = _facts()
        self.id: str = facts["embedder_id"]
        self.dimension: int = facts["dimension"]
        _model()  # now rather than within the first call, which may have a deadline

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension), unit rows, 0 where a text holds no known token.

        What lies beyond the first 3,072 characters of a text is not read.
        """
        return self.embed_tokens(bundled_tokens(texts))

    def embed_tokens(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embed n texts that `bundled_tokens` has split; shape (n, dimension), as `embed` returns them."""
        table = _model()[0]
        vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        for row, ids in zip(vectors, tokens, strict=True):
            if len(ids):
                # The rows are scaled to length 1, so a sum does for the mean. Sums of 8-bit integers and of their squares are
                # exact, whatever their order.
                total = table.take(ids, axis=0).sum(axis=0, dtype=np.int32).astype(np.float64)
                if squares := total.dot(total):
                    np.divide(total, sqrt(squares), out=row, casting="same_kind")
        return vectors

    def __repr__(self) -> str:
        return f"BundledEmbedder({self.id!r})"


def bundled_tokens(texts: Sequence[str]) -> list[Sequence[int]]:
    """Return the ids of the tokens of n texts, unknown words left out; what `BundledEmbedder.embed` adds up."""
    require_list(texts, what="texts")
    _, pieces, longest = _model()
    return [pieces.ids(encodable(text[:longest])) for text in texts]


def vocabulary_size() -> int:
    """Return how many tokens there are; ids are below it."""
    return int(_model()[0].shape[0])


@cache
def _facts() -> dict[str, Any]:
    if not (ASSET / "embedder.json").is_file():
        raise CheckpointNotFoundError(f"{ASSET} is missing: the installation of routellm-plugins is incomplete")
    facts: dict[str, Any] = json.loads((ASSET / "embedder.json").read_text(encoding="utf-8"))
    return facts


@cache
def _model() -> tuple[NDArray[np.int8], WordPieces, int]:
    """Return the vector of every token, what splits a text into tokens, and how many characters of a text are read."""
    from model2vec import StaticModel  # importing this package loads nothing but numpy

    model = StaticModel.from_pretrained(ASSET, force_download=False)
    max_length = int(model.max_length or 512)
    # Not model.encode(): it reconfigures the tokenizer on every call, which fails when threads share it.
    pieces = WordPieces(model.tokenizer, max_length=max_length, unknown_id=model.unk_token_id)
    # A text is read up to 512 tokens, at the median length of a token of its vocabulary.
    return model.embedding, pieces, max_length * int(model.median_token_length)
