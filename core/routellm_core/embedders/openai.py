"""Embeddings of OpenAI, Azure OpenAI and every server with the same interface."""

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import as_unit_rows, encodable
from routellm_core.embedders.openai_models import DIMENSIONS, openai_id
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.texts import require_list

try:
    import openai
except ImportError as error:
    raise MissingDependencyError.for_extra("The OpenAI embedder", "openai") from error

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


class Tokenizer(Protocol):
    """What the embedder needs to cut a text by tokens; `tiktoken.Encoding` is one."""

    def encode(self, text: str, *, disallowed_special: Any = ...) -> list[int]:
        """Return the tokens of a text."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        ...


class OpenAIEmbedder:
    """Embeds with an OpenAI-compatible endpoint, through the official client.

    Time limits and retries are the client's: give one to change them. Texts longer than the model takes are cut in the middle, so
    that beginning and end, where the task usually is, both count.

    Args:
        model: The embedding model (for Azure, the deployment).
        id: What the vectors depend on; None takes the model's name. For a deployment that is called otherwise, say which model
            it serves: "openai:text-embedding-3-small".
        client: An `openai.OpenAI` or `openai.AzureOpenAI`; None makes one, when first needed, from the environment.
        async_client: The same for asynchronous calls.
        base_url: Where the endpoint is, if no client is given; None takes the client's default.
        dimension: The length of the vectors; None takes the model's own, which must then be known.
        max_tokens: The longest text the model takes, in tokens.
        max_request_tokens: The most tokens one request may hold.
        max_request_texts: The most texts one request may hold.
        tokenizer: Cuts long texts; None takes tiktoken's encoding of the model, and bytes where that is not to be had.

    Raises:
        MissingDependencyError: If the extra `openai` is not installed (when this module is imported).
        ConfigurationError: If the model's dimension is not known and not given.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        id: str | None = None,  # noqa: A002
        client: "OpenAI | None" = None,
        async_client: "AsyncOpenAI | None" = None,
        base_url: str | None = None,
        dimension: int | None = None,
        max_tokens: int = 8191,
        max_request_tokens: int = 300_000,
        max_request_texts: int = 2048,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        if dimension is None and model not in DIMENSIONS:
            raise ConfigurationError(
                f"the dimension of embedding model {model!r} is not known: give dimension=...; "
                f"known are {', '.join(DIMENSIONS)}"
            )
        if dimension is not None and dimension < 1:
            raise ConfigurationError(f"dimension must be 1 or more, not {dimension!r}")
        if min(max_tokens, max_request_tokens, max_request_texts) < 1 or max_request_tokens < max_tokens:
            raise ConfigurationError(
                "max_tokens, max_request_tokens (at least max_tokens) and max_request_texts start at 1"
            )
        self.model = model
        self.dimension = DIMENSIONS[model] if dimension is None else dimension
        self._shorten_to = self.dimension if DIMENSIONS.get(model, self.dimension) != self.dimension else None
        self.id = openai_id(model, self.dimension) if id is None else id
        self._client = client
        self._async_client = async_client
        self._made_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI] = WeakKeyDictionary()
        self._base_url = base_url
        self._max_tokens = max_tokens
        self._max_request_tokens = max_request_tokens
        self._max_request_texts = max_request_texts
        self._tokenizer = tokenizer

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.model!r}, dimension={self.dimension})"

    def check_ready(self) -> None:
        """Refuse early if the client could not be made.

        Raises:
            ConfigurationError: If no client was given and there is no key in the environment.
        """
        if self._client is None and self._async_client is None:
            _require_key()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension), unit rows, 0 for a blank text (which the API refuses)."""
        vectors = self._blank(require_list(texts, what="texts"))
        for rows, batch in self._requests(texts):
            if self._client is None:
                _require_key()
                self._client = openai.OpenAI(base_url=self._base_url)
            response = self._client.embeddings.create(**self._arguments(batch))
            vectors[rows] = self._vectors(response, len(rows))
        return vectors

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts without blocking the event loop; see `embed`."""
        vectors = self._blank(require_list(texts, what="texts"))
        # Cutting long texts takes a while, and the tokenizer may have to be fetched.
        for rows, batch in await asyncio.to_thread(lambda: list(self._requests(texts))):
            response = await self._async_client_of_this_loop().embeddings.create(**self._arguments(batch))
            vectors[rows] = self._vectors(response, len(rows))
        return vectors

    def _async_client_of_this_loop(self) -> "AsyncOpenAI":
        """Return the client given, or one per event loop: open connections belong to the loop that opened them."""
        if self._async_client is not None:
            return self._async_client
        loop = asyncio.get_running_loop()
        if loop not in self._made_async_clients:
            _require_key()
            self._made_async_clients[loop] = openai.AsyncOpenAI(base_url=self._base_url)
        return self._made_async_clients[loop]

    def _blank(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), self.dimension), dtype=np.float32)

    def _arguments(self, batch: list[str]) -> dict[str, Any]:
        arguments: dict[str, Any] = {"input": batch, "model": self.model, "encoding_format": "float"}
        if self._shorten_to is not None:
            arguments["dimensions"] = self._shorten_to
        return arguments

    def _vectors(self, response: Any, n: int) -> NDArray[np.float32]:
        rows = sorted(response.data, key=lambda item: item.index)
        return as_unit_rows([item.embedding for item in rows], n=n, dimension=self.dimension, embedder_id=self.id)

    def _requests(self, texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
        """Yield the rows and texts of each request, within the limits of the API."""
        rows: list[int] = []
        batch: list[str] = []
        tokens = 0
        for row, text in enumerate(texts):
            if not text.strip():
                continue
            cut, n = self._cut(text)
            if batch and (tokens + n > self._max_request_tokens or len(batch) == self._max_request_texts):
                yield rows, batch
                rows, batch, tokens = [], [], 0
            rows.append(row)
            batch.append(cut)
            tokens += n
        if batch:
            yield rows, batch

    def _cut(self, text: str) -> tuple[str, int]:
        """Return a text the model takes, and at most how many tokens it has."""
        text = encodable(text)
        encoded = text.encode()
        if len(encoded) <= self._max_tokens:  # a token is at least one byte long, so there is nothing to count
            return text, len(encoded)
        head, tail = self._max_tokens - self._max_tokens // 2, self._max_tokens // 2
        tokenizer = self._long_text_tokenizer
        if tokenizer is None:
            kept = encoded[:head] + encoded[len(encoded) - tail :]
            return kept.decode("utf-8", "ignore"), len(kept)
        tokens = tokenizer.encode(text, disallowed_special=())
        if len(tokens) <= self._max_tokens:
            return text, len(tokens)
        # A token may hold a part of a character, which comes back as replacement characters: one at the end, up to three
        # at the beginning.
        last = re.sub("^\ufffd{1,3}", "", tokenizer.decode(tokens[len(tokens) - tail :]))
        while True:  # where the halves meet, their characters may make more tokens than before
            kept_text = tokenizer.decode(tokens[:head]).removesuffix("\ufffd") + last
            excess = len(tokenizer.encode(kept_text, disallowed_special=())) - self._max_tokens
            if excess <= 0 or head <= 1:
                return kept_text, self._max_tokens
            head = max(1, head - excess)

    @cached_property
    def _long_text_tokenizer(self) -> Tokenizer | None:
        if self._tokenizer is not None:
            return self._tokenizer
        try:
            import tiktoken  # only long texts need it

            try:
                return tiktoken.encoding_for_model(self.model)
            except KeyError:
                return tiktoken.get_encoding("cl100k_base")
        except (ImportError, OSError):
            # tiktoken fetches its vocabulary when first used; without it, bytes bound the number of tokens safely.
            return None


def _require_key() -> None:
    if not os.environ.get("OPENAI_API_KEY"):
        raise ConfigurationError(
            "embedding with OpenAI needs a key: set OPENAI_API_KEY, or give OpenAIEmbedder(client=...) "
            "(async_client=... for asynchronous calls)"
        )
