"""Embedding objects of LangChain and LlamaIndex as embedders, by what they can do: no framework is imported."""

import asyncio
import inspect
import threading
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import Embedder, as_unit_rows, encodable
from routellm_core.embedders.openai_models import DIMENSIONS, openai_id
from routellm_core.errors import ConfigurationError


class LangChainEmbeddings(Protocol):
    """What is used of a LangChain `Embeddings` object."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts."""
        ...


class LlamaIndexEmbedding(Protocol):
    """What is used of a LlamaIndex `BaseEmbedding` object."""

    def get_text_embedding_batch(self, texts: list[str]) -> list[list[float]]:
        """Embed texts."""
        ...


EmbedderLike = Embedder | LangChainEmbeddings | LlamaIndexEmbedding
"""What is taken wherever an embedder is."""

_METHODS = (("embed_documents", "aembed_documents"), ("get_text_embedding_batch", "aget_text_embedding_batch"))

_OPENAI = ("OpenAIEmbeddings", "OpenAIEmbedding")
_SENTENCE_TRANSFORMERS = ("HuggingFaceEmbeddings", "HuggingFaceEmbedding")
_BUNDLED = "BundledEmbedding"


def as_embedder(embedder: EmbedderLike, *, id: str | None = None, dimension: int | None = None) -> Embedder:  # noqa: A002
    """Return what was given as an embedder.

    The classes for OpenAI and for sentence-transformers of both frameworks get the ids that this library's own embedders
    have, so checkpoints fit them; others get "<class>:<model>".

    Args:
        embedder: An embedder, which comes back as it is; a LangChain `Embeddings`; or a LlamaIndex `BaseEmbedding`.
        id: What the vectors depend on; None derives it from class and model. Only for objects of the frameworks.
        dimension: The length of the vectors; None takes what the object says, else that of one text, embedded when first
            needed. Only for objects of the frameworks.

    Raises:
        ConfigurationError: If it is none of these, or does not tell its model and no id is given.
    """
    missing = object()
    if all(inspect.getattr_static(embedder, name, missing) is not missing for name in ("embed", "id", "dimension")):
        if id is not None or dimension is not None:
            raise ConfigurationError(
                f"{type(embedder).__name__} has an id and a dimension of its own: leave out id= and dimension="
            )
        return cast("Embedder", embedder)
    for method, amethod in _METHODS:
        if callable(getattr(embedder, method, None)) and not inspect.isclass(embedder):
            return ForeignEmbedder(
                embedder,
                method,
                amethod,
                id=_derived_id(embedder) if id is None else id,
                dimension=_known_dimension(embedder) if dimension is None else dimension,
            )
    raise ConfigurationError(
        f"embedder must be an embedder (id, dimension, embed), a LangChain Embeddings object (embed_documents) or a "
        f"LlamaIndex BaseEmbedding object (get_text_embedding_batch), not {_named(embedder)}"
    )


class ForeignEmbedder:
    """An embedding object of a framework behind the interface of an embedder; `as_embedder` makes it.

    Args:
        embedding: The object.
        method: Its method from texts to vectors.
        amethod: The same for asynchronous calls, if it has one.
        id: What the vectors depend on.
        dimension: The length of the vectors; None embeds one text to find out, when first needed.
    """

    def __init__(self, embedding: object, method: str, amethod: str, *, id: str, dimension: int | None) -> None:  # noqa: A002
        self.id = id
        self._embedding = embedding
        self._method = method
        self._amethod = amethod
        self._dimension = dimension
        self._probing = threading.Lock()

    def __repr__(self) -> str:
        return f"ForeignEmbedder({self.id!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_probing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _probing=threading.Lock())

    @property
    def dimension(self) -> int:
        """The length of the vectors; where nobody said it, one text is embedded the first time."""
        with self._probing:
            if self._dimension is None:
                vectors = getattr(self._embedding, self._method)(["dimension"])
                self._dimension = as_unit_rows(vectors, n=1, dimension=None, embedder_id=self.id).shape[1]
            return self._dimension

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension), unit rows, 0 for a text that is blank."""
        wanted = _embeddable(texts)
        vectors = getattr(self._embedding, self._method)(list(wanted.values())) if wanted else []
        return self._rows(vectors, wanted, len(texts))

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts without blocking the event loop; see `embed`."""
        method = getattr(self._embedding, self._amethod, None)
        if method is None:
            return await asyncio.to_thread(self.embed, texts)
        wanted = _embeddable(texts)
        vectors = await method(list(wanted.values())) if wanted else []
        if self._dimension is None and not wanted:
            await asyncio.to_thread(lambda: self.dimension)
        return self._rows(vectors, wanted, len(texts))

    def _rows(self, vectors: Any, wanted: dict[int, str], n: int) -> NDArray[np.float32]:
        if not wanted:
            return np.zeros((n, self.dimension), dtype=np.float32)
        rows = as_unit_rows(vectors, n=len(wanted), dimension=self._dimension, embedder_id=self.id)
        if self._dimension is None:
            self._dimension = rows.shape[1]
        every = np.zeros((n, rows.shape[1]), dtype=np.float32)
        every[list(wanted)] = rows
        return every


def _embeddable(texts: Sequence[str]) -> dict[int, str]:
    """Return the texts that an embedding service takes, by position: APIs refuse blank ones."""
    return {position: encodable(text) for position, text in enumerate(texts) if text.strip()}


def _derived_id(embedding: object) -> str:
    model, kind = _model_name(embedding), type(embedding).__name__
    if model is None:
        raise ConfigurationError(
            f"{kind} does not tell the name of its model: give as_embedder(..., id=...), so that checkpoints can record it"
        )
    if kind in _OPENAI:
        return openai_id(model, getattr(embedding, "dimensions", None) or DIMENSIONS.get(model, 0))
    if kind in _SENTENCE_TRANSFORMERS and not getattr(embedding, "text_instruction", None):
        revision = (getattr(embedding, "model_kwargs", None) or {}).get("revision")
        return f"sentence-transformers:{model}" + (f"@{revision}" if revision else "")
    return model if kind == _BUNDLED else f"{kind}:{model}"


def _model_name(embedding: object) -> str | None:
    for attribute in ("model", "model_name"):
        name = getattr(embedding, attribute, None)
        name = getattr(name, "value", name)  # an enumeration, as LlamaIndex has for OpenAI
        if isinstance(name, str) and name not in ("", "unknown"):
            return name
    return None


def _known_dimension(embedding: object) -> int | None:
    for attribute in ("dimensions", "dimension"):
        value = getattr(embedding, attribute, None)
        if type(value) is int and value > 0:
            return value
    return DIMENSIONS.get(_model_name(embedding) or "") if type(embedding).__name__ in _OPENAI else None


def _named(value: object) -> str:
    return f"the class {value.__name__}" if inspect.isclass(value) else type(value).__name__
