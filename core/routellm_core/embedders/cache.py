"""A cache in front of an embedder, in memory and on disk."""

import asyncio
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import aembed, as_matrix
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError, MissingDependencyError

logger = logging.getLogger(__name__)

_PIECE = 1024  # so many vectors are embedded before they are put on disk: what a crash can cost

_environments: WeakValueDictionary[Path, Any] = WeakValueDictionary()  # LMDB wants a folder opened once per process
_opening = threading.Lock()


class CachedEmbedder:
    """Embeds each text once.

    Keys are digests of the embedder's id and the text, so embedders never mix and no prompt is stored.

    Args:
        embedder: Who embeds what is not cached; an embedder, or an embedding object of LangChain or LlamaIndex.
        max_entries: How many vectors to keep in memory, least recently used first out; 0 keeps none.
        directory: A folder for vectors that outlive the process (LMDB; several processes may share it); None keeps them in memory
            alone. Its id and dimension become the embedder's.
        max_bytes: How large the folder may grow; once full it is read and not written any more. The first cache that
            this process opens on a folder decides.

    Raises:
        ConfigurationError: If a number is out of range, or the directory cannot be used.
        MissingDependencyError: If a directory is given and the extra `cache` is not installed.
    """

    def __init__(
        self,
        embedder: EmbedderLike,
        *,
        max_entries: int = 10_000,
        directory: str | os.PathLike[str] | None = None,
        max_bytes: int = 1 << 30,
    ) -> None:
        if max_entries < 0 or max_bytes < 1 << 16:
            raise ConfigurationError(
                f"max_entries must be 0 or more and max_bytes {1 << 16} or more, not {max_entries!r} and {max_bytes!r}"
            )
        self._embedder = as_embedder(embedder)
        self._max_entries = max_entries
        self._memory: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self._disk = None if directory is None else _open(directory, max_bytes)
        self._disk_is_full = False

    def __repr__(self) -> str:
        return f"CachedEmbedder({self._embedder!r})"

    @property
    def id(self) -> str:
        """The id of the embedder behind."""
        return self._embedder.id

    @property
    def dimension(self) -> int:
        """The dimension of the embedder behind."""
        return self._embedder.dimension

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension). What is cached is not embedded again."""
        keys, found = self._find(texts)
        for missing in self._missing(texts, keys, found):
            self._keep(found, missing, self._embedder.embed(list(missing.values())))
        return self._rows(keys, found)

    async def aembed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts without blocking the event loop; see `embed`."""
        keys, found = await asyncio.to_thread(self._find, texts) if self._disk is not None else self._find(texts)
        for missing in self._missing(texts, keys, found):
            vectors = await aembed(self._embedder, list(missing.values()))
            await asyncio.to_thread(self._keep, found, missing, vectors)
        return self._rows(keys, found)

    def _find(self, texts: Sequence[str]) -> tuple[list[bytes], dict[bytes, NDArray[np.float32]]]:
        salt = self.id.encode() + b"\0"
        keys = [
            hashlib.blake2b(salt + text.encode("utf-8", "surrogatepass"), digest_size=32).digest() for text in texts
        ]
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._lock:
            for key in keys:
                if key in self._memory:
                    self._memory.move_to_end(key)
                    found[key] = self._memory[key]
        from_disk = self._read_disk([key for key in keys if key not in found])
        self._remember(from_disk)
        return keys, found | from_disk

    def _read_disk(self, keys: list[bytes]) -> dict[bytes, NDArray[np.float32]]:
        found: dict[bytes, NDArray[np.float32]] = {}
        if self._disk is None or not keys:
            return found
        import lmdb  # its presence was checked when the folder was opened

        try:
            with self._disk.begin() as transaction:
                for key in keys:
                    stored = transaction.get(key)
                    if stored is not None and len(stored) == 4 * self.dimension:
                        found[key] = np.frombuffer(bytes(stored), dtype="<f4")
        except lmdb.Error as error:
            self._disk = None
            logger.warning("the embedding cache on disk cannot be read and is left aside: %s", error)
        return found

    def _missing(
        self, texts: Sequence[str], keys: list[bytes], found: dict[bytes, NDArray[np.float32]]
    ) -> Iterator[dict[bytes, str]]:
        """Go through the texts that are not cached; in pieces, where each is worth putting on disk."""
        missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in found}.items())
        size = _PIECE if self._disk is not None else max(len(missing), 1)
        for start in range(0, len(missing), size):
            yield dict(missing[start : start + size])

    def _keep(
        self, found: dict[bytes, NDArray[np.float32]], missing: dict[bytes, str], vectors: NDArray[np.float32]
    ) -> None:
        rows = as_matrix(vectors, n=len(missing), dimension=self.dimension, embedder_id=self.id)
        new = dict(zip(missing, rows, strict=True))
        found.update(new)
        self._remember(new)
        disk = self._disk
        if disk is None or self._disk_is_full:
            return
        import lmdb  # as above

        try:
            with disk.begin(write=True) as transaction:
                for key, vector in new.items():
                    transaction.put(key, vector.astype("<f4").tobytes())
        except lmdb.MapFullError:
            self._disk_is_full = True
            logger.warning("the embedding cache on disk is full: new vectors stay in memory (raise max_bytes)")
        except lmdb.Error as error:
            self._disk_is_full = True
            logger.warning("the embedding cache on disk cannot be written, new vectors stay in memory: %s", error)

    def _remember(self, vectors: dict[bytes, NDArray[np.float32]]) -> None:
        with self._lock:
            for key, vector in vectors.items():
                self._memory[key] = vector
                self._memory.move_to_end(key)
            while len(self._memory) > self._max_entries:
                self._memory.popitem(last=False)

    def _rows(self, keys: list[bytes], found: dict[bytes, NDArray[np.float32]]) -> NDArray[np.float32]:
        if not keys:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([found[key] for key in keys])


def _open(directory: str | os.PathLike[str], max_bytes: int) -> Any:
    try:
        import lmdb  # only a cache on disk needs it
    except ImportError as error:
        raise MissingDependencyError.for_extra("An embedding cache on disk", "cache") from error
    path = Path(directory)
    with _opening:
        try:
            path.mkdir(parents=True, exist_ok=True)
            environment = _environments.get(path.resolve())
            if environment is None:
                environment = lmdb.open(os.fspath(path), map_size=max_bytes, max_readers=1024)
                _environments[path.resolve()] = environment
        except (OSError, lmdb.Error) as error:
            raise ConfigurationError(
                f"directory={str(directory)!r} cannot be opened as an embedding cache: {error}; give a folder that is "
                "empty, or that such a cache has made, and that may be written"
            ) from error
    return environment
