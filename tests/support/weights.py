"""Random weights of matrix factorisation, in the shapes and the layout that lm-sys published."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from routellm_core.checkpoints.published import ARENA_MODELS, ARENA_TIERS, REFERENCE_STRONG, REFERENCE_WEAK
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from support.embedders import HashEmbedder

PUBLISHED_CONFIG = {"dim": 128, "num_models": 64, "text_dim": 1536, "num_classes": 1, "use_proj": True}
PUBLISHED_EMBEDDER = "openai:text-embedding-3-small"


def published_weights(seed: int = 0, *, scale: float = 1.0) -> dict[str, NDArray[np.float32]]:
    """Draw weights; with scale 1 the win rates of random prompts spread over much of (0, 1)."""
    rng = np.random.default_rng(seed)
    shapes = {"P.weight": (64, 128), "text_proj.0.weight": (128, 1536), "classifier.0.weight": (1, 128)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    weights["classifier.0.weight"] *= np.float32(scale)
    return weights


def write_published(folder: Path, weights: dict[str, NDArray[np.float32]] | None = None, **config) -> Path:
    """Write a folder in the published layout."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(published_weights() if weights is None else weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**PUBLISHED_CONFIG, **config}))
    return folder


def published_router(seed: int = 0, **changes) -> MatrixFactorizationRouter:
    """Make a router with such weights and a fake of the published embedder."""
    weights = published_weights(seed)
    arguments = {
        "models": ARENA_MODELS,
        "reference_strong": REFERENCE_STRONG,
        "reference_weak": REFERENCE_WEAK,
        "embedder": HashEmbedder(1536, id=PUBLISHED_EMBEDDER),
        "text_projection": weights["text_proj.0.weight"],
        "tiers": {model: tier for tier, models in enumerate(ARENA_TIERS) for model in models},
        **changes,
    }
    return MatrixFactorizationRouter(weights["P.weight"], weights["classifier.0.weight"][0], **arguments)
