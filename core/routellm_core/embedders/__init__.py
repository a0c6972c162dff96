"""Embedders: texts in, unit vectors out. Always injected, never global."""

from routellm_core.embedders.base import Embedder
from routellm_core.embedders.foreign import as_embedder

__all__ = ["Embedder", "as_embedder"]
