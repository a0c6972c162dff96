"""The options --embedder and --embedding-cache."""

from collections.abc import Sequence
from pathlib import Path

from routellm_core.embedders.base import Embedder
from routellm_core.errors import ConfigurationError

EMBEDDERS = "default, openai:MODEL or sentence-transformers:MODEL"

CACHE_HELP = (
    "A folder that keeps every embedding: an interrupted command, or another one on the same prompts, does not pay twice (extra "
    "cache)."
)

_CACHE_BYTES = 1 << 36  # what the folder may grow to; the space is taken as it is needed


def named_embedder(name: str, *, also: Sequence[str] = (), cache: Path | None = None) -> Embedder:
    """Make the embedder of a name.

    Args:
        name: One of `EMBEDDERS`.
        also: What else the option takes, for the error.
        cache: The folder of its vectors; None keeps none.

    Raises:
        ConfigurationError: If it is none of these, or the folder cannot be used.
        MissingDependencyError: If its extra, or that of the cache, is not installed.
    """
    if cache is None:
        return _make(name, also)
    if name == "default":
        refuse_cache(cache, "--embedder default, which embeds faster than a cache would")
    from routellm_core.embedders.cache import CachedEmbedder  # as below

    try:
        return CachedEmbedder(_make(name, also), directory=cache, max_bytes=_CACHE_BYTES)
    except ConfigurationError as error:
        if str(error).startswith("directory="):
            raise ConfigurationError(f"--embedding-cache: {error}") from error
        raise


def refuse_cache(cache: Path | None, where: str) -> None:
    """Refuse --embedding-cache where it would be taken no notice of.

    Args:
        cache: What was given.
        where: What it says nothing with.

    Raises:
        ConfigurationError: If it was given.
    """
    if cache is not None:
        raise ConfigurationError(f"--embedding-cache says nothing with {where}: leave it out")


def _make(name: str, also: Sequence[str]) -> Embedder:
    kind, _, model = name.partition(":")
    if name == "default":
        from routellm_core.embedders.bundled import BundledEmbedder  # only what is asked for is imported

        return BundledEmbedder()
    if kind == "openai" and model:
        from routellm_core.embedders.openai import OpenAIEmbedder  # as above

        return OpenAIEmbedder(model)
    if kind == "sentence-transformers" and model:
        from routellm_core.embedders.sentence_transformers import SentenceTransformerEmbedder  # as above

        return SentenceTransformerEmbedder(model)
    raise ConfigurationError(f"--embedder {name!r} must be {', '.join([*also, EMBEDDERS])}")
