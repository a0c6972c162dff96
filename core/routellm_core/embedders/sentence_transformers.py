"""Embeddings of any sentence-transformers model, local or from the Hub."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import as_unit_rows, encodable
from routellm_core.errors import ConfigurationError, MissingDependencyError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceTransformerEmbedder:
    """Embeds with a sentence-transformers model.

    Args:
        model: A model name or folder, which is loaded when first needed, or a loaded `SentenceTransformer`.
        id: What the vectors depend on; None takes the name. Required with a loaded model, which does not tell its name.
        revision: A branch, tag or commit on the Hub; None takes the main branch. Part of the id.
        device: Where it runs ("cpu", "cuda"); None lets the library choose.
        batch_size: How many texts the model takes at once.

    Raises:
        MissingDependencyError: If the extra `sentence-transformers` is not installed.
        ConfigurationError: If a loaded model is given without an id.
    """

    def __init__(
        self,
        model: "str | SentenceTransformer" = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        id: str | None = None,  # noqa: A002
        revision: str | None = None,
        device: str | None = None,
        batch_size: int = 32,
    ) -> None:
        if not isinstance(model, str) and id is None:
            raise ConfigurationError(
                "a loaded model does not tell its name: give id=..., so that checkpoints can record it"
            )
        name = model if isinstance(model, str) else ""
        self.id = id or f"sentence-transformers:{name}" + (f"@{revision}" if revision else "")
        self._name = name
        self._model: Any = None if isinstance(model, str) else model
        self._loading = threading.Lock()
        self._revision = revision
        self._device = device
        self._batch_size = batch_size
        if isinstance(model, str):
            _library()

    def __repr__(self) -> str:
        return f"SentenceTransformerEmbedder({self.id!r})"

    @property
    def dimension(self) -> int:
        """The length of the vectors; loads the model."""
        loaded = self._loaded()
        # The older name of the method, for sentence-transformers before 5.2.
        get = getattr(loaded, "get_embedding_dimension", None) or loaded.get_sentence_embedding_dimension
        return int(get())

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension), unit rows."""
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        clean = [encodable(text) for text in texts]
        vectors = self._loaded().encode(clean, batch_size=self._batch_size, show_progress_bar=False)
        return as_unit_rows(vectors, n=len(texts), dimension=None, embedder_id=self.id)

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                self._model = _library().SentenceTransformer(self._name, revision=self._revision, device=self._device)
            return self._model


def _library() -> Any:
    try:
        import sentence_transformers  # heavy: it brings torch
    except ImportError as error:
        raise MissingDependencyError.for_extra("The sentence-transformers embedder", "sentence-transformers") from error
    return sentence_transformers
