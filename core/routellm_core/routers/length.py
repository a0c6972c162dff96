"""The length router: long prompts go to the strong model. A baseline that is hard to beat out of domain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.folder import read_folder
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.routers.base import PairRouter
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.texts import require_list

ASSET = Path(__file__).parent.parent / "assets" / "length"


class LengthRouter(PretrainedRouter, PairRouter):
    """Takes the length of the prompt for its strong win rate: `characters / max_characters`, at most 1.

    Args:
        max_characters: The length that counts as 1. Longer prompts cannot be told apart.
        thresholds: Calibrated thresholds; None leaves it uncalibrated.
    """

    name = "length"

    def __init__(self, max_characters: int = 32_768, *, thresholds: ThresholdTable | None = None) -> None:
        if isinstance(max_characters, bool) or not isinstance(max_characters, int) or max_characters < 1:
            raise ConfigurationError(f"max_characters must be a whole number of 1 or more, not {max_characters!r}")
        self.max_characters = max_characters
        self.thresholds = thresholds

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return the relative length of every prompt, shape (n,)."""
        require_list(prompts)
        lengths = np.fromiter((len(prompt) for prompt in prompts), dtype=np.float64, count=len(prompts))
        return np.minimum(lengths / self.max_characters, 1.0)

    @classmethod
    def by_name(cls, **options: Any) -> "LengthRouter":
        """Make the router with the thresholds that come with the package.

        Args:
            **options: `max_characters`; another scale than the default one leaves it uncalibrated.
        """
        return cls(**options) if options else cls.from_checkpoint(read_folder(ASSET, origin="the length router"))

    def to_checkpoint(self) -> Checkpoint:
        """Return the scale and the thresholds as a checkpoint."""
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self.models,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                parameters={"max_characters": self.max_characters},
                thresholds=self.thresholds,
            )
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> "LengthRouter":  # noqa: ARG003
        """Read the scale and the thresholds back."""
        length = checkpoint.config.parameters.get("max_characters")
        if type(length) is not int or length < 1:
            raise CheckpointFormatError(
                f"{checkpoint.origin}: parameter 'max_characters' must be an integer of 1 or more, not {length!r}"
            )
        return cls(length, thresholds=checkpoint.config.thresholds)
