"""Embedders: texts in, unit vectors out. Always injected, never global."""

from routellm_core.embedders.base import Embedder

__all__ = ["Embedder"]
