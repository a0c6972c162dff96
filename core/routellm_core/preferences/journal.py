"""What a judge has answered so far, on disk: a line a call, appended, so that killing the process loses no answer."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Self

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.judge import Verdict

_HEADER = {"journal": "routellm judge verdicts", "version": 1}


class Journal:
    """Verdicts by the key of their question; a context manager.

    A question is noted before it is asked and again with its verdict, so what was asked twice because a run was killed is known.
    Neither prompts nor answers are in the file.

    Args:
        path: The file; made if it is new.

    Raises:
        ConfigurationError: If the file is something else, another process writes to it, or it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.verdicts: dict[str, Verdict | None] = {}
        self.unanswered: set[str] = set()
        self.tokens_in = 0
        self.tokens_out = 0
        try:
            self._stream = self.path.open("a+b")
        except OSError as error:
            raise ConfigurationError(f"journal {str(path)!r} cannot be opened: {error.strerror}") from error
        try:
            self._lock()
            self._read()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def asked(self, key: str) -> None:
        """Note that a question is about to be asked."""
        self._append({"asked": key})

    def answered(
        self, key: str, verdict: Verdict | None, *, tokens_in: int | None = None, tokens_out: int | None = None
    ) -> None:
        """Keep a verdict; None for one that cannot be read."""
        entry = {"key": key, "verdict": verdict, "tokens_in": tokens_in or 0, "tokens_out": tokens_out or 0}
        self._append(entry)
        self._take(entry)

    def refused(self, key: str) -> None:
        """Note that the judge refused a question: it has no verdict in this run, and a further run asks again."""
        self._append({"refused": key})
        self.verdicts[key] = None

    def _append(self, entry: dict[str, Any]) -> None:
        self._stream.write(json.dumps(entry).encode() + b"\n")
        self._stream.flush()

    def _take(self, entry: dict[str, Any]) -> None:
        if "asked" in entry:
            self.unanswered.add(entry["asked"])
            return
        if "refused" in entry:
            self.unanswered.discard(entry["refused"])
            return
        self.verdicts[entry["key"]] = entry["verdict"]
        self.unanswered.discard(entry["key"])
        self.tokens_in += entry["tokens_in"]
        self.tokens_out += entry["tokens_out"]

    def _read(self) -> None:
        self._stream.seek(0)
        whole = 0
        for number, line in enumerate(self._stream, start=1):
            if not line.endswith(b"\n"):
                break  # a process was killed while it wrote this
            try:
                entry = json.loads(line)
                if number > 1:
                    self._take(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(f"{self.path}, line {number} is no line of a judge's journal") from error
            if number == 1 and entry != _HEADER:
                raise ConfigurationError(f"{self.path} is no journal of a judge: name another file")
            whole += len(line)
        self._stream.truncate(whole)
        if whole == 0:
            self._append(_HEADER)

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        import fcntl  # not there on Windows

        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"another process is writing to the journal {str(self.path)!r}") from error
