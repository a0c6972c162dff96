"""The decision log: every recorded call as a line of JSON, written beside the calls and never in their way.

A line has `time` (UTC), `chain`, `strong`, `weak`, what `RoutingDecision.to_dict` gives but the sentence that explains it,
`router_fingerprint`, `prompt_hash`, `session_hash`, `prompt` (if asked for), `input_tokens`, `output_tokens`, `cached_tokens`
(null if the model reported none), and `error` (the name of its type). A line with nothing but `time` and `dropped` says how
many were lost.
"""

import hashlib
import hmac
import json
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args, overload

from routellm_core.decision import LoggedCall, RoutingDecision
from routellm_core.errors import ConfigurationError
from routellm_core.ledger import Usage
from routellm_core.log_writer import GrowingFile, LineWriter, renamed_files, utc

LoggedPrompts = Literal["hash", "text", "none"]
"""What the log keeps of a prompt: a digest, the digest and the text, or nothing."""

_Entry = tuple[float, RoutingDecision, Usage | None, str | None]


class DecisionLog:
    """Writes recorded calls to a file, in a thread of its own.

    A call only puts its record into a bounded queue. Where that is full, or the disk is, records are dropped: they are counted
    (`dropped`), a warning is logged, and a line of the file says how many are missing; the call goes on. Several processes may
    write to one file, and after a fork the child writes for itself. What waits is written at exit.

    Args:
        path: The file; its folder must exist. Only its owner may read it.
        prompts: "hash" keeps a digest of each prompt, "text" the prompt too, "none" neither.
        hash_key_env: The environment variable that holds a key for the digests: without one, whoever has the log can check
            a guess at a prompt. None takes plain SHA-256.
        max_bytes: Before it gets larger than this the file is renamed to `NAME.<time>.<process>.jsonl`, and a new one begun.
        backups: How many renamed files to keep; None keeps all.
        queue_size: How many records may wait.

    Raises:
        ConfigurationError: If an argument is out of range, the folder is missing, or the variable is not set.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from routellm_core import RoutingEngine
        >>> with TemporaryDirectory() as folder, DecisionLog(f"{folder}/decisions.jsonl") as log:
        ...     engine = RoutingEngine("length", threshold=0.001, log=log)
        ...     engine.record(engine.decide("Prove that there are infinitely many primes."))
        ...     written = log.flush()
        ...     read_decisions(log.path)[0].choice
        'strong'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prompts: LoggedPrompts = "hash",
        hash_key_env: str | None = None,
        max_bytes: int = 100_000_000,
        backups: int | None = None,
        queue_size: int = 10_000,
    ) -> None:
        self.path = Path(path).absolute()
        self._settings: dict[str, Any] = {
            "path": str(self.path),
            "prompts": prompts,
            "hash_key_env": hash_key_env,
            "max_bytes": max_bytes,
            "backups": backups,
            "queue_size": queue_size,
        }
        if prompts not in get_args(LoggedPrompts):
            raise ConfigurationError(f"prompts must be one of {get_args(LoggedPrompts)}, not {prompts!r}")
        for name, least in (("max_bytes", 1), ("queue_size", 1), ("backups", 0)):
            value = self._settings[name]
            if value is not None and (type(value) is not int or value < least):
                raise ConfigurationError(f"{name} must be a whole number, {least} or more, not {value!r}")
        if not self.path.parent.is_dir():
            raise ConfigurationError(f"the decision log {self.path} has no folder: make {self.path.parent}")
        if self.path.is_dir():
            raise ConfigurationError(f"the decision log {self.path} is a folder: name a file in it")
        self._prompts = prompts
        self._key = _key_from(hash_key_env)
        file = GrowingFile(self.path, max_bytes=max_bytes, backups=backups)
        self._writer: LineWriter[_Entry] = LineWriter(file, _line, queue_size=queue_size)
        # Closes at exit, and when nobody holds the log any more: the thread holds the writer, not the log.
        self._close = weakref.finalize(self, LineWriter.close, self._writer)

    def __repr__(self) -> str:
        return f"DecisionLog({str(self.path)!r}, prompts={self._prompts!r})"

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with; a key is only named."""
        return dict(self._settings)

    @property
    def dropped(self) -> int:
        """How many records this process has lost."""
        return self._writer.dropped

    def describe(
        self, *, chain: str, strong: str, weak: str, fingerprint: str, prompt: str, session: str | None = None
    ) -> LoggedCall:
        """Return what a decision carries along for its line."""
        return LoggedCall(
            chain=chain,
            strong=strong,
            weak=weak,
            router_fingerprint=fingerprint,
            prompt_hash=None if self._prompts == "none" else _digest(prompt, self._key),
            session_hash=None if session is None else _digest(session, self._key),
            prompt=prompt if self._prompts == "text" else None,
        )

    def write(self, decision: RoutingDecision, usage: Usage | None = None, error: BaseException | None = None) -> None:
        """Hand over a finished call; returns at once and raises nothing.

        Args:
            decision: Where it went.
            usage: The tokens the model reported; None if it reported none.
            error: What the model raised; only its type is kept.
        """
        self._writer.put((time.time(), decision, usage, None if error is None else type(error).__name__))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until all that was handed over is written or dropped; False if that took too long."""
        return self._writer.flush(timeout_s)

    def close(self) -> None:
        """Write what waits, at most five seconds long, and close the file; what comes later is dropped."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "DecisionLog":
        return self  # copies of an engine write to one log

    def __reduce__(self) -> tuple[Callable[..., "DecisionLog"], tuple[dict[str, Any]]]:
        return _remake, (self._settings,)


def _remake(settings: dict[str, Any]) -> DecisionLog:
    return DecisionLog(**settings)


def _key_from(variable: str | None) -> bytes | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ConfigurationError(f"hash_key_env names {variable!r}, and that environment variable is not set")
    return key.encode("utf-8", "surrogateescape")


def _digest(prompt: str, key: bytes | None) -> str:
    data = prompt.encode("utf-8", "surrogatepass")
    if key is None:
        return f"sha256:{hashlib.sha256(data).hexdigest()}"
    return f"hmac-sha256:{hmac.digest(key, data, 'sha256').hex()}"


def _line(entry: _Entry) -> str:
    seconds, decision, usage, error = entry
    call = decision.logged
    row = decision.to_dict()
    del row["explanation"]  # it may quote what a router raised; the other fields say the same
    row = {
        "time": utc(seconds),
        "chain": call and call.chain,
        "strong": call.strong if call else decision.baseline,
        "weak": call and call.weak,
        **row,
        "router_fingerprint": call and call.router_fingerprint,
        "prompt_hash": call and call.prompt_hash,
        "session_hash": call and call.session_hash,
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "cached_tokens": usage and usage.cached_tokens,
        "error": error,
    }
    if call is not None and call.prompt is not None:
        row["prompt"] = call.prompt
    return json.dumps(row, allow_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedDecision:
    """One line of a decision log.

    Attributes:
        time: When the call was recorded.
        choice: The candidate that was called.
        strong: The strong model of its pair, or the dearest of its pool; None if the line does not say.
        weak: The weak model of its pair, or the cheapest of its pool; None if the line does not say.
        strong_win_rate: The router's score; None if the call was not scored, or by a pool router.
        threshold: What the score was compared with; None if it was not.
        router: The router's name.
        router_fingerprint: Which router's score it is; None if the line does not say.
        chain: The section of the configuration; None if the line does not say.
        reason: Which rule made the choice.
        scoring_ms: How long the call waited for its score.
        usage: Its tokens; None if the model reported none.
        error: The type of what the model raised; None if it answered.
        prompt_hash: A digest of what the router read; None if the log keeps none.
        session_hash: A digest of the conversation it belongs to; None if it is not kept on its model.
        prompt: What the router read; None unless the log keeps it.
    """

    time: datetime
    choice: str
    strong: str | None
    weak: str | None
    strong_win_rate: float | None
    threshold: float | None
    router: str
    router_fingerprint: str | None
    chain: str | None
    reason: str
    scoring_ms: float
    usage: Usage | None
    error: str | None
    prompt_hash: str | None
    session_hash: str | None
    prompt: str | None = field(repr=False)


class DecisionRecords(Sequence[LoggedDecision]):
    """The lines of a decision log, in the order they were written.

    Args:
        rows: The calls.
        dropped: How many calls the log says it has lost.
        broken: How many lines could not be read, as one at which the disk was full.
    """

    def __init__(self, rows: Iterable[LoggedDecision], *, dropped: int = 0, broken: int = 0) -> None:
        self._rows = tuple(rows)
        self.dropped = dropped
        self.broken = broken

    def __repr__(self) -> str:
        return f"<{len(self)} calls, {self.dropped} dropped, {self.broken} broken lines>"

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> LoggedDecision: ...

    @overload
    def __getitem__(self, index: slice) -> "DecisionRecords": ...

    def __getitem__(self, index: int | slice) -> "LoggedDecision | DecisionRecords":
        if isinstance(index, slice):
            return DecisionRecords(self._rows[index], dropped=self.dropped, broken=self.broken)
        return self._rows[index]

    def of_chain(self, chain: str) -> "DecisionRecords":
        """Return the calls of one chain.

        Raises:
            ConfigurationError: If there is none.
        """
        rows = [row for row in self._rows if row.chain == chain]
        if not rows:
            there = ", ".join(sorted({row.chain for row in self._rows if row.chain is not None})) or "none"
            raise ConfigurationError(f"the decision log has no call of chain {chain!r}; there are: {there}")
        return DecisionRecords(rows, dropped=self.dropped, broken=self.broken)


def read_decisions(path: str | os.PathLike[str], *, renamed: bool = True) -> DecisionRecords:
    """Read a decision log.

    A line that is no JSON is counted and left out: it is where a disk was full or a process was killed.

    Args:
        path: The file that `DecisionLog` was given.
        renamed: Whether to read the files it was renamed to before.

    Raises:
        ConfigurationError: If there is no such file, or it is no decision log; names file and line.
    """
    path = Path(path)
    files = [*(renamed_files(path) if renamed and path.parent.is_dir() else []), *([path] if path.is_file() else [])]
    if not files:
        raise ConfigurationError(f"there is no decision log {str(path)!r}")
    rows: list[LoggedDecision] = []
    dropped = broken = 0
    for file in files:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    data = json.loads(line)
                except ValueError:
                    broken += 1
                    continue
                if isinstance(data, dict) and isinstance(data.get("dropped"), int):
                    dropped += data["dropped"]
                else:
                    rows.append(_read_row(data, f"{file}, line {number}"))
    if broken and not rows:
        raise ConfigurationError(f"{str(path)!r} is no decision log: no line of it is JSON")
    return DecisionRecords(rows, dropped=dropped, broken=broken)


def _read_row(data: object, where: str) -> LoggedDecision:
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{where} is no record of a decision log, which is a JSON object")
    try:
        tokens = data.get("input_tokens")
        return LoggedDecision(
            time=datetime.fromisoformat(data["time"]),
            choice=_typed(data, "choice", str),
            strong=_typed(data, "strong", str, optional=True),
            weak=_typed(data, "weak", str, optional=True),
            strong_win_rate=_typed(data, "strong_win_rate", float, optional=True),
            threshold=_typed(data, "threshold", float, optional=True),
            router=_typed(data, "router", str),
            router_fingerprint=_typed(data, "router_fingerprint", str, optional=True),
            chain=_typed(data, "chain", str, optional=True),
            reason=_typed(data, "reason", str),
            scoring_ms=_typed(data, "scoring_ms", float),
            usage=None
            if tokens is None
            else Usage(
                input_tokens=_typed(data, "input_tokens", int),
                output_tokens=_typed(data, "output_tokens", int),
                cached_tokens=_typed(data, "cached_tokens", int),
            ),
            error=_typed(data, "error", str, optional=True),
            prompt_hash=_typed(data, "prompt_hash", str, optional=True),
            session_hash=_typed(data, "session_hash", str, optional=True),
            prompt=_typed(data, "prompt", str, optional=True),
        )
    except KeyError as error:
        raise ConfigurationError(f"{where} is no record of a decision log: it has no {error}") from None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where} is no record of a decision log: {error}") from None


def _typed(data: Mapping[str, Any], key: str, kind: type, *, optional: bool = False) -> Any:
    value = data.get(key) if optional else data[key]
    if value is None and optional:
        return None
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{key!r} must be {kind.__name__}, not {type(value).__name__}")
    return value
