"""How near a benchmark is to the prompts a router was trained on (RouteLLM, appendix C)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_core.embedders.base import as_matrix
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.bootstrap import bootstrap_interval
from routellm_core.evaluation.interval import Interval

_BLOCK = 1 << 22


def dataset_similarity(
    prompts: Sequence[str],
    training_prompts: Sequence[str],
    embedder: EmbedderLike,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the mean over prompts of the cosine to the nearest training prompt, with its interval over prompts.

    A low score says that the router is asked about what it has not seen: expect less of it, and calibrate on the prompts to be
    routed. The number depends on the embedder; compare only scores of the same one.

    Args:
        prompts: n texts of the benchmark or of the traffic.
        training_prompts: Texts the router was trained on.
        embedder: Embeds both, to unit length.
        resamples: Of the bootstrap.
        seed: Of the resamples.

    Raises:
        ConfigurationError: If one side is empty.
    """
    if not prompts or not training_prompts:
        raise ConfigurationError("a similarity needs prompts on both sides: the benchmark's and the training data's")
    model = as_embedder(embedder)
    distinct = list(dict.fromkeys(training_prompts))
    sides = (
        as_matrix(model.embed(texts), n=len(texts), dimension=model.dimension, embedder_id=model.id)
        for texts in (list(prompts), distinct)
    )
    nearest = nearest_cosines(*sides)
    return bootstrap_interval(lambda rows: float(nearest[rows].mean()), len(prompts), resamples=resamples, seed=seed)


def nearest_cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the largest cosine of each row of `a`, (n, d), with a row of `b`, (k, d), both of unit length; shape (n,)."""
    step = max(1, _BLOCK // len(b))
    parts = [(a[start : start + step] @ b.T).max(axis=1) for start in range(0, len(a), step)]
    return np.clip(np.concatenate(parts).astype(np.float64), -1.0, 1.0)
