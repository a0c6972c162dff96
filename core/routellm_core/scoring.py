"""Scoring for many callers at once: cache, one scoring for identical prompts in flight, executor, deadline, batches."""

import asyncio
import contextvars
import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError, ScoringError, ScoringTimeoutError
from routellm_core.routers.base import Router

logger = logging.getLogger(__name__)

Row = NDArray[np.float64]
"""The scores of one prompt, shape (m,), or (m + 1,) with its distance; read-only."""


class _Pending(Future[Row]):
    """The row of a prompt that is being scored."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__()
        self.loop = loop
        """The event loop that computes it; None if threads do. Only tasks of that loop wait for it: whoever blocks the loop,
        or outlives it, would wait for ever."""


_Job = tuple[bytes, str, _Pending]


class ScoringService:
    """Asks a router for scores on behalf of many concurrent callers.

    A prompt that is being scored is not scored a second time: later callers wait for the first one's result. Each caller
    waits on its own, so cancelling one, or one running into its deadline, leaves the others alone, and a late
    result still reaches the cache. If a batch fails, its halves are tried, so that one bad prompt does not take the
    others with it; if both halves fail too, the router is taken to be down. A batch that was gathered from
    several callers is tried one by one instead: no caller pays for another's prompt.

    Args:
        router: Who scores.
        cache_size: How many rows to keep, least recently used first out; 0 keeps none. Keys are digests: no prompt is kept.
        timeout_s: How long a caller waits; None waits for as long as it takes.
        executor: Threads for blocking routers where the caller must not block; None makes a pool when first needed.
        max_batch: Up to how many concurrent single scorings are gathered into one call of the router; 1 gathers none.
        max_wait_ms: How long the first of a gathered batch waits for others.
        with_distance: Whether rows end with the prompt's distance from the router's training prompts.

    Raises:
        ConfigurationError: If a number is out of range, or the router does not know distances.
    """

    def __init__(
        self,
        router: Router,
        *,
        with_distance: bool = False,
        cache_size: int = 4096,
        timeout_s: float | None = None,
        executor: Executor | None = None,
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
    ) -> None:
        if not _is_whole(cache_size) or cache_size < 0:
            raise ConfigurationError(f"cache_size must be a whole number of 0 or more, not {cache_size!r}")
        if timeout_s is not None and not (_is_number(timeout_s) and timeout_s > 0):
            raise ConfigurationError(f"score_timeout_s must be more than 0, or None for no limit, not {timeout_s!r}")
        if not _is_whole(max_batch) or max_batch < 1:
            raise ConfigurationError(f"max_batch must be a whole number of 1 or more, not {max_batch!r}")
        if not (_is_number(max_wait_ms) and max_wait_ms >= 0):
            raise ConfigurationError(f"max_wait_ms must be 0 or more, not {max_wait_ms!r}")
        if executor is not None and not isinstance(executor, Executor):
            raise ConfigurationError(f"executor must be a concurrent.futures.Executor, not {type(executor).__name__}")
        if with_distance and not hasattr(router, "score_with_distance"):
            raise ConfigurationError(
                f"router {router.name!r} does not know how far prompts are from those it was trained on, which the policy needs"
            )
        self.router = router
        self.timeout_s = timeout_s
        self._with_distance = with_distance
        self._cache_size = cache_size
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1000
        self._given_executor = executor
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._executor = self._given_executor
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, Row] = OrderedDict()
        self._in_flight: dict[bytes, _Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered: deque[_Job] = deque()
        self._gathering = threading.Condition(self._lock)
        self._draining = False
        self._salt = self.router.fingerprint.encode() + b"\0"

    def __getstate__(self) -> dict[str, Any]:
        # Locks, threads and what is in flight stay behind; a copy starts with an empty cache.
        kept = ("router", "timeout_s", "_cache_size", "_max_batch", "_max_wait_s", "_with_distance")
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _given_executor=None)
        self._start()

    def score(self, text: str) -> Row:
        """Score one prompt; blocks.

        Raises:
            ScoringError: If the router fails, or returns no usable number.
            ScoringTimeoutError: If it takes longer than `timeout_s`.
        """
        found, job = self._join(text)
        if isinstance(found, np.ndarray):
            return found
        if job is not None:
            if self._max_batch > 1:
                self._gather(job)
            elif self.timeout_s is None:
                return _row_of(self._run([job])[0])
            else:
                self._submit([job])
        return self._wait(found, self._deadline())

    async def ascore(self, text: str) -> Row:
        """Score one prompt without blocking the event loop; see `score`."""
        found, job = self._join(text, self._own_loop())
        if isinstance(found, np.ndarray):
            return found
        if job is not None:
            if self._max_batch > 1:
                self._gather(job)
            else:
                self._start_async([job])
        return await self._await(found, self._deadline())

    def score_many(self, texts: Sequence[str]) -> list[Row | ScoringError]:
        """Score many prompts with one call of the router; blocks.

        Returns:
            For every text its row or, where scoring failed, the error, for the caller's policy to deal with.
        """
        joined = self._join_all(texts, None)
        jobs = [job for _, job in joined if job is not None]
        if jobs and self.timeout_s is None:
            self._run(jobs)
        elif jobs:
            self._submit(jobs)
        deadline = self._deadline()
        outcomes: list[Row | ScoringError] = []
        for found, _ in joined:
            try:
                outcomes.append(found if isinstance(found, np.ndarray) else self._wait(found, deadline))
            except ScoringError as error:
                outcomes.append(error)
        return outcomes

    async def ascore_many(self, texts: Sequence[str]) -> list[Row | ScoringError]:
        """Score many prompts without blocking the event loop; see `score_many`."""
        joined = self._join_all(texts, self._own_loop())
        jobs = [job for _, job in joined if job is not None]
        if jobs:
            self._start_async(jobs)
        deadline = self._deadline()
        outcomes: list[Row | ScoringError] = []
        for found, _ in joined:
            try:
                outcomes.append(found if isinstance(found, np.ndarray) else await self._await(found, deadline))
            except ScoringError as error:
                outcomes.append(error)
        return outcomes

    # --- who scores what ---------------------------------------------------------------------------------------------

    @property
    def _has_ascore(self) -> bool:
        return hasattr(self.router, "ascore") and self._max_batch == 1 and not self._with_distance

    def _own_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the running loop if the router's `ascore` would be awaited on it."""
        return asyncio.get_running_loop() if self._has_ascore else None

    def _join(self, text: str, loop: asyncio.AbstractEventLoop | None = None) -> tuple[Row | _Pending, _Job | None]:
        """Return the cached row or what to wait for, and the job if the caller is the one to start it."""
        if self._pid != os.getpid():
            self._start()  # after a fork: the threads that held the lock and scored are not in this process
        key = hashlib.blake2b(self._salt + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            row = self._cache.get(key)
            if row is not None:
                self._cache.move_to_end(key)
                return row, None
            pending = self._in_flight.get(key)
            if pending is not None and pending.loop in (None, loop):
                return pending, None
            mine = _Pending(loop)
            self._in_flight.setdefault(key, mine)
            return mine, (key, text, mine)

    def _join_all(
        self, texts: Sequence[str], loop: asyncio.AbstractEventLoop | None
    ) -> list[tuple[Row | _Pending, _Job | None]]:
        joined: list[tuple[Row | _Pending, _Job | None]] = []
        try:
            for text in texts:
                joined.append(self._join(text, loop))  # noqa: PERF401  (what was joined before an error counts)
        except BaseException as error:  # what was begun for the texts before it must not stay in flight
            self._fail([job for _, job in joined if job is not None], error)
            raise
        return joined

    def _settle(self, jobs: Sequence[_Job], outcomes: Sequence[Row | ScoringError]) -> None:
        with self._lock:
            for (key, _, pending), outcome in zip(jobs, outcomes, strict=True):
                if self._in_flight.get(key) is pending:
                    del self._in_flight[key]
                if self._cache_size and not isinstance(outcome, ScoringError):
                    self._cache[key] = outcome
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        for (_, _, pending), outcome in zip(jobs, outcomes, strict=True):
            if pending.done():
                continue
            if isinstance(outcome, ScoringError):
                pending.set_exception(outcome)
            else:
                pending.set_result(outcome)

    def _fail(self, jobs: Sequence[_Job], error: BaseException) -> None:
        self._settle(jobs, [self._as_scoring_error(error)] * len(jobs))

    # --- how it runs -------------------------------------------------------------------------------------------------

    def _settle_rest(self, jobs: Sequence[_Job], done: Future[Any] | asyncio.Task[None]) -> None:
        """Settle what a worker that was cancelled, or never began, has left."""
        rest = [job for job in jobs if not job[2].done()]
        if rest:
            error = None if done.cancelled() else done.exception()
            self._fail(rest, _NOT_SCORED if error is None else error)

    def _submit(self, jobs: Sequence[_Job]) -> None:
        try:
            worker = self._pool().submit(contextvars.copy_context().run, self._run, jobs)
        except Exception as error:  # noqa: BLE001  (an executor that shuts down, or one that is none: nobody may be left waiting)
            self._fail(jobs, error)
        else:
            worker.add_done_callback(lambda done: self._settle_rest(jobs, done))

    def _pool(self) -> Executor:
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(thread_name_prefix="routellm-scoring")
            return self._executor

    def _start_async(self, jobs: Sequence[_Job]) -> None:
        if not self._has_ascore:
            self._submit(jobs)
            return
        # A task of its own: it belongs to no caller, so no caller's cancellation reaches it.
        task = asyncio.get_running_loop().create_task(self._arun(jobs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: self._settle_rest(jobs, done))

    def _run(self, jobs: Sequence[_Job], *, gathered: bool = False) -> list[Row | ScoringError]:
        score: Callable[[Sequence[str]], Any]
        score = self.router.score_with_distance if self._with_distance else self.router.score  # type: ignore[attr-defined]
        texts = [text for _, text, _ in jobs]
        outcomes: list[Row | ScoringError] = [_NOT_SCORED] * len(jobs)
        try:
            for part in _parts_to_score(outcomes, gathered=gathered):
                try:
                    outcomes[part] = self._checked(score(texts[part]), len(texts[part]))
                except Exception as error:  # noqa: BLE001  (any failure of a router is the callers' policy to handle)
                    outcomes[part] = [self._as_scoring_error(error)] * len(texts[part])
        finally:  # even an interrupt leaves nobody waiting
            self._settle(jobs, outcomes)
        return outcomes

    async def _arun(self, jobs: Sequence[_Job]) -> None:
        ascore: Callable[[Sequence[str]], Awaitable[Any]] = self.router.ascore  # type: ignore[attr-defined]
        texts = [text for _, text, _ in jobs]
        outcomes: list[Row | ScoringError] = [_NOT_SCORED] * len(jobs)
        try:
            for part in _parts_to_score(outcomes):
                try:
                    outcomes[part] = self._checked(await ascore(texts[part]), len(texts[part]))
                except Exception as error:  # noqa: BLE001  (as in _run)
                    outcomes[part] = [self._as_scoring_error(error)] * len(texts[part])
        finally:  # even a loop that is closing leaves nobody waiting
            self._settle(jobs, outcomes)

    def _gather(self, job: _Job) -> None:
        with self._lock:
            self._gathered.append(job)
            if len(self._gathered) >= self._max_batch:
                self._gathering.notify()
            start = not self._draining
            self._draining = True
        if start:
            self._start_drain()

    def _start_drain(self) -> None:
        try:
            worker = self._pool().submit(self._drain)
        except Exception as error:  # noqa: BLE001  (as in _submit)
            self._abandon_gathered(error)
        else:
            worker.add_done_callback(lambda done: self._abandon_gathered(_NOT_SCORED) if done.cancelled() else None)

    def _abandon_gathered(self, error: BaseException) -> None:
        with self._lock:
            jobs = list(self._gathered)
            self._gathered.clear()
            self._draining = False
        self._fail(jobs, error)

    def _drain(self) -> None:
        with self._lock:
            deadline = time.monotonic() + self._max_wait_s
            while len(self._gathered) < self._max_batch and (left := deadline - time.monotonic()) > 0:
                self._gathering.wait(left)
            jobs = [self._gathered.popleft() for _ in range(min(self._max_batch, len(self._gathered)))]
            self._draining = bool(self._gathered)
            again = self._draining
        if again:
            self._start_drain()
        self._run(jobs, gathered=True)

    # --- how it is waited for ----------------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        return None if self.timeout_s is None else time.monotonic() + self.timeout_s

    def _wait(self, pending: _Pending, deadline: float | None) -> Row:
        try:
            pending.exception(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise self._timed_out() from None
        return _result(pending)

    async def _await(self, pending: _Pending, deadline: float | None) -> Row:
        if pending.done():
            return _result(pending)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(_: Future[Row]) -> None:
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                logger.debug("a score arrived after the event loop of its caller was closed")

        pending.add_done_callback(wake)
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - time.monotonic())):
                await waiter
        except TimeoutError:
            raise self._timed_out() from None
        return _result(pending)

    def _timed_out(self) -> ScoringTimeoutError:
        return ScoringTimeoutError(f"router {self.router.name!r} gave no score within {self.timeout_s} s")

    # --- what comes back ---------------------------------------------------------------------------------------------

    def _checked(self, scores: Any, n: int) -> list[Row | ScoringError]:
        values = np.array(scores, dtype=np.float64)
        expected = (n, len(self.router.models) + self._with_distance)
        if values.shape != expected:
            raise ScoringError(f"router {self.router.name!r} returned scores of shape {values.shape}, not {expected}")
        values.flags.writeable = False
        if n == 0 or (values.min() >= 0.0 and values.max() <= 1.0):  # false if there is a NaN
            return list(values)
        no_number = ScoringError(f"router {self.router.name!r} returned a score that is not a finite number")
        finite = np.asarray(np.isfinite(values).all(axis=1))
        if ((values < 0.0) | (values > 1.0))[finite].any():
            logger.warning("router %r returned scores outside [0, 1]; they are clipped", self.router.name)
            values = values.clip(0.0, 1.0)
            values.flags.writeable = False
        return [row if ok else no_number for row, ok in zip(values, finite.tolist(), strict=True)]

    def _as_scoring_error(self, error: BaseException) -> ScoringError:
        if isinstance(error, ScoringError):
            return error
        # Only the type: the text of a foreign exception may quote the prompt or a key.
        wrapped = ScoringError(f"router {self.router.name!r} failed with {type(error).__name__}")
        wrapped.__cause__ = error
        return wrapped


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _result(pending: _Pending) -> Row:
    error = pending.exception()
    return _row_of(error) if isinstance(error, ScoringError) else pending.result()


def _row_of(outcome: Row | ScoringError) -> Row:
    if isinstance(outcome, ScoringError):
        # Several callers raise it, in several threads: each gets an exception, and so a traceback, of its own.
        fresh = ScoringTimeoutError if isinstance(outcome, ScoringTimeoutError) else ScoringError
        raise fresh(str(outcome)) from outcome.__cause__
    return outcome


_NOT_SCORED = ScoringError("scoring was interrupted")


def _parts_to_score(outcomes: list[Row | ScoringError], *, gathered: bool = False) -> Iterator[slice]:
    """Yield what to score next; after each part the caller has put what came of it into `outcomes`."""
    low, high = 0, len(outcomes)
    yield slice(low, high)
    if gathered and high > 1 and _all_failed(outcomes):
        yield from (slice(position, position + 1) for position in range(high))
        return
    while high - low > 1 and _all_failed(outcomes[low:high]):
        middle = (low + high) // 2
        halves = [slice(low, middle), slice(middle, high)]
        yield from halves
        failed = [half for half in halves if _all_failed(outcomes[half])]
        if len(failed) != 1:
            return
        low, high = failed[0].start, failed[0].stop


def _all_failed(outcomes: Sequence[Row | ScoringError]) -> bool:
    return all(isinstance(outcome, ScoringError) for outcome in outcomes)
