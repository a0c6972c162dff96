"""What a checkpoint holds.

To change the format: raise `FORMAT_VERSION`, keep a reader for the version before it in `CheckpointConfig.from_dict`, and add
a stored example of the old version to the tests.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.model_folder import ModelFolder, is_safe_name
from routellm_core.errors import CheckpointFormatError

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedderSpec:
    """The embedder a router was trained with.

    Attributes:
        id: What `Embedder.id` says.
        dimension: The length of its vectors.
    """

    id: str
    dimension: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """The `config.json` of a checkpoint.

    Attributes:
        router: The registered name of the router's class.
        models: The reference models the router knows.
        reference_strong: The strong model of its pair; None for a pool.
        reference_weak: The weak model of its pair; None for a pool.
        embedder: The embedder it was trained with; None if it uses none.
        parameters: What else the router's class needs, as plain JSON.
        thresholds: The calibrated thresholds; None if there are none.
        provenance: What it was trained on and how, for people.
        metrics: How well it does on held-out prompts, for people.
        model_files: The files of the subfolder `model/`, of a router that is a transformer; empty for others.
    """

    router: str
    models: tuple[str, ...] = ()
    reference_strong: str | None = None
    reference_weak: str | None = None
    embedder: EmbedderSpec | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    thresholds: ThresholdTable | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    model_files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "router": self.router,
            "models": list(self.models),
            "reference_strong": self.reference_strong,
            "reference_weak": self.reference_weak,
            "embedder": None
            if self.embedder is None
            else {"id": self.embedder.id, "dimension": self.embedder.dimension},
            "parameters": dict(self.parameters),
            "thresholds": None if self.thresholds is None else self.thresholds.to_dict(),
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
            **({"model_files": list(self.model_files)} if self.model_files else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the content of `config.json`.

        Raises:
            CheckpointFormatError: If it is of a version this library does not read, or lacks what it must have.
        """
        version = data.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            raise CheckpointFormatError(
                f"config.json has format_version {version!r}; this version of routellm-plugins reads {FORMAT_VERSION}: "
                'pip install --upgrade "routellm-plugins"'
            )
        embedder = _get(data, "embedder", dict, type(None))
        thresholds = _get(data, "thresholds", dict, type(None))
        models = _get(data, "models", list)
        if not all(isinstance(model, str) for model in models):
            raise CheckpointFormatError("config.json: 'models' must be a list of names")
        try:
            table = None if thresholds is None else ThresholdTable.from_dict(thresholds)
        except KeyError as error:
            raise CheckpointFormatError(f"config.json has no {error} in 'thresholds'") from None
        except (TypeError, ValueError, OverflowError) as error:  # a CalibrationError is a ValueError
            raise CheckpointFormatError(f"config.json: 'thresholds' is not a threshold table: {error}") from error
        return cls(
            router=_get(data, "router", str),
            models=tuple(models),
            reference_strong=_get(data, "reference_strong", str, type(None)),
            reference_weak=_get(data, "reference_weak", str, type(None)),
            embedder=None
            if embedder is None
            else EmbedderSpec(id=_get(embedder, "id", str), dimension=_get(embedder, "dimension", int)),
            parameters=_get(data, "parameters", dict),
            thresholds=table,
            provenance=_get(data, "provenance", dict),
            metrics=_get(data, "metrics", dict),
            model_files=model_files(data),
        )


def model_files(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the files of `model/` that the content of a `config.json` names.

    Raises:
        CheckpointFormatError: If it names something that such a folder cannot hold.
    """
    files = _get(data, "model_files", list) if "model_files" in data else []
    for name in files:
        if not is_safe_name(name):
            raise CheckpointFormatError(f"config.json: 'model_files' names {name!r}, which is no file of a transformer")
    return tuple(files)


def _get(data: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """Return a value of `config.json`, which is of one of the kinds that JSON has."""
    if key not in data:
        raise CheckpointFormatError(f"config.json has no {key!r}")
    if type(data[key]) not in kinds:  # not isinstance: true is no integer
        allowed = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise CheckpointFormatError(f"config.json: {key!r} must be {allowed}, not {data[key]!r}")
    return data[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A stored router: its configuration, and its arrays or the transformer that it is.

    Attributes:
        config: What `config.json` says.
        arrays: What `model.safetensors` holds.
        model: The transformer in the subfolder `model/`; None for a router of arrays.
        origin: Where it was read from, for error messages.
    """

    config: CheckpointConfig
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    model: ModelFolder | None = None
    origin: str = "checkpoint"

    def array(self, name: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
        """Return one array in float64.

        Args:
            name: Its name in `model.safetensors`.
            shape: What its shape must be; None allows any length of that axis.

        Raises:
            CheckpointFormatError: If it is missing, of another shape, or not finite.
        """
        if name not in self.arrays:
            there = ", ".join(sorted(self.arrays)) or "none"
            raise CheckpointFormatError(f"{self.origin}: model.safetensors has no array {name!r}; there are: {there}")
        array = self.arrays[name]
        fits = array.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if n is None else n for n in shape)
            raise CheckpointFormatError(f"{self.origin}: array {name!r} has shape {array.shape}, expected {wanted}")
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            raise CheckpointFormatError(f"{self.origin}: array {name!r} holds numbers that are not finite")
        return values

    def fingerprint(self) -> str:
        """Return a digest of everything the scores depend on."""
        config = self.config
        digest = hashlib.sha256()
        scoring = {
            "router": config.router,
            "models": config.models,
            "pair": (config.reference_strong, config.reference_weak),
            "embedder": config.embedder and config.embedder.id,
            "parameters": config.parameters,
        }
        digest.update(json.dumps(scoring, sort_keys=True, default=list).encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        if self.model is not None:
            digest.update(self.model.digest.encode())
        return f"{config.router}:{digest.hexdigest()[:32]}"
