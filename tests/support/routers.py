"""A router whose choices can be read off the prompt."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_core import PairRouter


class KeywordRouter(PairRouter):
    """Gives prompts that contain the keyword a strong win rate of 0.9, the others 0.1.

    Attributes:
        scored: The texts that were scored, in order.
    """

    name = "keyword"

    def __init__(self, keyword: str = "hard") -> None:
        self.keyword = keyword
        self.scored: list[str] = []

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        self.scored.extend(prompts)
        return np.array([0.9 if self.keyword in prompt else 0.1 for prompt in prompts], dtype=np.float64)
