"""Calls that come with a template: prediction and structured prediction.

They go to the chosen model's own method as a whole, so that its `system_prompt`, its templates and its native structured
output hold. What query engines call is here, and here alone the question is known apart from the retrieved text.
"""

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms.llm import LLM
from llama_index.core.program.utils import FlexibleModel
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.types import Model, TokenAsyncGen, TokenGen

from routellm_core.decision import RoutingRequest
from routellm_llamaindex.delegation import Delegation


class PromptRouting(Delegation):
    """Routes `predict`, `stream` and the four structured predictions."""

    def predict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Answer a template with the model chosen for its question."""
        return self._call(self._question(prompt, prompt_args), lambda llm: llm.predict(prompt, **prompt_args))

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: Any) -> str:
        """Answer a template without blocking the event loop; see `predict`."""
        return await self._acall(self._question(prompt, prompt_args), lambda llm: llm.apredict(prompt, **prompt_args))

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenGen:
        """Answer a template token by token; see `predict`."""
        return self._stream(self._question(prompt, prompt_args), lambda llm: llm.stream(prompt, **prompt_args))

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> TokenAsyncGen:
        """Answer a template token by token without blocking the event loop; see `predict`."""
        return await self._astream(self._question(prompt, prompt_args), lambda llm: llm.astream(prompt, **prompt_args))

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Answer a template with an instance of `output_cls`, in the chosen model's own way."""

        def call(llm: LLM) -> Model:
            result: Model = llm.structured_predict(output_cls, _own(prompt), _own_kwargs(llm_kwargs), **prompt_args)
            return result

        return self._call(self._question(prompt, prompt_args, structured_output=True), call)

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Answer with an instance of `output_cls` without blocking the event loop; see `structured_predict`."""

        async def call(llm: LLM) -> Model:
            result: Model = await llm.astructured_predict(
                output_cls, _own(prompt), _own_kwargs(llm_kwargs), **prompt_args
            )
            return result

        return await self._acall(self._question(prompt, prompt_args, structured_output=True), call)

    def stream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | FlexibleModel, None, None]:
        """Answer with ever more complete instances of `output_cls`; see `structured_predict`."""

        def call(llm: LLM) -> Generator[Model | FlexibleModel, None, None]:
            return llm.stream_structured_predict(output_cls, _own(prompt), _own_kwargs(llm_kwargs), **prompt_args)

        return self._stream(self._question(prompt, prompt_args, structured_output=True), call)

    async def astream_structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        """Answer with ever more complete instances, without blocking the event loop; see `structured_predict`."""

        async def call(llm: LLM) -> AsyncGenerator[Model | FlexibleModel, None]:
            return await llm.astream_structured_predict(
                output_cls, _own(prompt), _own_kwargs(llm_kwargs), **prompt_args
            )

        return await self._astream(self._question(prompt, prompt_args, structured_output=True), call)

    def _question(
        self, prompt: BasePromptTemplate, prompt_args: dict[str, Any], *, structured_output: bool = False
    ) -> RoutingRequest:
        def messages() -> list[ChatMessage]:
            return prompt.format_messages(llm=self, **prompt_args)

        variables = {**prompt.kwargs, **prompt_args}
        # A function of the user's may fetch something, so it is not called once more than the model calls it.
        if prompt.function_mappings:
            return self._request(messages, variables, structured_output=structured_output)
        known = messages()
        # as_structured_llm(...) and the agents hand their messages on as a template that leaves nothing open.
        conversation = _is_chat_turn(known, variables) or (structured_output and not variables)
        return self._request(known, variables, conversation=conversation, structured_output=structured_output)


def _is_chat_turn(messages: Sequence[ChatMessage], variables: Mapping[str, Any]) -> bool:
    """Return whether a template puts the bare question after other messages, as chat engines with a retriever do."""
    if len(messages) < 2:
        return False
    return messages[-1].role == MessageRole.USER and messages[-1].content == variables.get("query_str")


def _own(prompt: PromptTemplate) -> PromptTemplate:
    """Copy a prompt, as models that answer in text put their output parser on it."""
    copied = prompt.model_copy()
    if isinstance(copied, SelectorPromptTemplate):
        copied.default_template = _own(copied.default_template)
        copied.conditionals = [(condition, _own(template)) for condition, template in copied.conditionals or ()]
    return copied


def _own_kwargs(llm_kwargs: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if llm_kwargs is None else dict(llm_kwargs)
