"""A LangChain chat model for tests: answers from its name, with usage, tools, streaming, delays and failures."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from support.schema_answers import answer_for


class FakeChat(BaseChatModel):
    """Says "I am <model>", in three chunks, for 10 + 5 tokens.

    Fields:
        model: Its name, in the answer, in `model_name` and in traces.
        temperature: So that there is a field for a sampling argument; None sends none.
        streaming: As models of providers have it.
        delay_s: How long an answer takes: a number, or the bounds of a random one.
        fail: Raise this instead of answering; `fail_after_chunks` of a stream come first.
        failures: How many calls fail; None means all.
        calls: What reached the model: messages and call arguments, in order. Shared by copies.
    """

    model: str = "fake"
    temperature: float | None = None
    streaming: bool = False
    text: str | None = None
    delay_s: float | tuple[float, float] = 0.0
    fail: Exception | None = None
    fail_after_chunks: int = 0
    failures: list[int] = Field(default_factory=list)
    calls: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "fake-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model}

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        converted = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=converted, tool_choice=tool_choice, **kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        return list(range(len(text.split())))

    def _seen(self, messages: list[BaseMessage], stop: list[str] | None, how: str, kwargs: dict[str, Any]) -> None:
        if self.temperature is not None:
            kwargs = {"temperature": self.temperature, **kwargs}
        self.calls.append({"messages": messages, "stop": stop, "how": how, **kwargs})

    def _fails(self) -> bool:
        if self.fail is None:
            return False
        if not self.failures:
            return True
        self.failures[0] -= 1
        return self.failures[0] >= 0

    def _message(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        prompt = next((m.text for m in reversed(messages) if isinstance(m, HumanMessage)), "")
        message = AIMessage(
            self.text if self.text is not None else f"I am {self.model}",
            usage_metadata={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
            response_metadata={"model_name": kwargs.get("model", self.model)},
        )
        tools = [tool["function"] for tool in kwargs.get("tools") or []]
        choice = kwargs.get("tool_choice")
        if tools and (choice is not None or not isinstance(messages[-1], ToolMessage)):
            tool = next((tool for tool in tools if tool["name"] == choice), tools[0])
            arguments = answer_for(tool["parameters"], prompt)
            message.tool_calls = [{"name": tool["name"], "args": arguments, "id": "call_1", "type": "tool_call"}]
            message.content = ""
        return message

    def _chunks(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> Iterator[ChatGenerationChunk]:
        message = self._message(messages, kwargs)
        parts: list[AIMessageChunk] = []
        for i, call in enumerate(message.tool_calls):
            chunk = {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": i}
            parts.append(AIMessageChunk("", tool_call_chunks=[{**chunk, "type": "tool_call_chunk"}]))
        words = message.text.split(" ") if message.text else []
        parts += [AIMessageChunk(word if i == 0 else f" {word}") for i, word in enumerate(words)]
        parts[0].response_metadata = message.response_metadata
        parts[-1].usage_metadata = message.usage_metadata
        parts[-1].chunk_position = "last"
        for part in parts:
            yield ChatGenerationChunk(message=part)

    def _pause(self) -> float:
        return random.uniform(*self.delay_s) if isinstance(self.delay_s, tuple) else self.delay_s

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._seen(messages, stop, "generate", kwargs)
        time.sleep(self._pause())
        if self._fails():
            raise self.fail
        return ChatResult(generations=[ChatGeneration(message=self._message(messages, kwargs))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._seen(messages, stop, "agenerate", kwargs)
        await asyncio.sleep(self._pause())
        if self._fails():
            raise self.fail
        return ChatResult(generations=[ChatGeneration(message=self._message(messages, kwargs))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self._seen(messages, stop, "stream", kwargs)
        failing = self._fails()
        for i, chunk in enumerate(self._chunks(messages, kwargs)):
            if failing and i >= self.fail_after_chunks:
                raise self.fail
            time.sleep(self._pause())
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        self._seen(messages, stop, "astream", kwargs)
        failing = self._fails()
        for i, chunk in enumerate(self._chunks(messages, kwargs)):
            if failing and i >= self.fail_after_chunks:
                raise self.fail
            await asyncio.sleep(self._pause())
            yield chunk
