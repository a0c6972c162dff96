"""Lines into a file that grows, written by a thread beside the calls."""

import contextlib
import errno
import json
import logging
import os
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LARGEST_BATCH = 256
_CLOSE_S = 5.0
_RETRY_S = 1.0


def utc(seconds: float) -> str:
    """Return a time since the epoch in ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


class LineWriter(Generic[T]):
    """A bounded queue, and a thread that empties it into a file.

    Args:
        file: Where the lines go.
        render: Makes a line of an entry, without its end; runs in the thread. Its TypeError and ValueError lose the entry.
        queue_size: How many entries may wait.

    Attributes:
        dropped: How many entries this process has lost.
    """

    def __init__(self, file: "GrowingFile", render: Callable[[T], str], *, queue_size: int) -> None:
        self._file = file
        self._render = render
        self._size = queue_size
        self._begin(closed=False)
        _follow_forks(self)

    def _begin(self, *, closed: bool) -> None:
        """Make what a fork cannot carry over: locks that may be held, the queue, the thread."""
        self._closing = threading.Event()
        if closed:
            self._closing.set()
        self._queue: queue.Queue[tuple[T] | threading.Event | None] = queue.Queue(self._size)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self._untold = 0

    def _after_fork(self) -> None:
        self._file.forget()
        self._begin(closed=self._closing.is_set())

    def put(self, entry: T) -> None:
        """Hand an entry over; returns at once and raises nothing."""
        if self._closing.is_set():
            self._drop(1, "it is closed")
            return
        if self._thread is None:
            self._start()
        try:
            self._queue.put_nowait((entry,))
        except queue.Full:
            self._drop(1, "records come faster than they can be written")

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over is written or dropped; False if that took too long."""
        if self._thread is None:
            return self._queue.empty()
        done = threading.Event()
        try:
            self._queue.put(done, timeout=timeout_s)
        except queue.Full:
            return False
        return done.wait(timeout_s)

    def close(self) -> None:
        """Write what waits, at most five seconds long; what comes later is dropped."""
        self._closing.set()
        if self._thread is None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
            self._run()
        else:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_CLOSE_S)
                self._thread.join(_CLOSE_S)
        if waiting := self._queue.qsize():
            self._drop(waiting, "it was closed before all was written")
        if self.dropped:
            logger.warning("the log %s has lost %d records", self._file.path, self.dropped)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="routellm-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread starts while the interpreter ends; `close` will write what waits
                return
            self._thread = thread
        if "multiprocessing" in sys.modules:
            from multiprocessing import parent_process
            from multiprocessing.util import Finalize

            if parent_process() is not None:  # such processes end without what is registered with atexit
                Finalize(None, self.close, exitpriority=0)

    def _drop(self, count: int, why: str) -> None:
        with self._lock:
            first = self._untold == 0
            self.dropped += count
            self._untold += count
        if first:  # once, until the file takes records again
            logger.warning("the log %s loses records: %s", self._file.path, why)

    def _run(self) -> None:
        stop = False
        while not stop:
            items = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(items) < _LARGEST_BATCH:
                    items.append(self._queue.get_nowait())
            self._write([item[0] for item in items if isinstance(item, tuple)])
            for item in items:
                if isinstance(item, threading.Event):
                    item.set()
            stop = None in items
        self._file.close()

    def _write(self, batch: Sequence[T]) -> None:
        lines = []
        for entry in batch:
            try:
                lines.append(self._render(entry))
            except (TypeError, ValueError) as error:
                self._drop(1, f"a record cannot be written as JSON ({type(error).__name__})")
        if not lines:
            return
        with self._lock:
            untold = self._untold
        if untold:
            lines.insert(0, json.dumps({"time": utc(time.time()), "dropped": untold}))
        try:
            written = self._file.append(lines)
            why = os.strerror(errno.ENOSPC)
        except OSError as error:
            written, why = 0, error.strerror or type(error).__name__
        if untold and written:
            with self._lock:
                self._untold -= untold
        if written < len(lines):
            self._drop(len(lines) - max(written, int(untold > 0)), why)
            self._closing.wait(_RETRY_S)


_writers: "weakref.WeakSet[LineWriter[Any]]" = weakref.WeakSet()
_hooked = False


def _follow_forks(writer: LineWriter[Any]) -> None:
    global _hooked
    _writers.add(writer)
    if not _hooked and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
        _hooked = True


def _after_fork() -> None:
    for writer in list(_writers):
        writer._after_fork()


class GrowingFile:
    """A file that is appended to, perhaps by several processes, and renamed when it has grown.

    Args:
        path: The file. A grown one is renamed to `STEM.<UTC time>.<process>SUFFIX`.
        max_bytes: How large it may get.
        backups: How many renamed files to keep; None keeps all.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int | None) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._descriptor: int | None = None
        self._broken = False

    def append(self, lines: Sequence[str]) -> int:
        """Write lines of ASCII and return how many are written whole, which is fewer if the disk is full.

        Raises:
            OSError: If none could be written.
        """
        # A piece of a line that did not fit on the disk must not grow together with the next one.
        data = b"\n" * self._broken + "".join(line + "\n" for line in lines).encode("ascii")
        descriptor = self._ready(len(data))
        written = os.write(descriptor, data)  # one call: what other processes append does not come in between
        whole = data[:written].count(b"\n") - (self._broken and written > 0)
        self._broken = written < len(data)
        return whole

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def forget(self) -> None:
        """Let go of what a fork has copied."""
        self._broken = False
        with contextlib.suppress(OSError):
            self.close()

    def _ready(self, more: int) -> int:
        if self._descriptor is not None:
            size = self._size()
            if size is None:
                self.close()  # another process has renamed the file, or somebody has removed it
            elif size and size + more > self._max_bytes:
                self._rotate()
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self.path, flags, 0o600)
        return self._descriptor

    def _size(self) -> int | None:
        """Return the size of the open file; None if it is not the one of that name any more."""
        if self._descriptor is None:
            return None
        opened = os.fstat(self._descriptor)
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return None
        return opened.st_size if os.path.samestat(opened, named) else None

    def _rotate(self) -> None:
        self.close()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        # Where another process was first, or holds the file open on Windows, the file grows on.
        with contextlib.suppress(OSError):
            self.path.rename(self.path.with_name(f"{self.path.stem}.{stamp}.{os.getpid()}{self.path.suffix}"))
            older = renamed_files(self.path)
            for old in older[: len(older) - self._backups] if self._backups is not None else []:
                old.unlink(missing_ok=True)


def renamed_files(path: Path) -> list[Path]:
    """Return the grown files that belong to a file, the oldest first."""
    start, end = f"{path.stem}.", path.suffix
    found = []
    for other in path.parent.iterdir():
        stamp, _, process = other.name.removeprefix(start).removesuffix(end).partition(".")
        if (
            other.name.startswith(start)
            and other.name.endswith(end)
            and len(stamp) == 22
            and stamp.endswith("Z")
            and process.isdigit()
        ):
            found.append(other)
    return sorted(found)
