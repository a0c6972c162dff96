"""Scores of a router on many prompts: computed once, kept on disk, resumed where a run was broken off."""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError, ScoringError
from routellm_core.routers.base import Router

Progress = Callable[[int, int], None]
"""Called with how many prompts are done, and of how many."""


class ScoreCache:
    """Scores on disk, by router fingerprint and prompt; never by name, so two versions of a router do not mix.

    Keys are digests: no prompt is stored. Several processes may share the file.

    Args:
        path: An SQLite file; made when first used.

    Raises:
        ConfigurationError: If the file cannot be opened or is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"{self.path} cannot be used as a score cache: {error}") from error

    def get(self, router: Router, prompts: Sequence[str]) -> list[NDArray[np.float64] | None]:
        """Return the stored scores of each prompt, shape (m,), or None where there are none."""
        with closing(self._connect()) as connection:
            rows = (
                connection.execute("SELECT row FROM scores WHERE key = ?", (_key(router, prompt),)).fetchone()
                for prompt in prompts
            )
            return [None if row is None else np.frombuffer(row[0], dtype=np.float64) for row in rows]

    def put(self, router: Router, prompts: Sequence[str], scores: NDArray[np.float64]) -> None:
        """Store the scores of prompts, shape (n, m)."""
        rows = [(_key(router, prompt), row.tobytes()) for prompt, row in zip(prompts, scores, strict=True)]
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60)


def score_prompts(
    router: Router,
    prompts: Sequence[str],
    *,
    cache: ScoreCache | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Score every prompt, equal ones once.

    Args:
        router: Who scores.
        prompts: n texts.
        cache: Where scores are looked up and, batch by batch, put; None keeps none. A router that has no fingerprint of its own,
            only that of the instance, is not looked up: nobody would find its scores again.
        batch_size: How many prompts the router gets at once.
        progress: Told after every batch.

    Returns:
        Shape (n, m) over the router's models.

    Raises:
        ScoringError: If the router gives a score that is no number in [0, 1], or of another shape.
    """
    if type(router).fingerprint is Router.fingerprint:
        cache = None
    position = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    texts = list(position)
    found = cache.get(router, texts) if cache is not None else [None] * len(texts)
    scores = np.full((len(texts), len(router.models)), np.nan)
    for i, row in enumerate(found):
        if row is not None and row.shape == scores[i].shape:
            scores[i] = row
    missing = np.flatnonzero(np.isnan(scores).any(axis=1))
    for start in range(0, missing.size, batch_size):
        rows = missing[start : start + batch_size]
        batch = [texts[i] for i in rows]
        scores[rows] = _checked(router, router.score(batch), len(batch))
        if cache is not None:
            cache.put(router, batch, scores[rows])
        if progress is not None:
            progress(len(texts) - missing.size + start + len(rows), len(texts))
    return scores[[position[prompt] for prompt in prompts]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast a router scores, measured here and now.

    Attributes:
        p50_ms: Median time of one prompt alone, milliseconds.
        p99_ms: The 99th percentile of it.
        prompts_per_s: Prompts a second in one batch.
        n_prompts: How many prompts were timed alone.
    """

    p50_ms: float
    p99_ms: float
    prompts_per_s: float
    n_prompts: int

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON."""
        return {
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "prompts_per_s": self.prompts_per_s,
            "n_prompts": self.n_prompts,
        }


def measure_speed(router: Router, prompts: Sequence[str], *, most_prompts: int = 200, limit_s: float = 3.0) -> Speed:
    """Time a router on single prompts and on a batch of them, past any cache of scores.

    Args:
        router: Who is timed; scores one prompt first, to load what it loads lazily.
        prompts: At least one; the first ones are taken.
        most_prompts: Time no more than this many.
        limit_s: Begin no further single prompt after so many seconds.
    """
    sample = list(prompts[:most_prompts])
    router.score(sample[:1])
    seconds: list[float] = []
    began = time.perf_counter()
    for prompt in sample:
        start = time.perf_counter()
        router.score([prompt])
        seconds.append(time.perf_counter() - start)
        if time.perf_counter() - began > limit_s:
            break
    batch = sample[: len(seconds)]
    start = time.perf_counter()
    router.score(batch)
    per_s = len(batch) / max(time.perf_counter() - start, 1e-9)
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1000
    return Speed(p50_ms=float(p50), p99_ms=float(p99), prompts_per_s=per_s, n_prompts=len(seconds))


def _key(router: Router, prompt: str) -> bytes:
    text = router.fingerprint.encode() + b"\0" + prompt.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _checked(router: Router, scores: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    found = np.asarray(scores, dtype=np.float64)
    if found.shape != (n, len(router.models)):
        raise ScoringError(
            f"router {router.name!r} gave scores of shape {found.shape}, not {(n, len(router.models))}: a row a prompt, "
            "a column a model"
        )
    if not ((found >= 0) & (found <= 1)).all():
        raise ScoringError(f"router {router.name!r} gave a score that is no number in [0, 1]")
    return found
