"""Routers and checks for tests: ours, yours, and those of routers that others write."""

import asyncio
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from routellm_core.registry import load_router
from routellm_core.routers.base import PairRouter, Router
from routellm_core.routers.pretrained import PretrainedRouter

_PROMPTS = (
    "Hi!",
    "What is the capital of France?",
    "Prove that the square root of two is irrational, step by step.",
    "def f(x):\n    return x and f(x - 1)\n\nDoes this terminate for every integer?",
    "Übersetze: Der schnelle braune Fuchs springt über den faulen Hund. 速い茶色の狐",
    " ".join(["word"] * 3000),
    "\ud800 lone surrogate",
    "\x00",
)


class ConstantRouter(PairRouter):
    """Gives every prompt the same strong win rate.

    Args:
        strong_win_rate: In [0, 1].
    """

    name = "constant"

    def __init__(self, strong_win_rate: float) -> None:
        self._win_rate = strong_win_rate

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return the constant, shape (n,)."""
        return np.full(len(prompts), self._win_rate)


class FunctionRouter(PairRouter):
    """Takes the strong win rate from a function of the prompt, and can be slow or fail like a remote router.

    Args:
        strong_win_rate: From a prompt to a number in [0, 1]; may raise.
        delay_s: How long a scoring takes: a number, or the bounds of a random one.

    Attributes:
        calls: The batches scored so far.
    """

    name = "function"

    def __init__(self, strong_win_rate: Callable[[str], float], *, delay_s: float | tuple[float, float] = 0.0) -> None:
        self._function = strong_win_rate
        self._delay_s = delay_s if isinstance(delay_s, tuple) else (delay_s, delay_s)
        self._lock = threading.Lock()
        self.calls: list[tuple[str, ...]] = []

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Apply the function to every prompt, shape (n,)."""
        with self._lock:
            self.calls.append(tuple(prompts))
        if self._delay_s[1]:
            time.sleep(random.uniform(*self._delay_s))
        return np.array([self._function(prompt) for prompt in prompts], dtype=np.float64)


class AsyncFunctionRouter(FunctionRouter):
    """The same with an `ascore` of its own, like a router that waits for the network."""

    async def ascore(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Apply the function to every prompt without blocking the event loop, shape (n, 2)."""
        with self._lock:
            self.calls.append(tuple(prompts))
        await asyncio.sleep(random.uniform(*self._delay_s))
        strong = np.array([self._function(prompt) for prompt in prompts], dtype=np.float64)
        return np.column_stack([1.0 - strong, strong])


class RouterContract(ABC):
    """What every router must hold; subclass it in a test module and give it a router.

    Example:
        >>> class TestMyRouter(RouterContract):
        ...     def make_router(self) -> Router:
        ...         return ConstantRouter(0.5)
    """

    batch_tolerance: ClassVar[float] = 0.0
    """How far a score may move with the batch it is computed in: 0, but for a router whose matrix products round differently for
    batches of other sizes."""

    reversible: ClassVar[bool] = True
    """Whether a reversed pair gets the rest of the win rate, where the router has `for_pair`."""

    @abstractmethod
    def make_router(self) -> Router:
        """Return the router under test; called for every test."""

    def test_scores_every_model_in_the_unit_interval(self) -> None:
        """Scores have one row per prompt, one column per model, and lie in [0, 1]."""
        router = self.make_router()
        scores = router.score(_PROMPTS)
        assert scores.shape == (len(_PROMPTS), len(router.models))
        assert scores.dtype == np.float64
        assert ((scores >= 0) & (scores <= 1)).all()

    def test_batch_equals_single(self) -> None:
        """The score of a prompt does not depend on the rest of its batch, nor on its place in it."""
        router = self.make_router()
        batch = router.score(_PROMPTS)
        for row, prompt in zip(batch, _PROMPTS, strict=True):
            np.testing.assert_allclose(router.score([prompt])[0], row, rtol=0, atol=self.batch_tolerance)
        np.testing.assert_allclose(router.score(_PROMPTS[::-1]), batch[::-1], rtol=0, atol=self.batch_tolerance)

    def test_takes_an_empty_batch(self) -> None:
        """No prompts give no rows."""
        router = self.make_router()
        assert router.score([]).shape == (0, len(router.models))

    def test_is_stateless(self) -> None:
        """Scoring twice gives the same numbers."""
        router = self.make_router()
        np.testing.assert_array_equal(router.score(_PROMPTS), router.score(_PROMPTS))

    def test_a_pair_scores_weak_and_strong(self) -> None:
        """A pair router's columns are 1 - p and p, weak first."""
        router = self.make_router()
        if isinstance(router, PairRouter):
            assert router.models == (router.reference_weak, router.reference_strong)
            win_rates = router.strong_win_rates(_PROMPTS)
            np.testing.assert_array_equal(router.score(_PROMPTS), np.column_stack([1 - win_rates, win_rates]))

    def test_a_reversed_pair_wins_the_rest(self) -> None:
        """Where a router has `for_pair`, the strong and the weak model change places: p becomes 1 - p."""
        router = self.make_router()
        for_pair = getattr(router, "for_pair", None)
        if isinstance(router, PairRouter) and for_pair is not None and self.reversible:
            reverse = for_pair(router.reference_weak, router.reference_strong)
            there, back = router.strong_win_rates(_PROMPTS), reverse.strong_win_rates(_PROMPTS)
            np.testing.assert_allclose(there + back, 1.0, rtol=0, atol=1e-12)

    def test_concurrent_scoring(self) -> None:
        """Scoring from several threads at once gives the same numbers."""
        router = self.make_router()
        expected = router.score(_PROMPTS)
        results: list[NDArray[np.float64]] = []
        threads = [threading.Thread(target=lambda: results.append(router.score(_PROMPTS))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        for result in results:
            np.testing.assert_array_equal(result, expected)

    def test_saved_and_loaded_it_scores_the_same(self, tmp_path: Path) -> None:
        """A router that can be stored comes back identical to the last bit."""
        router = self.make_router()
        if isinstance(router, PretrainedRouter):
            router.save_pretrained(tmp_path / "router")
            embedder = getattr(router, "embedder", None)
            loaded = load_router(tmp_path / "router", embedder=embedder)
            np.testing.assert_array_equal(loaded.score(_PROMPTS), router.score(_PROMPTS))
            assert loaded.models == router.models
            assert loaded.thresholds == router.thresholds
            assert loaded.fingerprint == router.fingerprint
