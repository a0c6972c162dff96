"""The embedding that comes with the package: static, so embedding is a look-up; loaded from the package, never the network."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import as_unit_rows, encodable

if TYPE_CHECKING:
    from model2vec import StaticModel

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
        """Embed n texts; shape (n, dimension), unit rows, 0 where a text holds no known token."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        vectors = _model().encode([encodable(text) for text in texts], use_multiprocessing=False)
        return as_unit_rows(vectors, n=len(texts), dimension=self.dimension, embedder_id=self.id)

    def __repr__(self) -> str:
        return f"BundledEmbedder({self.id!r})"


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((ASSET / "embedder.json").read_text(encoding="utf-8"))
    return facts


@cache
def _model() -> "StaticModel":
    from model2vec import StaticModel  # importing this package loads nothing but numpy

    return StaticModel.from_pretrained(ASSET)
