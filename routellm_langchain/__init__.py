"""Learned routing between language models for LangChain.

Start with `RoutedChatModel`, which takes the place of any chat model; `RoutingRunnable` makes the decision alone.
"""

from importlib.util import find_spec

from routellm_core._version import __version__
from routellm_core.errors import MissingDependencyError

if find_spec("langchain_core") is None:
    raise MissingDependencyError.for_extra("routellm_langchain", "langchain")

from routellm_langchain.chat_model import RoutedChatModel
from routellm_langchain.embeddings import BundledEmbeddings
from routellm_langchain.messages import last_human_text
from routellm_langchain.runnable import RoutingRunnable

__all__ = ["BundledEmbeddings", "RoutedChatModel", "RoutingRunnable", "__version__", "last_human_text"]
