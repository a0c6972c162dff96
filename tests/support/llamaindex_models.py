"""LlamaIndex models that say which one they are, keep what they were given and need no network."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection

REACT_STEPS = (
    'Thought: I need the tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}',
    "Thought: I can answer without using any more tools.\nAnswer: 42",
)


class ToolLLM(FunctionCallingLLM):
    """A model that calls the first tool once and then answers with its own name."""

    label: str
    window: int = 8000
    output: int = 256
    system_role: MessageRole = MessageRole.SYSTEM
    arguments: dict[str, Any] = Field(default={"a": 6, "b": 7})
    react: bool = False
    delay_s: float = 0.0
    usage: dict[str, Any] | None = None
    error: Exception | None = None
    fails_after: int = 0
    key: str = "sk-very-secret"

    _seen: list[list[ChatMessage]] = PrivateAttr(default_factory=list)
    _given: list[dict[str, Any]] = PrivateAttr(default_factory=list)
    _closed: list[str] = PrivateAttr(default_factory=list)

    def __init__(self, label: str, **kwargs: Any) -> None:
        super().__init__(label=label, **kwargs)

    @classmethod
    def class_name(cls) -> str:
        return "ToolLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            context_window=self.window,
            num_output=self.output,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.label,
            system_role=self.system_role,
        )

    @property
    def seen(self) -> list[list[ChatMessage]]:
        """The messages of every call, in order."""
        return self._seen

    @property
    def given(self) -> list[dict[str, Any]]:
        """The further arguments of every call, in order."""
        return self._given

    @property
    def closed(self) -> list[str]:
        """The streams that were ended, by whomever."""
        return self._closed

    def _answer(self, messages: Sequence[ChatMessage], tools: Sequence[Any] = (), **kwargs: Any) -> ChatMessage:
        self._seen.append(list(messages))
        self._given.append(kwargs)
        self._fail_at(0)
        if tools and not any(message.role == MessageRole.TOOL for message in messages):
            return self.tool_call(tools[0].metadata.name)
        if self.react:
            observed = any((message.content or "").startswith("Observation:") for message in messages)
            return ChatMessage(role=MessageRole.ASSISTANT, content=REACT_STEPS[observed])
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"{self.label} says hi")

    def _fail_at(self, chunks: int) -> None:
        if self.error is not None and chunks == self.fails_after:
            raise self.error

    def _raw(self) -> dict[str, Any] | None:
        return None if self.usage is None else {"usage": self.usage}

    def tool_call(self, name: str) -> ChatMessage:
        selection = ToolSelection(tool_id="call-1", tool_name=name, tool_kwargs=self.arguments)
        return ChatMessage(role=MessageRole.ASSISTANT, additional_kwargs={"tool_calls": [selection]})

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=self._answer(messages, **kwargs), raw=self._raw())

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        await asyncio.sleep(random.uniform(0, self.delay_s))
        return ChatResponse(message=self._answer(messages, **kwargs), raw=self._raw())

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        message = self._answer(messages, **kwargs)

        def gen() -> Any:
            try:
                for number, word in enumerate((message.content or "").split() or [""], 1):
                    yield ChatResponse(message=message, delta=f"{word} ")
                    self._fail_at(number)
                if self.usage is not None:  # as OpenAI's last chunk, which has nothing else
                    yield ChatResponse(message=message, delta="", raw=self._raw())
            finally:
                self._closed.append("stream_chat")

        return gen()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        message = self._answer(messages, **kwargs)

        async def gen() -> Any:
            try:
                for number, word in enumerate((message.content or "").split() or [""], 1):
                    yield ChatResponse(message=message, delta=f"{word} ")
                    self._fail_at(number)
                if self.usage is not None:  # as OpenAI's last chunk, which has nothing else
                    yield ChatResponse(message=message, delta="", raw=self._raw())
            finally:
                self._closed.append("astream_chat")

        return gen()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self._complete(prompt), raw=self._raw())

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self._complete(prompt), raw=self._raw())

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        text = self._complete(prompt)

        def gen() -> Any:
            for word in text.split():
                yield CompletionResponse(text=text, delta=f"{word} ", raw=self._raw())

        return gen()

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        text = self._complete(prompt)

        async def gen() -> Any:
            for word in text.split():
                yield CompletionResponse(text=text, delta=f"{word} ", raw=self._raw())

        return gen()

    def _complete(self, prompt: str) -> str:
        self._seen.append([ChatMessage(role=MessageRole.USER, content=prompt)])
        self._fail_at(0)
        return f"{self.label} says hi"

    def _prepare_chat_with_tools(
        self, tools: Any, user_msg: Any = None, chat_history: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        # As the integrations of OpenAI, LiteLLM and Anthropic do: append to the list of the caller.
        messages = chat_history or []
        if user_msg is not None:
            messages.append(
                ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg
            )
        return {"messages": messages, "tools": tools}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True
    ) -> list[ToolSelection]:
        calls: list[ToolSelection] = response.message.additional_kwargs.get("tool_calls", [])
        if not calls and error_on_no_tool_call:
            raise ValueError("Expected at least one tool call, but got 0 tool calls.")
        return [
            ToolSelection(tool_id=call.tool_id, tool_name=call.tool_name, tool_kwargs=call.tool_kwargs)
            for call in calls
        ]


class BlockToolLLM(ToolLLM):
    """A model of another provider: its tool calls are blocks, and its parser knows nothing else."""

    def tool_call(self, name: str) -> ChatMessage:
        block = ToolCallBlock(tool_call_id="block-1", tool_name=name, tool_kwargs=self.arguments)
        return ChatMessage(role=MessageRole.ASSISTANT, blocks=[block])

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True
    ) -> list[ToolSelection]:
        if "tool_calls" in response.message.additional_kwargs:
            raise AttributeError("'ToolSelection' object has no attribute 'type'")
        return [
            ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=dict(self.arguments))
            for block in response.message.blocks
            if isinstance(block, ToolCallBlock)
        ]


class PlainLLM(CustomLLM):
    """A completion model: no chat endpoint, no tools, and a template of its own."""

    label: str
    window: int = 8000
    output: int = 256
    reply: str | None = None
    usage: dict[str, Any] | None = None

    _seen: list[str] = PrivateAttr(default_factory=list)

    def __init__(self, label: str, **kwargs: Any) -> None:
        super().__init__(label=label, **kwargs)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=self.window, num_output=self.output, model_name=self.label)

    @property
    def seen(self) -> list[str]:
        """The prompts of every call, in order."""
        return self._seen

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._seen.append(prompt if formatted else self.completion_to_prompt(prompt))
        return CompletionResponse(text=self.reply or f"{self.label} says hi", raw={"usage": self.usage})

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        text = self.complete(prompt, formatted=formatted).text

        def gen() -> Any:
            yield CompletionResponse(text=text, delta=text)

        return gen()
