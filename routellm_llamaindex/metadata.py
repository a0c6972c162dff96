"""What a routed model says of itself to LlamaIndex."""

import warnings
from collections.abc import Collection, Mapping

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.llm import LLM

from routellm_core.constraints import Capabilities, combined_capabilities
from routellm_llamaindex.capabilities import known_capabilities


def routed_metadata(
    candidates: Mapping[str, LLM],
    given: Mapping[str, Capabilities],
    *,
    among: Collection[str],
    context_window: int | None = None,
    num_output: int | None = None,
) -> LLMMetadata:
    """Describe a set of candidates as one model.

    The window and the output length are those of the one candidate with the least room for a prompt: prompts packed for it
    fit all, whereas the least window and the greatest output of different candidates may leave no room at all.

    Args:
        candidates: The models by name, weakest first.
        given: What was said about them in arguments or in the configuration; wins over their own metadata.
        among: Those that take the calls now, of which one must call tools. The window counts all: prompts are packed for
            it long before it is known which chain they go to.
        context_window: In tokens; None takes the rule.
        num_output: In tokens; None takes the rule.
    """
    able = known_capabilities(candidates, given)
    known = [_with_window(llm.metadata, able[name].context_window) for name, llm in candidates.items()]
    tightest = min(known, key=_room)
    roles = {metadata.system_role for metadata in known}
    return LLMMetadata(
        context_window=tightest.context_window if context_window is None else context_window,
        num_output=tightest.num_output if num_output is None else num_output,
        # Every LLM has chat(): it converts by its own template where the model only completes.
        is_chat_model=True,
        is_function_calling_model=combined_capabilities(able[name] for name in among).tools is True,
        model_name=f"routellm({'|'.join(metadata.model_name for metadata in reversed(known))})",
        # Chat engines write the role into messages before anyone knows who reads them; user is the one all accept.
        system_role=roles.pop() if len(roles) == 1 else MessageRole.USER,
    )


def warn_of_default_window(candidates: Mapping[str, LLM], given: Mapping[str, Capabilities]) -> None:
    """Warn if a window that looks like LlamaIndex's default, so probably never set, limits the other candidates."""
    able = known_capabilities(candidates, given)
    windows = {name: able[name].context_window or llm.metadata.context_window for name, llm in candidates.items()}
    if max(windows.values()) <= DEFAULT_CONTEXT_WINDOW:
        return
    unset = [name for name, window in windows.items() if window == DEFAULT_CONTEXT_WINDOW]
    if unset:
        warnings.warn(
            f"the context window of {', '.join(map(repr, unset))} is {DEFAULT_CONTEXT_WINDOW} tokens, LlamaIndex's default, "
            "and prompts are packed to fit it, also those for the other models. Set context_window on that model, "
            "or on RoutedLLM",
            stacklevel=3,
        )


def _with_window(metadata: LLMMetadata, window: int | None) -> LLMMetadata:
    return metadata if window is None else metadata.model_copy(update={"context_window": window})


def _room(metadata: LLMMetadata) -> int:
    output = DEFAULT_NUM_OUTPUTS if metadata.num_output == -1 else metadata.num_output
    return metadata.context_window - output
