"""The factors of matrix factorisation and the gradient of their loss, in float32."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.training.optimizers import Vector

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

_CHUNK = 8192


class Factors:
    """The log-odds of a battle are ``w2 . ((v_a - v_b) * (W1 q + b))``; see `MatrixFactorizationRouter`.

    All parameters are one flat vector, and so is their gradient, so that an optimiser sees one array.

    Args:
        n_models: How many models.
        text_dim: The length of the prompts' embeddings.
        dim: The length of the models' embeddings.
        bias: Whether there is a b.
        normalize_models: Whether every v is scaled to length 1 before use.

    Attributes:
        values: The parameters, flat.
        gradient: What `differentiate` found, flat.
        arrays: The parameters by name; views of `values`.
    """

    def __init__(self, n_models: int, text_dim: int, dim: int, *, bias: bool, normalize_models: bool) -> None:
        shapes: dict[str, tuple[int, ...]] = {
            "model_embeddings": (n_models, dim),
            "text_projection": (dim, text_dim),
            "output_weights": (dim,),
        }
        if bias:
            shapes["bias"] = (dim,)
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        self.values: Vector = np.zeros(size, np.float32)
        self.gradient: Vector = np.zeros(size, np.float32)
        self.arrays = dict(_views(self.values, shapes))
        self._gradients = dict(_views(self.gradient, shapes))
        self._bias = self.arrays.get("bias")
        self._normalize = normalize_models

    def start_at_random(self, generator: np.random.Generator) -> None:
        """Draw the parameters as torch draws those of an embedding and of linear layers."""
        text_dim = self.arrays["text_projection"].shape[1]
        for name, array in self.arrays.items():
            if name == "model_embeddings":
                array[:] = generator.standard_normal(array.shape)
            else:
                bound = (text_dim if name in ("text_projection", "bias") else array.size) ** -0.5
                array[:] = generator.uniform(-bound, bound, array.shape)

    def start_at_ratings(self, strengths: NDArray[np.float64], generator: np.random.Generator) -> None:
        """Start where every prompt gets the win rates of Bradley-Terry; the rest is small and random.

        Args:
            strengths: Shape (n_models,).
            generator: What is drawn from.
        """
        for name in ("model_embeddings", "text_projection"):
            self.arrays[name][:] = _SMALL * generator.standard_normal(self.arrays[name].shape)
        self.arrays["output_weights"][:] = 1.0
        self.arrays["model_embeddings"][:, 0] = strengths
        self.arrays["text_projection"][0] = 0.0
        self.arrays["bias"][:] = 0.0
        self.arrays["bias"][0] = 1.0

    def rates(self, vectors: Floats, rows: Indices, a: Indices, b: Indices) -> NDArray[np.float64]:
        """Return how likely a beats b, shape (n,).

        Args:
            vectors: The prompts' embeddings, shape (u, text_dim).
            rows: Which prompt, shape (n,).
            a: Which model, shape (n,).
            b: Which other model, shape (n,).
        """
        models, _ = self._models()
        directions = (models * self.arrays["output_weights"]) @ self.arrays["text_projection"]
        offsets = np.zeros(len(models)) if self._bias is None else models @ (self.arrays["output_weights"] * self._bias)
        logits = np.empty(len(rows))
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            differences = directions[a[part]] - directions[b[part]]
            logits[part] = np.einsum("nd,nd->n", vectors[rows[part]], differences)
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (logits + offsets[a] - offsets[b]))))

    def differentiate(self, vectors: Floats, a: Indices, b: Indices, outcome: Floats, weight: Floats | None) -> float:
        """Fill `gradient` with that of the mean log loss of a batch, and return the loss.

        Args:
            vectors: The prompts' embeddings, shape (n, text_dim).
            a: Which model, shape (n,).
            b: Which other model, shape (n,).
            outcome: Shape (n,), in [0, 1].
            weight: Shape (n,); None weighs all alike.
        """
        n = np.float32(len(vectors))
        output, grads = self.arrays["output_weights"], self._gradients
        models, norms = self._models()
        difference = models[a]
        difference -= models[b]
        hidden = vectors @ self.arrays["text_projection"].T
        if self._bias is not None:
            hidden += self._bias
        logits = (difference * hidden) @ output
        pull = np.float32(0.5) * (np.float32(1.0) + np.tanh(np.float32(0.5) * logits)) - outcome
        losses = np.logaddexp(np.float32(0.0), logits) - outcome * logits
        if weight is not None:
            pull *= weight
            losses *= weight
        pull /= n
        hidden *= pull[:, None]
        np.einsum("nd,nd->d", hidden, difference, out=grads["output_weights"])
        hidden *= output  # the gradient of the difference
        difference *= output
        difference *= pull[:, None]  # the gradient of what is hidden
        np.matmul(difference.T, vectors, out=grads["text_projection"])
        if self._bias is not None:
            np.sum(difference, axis=0, out=grads["bias"])
        # A product with the signs of the two models sums per model many times faster than np.add.at.
        rows = np.arange(len(vectors))
        signs = np.zeros((len(vectors), len(models)), np.float32)
        signs[rows, a] = 1.0
        signs[rows, b] = -1.0
        of_models = grads["model_embeddings"]
        np.matmul(signs.T, hidden, out=of_models)
        if norms is not None:
            of_models -= models * np.einsum("md,md->m", models, of_models)[:, None]
            of_models /= norms
        return float(losses.sum() / n)

    def _models(self) -> tuple[Floats, Floats | None]:
        rows = self.arrays["model_embeddings"]
        if not self._normalize:
            return rows, None
        norms = np.maximum(np.sqrt(np.einsum("md,md->m", rows, rows)), np.float32(1e-12))[:, None]
        return rows / norms, norms


_SMALL = 0.1


def _views(flat: Vector, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, NDArray[Any]]]:
    start = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        yield name, flat[start : start + size].reshape(shape)
        start += size
