"""The way of every call: decide, make the decision known, call the chosen model, mark what it returns."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.llm import LLM

from routellm_core.decision import RoutingDecision, RoutingRequest
from routellm_llamaindex.base import RoutedBase
from routellm_llamaindex.capabilities import require_tool_calls
from routellm_llamaindex.events import decision_tags, dispatch_decision, with_decision
from routellm_llamaindex.text import text_to_score

T = TypeVar("T")


class Delegation(RoutedBase):
    """Hands a call to the model that the engine chooses for its text.

    Each of the four ways takes the request, what to do with the chosen model, and whether the call needs tools. Nothing of
    a call is kept on the object. Streams are routed when the method is called, not when the first chunk is asked for.
    """

    def _request(
        self, messages: Callable[[], Sequence[ChatMessage]], variables: Mapping[str, Any] | None = None
    ) -> RoutingRequest:
        """Describe a call to the engine; see `text_to_score` for the arguments."""
        return RoutingRequest(text=text_to_score(messages, variables, self.routing_text))

    def _call(self, request: RoutingRequest, call: Callable[[LLM], T], *, tools: bool = False) -> T:
        decision = self._checked(self.engine.decide(request), tools=tools)
        with self._chosen(decision) as llm:
            response = call(llm)
        return with_decision(response, decision.to_dict())

    async def _acall(self, request: RoutingRequest, call: Callable[[LLM], Awaitable[T]], *, tools: bool = False) -> T:
        decision = self._checked(await self.engine.adecide(request), tools=tools)
        with self._chosen(decision) as llm:
            response = await call(llm)
        return with_decision(response, decision.to_dict())

    def _stream(
        self, request: RoutingRequest, call: Callable[[LLM], Iterator[T]], *, tools: bool = False
    ) -> Generator[T, None, None]:
        decision = self._checked(self.engine.decide(request), tools=tools)
        with self._chosen(decision) as llm:
            stream = call(llm)
        return _marked(stream, decision.to_dict())

    async def _astream(
        self, request: RoutingRequest, call: Callable[[LLM], Awaitable[AsyncIterator[T]]], *, tools: bool = False
    ) -> AsyncGenerator[T, None]:
        decision = self._checked(await self.engine.adecide(request), tools=tools)
        with self._chosen(decision) as llm:
            stream = await call(llm)
        return _amarked(stream, decision.to_dict())

    def _checked(self, decision: RoutingDecision, *, tools: bool) -> RoutingDecision:
        return require_tool_calls(decision, self.candidates) if tools else decision

    @contextmanager
    def _chosen(self, decision: RoutingDecision) -> Iterator[LLM]:
        llm = self.candidates[decision.choice]
        if self.emit_events:
            dispatch_decision(decision, llm.metadata.model_name)
        with decision_tags(decision):
            yield llm


def _marked(stream: Iterator[T], record: dict[str, Any]) -> Generator[T, None, None]:
    try:
        for chunk in stream:
            yield with_decision(chunk, record)
    finally:
        if isinstance(stream, Generator):
            stream.close()


async def _amarked(stream: AsyncIterator[T], record: dict[str, Any]) -> AsyncGenerator[T, None]:
    try:
        async for chunk in stream:
            yield with_decision(chunk, record)
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
