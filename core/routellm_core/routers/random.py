"""The random router: the baseline every figure is compared with."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.routers.base import PairRouter
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.texts import require_list


class RandomRouter(PretrainedRouter, PairRouter):
    """Draws the strong win rate of a prompt uniformly from [0, 1), the same one for the same seed and prompt.

    Args:
        seed: Another seed draws other win rates.
    """

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ConfigurationError(f"seed must be an integer, not {seed!r}")
        self.seed = seed
        self.thresholds = ThresholdTable.uniform(source="win rates are uniform on [0, 1) by definition")

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Return a uniform number for every prompt, shape (n,)."""
        require_list(prompts)
        salt = str(self.seed).encode() + b"\0"
        digests = (hashlib.blake2b(salt + p.encode("utf-8", "surrogatepass"), digest_size=8).digest() for p in prompts)
        # 53 bits: the largest integers that float64 holds exactly, so that 1.0 is never reached.
        return np.array([(int.from_bytes(digest) >> 11) * 2.0**-53 for digest in digests], dtype=np.float64)

    def to_checkpoint(self) -> Checkpoint:
        """Return the seed as a checkpoint."""
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self.models,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                parameters={"seed": self.seed},
                thresholds=self.thresholds,
            )
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> "RandomRouter":  # noqa: ARG003
        """Read the seed back."""
        seed = checkpoint.config.parameters.get("seed")
        if type(seed) is not int:
            raise CheckpointFormatError(f"{checkpoint.origin}: parameter 'seed' must be an integer, not {seed!r}")
        return cls(seed)
