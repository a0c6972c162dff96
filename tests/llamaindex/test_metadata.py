"""What the routed model says of itself: prompts packed by it must fit every candidate."""

import warnings
from typing import Any

import pytest
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.llms.mock import MockLLM

from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import PlainLLM, ToolLLM
from support.routers import KeywordRouter


def routed(strong: Any, weak: Any, **options: Any) -> RoutedLLM:
    return RoutedLLM(strong=strong, weak=weak, router=KeywordRouter(), threshold=0.5, **options)


def test_window_and_output_come_from_the_model_with_the_least_room() -> None:
    llm = routed(ToolLLM("big", window=128_000, output=8192), ToolLLM("small", window=8000, output=512))
    assert (llm.metadata.context_window, llm.metadata.num_output) == (8000, 512)
    # The least window with the greatest output would leave less than nothing.
    PromptHelper.from_llm_metadata(llm.metadata)
    # The smaller window is not always the one with less room.
    llm = routed(ToolLLM("big", window=9000, output=8192), ToolLLM("small", window=8000, output=512))
    assert (llm.metadata.context_window, llm.metadata.num_output) == (9000, 8192)


def test_unset_output_counts_as_the_default() -> None:
    llm = routed(ToolLLM("big", window=8000, output=-1), ToolLLM("small", window=8000, output=200))
    assert (llm.metadata.context_window, llm.metadata.num_output) == (8000, -1)


def test_window_and_output_can_be_given() -> None:
    llm = routed(ToolLLM("big"), ToolLLM("small"), context_window=1000, num_output=50)
    assert (llm.metadata.context_window, llm.metadata.num_output) == (1000, 50)


def test_metadata_follows_the_models() -> None:
    weak = ToolLLM("small")
    llm = routed(ToolLLM("big"), weak)
    weak.window = 5000
    assert llm.metadata.context_window == 5000


@pytest.mark.parametrize(
    ("strong", "weak", "calls_tools"),
    [
        (ToolLLM("a"), ToolLLM("b"), True),
        (ToolLLM("a"), PlainLLM("b"), True),
        (PlainLLM("a"), ToolLLM("b"), True),
        (PlainLLM("a"), PlainLLM("b"), False),
    ],
)
def test_function_calling_when_at_least_one_can(strong: Any, weak: Any, calls_tools: bool) -> None:
    metadata = routed(strong, weak).metadata
    assert metadata.is_function_calling_model is calls_tools
    assert metadata.is_chat_model
    assert metadata.model_name == "routellm(a|b)"


def test_system_role_all_accept() -> None:
    odd = ToolLLM("big", system_role=MessageRole.USER)
    assert routed(ToolLLM("a"), ToolLLM("b")).metadata.system_role == MessageRole.SYSTEM
    assert routed(odd, odd).metadata.system_role == MessageRole.USER
    assert routed(odd, ToolLLM("b")).metadata.system_role == MessageRole.USER
    assert routed(ToolLLM("a", system_role=MessageRole.CHATBOT), ToolLLM("b")).metadata.system_role == MessageRole.USER


def test_default_window_that_limits_the_other_model_warns() -> None:
    strong = ToolLLM("big", window=128_000)
    with pytest.warns(UserWarning, match="context window of 'weak' is 3900") as caught:
        llm = routed(strong, MockLLM())
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.with_threshold(0.7)
        routed(strong, MockLLM(), context_window=3900)
        routed(MockLLM(), MockLLM())
