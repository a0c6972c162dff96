"""The way of every call: decide, make the decision known, call the chosen model, mark what it returns, enter it in the ledger."""

import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.llm import LLM

from routellm_core.constraints import rule_out
from routellm_core.decision import RoutingDecision, RoutingRequest
from routellm_core.scope import delegated_call
from routellm_llamaindex.base import RoutedBase
from routellm_llamaindex.capabilities import count_tokens, has_images, has_tool_turns, known_capabilities
from routellm_llamaindex.events import decision_tags, dispatch_decision, with_decision
from routellm_llamaindex.text import first_question, restored, text_to_score
from routellm_llamaindex.usage import UsageMeter

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Delegation(RoutedBase):
    """Hands a call to the model that the engine chooses for it, and to the next one if that fails and `fallback` is set.

    Each of the four ways takes the request and what to do with the chosen model. Nothing of a call is kept on the object.
    Streams are routed when the method is called, not when the first chunk is asked for; with `fallback` the first chunk
    is fetched then, too, as no other model can take over after it.
    """

    def _request(
        self,
        messages: Sequence[ChatMessage] | Callable[[], Sequence[ChatMessage]],
        variables: Mapping[str, Any] | None = None,
        *,
        conversation: bool = False,
        tools: bool = False,
        structured_output: bool = False,
        dry_run: bool = False,
    ) -> RoutingRequest:
        """Describe a call to the engine.

        Args:
            messages: Of the call; a function if they cost something to make. Then they are only made if the text to score
                cannot be known without them, and neither images nor tokens are looked for.
            variables: The template variables; None if there are none.
            conversation: Whether the messages are a conversation, which a sticky engine keeps on its model.
            tools: Whether it offers tools; messages that hold tool calls or their results count as much, and so does
                the request for the final answer of a loop with tools, if a model that calls tools can take them.
            structured_output: Whether the answer must follow a schema.
            dry_run: Whether nobody will call the model.
        """
        if callable(messages):
            text, known = text_to_score(messages, variables, self.routing_text), []
        else:
            known = list(messages)
            text = text_to_score(lambda: known, variables, self.routing_text)
        capabilities = known_capabilities(self.candidates, self.engine.capabilities)
        among = self.engine.candidates_of()
        windows = [window for name in among if (window := capabilities[name].context_window) is not None]
        sticky = self.engine.sticky
        request = RoutingRequest(
            text=text,
            conversation=first_question(known) if sticky and conversation else None,
            tools=tools,
            images=has_images(known),
            structured_output=structured_output,
            tokens=count_tokens(known, window=None if sticky else min(windows)) if sticky or windows else None,
            dry_run=dry_run,
            capabilities=capabilities,
        )
        if not tools and self._continues_with_tools(known):
            # The end of an agent's loop offers no tools, and still a model without them cannot read what went before. If no
            # other can take the call, though, it may try.
            with_tools = replace(request, tools=True)
            if not rule_out(with_tools, capabilities).keys() >= set(among):
                return with_tools
        return request

    def _continues_with_tools(self, messages: Sequence[ChatMessage]) -> bool:
        turns = restored(messages)
        return has_tool_turns(turns) or self._tool_loops.end_with(turns)

    def _call(self, request: RoutingRequest, call: Callable[[LLM], T]) -> T:
        decision = self.engine.decide(request)
        while True:
            meter = UsageMeter()
            try:
                with self._attempt(decision, meter) as llm:
                    response = call(llm)
                break
            except Exception as error:
                following = self._after_failure(decision, error)
                if following is None:
                    raise
                decision = following
        return self._answered(decision, meter, response)

    async def _acall(self, request: RoutingRequest, call: Callable[[LLM], Awaitable[T]]) -> T:
        decision = await self.engine.adecide(request)
        while True:
            meter = UsageMeter()
            try:
                with self._attempt(decision, meter) as llm:
                    response = await call(llm)
                break
            except Exception as error:
                following = self._after_failure(decision, error)
                if following is None:
                    raise
                decision = following
        return self._answered(decision, meter, response)

    def _stream(self, request: RoutingRequest, call: Callable[[LLM], Iterable[T]]) -> Generator[T, None, None]:
        decision = self.engine.decide(request)
        while True:
            meter = UsageMeter()
            try:
                with self._attempt(decision, meter) as llm:
                    stream = iter(call(llm))
                    begun = list(islice(stream, 1)) if self.fallback else []
                break
            except Exception as error:
                following = self._after_failure(decision, error)
                if following is None:
                    raise
                decision = following
        marked = self._marked(begun, stream, decision, meter)
        next(marked)
        return marked

    async def _astream(
        self, request: RoutingRequest, call: Callable[[LLM], Awaitable[AsyncIterable[T]]]
    ) -> AsyncGenerator[T, None]:
        decision = await self.engine.adecide(request)
        while True:
            meter = UsageMeter()
            try:
                with self._attempt(decision, meter) as llm:
                    stream = aiter(await call(llm))
                    begun = await _one(stream) if self.fallback else []
                break
            except Exception as error:
                following = self._after_failure(decision, error)
                if following is None:
                    raise
                decision = following
        marked = self._amarked(begun, stream, decision, meter)
        await anext(marked)
        return marked

    @contextmanager
    def _attempt(self, decision: RoutingDecision, meter: UsageMeter) -> Iterator[LLM]:
        llm = self.candidates[decision.choice]
        if self.emit_events:
            dispatch_decision(decision, lambda: llm.metadata.model_name)
        try:
            with _observed(decision, meter):
                yield llm
        except Exception:
            raise
        except BaseException:  # cancelled: the model was called, and did not fail
            self.engine.record(decision, meter.usage)
            raise

    def _after_failure(self, decision: RoutingDecision, error: Exception) -> RoutingDecision | None:
        """Enter the failure in the ledger, and return the decision that follows it; None if there is none."""
        self.engine.record(decision, error=error)
        following = self.engine.fall_back(decision, error) if self.fallback else None
        if following is not None:
            logger.warning("%s; the call goes to %r (fallback)", following.explanation, following.choice)
        return following

    def _answered(self, decision: RoutingDecision, meter: UsageMeter, response: T) -> T:
        if response is not meter.last_read:  # the event of most models brought it already
            meter.read(response)
        self.engine.record(decision, meter.usage)
        return with_decision(response, decision.to_dict())

    def _marked(
        self, begun: list[T], stream: Iterator[T], decision: RoutingDecision, meter: UsageMeter
    ) -> Generator[Any, None, None]:
        """Pass a stream on, after a first item that only starts the generator: one never started could not clean up."""
        record, failure = decision.to_dict(), None
        try:
            yield
            while True:
                with _observed(decision, meter):
                    chunks = begun or list(islice(stream, 1))
                if not chunks:
                    return
                chunk = chunks.pop()
                meter.read(chunk)
                yield with_decision(chunk, record)
        except Exception as error:
            failure = error
            raise
        finally:
            self.engine.record(decision, meter.usage, error=failure)
            if isinstance(stream, Generator):
                with _observed(decision, meter):
                    stream.close()

    async def _amarked(
        self, begun: list[T], stream: AsyncIterator[T], decision: RoutingDecision, meter: UsageMeter
    ) -> AsyncGenerator[Any, None]:
        """Pass an asynchronous stream on; see `_marked`."""
        record, failure = decision.to_dict(), None
        try:
            yield
            while True:
                with _observed(decision, meter):
                    chunks = begun or await _one(stream)
                if not chunks:
                    return
                chunk = chunks.pop()
                meter.read(chunk)
                yield with_decision(chunk, record)
        except Exception as error:
            failure = error
            raise
        finally:
            self.engine.record(decision, meter.usage, error=failure)
            if isinstance(stream, AsyncGenerator):
                with _observed(decision, meter):
                    await stream.aclose()


@contextmanager
def _observed(decision: RoutingDecision, meter: UsageMeter) -> Iterator[None]:
    """Tag what the chosen model does inside the block, read its tokens, and end there what was asked of this one."""
    with decision_tags(decision), meter, delegated_call():
        yield


async def _one(stream: AsyncIterator[T]) -> list[T]:
    """Return the next item of a stream in a list, which is empty if there is none."""
    try:
        return [await anext(stream)]
    except StopAsyncIteration:
        return []
