"""One way to put a multiple-choice question, so that a router sees the same text however it was put."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.errors import ConfigurationError
from routellm_core.robustness.items import LETTERS, MMLU_STYLE, depends_on_order, parse_item
from routellm_core.routers.base import PairRouter, Router

_RUNS_OF_SPACES = re.compile(r"(?<=\S) {2,}(?=\S)")


def canonical_prompt(prompt: str) -> str:
    """Put a multiple-choice question in the one way that does not depend on how it was put.

    The choices are sorted and called A, B, C, …; spaces are single, the last line is "Answer:", and a first line that names the
    subject of multiple-choice questions is left out.

    Args:
        prompt: Any text.

    Returns:
        The text itself if it is no multiple-choice question, or one whose choices speak of their order or letters.
    """
    item = parse_item(prompt)
    if item is None or depends_on_order(item) or len(item.choices) > len(LETTERS):
        return prompt
    choices = sorted(_RUNS_OF_SPACES.sub(" ", text.strip()) for text in item.choices)
    question = _RUNS_OF_SPACES.sub(" ", item.question)
    return replace(item, question=question, choices=tuple(choices), symbols=(), gold=None, style=MMLU_STYLE).prompt


class CanonicalRouter(PairRouter):
    """Another router that is shown multiple-choice questions in their canonical form, and every other prompt as it is.

    It works for a router that has been trained already. Thresholds are its own: calibrate it, or give them.

    Args:
        router: The router to ask.
        thresholds: Of this router; None if it is not calibrated.

    Raises:
        ConfigurationError: If it is no pair router.
    """

    def __init__(self, router: Router, *, thresholds: ThresholdTable | None = None) -> None:
        if not isinstance(router, PairRouter):
            raise ConfigurationError(f"only a pair router can be shown canonical prompts, not {router!r}")
        self._router = router
        self.thresholds = thresholds
        self.name = f"{router.name}+canonical"
        self.reference_strong = router.reference_strong
        self.reference_weak = router.reference_weak

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return the win rates of the prompts in their canonical form, shape (n,)."""
        return self._router.strong_win_rates([canonical_prompt(prompt) for prompt in prompts])

    @cached_property
    def fingerprint(self) -> str:
        """That of the router, and that prompts were made canonical."""
        return f"{self._router.fingerprint}+canonical-2"
