"""Every exception the library raises on purpose, under one base.

```text
RouteLLMError
├── ConfigurationError (ValueError)        a constructor argument or a configuration file is wrong
│   ├── InvalidThresholdError              not a number in [0, 1]
│   ├── UnknownRouterError                 no such name, folder or repository
│   ├── RouterUnavailableError             a registered router lacks an extra, a key or the network
│   ├── UnknownModelError                  the router does not know this reference model
│   └── MissingColumnError                 a table lacks a column that was asked for
├── MissingDependencyError (ImportError)   an extra is not installed; the message is the command that installs it
├── CalibrationError (ValueError)          a threshold cannot be derived from what was given
├── EmbeddingError (RuntimeError)          an embedder returned something unusable
├── JudgeError (RuntimeError)              a judge cannot be asked; what it answered is kept
├── CheckpointError
│   ├── CheckpointNotFoundError (FileNotFoundError)   no such repository, revision, folder or file
│   ├── CheckpointAccessError (PermissionError)       the repository wants a token, or another one
│   ├── CheckpointDownloadError (OSError)             the transfer failed; nothing half-written is kept
│   ├── CheckpointFormatError (ValueError)            the files are there and are not what they should be
│   └── EmbedderMismatchError (ValueError)            the checkpoint was trained with another embedder
├── RoutingError (RuntimeError)
│   ├── ScoringError                       the router raised, or gave a score that is no number
│   │   └── ScoringTimeoutError (TimeoutError)
│   ├── UnknownTargetError                 a call asks for a candidate or a chain that is not there
│   └── NoCandidateError                   every candidate was ruled out; the message lists why
```

The builtin in brackets is a second base class, so that handlers written for it keep working.
"""

from collections.abc import Iterable


class RouteLLMError(Exception):
    """Base of every exception of this library."""


class ConfigurationError(RouteLLMError, ValueError):
    """A constructor argument or a configuration file is wrong."""


class InvalidThresholdError(ConfigurationError):
    """A threshold is not a number in [0, 1]."""


class UnknownRouterError(ConfigurationError):
    """A router name is neither registered, nor a folder, nor a Hub repository."""


class RouterUnavailableError(ConfigurationError):
    """A registered router cannot be used here: an extra, a key or the network is missing."""


class UnknownModelError(ConfigurationError):
    """A reference model is not among those the router knows."""


class MissingColumnError(ConfigurationError):
    """A table, or a line of it, lacks a column that was asked for."""


class MissingDependencyError(RouteLLMError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def for_extra(cls, what: str, extra: str) -> "MissingDependencyError":
        """Say what needs the extra and how to install it.

        Args:
            what: The feature, as the subject of the sentence ("The OpenAI embedder").
            extra: The extra of this distribution that brings the dependency.
        """
        return cls(f'{what} needs the extra {extra!r}: pip install "routellm-plugins[{extra}]"')


class CalibrationError(RouteLLMError, ValueError):
    """A threshold cannot be derived from what was given."""


class EmbeddingError(RouteLLMError, RuntimeError):
    """An embedder returned something unusable."""


class JudgeError(RouteLLMError, RuntimeError):
    """A judge cannot be asked: what it answered is kept, and the same call goes on from there."""


class CheckpointError(RouteLLMError):
    """A checkpoint cannot be read, written or fetched."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """The repository, revision, folder or file does not exist."""


class CheckpointAccessError(CheckpointError, PermissionError):
    """The repository is private or gated and the token does not open it."""


class CheckpointDownloadError(CheckpointError, OSError):
    """A transfer from or to the Hub failed."""


class CheckpointFormatError(CheckpointError, ValueError):
    """The files of a checkpoint are not what they should be."""


class EmbedderMismatchError(CheckpointError, ValueError):
    """A checkpoint was trained with another embedder than the one given."""


class RoutingError(RouteLLMError, RuntimeError):
    """A call could not be routed."""


class ScoringError(RoutingError):
    """The router raised, or returned a score that is no number."""


class ScoringTimeoutError(ScoringError, TimeoutError):
    """The router took longer than `score_timeout_s`."""


class UnknownTargetError(RoutingError):
    """A call asks for a candidate or a chain that is not there.

    No ValueError: LlamaIndex's synthesizers take a ValueError in a call for a bad answer of the model, and go on without one.
    """


class NoCandidateError(RoutingError):
    """Every candidate was ruled out for a call."""

    def __init__(self, ruled_out: Iterable[tuple[str, str]]) -> None:
        self.ruled_out = dict(ruled_out)
        listed = "; ".join(f"{name}: {why}" for name, why in self.ruled_out.items())
        super().__init__(f"no candidate can take this call. {listed}")
