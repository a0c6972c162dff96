"""Learned routing between language models for LangChain.

Start with `RoutedChatModel`, which takes the place of any chat model; `RoutingRunnable` makes the decision alone.
`RoutingMiddleware` routes inside `create_agent`, `RoutingDecisionModel` inside LangChain's own `ModelRouterMiddleware`; they
are imported when first named, as they need more than `langchain-core`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from routellm_core._version import __version__
from routellm_core.errors import MissingDependencyError

if find_spec("langchain_core") is None:
    raise MissingDependencyError.for_extra("routellm_langchain", "langchain")

from routellm_langchain.chat_model import RoutedChatModel
from routellm_langchain.embeddings import BundledEmbeddings
from routellm_langchain.messages import last_human_text
from routellm_langchain.runnable import RoutingRunnable

if TYPE_CHECKING:
    from routellm_langchain.decision_model import RoutingDecisionModel as RoutingDecisionModel
    from routellm_langchain.middleware import RoutingMiddleware as RoutingMiddleware

__all__ = ["BundledEmbeddings", "RoutedChatModel", "RoutingRunnable", "__version__", "last_human_text"]

_ON_DEMAND = {"RoutingDecisionModel": "decision_model", "RoutingMiddleware": "middleware"}


def __getattr__(name: str) -> Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "RoutingMiddleware" and find_spec("langchain") is None:
        raise MissingDependencyError.for_extra(name, "langchain-agents")
    return getattr(import_module(f"{__name__}.{_ON_DEMAND[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_DEMAND})
