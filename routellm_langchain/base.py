"""What LangChain asks of a chat model beyond answering: event streams, the older `generate`, token counts, trace parameters."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from typing import Any, Literal, cast, overload

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.callbacks.base import Callbacks
from langchain_core.language_models import BaseChatModel, BaseLanguageModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult, RunInfo
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.schema import StreamEvent

from routellm_langchain.delegation import Delegating
from routellm_langchain.event_streams import astream_v3, stream_v3
from routellm_langchain.models import chat_models_in


class DelegatingChatModel(Delegating[AIMessage, AIMessageChunk], BaseChatModel):
    """A chat model that has no model run of its own: whichever model it delegates to has it."""

    @overload  # type: ignore[override]
    def stream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **kwargs: Any,
    ) -> Iterator[StreamEvent]: ...

    @overload
    def stream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v3"],
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> ChatModelStream: ...

    def stream_events(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        **kwargs: Any,
    ) -> Iterator[StreamEvent] | ChatModelStream:
        """Stream the events of a call; with version "v3" the chosen model's own typed stream."""
        if version == "v3":
            return stream_v3(self, input, config, **kwargs)
        return super().stream_events(input, config, version=version, **kwargs)

    @overload
    def astream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2"] = "v2",
        **kwargs: Any,
    ) -> AsyncIterator[StreamEvent]: ...

    @overload
    def astream_events(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        version: Literal["v3"],
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Awaitable[AsyncChatModelStream]: ...

    def astream_events(
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        version: Literal["v1", "v2", "v3"] = "v2",
        **kwargs: Any,
    ) -> AsyncIterator[StreamEvent] | Awaitable[AsyncChatModelStream]:
        """Stream the events of a call; with version "v3" the chosen model's own typed stream."""
        if version == "v3":
            return astream_v3(self, input, config, **kwargs)
        return super().astream_events(input, config, version=version, **kwargs)

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several conversations; see `batch`."""
        configs = _generate_configs(len(messages), callbacks, tags, metadata, run_name, run_id)
        answers = self.batch(cast("list[LanguageModelInput]", messages), configs, stop=stop, **kwargs)
        return _llm_result(answers, configs)

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        *,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        run_name: str | None = None,
        run_id: uuid.UUID | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer several conversations; see `abatch`."""
        configs = _generate_configs(len(messages), callbacks, tags, metadata, run_name, run_id)
        answers = await self.abatch(cast("list[LanguageModelInput]", messages), configs, stop=stop, **kwargs)
        return _llm_result(answers, configs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError(
            f"{type(self).__name__} has no model run of its own; call invoke, stream, batch or generate"
        )

    @property
    def _llm_type(self) -> str:
        return "routellm"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._llm_type
        params.setdefault("ls_model_name", "|".join(self.targets))
        return params

    # --- token counts: those of the strongest candidate ----------------------------------------------------------------

    @property
    def _counter(self) -> BaseLanguageModel[Any] | None:
        """The language model inside the strongest candidate; None if there is none, or this one has a tokenizer itself."""
        strongest = chat_models_in(list(self.targets.values())[-1])[0]
        if self.custom_get_token_ids is not None or not isinstance(strongest, BaseLanguageModel):
            return None
        return strongest

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text, as the strongest candidate counts."""
        counter = self._counter
        return super().get_token_ids(text) if counter is None else counter.get_token_ids(text)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, as the strongest candidate counts."""
        counter = self._counter
        return super().get_num_tokens(text) if counter is None else counter.get_num_tokens(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[dict[str, Any] | Any] | None = None
    ) -> int:
        """Return the number of tokens of messages, as the strongest candidate counts."""
        counter = self._counter
        if counter is None:
            return super().get_num_tokens_from_messages(messages, tools)
        return counter.get_num_tokens_from_messages(messages, tools)


def _generate_configs(
    n: int,
    callbacks: Callbacks,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    run_name: str | None,
    run_id: uuid.UUID | None,
) -> list[RunnableConfig]:
    shared = RunnableConfig(callbacks=callbacks, tags=tags or [], metadata=metadata or {})
    if run_name is not None:
        shared["run_name"] = run_name
    return [{**shared, "run_id": (run_id if i == 0 else None) or uuid.uuid4()} for i in range(n)]


def _llm_result(answers: Sequence[AIMessage], configs: Sequence[RunnableConfig]) -> LLMResult:
    return LLMResult(
        generations=[[ChatGeneration(message=answer)] for answer in answers],
        run=[RunInfo(run_id=cast("uuid.UUID", config["run_id"])) for config in configs],
    )
