"""The default router: heads of correctness for each form of prompt. No key, no network, no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.folder import read_folder
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig, EmbedderSpec
from routellm_core.embedders.base import Embedder, as_matrix
from routellm_core.embedders.bundled import BundledEmbedder, bundled_tokens
from routellm_core.embedders.factory import matching_embedder
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import CheckpointFormatError, ConfigurationError
from routellm_core.routers.base import PairRouter
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.routers.prompt_features import STATISTICS, prompt_statistics
from routellm_core.routers.prompt_ngrams import ngram_width, ngrams_of_tokens, weighted_products
from routellm_core.routers.prompt_reading import FORMS, Reading, read
from routellm_core.texts import require_list

ASSET = Path(__file__).parent.parent / "assets" / "default"

Array = NDArray[np.float64]

_CLIP = 4.0
_PARTS = ("intercepts", "statistics", "center", "scale", "embedding", "tokens")


@dataclass(frozen=True, eq=False)
class CorrectnessHeads:
    """Two logistic regressions, weak first: whether the weak and whether the strong model is right.

    Attributes:
        intercepts: Shape (2,).
        statistics: Weights of the statistics of a prompt, shape (2, number of statistics).
        center: What is taken off the statistics, shape (number of statistics,).
        scale: What they are then divided by; they are cut at 4 of it on either side.
        embedding: Weights of the embedding, shape (2, d); None does not read it.
        tokens: Weights of the hashed tokens, shape (2, columns of `ngrams`); None does not read them.
    """

    intercepts: Array
    statistics: Array
    center: Array
    scale: Array
    embedding: Array | None = None
    tokens: Array | None = None

    def arrays(self) -> dict[str, Array]:
        """Return what is there by its name."""
        return {name: array for name in _PARTS if (array := getattr(self, name)) is not None}

    def check(self, name: str, dimension: int) -> None:
        """Raise ConfigurationError if a shape does not fit an embedder of a dimension."""
        k = len(STATISTICS)
        shapes = {"intercepts": (2,), "statistics": (2, k), "center": (k,), "scale": (k,)}
        shapes |= {"embedding": (2, dimension), "tokens": (2, ngram_width())}
        for part, array in self.arrays().items():
            if array.shape != shapes[part]:
                raise ConfigurationError(f"heads {name!r}: {part} has shape {array.shape}, expected {shapes[part]}")


class DefaultRouter(PretrainedRouter, PairRouter):
    """Estimates for a typical strong and a typical weak model whether each would answer correctly.

    The form of a prompt (`prompt_reading.Reading`) says which heads read it. With a = P(strong is right) and b = P(weak is
    right), taken as independent given the prompt, the strong win rate is
    ``a (1 - b) + 1/2 (a b + (1 - a)(1 - b)) = (1 + a - b) / 2``: a tie counts half.

    Args:
        heads: The heads by name.
        forms: For each of `FORMS` the name of its heads.
        frequencies: The weight of each hashed token, shape (columns of `ngrams`,); None if no heads read tokens.
        embedder: Embeds the prompts; an embedder, or an embedding object of LangChain or LlamaIndex.
        unread_win_rate: The strong win rate of every prompt that is not English (see `out_of_domain`), in [0, 1]; None reads
            all prompts alike.
        reference_strong: What the strong heads were trained on, in words.
        reference_weak: What the weak heads were trained on, in words.
        thresholds: Calibrated thresholds; None if there are none.
        provenance: What it was trained on, for the model card.
        metrics: How well it does, for the model card.

    Raises:
        ConfigurationError: If the shapes do not fit the embedder, or a form has no heads.

    Example:
        >>> router = DefaultRouter.by_name()
        >>> 0 <= router.strong_win_rate("What is the capital of France?") <= 1
        True
    """

    name = "default"

    def __init__(
        self,
        heads: Mapping[str, CorrectnessHeads],
        forms: Mapping[str, str],
        frequencies: ArrayLike | None = None,
        *,
        embedder: EmbedderLike,
        unread_win_rate: float | None = None,
        reference_strong: str = "strong",
        reference_weak: str = "weak",
        thresholds: ThresholdTable | None = None,
        provenance: dict[str, Any] | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        self.embedder = as_embedder(embedder)
        self._forms = {form: forms.get(form, "") for form in FORMS}
        if without := [form for form, name in self._forms.items() if name not in heads]:
            raise ConfigurationError(f"forms without heads: {', '.join(without)}; there are heads {', '.join(heads)}")
        for name, those in heads.items():
            those.check(name, self.embedder.dimension)
        # Rounded as they are stored, so that a router scores the same before and after.
        self._heads = {name: CorrectnessHeads(**_stored(those.arrays())) for name, those in heads.items()}
        self._weights = {
            name: those.statistics
            if those.embedding is None
            else np.concatenate([those.statistics, those.embedding], axis=1)
            for name, those in self._heads.items()
        }
        self._frequencies = None
        if frequencies is not None:
            self._frequencies = np.asarray(frequencies, dtype=_dtype("frequencies")).astype(np.float64)
        if self._frequencies is None and any(those.tokens is not None for those in heads.values()):
            raise ConfigurationError("heads that read tokens need their frequencies")
        self._tokens = {
            name: np.column_stack([self._frequencies, *those.tokens]).astype(np.float32)  # exact: they have 16 bits
            for name, those in self._heads.items()
            if those.tokens is not None and self._frequencies is not None
        }
        if unread_win_rate is not None and not 0 <= unread_win_rate <= 1:
            raise ConfigurationError(f"unread_win_rate must be in [0, 1], not {unread_win_rate!r}")
        self.unread_win_rate = unread_win_rate
        self.reference_strong = reference_strong
        self.reference_weak = reference_weak
        self.thresholds = thresholds
        self._provenance = dict(provenance or {})
        self._metrics = dict(metrics or {})

    def strong_win_rates(self, prompts: Sequence[str]) -> Array:
        """Return the strong win rates of n prompts, shape (n,)."""
        readings = [read(prompt) for prompt in require_list(prompts, what="prompts")]
        # (1 + sigmoid(s) - sigmoid(w)) / 2, as sigmoid(x) = (1 + tanh(x / 2)) / 2.
        weak, strong = np.tanh(0.5 * self._logits(readings)).T
        rates = np.asarray(0.5 + 0.25 * (strong - weak))
        if self.unread_win_rate is not None and not all(reading.english for reading in readings):
            rates[[not reading.english for reading in readings]] = self.unread_win_rate
        return rates

    def out_of_domain(self, prompts: Sequence[str]) -> NDArray[np.bool_]:
        """Say of n prompts which are not read, shape (n,): those in another language than English.

        All of them get `unread_win_rate`. None are, if that is None: a router that was trained on prompts of one's own.
        """
        if self.unread_win_rate is None:
            return np.zeros(len(prompts), np.bool_)
        return np.fromiter((not read(prompt).english for prompt in prompts), np.bool_, len(prompts))

    def _logits(self, readings: Sequence[Reading]) -> Array:
        """Return the logits of the two heads of each prompt's form, shape (n, 2)."""
        rows_of: dict[str, list[int]] = {}
        for i, reading in enumerate(readings):
            rows_of.setdefault(self._forms[reading.form], []).append(i)
        logits = np.empty((len(readings), 2))
        for name, rows in rows_of.items():
            those, part = self._heads[name], [readings[i] for i in rows]
            texts = [reading.text for reading in part]
            bundled = isinstance(self.embedder, BundledEmbedder) and those.embedding is not None
            tokens = bundled_tokens(texts) if bundled or those.tokens is not None else []
            features = scaled_statistics(prompt_statistics(part), those.center, those.scale)
            if those.embedding is not None:
                features = np.concatenate([features, self._embed(texts, tokens)], axis=1)
            # Not a matrix product, which may round differently for another number of rows: a batch equals its single rows.
            found: Array = np.einsum("nf,hf->nh", features, self._weights[name]) + those.intercepts
            if those.tokens is not None:
                found += weighted_products(ngrams_of_tokens(tokens), self._tokens[name])
            if len(rows) == len(readings):
                return found
            logits[rows] = found
        return logits

    def _embed(self, texts: Sequence[str], tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
        if isinstance(self.embedder, BundledEmbedder):
            return self.embedder.embed_tokens(tokens)
        return default_vectors(self.embedder, texts)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What it was trained on."""
        return dict(self._provenance)

    def to_checkpoint(self) -> Checkpoint:
        """Return the heads as a checkpoint; what there is of every token is rounded to 16 bits, all else to 32."""
        arrays: dict[str, NDArray[Any]] = {
            f"{name}.{part}": array.astype(_dtype(part))
            for name, those in self._heads.items()
            for part, array in those.arrays().items()
        }
        if self._frequencies is not None:
            arrays["frequencies"] = self._frequencies.astype(_dtype("frequencies"))
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                models=self.models,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                embedder=EmbedderSpec(id=self.embedder.id, dimension=self.embedder.dimension),
                parameters={"forms": self._forms, "unread_win_rate": self.unread_win_rate},
                thresholds=self.thresholds,
                provenance=self._provenance,
                metrics=self._metrics,
            ),
            arrays=arrays,
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> Self:
        """Make the router of a checkpoint."""
        config, origin = checkpoint.config, checkpoint.origin
        spec = config.embedder
        if spec is None or config.reference_strong is None or config.reference_weak is None:
            raise CheckpointFormatError(f"{origin}: a default checkpoint names its embedder and its reference pair")
        forms, unread = config.parameters.get("forms"), config.parameters.get("unread_win_rate")
        if forms is None and "weights" in checkpoint.arrays:
            raise CheckpointFormatError(
                f"{origin}: this default router was trained by routellm-plugins before 0.1.0, which read one form of prompt; "
                "train it again: routellm train --router default"
            )
        if not isinstance(forms, dict) or not all(isinstance(forms.get(form), str) for form in FORMS):
            raise CheckpointFormatError(
                f"{origin}: config.json: 'parameters' must name the heads of {', '.join(FORMS)}"
            )
        if unread is not None and not (isinstance(unread, int | float) and 0 <= unread <= 1):
            raise CheckpointFormatError(
                f"{origin}: config.json: 'unread_win_rate' must be in [0, 1] or null, not {unread!r}"
            )
        heads = {name: _read_heads(checkpoint, name, spec.dimension) for name in sorted(set(forms.values()))}
        reads_tokens = any(those.tokens is not None for those in heads.values())
        return cls(
            heads,
            forms,
            checkpoint.array("frequencies", (ngram_width(),)) if reads_tokens else None,
            embedder=matching_embedder(embedder, id=spec.id, dimension=spec.dimension, origin=origin),
            unread_win_rate=None if unread is None else float(unread),
            reference_strong=config.reference_strong,
            reference_weak=config.reference_weak,
            thresholds=config.thresholds,
            provenance=dict(config.provenance),
            metrics=dict(config.metrics),
        )

    @classmethod
    def by_name(cls, **options: Any) -> Self:
        """Load the weights that come with the package.

        Args:
            **options: `embedder`, which must be the one it was trained with.
        """
        return cls.from_checkpoint(_shipped(), **options)


def _dtype(part: str) -> type[np.float16] | type[np.float32]:
    return np.float16 if part in ("tokens", "frequencies") else np.float32


def _stored(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {part: array.astype(_dtype(part)).astype(np.float64) for part, array in arrays.items()}


def scaled_statistics(statistics: Array, center: Array, scale: Array) -> Array:
    """Return statistics of n prompts, centered, scaled and cut, shape (n, number of statistics)."""
    return np.asarray(np.minimum(np.maximum((statistics - center) / scale, -_CLIP), _CLIP))  # sooner than np.clip


def default_vectors(embedder: Embedder, texts: Sequence[str]) -> Array:
    """Embed n texts in float64, shape (n, d)."""
    vectors = as_matrix(embedder.embed(texts), n=len(texts), dimension=embedder.dimension, embedder_id=embedder.id)
    return vectors.astype(np.float64)


def _read_heads(checkpoint: Checkpoint, name: str, dimension: int) -> CorrectnessHeads:
    k = len(STATISTICS)

    def optional(part: str, columns: int) -> Array | None:
        key = f"{name}.{part}"
        return checkpoint.array(key, (2, columns)) if key in checkpoint.arrays else None

    return CorrectnessHeads(
        intercepts=checkpoint.array(f"{name}.intercepts", (2,)),
        statistics=checkpoint.array(f"{name}.statistics", (2, k)),
        center=checkpoint.array(f"{name}.center", (k,)),
        scale=checkpoint.array(f"{name}.scale", (k,)),
        embedding=optional("embedding", dimension),
        tokens=optional("tokens", ngram_width()),
    )


@cache
def _shipped() -> Checkpoint:
    return read_folder(ASSET, origin="the default router")
