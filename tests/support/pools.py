"""A pool router and a policy over more than two models, whose choices can be read off the prompt."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from routellm_core import PoolRouter, RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.policies import ScoreKind

NAMES = ("small", "medium", "large")


class NamedPoolRouter(PoolRouter):
    """Gives 0.9 to the model whose name the prompt contains, 0.5 to the first, 0.1 to the others."""

    name = "named"
    score_kind: ClassVar[ScoreKind] = "correctness"
    models = NAMES

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        rows = [[0.9 if name in prompt else 0.5 if name == NAMES[0] else 0.1 for name in NAMES] for prompt in prompts]
        return np.array(rows, dtype=np.float64).reshape(len(prompts), len(NAMES))


class HighestScore:
    name = "highest_score"
    score_kinds: frozenset[ScoreKind] = frozenset({"correctness"})
    uses_threshold = False

    def check(self, n_candidates: int) -> None:
        if n_candidates < 2:
            raise ConfigurationError("nothing to choose among")

    def order(self, scores: NDArray[np.float64], threshold: float | None, by_price: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(column) for column in np.argsort(-scores, kind="stable"))


def pool_engine() -> RoutingEngine:
    return RoutingEngine(NamedPoolRouter(), candidates=NAMES, policy=HighestScore())
