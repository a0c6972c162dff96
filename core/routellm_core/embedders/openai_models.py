"""What is known of OpenAI's embedding models without their client."""

DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
"""The length of a model's vectors where none is asked for."""


def openai_id(model: str, dimension: int) -> str:
    """Return the `Embedder.id` of a model's vectors; the dimension is part of it if it is not the model's own."""
    return f"openai:{model}" if DIMENSIONS.get(model, dimension) == dimension else f"openai:{model}@{dimension}"
