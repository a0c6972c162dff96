"""Calls with tools: they go to models that can call tools, in each model's own format."""

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    MessageRole,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.tools.types import BaseTool
from llama_index_instrumentation import get_dispatcher

from routellm_core.decision import RoutingRequest
from routellm_core.errors import RoutingError
from routellm_llamaindex.delegation import Delegation
from routellm_llamaindex.events import take_decision

_dispatcher = get_dispatcher(__name__)


class ToolRouting(Delegation):
    """Routes the four `*_with_tools` and reads tool calls with the parser of the model that made them."""

    @_dispatcher.span
    def chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Chat with tools, with the chosen one of the models that can call tools.

        Raises:
            NoCandidateError: If no model can.
        """
        options = _options(verbose, allow_parallel_tool_calls, tool_required, kwargs)
        return self._call(
            self._request_with(user_msg, chat_history),
            lambda llm: _tool_caller(llm).chat_with_tools(tools, user_msg, _own(chat_history), **options),
        )

    @_dispatcher.span
    async def achat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        """Chat with tools without blocking the event loop; see `chat_with_tools`."""
        options = _options(verbose, allow_parallel_tool_calls, tool_required, kwargs)
        return await self._acall(
            self._request_with(user_msg, chat_history),
            lambda llm: _tool_caller(llm).achat_with_tools(tools, user_msg, _own(chat_history), **options),
        )

    @_dispatcher.span
    def stream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseGen:
        """Chat with tools, chunk by chunk; see `chat_with_tools`."""
        options = _options(verbose, allow_parallel_tool_calls, tool_required, kwargs)
        return self._stream(
            self._request_with(user_msg, chat_history),
            lambda llm: _tool_caller(llm).stream_chat_with_tools(tools, user_msg, _own(chat_history), **options),
        )

    @_dispatcher.span
    async def astream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseAsyncGen:
        """Chat with tools, chunk by chunk, without blocking the event loop; see `chat_with_tools`."""
        options = _options(verbose, allow_parallel_tool_calls, tool_required, kwargs)
        return await self._astream(
            self._request_with(user_msg, chat_history),
            lambda llm: _tool_caller(llm).astream_chat_with_tools(tools, user_msg, _own(chat_history), **options),
        )

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002  (integrations do not all take them)
    ) -> list[ToolSelection]:
        """Read the tool calls of a response as the model that produced it reads them.

        Args:
            response: What a call of this object returned. One that does not say who produced it is read by the
                first of the candidates, strongest first, that finds tool calls in it.
            error_on_no_tool_call: Whether a response without tool calls is a ValueError.
            **kwargs: Not passed on.

        Raises:
            ValueError: If there are none and `error_on_no_tool_call` is set.
        """
        choice, response = take_decision(response)
        author = None if choice is None else self.candidates.get(choice)
        possible = reversed(self.candidates.values()) if author is None else [author]
        readers = [llm for llm in possible if isinstance(llm, FunctionCallingLLM)]
        if len(readers) == 1:
            return readers[0].get_tool_calls_from_response(response, error_on_no_tool_call=error_on_no_tool_call)
        failures: list[Exception] = []
        for llm in readers:
            try:
                calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
            except (AttributeError, KeyError, TypeError, ValueError) as error:  # another provider's format
                failures.append(error)
                continue
            if calls:
                return calls
        if failures:
            raise RoutingError("no candidate can read the tool calls of this response") from failures[0]
        if error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return []

    def _prepare_chat_with_tools(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            "tools are formatted by the model that is chosen; call chat_with_tools or one of its kind"
        )

    def _request_with(
        self, user_msg: str | ChatMessage | None, chat_history: Sequence[ChatMessage] | None
    ) -> RoutingRequest:
        messages = list(chat_history or ())
        if isinstance(user_msg, str):
            messages.append(ChatMessage(role=MessageRole.USER, content=user_msg))
        elif user_msg is not None:
            messages.append(user_msg)
        self._tool_loops.add(messages)
        return self._request(messages, conversation=True, tools=True)


def _tool_caller(llm: LLM) -> FunctionCallingLLM:
    return cast("FunctionCallingLLM", llm)


def _own(chat_history: list[ChatMessage] | None) -> list[ChatMessage] | None:
    """Copy the list, as integrations append the user message to the one they are given."""
    return None if chat_history is None else list(chat_history)


def _options(
    verbose: bool, allow_parallel_tool_calls: bool, tool_required: bool, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Leave `tool_required` out unless it is set: integrations that do not know it would send it to the provider."""
    options = {"verbose": verbose, "allow_parallel_tool_calls": allow_parallel_tool_calls, **kwargs}
    return {**options, "tool_required": True} if tool_required else options
