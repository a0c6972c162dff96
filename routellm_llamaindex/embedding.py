"""The embedding that comes with the package, for LlamaIndex."""

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from pydantic import PrivateAttr

from routellm_core.embedders.bundled import BundledEmbedder


class BundledEmbedding(BaseEmbedding):
    """The embedding of the default router as a LlamaIndex embedding: local, no key, no network, a look-up per token.

    Args:
        **fields: Those of every LlamaIndex embedding, such as `embed_batch_size` and `callback_manager`; `model_name` is given.

    Example:
        >>> len(BundledEmbedding().get_query_embedding("What is the capital of France?"))
        240
    """

    _embedder: BundledEmbedder = PrivateAttr()

    def __init__(self, **fields: Any) -> None:
        embedder = BundledEmbedder()
        super().__init__(**{**fields, "model_name": embedder.id})
        self._embedder = embedder

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores it."""
        return "BundledEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = self._embedder.embed(texts).tolist()
        return vectors

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return self._get_text_embedding(query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embedding(text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._get_text_embeddings(texts)
