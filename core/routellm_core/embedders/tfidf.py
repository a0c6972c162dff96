"""TF-IDF as an embedder: words weighted by how rare they were in the texts it was fitted to. Needs no model."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.packed import pack_texts, unpack_texts
from routellm_core.texts import require_list

_WORD = re.compile(r"\w+")


class TfidfEmbedder:
    """Embeds a text by its words; a text without a known word gets zeros.

    Args:
        terms: The words that count, all different.
        idf: The weight of each, shape (len(terms),).

    Raises:
        ConfigurationError: If a word is there twice, or words and weights differ in number.
    """

    def __init__(self, terms: Sequence[str], idf: NDArray[np.floating[Any]]) -> None:
        self._terms = tuple(terms)
        self._columns = {term: column for column, term in enumerate(self._terms)}
        self._idf = np.asarray(idf, dtype=np.float32)
        if not self._terms or len(self._columns) != len(self._terms) or self._idf.shape != (len(self._terms),):
            raise ConfigurationError(
                f"terms must be one or more different words with one weight each, not {len(self._terms)} words "
                f"({len(self._columns)} different) and weights of shape {self._idf.shape}"
            )
        self.dimension = len(self._terms)
        digest = hashlib.sha256("\0".join(self._terms).encode("utf-8", "surrogatepass") + self._idf.tobytes())
        self.id = f"tfidf:{digest.hexdigest()[:16]}"

    @classmethod
    def fit(
        cls, texts: Sequence[str], *, max_terms: int = 2000, min_share: float = 0.001, max_share: float = 0.95
    ) -> Self:
        """Choose the words and their weights.

        Args:
            texts: Training prompts.
            max_terms: How many words at most; the most frequent ones stay.
            min_share: In which share of the texts a word must occur, in [0, 1]; two texts are the least.
            max_share: In which share it may occur at most, in [0, 1].

        Raises:
            ConfigurationError: If no word is left.
        """
        counts: Counter[str] = Counter()
        for text in require_list(texts, what="texts"):
            counts.update(set(_words(text)))
        least, most = max(2, math.ceil(min_share * len(texts))), max_share * len(texts)
        kept = sorted((-count, word) for word, count in counts.items() if least <= count <= most)[:max_terms]
        if not kept:
            raise ConfigurationError(f"no word occurs in at least {least} and at most {most:.0f} of {len(texts)} texts")
        idf = [math.log((1 + len(texts)) / (1 - count)) + 1 for count, _ in kept]
        return cls([word for _, word in kept], np.array(idf))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts; shape (n, dimension), unit rows, 0 where a text holds no known word."""
        rows = np.zeros((len(require_list(texts, what="texts")), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            counts = Counter(column for word in _words(text) if (column := self._columns.get(word)) is not None)
            if counts:
                columns = np.array(sorted(counts))
                row[columns] = np.array([counts[column] for column in columns], dtype=np.float32) * self._idf[columns]
                row /= np.sqrt((row[columns] * row[columns]).sum())
        return rows

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what `from_arrays` takes, for a checkpoint."""
        blob, ends = pack_texts(self._terms)
        return {"tfidf_terms": blob, "tfidf_ends": ends, "tfidf_idf": self._idf}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make the embedder of a checkpoint.

        Raises:
            CheckpointFormatError: If an array is missing or damaged.
        """
        try:
            return cls(unpack_texts(arrays["tfidf_terms"], arrays["tfidf_ends"]), arrays["tfidf_idf"])
        except (KeyError, ValueError) as error:
            raise CheckpointFormatError(f"the stored TF-IDF words are damaged: {error}") from error

    def __repr__(self) -> str:
        return f"TfidfEmbedder({self.id!r}, {self.dimension} words)"


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
