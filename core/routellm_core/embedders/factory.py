"""From the embedder id in a checkpoint to an embedder."""

from pathlib import Path

from routellm_core.embedders.base import Embedder, check_match
from routellm_core.embedders.foreign import EmbedderLike, as_embedder
from routellm_core.errors import EmbedderMismatchError


def embedder_for(id: str, dimension: int, *, origin: str) -> Embedder:  # noqa: A002
    """Make the embedder that a checkpoint was trained with. No key is needed until it embeds.

    Args:
        id: `Embedder.id` of the embedder it was trained with.
        dimension: The length of its vectors.
        origin: What errors call the checkpoint.

    Raises:
        EmbedderMismatchError: If the id is not one that this library can make.
        MissingDependencyError: If its extra is not installed.
    """
    kind, _, model = id.partition(":")
    if kind == "openai" and model:
        from routellm_core.embedders.openai import OpenAIEmbedder  # needs its extra

        return OpenAIEmbedder(model.removesuffix(f"@{dimension}"), dimension=dimension)
    if kind == "sentence-transformers" and model:
        from routellm_core.embedders.sentence_transformers import SentenceTransformerEmbedder

        name, _, revision = (model, "", "") if Path(model).is_dir() else model.partition("@")
        return SentenceTransformerEmbedder(name, revision=revision or None)
    from routellm_core.embedders.bundled import BundledEmbedder  # only what is asked for is imported

    bundled = BundledEmbedder()
    if id.startswith("routellm-static"):
        check_match(bundled, id=id, dimension=dimension, origin=origin)
        return bundled
    raise EmbedderMismatchError(
        f"{origin} was trained with embedder {id!r} ({dimension} dimensions), which cannot be made from its id: give it "
        f"as embedder=...; the embedded default is {bundled.id!r} ({bundled.dimension} dimensions)"
    )


def matching_embedder(given: EmbedderLike | None, *, id: str, dimension: int, origin: str) -> Embedder:  # noqa: A002
    """Return the embedder given for a checkpoint, or make the one it was trained with.

    Args:
        given: What `as_embedder` takes; None makes the embedder.
        id: `Embedder.id` of the embedder it was trained with.
        dimension: The length of its vectors.
        origin: What errors call the checkpoint.

    Raises:
        ConfigurationError: If what is given cannot be used as an embedder.
        EmbedderMismatchError: If it is another one, or none is given and the id is not one that this library can make.
        MissingDependencyError: If its extra is not installed.
    """
    embedder = embedder_for(id, dimension, origin=origin) if given is None else as_embedder(given)
    check_match(embedder, id=id, dimension=dimension, origin=origin)
    return embedder
