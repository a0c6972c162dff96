"""A callback handler that keeps every run it hears of."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler


@dataclass
class Run:
    kind: str
    name: str | None
    id: UUID
    parent: UUID | None
    tags: list[str]
    metadata: dict[str, Any]
    options: dict[str, Any]
    tokens: list[str] = field(default_factory=list)
    outputs: Any = None
    error: BaseException | None = None
    ended: int = 0


class RunRecorder(BaseCallbackHandler):
    """Keeps chain and chat model runs, in the order they began.

    Attributes:
        runs: All of them.
    """

    run_inline = True

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._by_id: dict[UUID, Run] = {}
        self._lock = threading.Lock()

    def kind(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.kind == kind]

    @property
    def model_runs(self) -> list[Run]:
        return self.kind("chat_model")

    def named(self, name: str) -> list[Run]:
        return [run for run in self.runs if run.name == name]

    def _begin(self, kind: str, run_id: UUID, parent_run_id: UUID | None, kwargs: dict[str, Any]) -> None:
        run = Run(
            kind=kind,
            name=kwargs.get("name"),
            id=run_id,
            parent=parent_run_id,
            tags=list(kwargs.get("tags") or []),
            metadata=dict(kwargs.get("metadata") or {}),
            options={**kwargs.get("options", {}), **(kwargs.get("invocation_params") or {})},
        )
        with self._lock:
            assert run_id not in self._by_id, "a run began twice"
            self._by_id[run_id] = run
            self.runs.append(run)

    def _end(self, run_id: UUID, outputs: Any = None, error: BaseException | None = None) -> None:
        run = self._by_id[run_id]
        run.ended += 1
        run.outputs, run.error = outputs, error

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self._begin("chain", run_id, parent_run_id, kwargs)

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self._end(run_id, outputs)

    def on_chain_error(self, error, *, run_id, **kwargs):
        self._end(run_id, error=error)

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, **kwargs):
        self._begin("chat_model", run_id, parent_run_id, kwargs)

    def on_llm_new_token(self, token, *, run_id, **kwargs):
        self._by_id[run_id].tokens.append(str(token))

    def on_llm_end(self, response, *, run_id, **kwargs):
        self._end(run_id, response)

    def on_llm_error(self, error, *, run_id, **kwargs):
        self._end(run_id, error=error)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what other tasks or threads bring about, for ten seconds at most."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  (the condition has no event)
            await asyncio.sleep(0.001)
