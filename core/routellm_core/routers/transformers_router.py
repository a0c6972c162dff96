"""What routers that are a model of transformers have in common: how they are made, stored and found on the Hub."""

import os
from abc import abstractmethod
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.format import Checkpoint, CheckpointConfig
from routellm_core.checkpoints.model_folder import ModelFolder
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import (
    CheckpointError,
    CheckpointFormatError,
    ConfigurationError,
    MissingDependencyError,
    RouterUnavailableError,
)
from routellm_core.routers.base import PairRouter
from routellm_core.routers.pretrained import PretrainedRouter
from routellm_core.routers.transformers_backend import (
    Dtype,
    Tokens,
    check_runtime,
    import_torch,
    load_model,
    load_tokenizer,
    longest_input,
    pick_device,
)


class TransformersRouter(PretrainedRouter, PairRouter):
    """A router whose weights, configuration and tokenizer are a folder of transformers.

    Args:
        model: The folder.
        max_length: How many tokens are read; None takes what the model takes.
        device: Where the model runs, as torch calls it ("cuda:1"); None takes CUDA where there is one, else the CPU.
        dtype: The number type of the model; None takes the stored one.
        tokenizer: A folder with the tokenizer of a model that comes without; None takes that of `model`. To be stored, a router
            needs it in the folder of the model.
        reference_strong: The strong model it was trained on.
        reference_weak: The weak one.
        thresholds: Calibrated thresholds; None if there are none.
        provenance: What it was trained on, for the model card.
        metrics: How well it does, for the model card.

    Raises:
        MissingDependencyError: If the extra `torch` is not installed.
        ConfigurationError: If an argument is not what it should be.
        CheckpointError: If the folder does not hold such a model.
    """

    auto_class: ClassVar[str]
    """The class of transformers that loads the model."""

    published_repo: ClassVar[str]
    """The repository on the Hub that the registered name alone stands for."""

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelFolder,
        *,
        max_length: int | None,
        device: str | None,
        dtype: Dtype | None,
        tokenizer: str | os.PathLike[str] | None,
        reference_strong: str,
        reference_weak: str,
        thresholds: ThresholdTable | None,
        provenance: Mapping[str, Any] | None,
        metrics: Mapping[str, Any] | None,
    ) -> None:
        check_runtime(f"The {self.name} router", device, dtype)
        self.dtype = dtype
        self.device = pick_device(device)
        self.reference_strong = reference_strong
        self.reference_weak = reference_weak
        self.thresholds = thresholds
        self._provenance = dict(provenance or {})
        self._metrics = dict(metrics or {})
        self._folder = model if isinstance(model, ModelFolder) else ModelFolder.find(Path(model))
        self._tokens = Tokens(load_tokenizer(self._folder.path if tokenizer is None else tokenizer))
        self._model = load_model(self.auto_class, self._folder, dtype=dtype, device=self.device)
        self._wanted_length = max_length
        self.max_length = longest_input(self._model, self._tokens.tokenizer, max_length)

    @abstractmethod
    def _parameters(self) -> dict[str, Any]:
        """Return what the subclass stores beside the model, as plain JSON."""

    @classmethod
    @abstractmethod
    def _arguments(cls, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor arguments that `_parameters` stored."""

    def with_card(
        self, *, thresholds: ThresholdTable | None, provenance: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> Self:
        """Return this router with other thresholds and another model card; both share the model."""
        other = copy(self)
        other.thresholds = thresholds
        other._provenance = dict(provenance)
        other._metrics = dict(metrics)
        return other

    def to_checkpoint(self) -> Checkpoint:
        """Return the folder of the model, the pair, and how its output is read, as a checkpoint."""
        return Checkpoint(
            config=CheckpointConfig(
                router=self.name,
                reference_strong=self.reference_strong,
                reference_weak=self.reference_weak,
                parameters={**self._parameters(), "max_length": self._wanted_length, "dtype": self.dtype},
                thresholds=self.thresholds,
                provenance=self._provenance,
                metrics=self._metrics,
            ),
            model=self._folder,
        )

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        embedder: EmbedderLike | None = None,
        device: str | None = None,
        dtype: Dtype | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Make the router of a checkpoint, ours or a plain model as lm-sys published it.

        Args:
            checkpoint: What was read.
            embedder: None; the model reads the text itself.
            device: Where the model runs; None takes CUDA where there is one.
            dtype: Its number type; None takes what the checkpoint says.
            tokenizer: A folder with the tokenizer, for a checkpoint that comes without.
        """
        _refuse_embedder(embedder, cls.name)
        config, origin = checkpoint.config, checkpoint.origin
        if checkpoint.model is None:
            raise CheckpointFormatError(f"{origin}: a {cls.name} checkpoint has the folder of its model")
        check_runtime(f"The {cls.name} router", device, dtype)  # what is wrong with these is not the checkpoint's fault
        try:
            return cls(
                checkpoint.model,
                **cls._arguments(config.parameters),
                max_length=config.parameters.get("max_length"),
                device=device,
                dtype=dtype or config.parameters.get("dtype"),
                tokenizer=tokenizer,
                reference_strong=config.reference_strong or "strong",
                reference_weak=config.reference_weak or "weak",
                thresholds=config.thresholds,
                provenance=config.provenance,
                metrics=config.metrics,
            )
        except ConfigurationError as error:
            raise CheckpointFormatError(f"{origin}: {error}") from error

    @classmethod
    def by_name(cls, **options: Any) -> Self:
        """Load the checkpoint that lm-sys published; needs the Hub and the extra `torch`.

        Args:
            **options: Those of `from_pretrained`, `device`, `dtype` and `tokenizer`.

        Raises:
            RouterUnavailableError: If one of these is missing; names it, and the router that needs none of them.
        """
        _refuse_embedder(options.get("embedder"), cls.name)
        try:
            import_torch(f"The {cls.name} router")  # before gigabytes are fetched
            return cls.from_pretrained(cls.published_repo, **options)
        except (CheckpointError, MissingDependencyError) as error:
            raise RouterUnavailableError(
                f"router {cls.name!r} cannot be loaded: {error}; the router 'default' needs no network and no extra"
            ) from error


def _refuse_embedder(embedder: object, name: str) -> None:
    if embedder is not None:
        raise ConfigurationError(f"router {name!r} reads the text itself and takes no embedder")
