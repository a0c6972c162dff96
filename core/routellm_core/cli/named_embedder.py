"""The option --embedder."""

from collections.abc import Sequence

from routellm_core.embedders.base import Embedder
from routellm_core.errors import ConfigurationError

EMBEDDERS = "default, openai:MODEL or sentence-transformers:MODEL"


def named_embedder(name: str, *, also: Sequence[str] = ()) -> Embedder:
    """Make the embedder of a name.

    Args:
        name: One of `EMBEDDERS`.
        also: What else the option takes, for the error.

    Raises:
        ConfigurationError: If it is none of these.
        MissingDependencyError: If its extra is not installed.
    """
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
