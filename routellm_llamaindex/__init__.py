"""Learned routing for LlamaIndex: `RoutedLLM` is an LLM that sends each call to the strong or the weak model.

It stands wherever LlamaIndex takes an LLM: `Settings.llm`, `as_query_engine(llm=...)`, chat engines and agents.
"""

try:
    from routellm_llamaindex.embedding import BundledEmbedding
    from routellm_llamaindex.events import RoutingDecisionEvent
    from routellm_llamaindex.llm import RoutedLLM
    from routellm_llamaindex.selector import RouterSelector
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "llama_index":
        raise
    from routellm_core.errors import MissingDependencyError

    raise MissingDependencyError.for_extra("routellm_llamaindex", "llamaindex") from error

__all__ = ["BundledEmbedding", "RoutedLLM", "RouterSelector", "RoutingDecisionEvent"]
