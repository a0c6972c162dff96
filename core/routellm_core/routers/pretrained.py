"""Routers that can be stored, shared and loaded."""

import os
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self

from routellm_core.calibration import ThresholdTable
from routellm_core.checkpoints.folder import read_folder, write_folder
from routellm_core.checkpoints.format import Checkpoint
from routellm_core.checkpoints.hub import download_checkpoint, is_repo_id, upload_checkpoint
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError, ConfigurationError
from routellm_core.routers.base import Router


class PretrainedRouter(Router):
    """A router that is stored as a checkpoint, in a folder or on the Hugging Face Hub."""

    @abstractmethod
    def to_checkpoint(self) -> Checkpoint:
        """Return everything that is needed to make this router again."""

    @classmethod
    @abstractmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, embedder: EmbedderLike | None = None) -> Self:
        """Make the router of a checkpoint.

        Args:
            checkpoint: What `to_checkpoint` returned.
            embedder: The embedder to use, or an embedding object of LangChain or LlamaIndex; None makes the one the checkpoint
                names.

        Raises:
            CheckpointFormatError: If the checkpoint lacks something, or holds it in another shape.
            EmbedderMismatchError: If the embedder is not the one the checkpoint was trained with.
        """

    @classmethod
    def by_name(cls, **options: Any) -> Self:
        """Make the router that its registered name alone stands for.

        Args:
            **options: Constructor arguments.
        """
        return cls(**options)

    def with_card(
        self, *, thresholds: ThresholdTable | None, provenance: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> Self:
        """Return this router with other thresholds and another model card.

        Args:
            thresholds: Calibrated thresholds; None for none.
            provenance: What it was trained on, as plain JSON.
            metrics: How well it does, as plain JSON.
        """
        stored = self.to_checkpoint()
        config = replace(stored.config, thresholds=thresholds, provenance=provenance, metrics=metrics)
        return self.from_checkpoint(replace(stored, config=config), embedder=getattr(self, "embedder", None))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what is stored: equal for equal routers, in any process."""
        return self.to_checkpoint().fingerprint()

    @classmethod
    def from_pretrained(
        cls,
        repo_or_path: str | os.PathLike[str],
        *,
        embedder: EmbedderLike | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Self:
        """Load a router of this class.

        Args:
            repo_or_path: A folder, or a Hub repository ("org/name").
            embedder: The embedder to use, or an embedding object of LangChain or LlamaIndex; None makes the one the checkpoint
                names.
            revision: A branch, tag or commit of the repository; None takes its main branch.
            token: A Hub token; None takes the stored one, False none.
            cache_dir: Where downloads are kept; None takes the Hub client's own cache.
            local_files_only: Do not reach for the network.
            **options: What else `from_checkpoint` of this class takes ("device").

        Raises:
            CheckpointError: If it cannot be fetched or read.
            ConfigurationError: If it does not take an option; names those it takes.
        """
        check_options(cls, options)
        checkpoint = fetch_checkpoint(
            repo_or_path, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
        )
        if checkpoint.config.router != cls.name:
            raise CheckpointFormatError(
                f"{checkpoint.origin} holds a {checkpoint.config.router!r} router, not {cls.name!r}: use load_router(...)"
            )
        return cls.from_checkpoint(checkpoint, embedder=embedder, **options)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the router and its model card to a folder.

        Args:
            folder: Made if it does not exist; a router stored there before is replaced.
        """
        try:
            return write_folder(self.to_checkpoint(), folder)
        except OSError as error:
            raise CheckpointError(f"{os.fspath(folder)!r} cannot be written: {error.strerror or error}") from error

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        private: bool | None = None,
        commit_message: str = "Upload router",
    ) -> str:
        """Upload the router and its model card to the Hub and return the commit, to be pinned as `revision=`.

        Args:
            repo_id: "org/name"; the repository is made if it does not exist.
            revision: The branch to commit to; None takes the main branch.
            token: A Hub token with write access; None takes the stored one.
            private: Whether a new repository is private; None takes the organisation's default.
            commit_message: The first line of the commit.

        Raises:
            CheckpointError: If the Hub refuses, or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = self.save_pretrained(folder)
            return upload_checkpoint(
                path, repo_id, revision=revision, token=token, private=private, commit_message=commit_message
            )


def check_options(cls: type[PretrainedRouter], options: Iterable[str]) -> None:
    """Refuse an option that `from_checkpoint` of a class does not take.

    Raises:
        ConfigurationError: If there is one; names those that there are.
    """
    parameters = dict(signature(cls.from_checkpoint).parameters)
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    allowed = [name for name in parameters if name not in ("checkpoint", "embedder")]
    if unknown := sorted(set(options) - set(allowed)):
        takes = f"the options {', '.join(allowed)} alone" if allowed else "no options"
        raise ConfigurationError(f"a stored {cls.name} router takes {takes}, and not {', '.join(unknown)}")


def fetch_checkpoint(
    repo_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Checkpoint:
    """Read a checkpoint from a folder or the Hub; see `PretrainedRouter.from_pretrained`."""
    text = os.fspath(repo_or_path)
    if Path(text).is_dir():
        if revision is not None:
            raise ConfigurationError(f"{text!r} is a folder, and revision={revision!r} is only for a Hub repository")
        return read_folder(text)
    if isinstance(repo_or_path, str) and is_repo_id(repo_or_path):
        folder = download_checkpoint(
            repo_or_path,
            revision=revision,
            token=token,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            local_files_only=local_files_only,
        )
        return read_folder(folder, origin=repo_or_path if revision is None else f"{repo_or_path}@{revision}")
    raise CheckpointNotFoundError(f"{text!r} is neither a folder nor a Hub repository id (org/name)")
