"""What the candidates can take, and what a call needs of them; the core's constraints do the rest."""

from collections.abc import Mapping, Sequence

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, ToolCallBlock
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.utils import get_tokenizer

from routellm_core.constraints import Capabilities
from routellm_core.errors import ConfigurationError

_BYTES_PER_TOKEN = 2
"""Ordinary text has more in every language, so a text with fewer bytes than this for each token of a window fits it."""


def capabilities_of(llm: LLM) -> Capabilities:
    """Return what a model's metadata say it can take.

    Tools take the methods of the class and the flag of the metadata. A window of LlamaIndex's default size was most likely
    never set, so it is not known. Of images and structured output metadata say nothing.
    """
    metadata = llm.metadata
    window = metadata.context_window
    return Capabilities(
        tools=isinstance(llm, FunctionCallingLLM) and metadata.is_function_calling_model,
        context_window=None if window == DEFAULT_CONTEXT_WINDOW else window,
    )


def known_capabilities(candidates: Mapping[str, LLM], given: Mapping[str, Capabilities]) -> dict[str, Capabilities]:
    """Return what each candidate can take: what was given, else what its metadata say.

    Args:
        candidates: The models by name.
        given: What was said about them, in arguments or in the configuration.
    """
    told = {name: capabilities_of(llm) for name, llm in candidates.items()}
    return {name: given[name].completed_by(able) if name in given else able for name, able in told.items()}


def check_tools(candidates: Mapping[str, LLM], given: Mapping[str, Capabilities]) -> None:
    """Refuse tools for a model whose class has no methods that take them.

    Raises:
        ConfigurationError: If `given` promises them.
    """
    for name, able in given.items():
        llm = candidates.get(name)
        if able.tools and llm is not None and not isinstance(llm, FunctionCallingLLM):
            raise ConfigurationError(
                f"capabilities say that {name!r} calls tools, but {type(llm).__name__} is no FunctionCallingLLM of "
                "LlamaIndex: leave tools out, or give another model"
            )


def has_images(messages: Sequence[ChatMessage]) -> bool:
    """Return whether any message shows an image."""
    return any(isinstance(block, ImageBlock) for message in messages for block in message.blocks)


def has_tool_turns(messages: Sequence[ChatMessage]) -> bool:
    """Return whether any message calls a tool or says what one returned."""
    return any(
        message.role == MessageRole.TOOL
        or bool(message.additional_kwargs.get("tool_calls"))
        or any(isinstance(block, ToolCallBlock) for block in message.blocks)
        for message in messages
    )


def count_tokens(messages: Sequence[ChatMessage], *, window: int | None = None) -> int | None:
    """Return about how many tokens messages have, by the tokenizer with which LlamaIndex packs prompts.

    Args:
        messages: Of the whole call.
        window: If the messages fit it for certain, they are not counted; None counts in any case.

    Returns:
        None if they were not counted.
    """
    text = "\n".join(message.content or "" for message in messages)
    if window is not None and len(text.encode("utf-8", "surrogatepass")) <= _BYTES_PER_TOKEN * window:
        return None
    return len(get_tokenizer()(text.encode("utf-8", "replace").decode("utf-8")))
