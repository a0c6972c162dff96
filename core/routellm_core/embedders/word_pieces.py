"""Word pieces, remembered: what a tokenizer of BERT's kind gives, without asking it again for words it has seen."""

import re
from typing import Any

_ASCII_PUNCTUATION = r"!-/:-@\[-`{-~"
_MOST_REMEMBERED = 65_536
_LONGEST_REMEMBERED = 32


class WordPieces:
    """Splits texts into the tokens of a tokenizer with BERT's normaliser and pre-tokenizer, several times faster.

    These treat a text piece by piece: what stands between white space and ASCII punctuation never depends on what is beyond
    it. So each piece is given to the tokenizer once and remembered. Threads may share an instance.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
        max_length: How many tokens of a text are read.
        unknown_id: The token for what the vocabulary lacks, which is left out; None if there is none.
    """

    def __init__(self, tokenizer: Any, *, max_length: int, unknown_id: int | None) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._unknown_id = unknown_id
        self._known: dict[str, list[int]] = {}
        # Of white space only what BERT's normaliser keeps as such. Special tokens are found in a text before it is split.
        words = rf"[^ \t\n\r{_ASCII_PUNCTUATION}]+"
        special = [re.escape(token.content) for token in tokenizer.get_added_tokens_decoder().values()]
        self._pieces = re.compile("|".join([words, *special, rf"[{_ASCII_PUNCTUATION}]"])).findall

    def ids(self, text: str) -> list[int]:
        """Return the ids of the tokens of a text."""
        found: list[int] = []
        known = self._known
        for piece in self._pieces(text):
            ids = known.get(piece)
            found += self._look_up(piece) if ids is None else ids
        del found[self._max_length :]
        if self._unknown_id in found:
            return [token for token in found if token != self._unknown_id]
        return found

    def _look_up(self, piece: str) -> list[int]:
        # One by one: the tokenizer's batches start threads, which takes longer than a few words.
        ids: list[int] = self._tokenizer.encode(piece, add_special_tokens=False).ids
        if len(piece) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _MOST_REMEMBERED:
                # Another dictionary, as other threads read this one. The frequent words are back soon.
                self._known = {}
            self._known[piece] = ids
        return ids
