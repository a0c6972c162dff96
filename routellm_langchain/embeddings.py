"""The embedding that comes with the package, for LangChain."""

from langchain_core.embeddings import Embeddings

from routellm_core.embedders.bundled import BundledEmbedder


class BundledEmbeddings(BundledEmbedder, Embeddings):
    """The embedding of the default router as LangChain embeddings: local, no key, no network, a look-up per token.

    Example:
        >>> len(BundledEmbeddings().embed_query("What is the capital of France?"))
        240
    """

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts; unit vectors, 0 where a text holds no known token."""
        vectors: list[list[float]] = self.embed(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Embed one text, just like a document."""
        return self.embed_documents([text])[0]
