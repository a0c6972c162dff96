"""Measure the overhead of a routed call next to `langchain-model-router`: same models, same constant scorer, same run.

    pip install langchain-model-router
    python benchmarks/langchain_overhead.py [--calls 500] [--out docs/benchmarks/langchain_overhead.md]

The inner models answer at once and the scorers, both synchronous, return a constant, so that what is left is the wrapper.
Every call has a prompt of its own. The two sides alternate in blocks within each run, and the side that begins changes. A
time is that of a whole call, inner model included; the table shows the median of five runs, and the smallest and the
largest in brackets. The ratio is the median of the ratios of the runs. Exit code 1 if a ratio is more than a tenth above
the target, which leaves room for noise.
"""

import argparse
import asyncio
import gc
import platform
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from numpy.typing import NDArray

from routellm_core import PairRouter
from routellm_langchain import RoutedChatModel

RUNS = 5
BLOCKS = 10
BATCH = 20
TARGET = 1.05

Measured = Callable[[BaseChatModel, Sequence[str]], None]


class InstantChatModel(BaseChatModel):
    """Answers at once, in two chunks."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:  # noqa: ARG002
        return ChatResult(generations=[ChatGeneration(message=AIMessage("an answer"))])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages, *args, **kwargs)

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:  # noqa: ARG002
        yield ChatGenerationChunk(message=AIMessageChunk(content="an"))
        yield ChatGenerationChunk(message=AIMessageChunk(content=" answer", chunk_position="last"))

    async def _astream(
        self,
        messages: list[BaseMessage],
        *args: Any,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, *args, **kwargs):
            yield chunk


class ConstantRouter(PairRouter):
    """Scores every prompt the same."""

    name = "constant"

    def strong_win_rates(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        return np.full(len(prompts), 0.9)


def ours() -> BaseChatModel:
    return RoutedChatModel(strong=InstantChatModel(), weak=InstantChatModel(), router=ConstantRouter(), threshold=0.5)


def theirs() -> BaseChatModel:
    peer = import_module("langchain_model_router")
    model: BaseChatModel = peer.ChatRouter(
        routes={"strong": InstantChatModel(), "weak": InstantChatModel()},
        default_route="weak",
        strategy=lambda request: peer.RoutingChoice("strong", "constant"),  # noqa: ARG005
    )
    return model


def invoke(model: BaseChatModel, prompts: Sequence[str]) -> None:
    for prompt in prompts:
        model.invoke(prompt)


def stream(model: BaseChatModel, prompts: Sequence[str]) -> None:
    for prompt in prompts:
        for _ in model.stream(prompt):
            pass


def ainvoke(model: BaseChatModel, prompts: Sequence[str]) -> None:
    async def calls() -> None:
        for prompt in prompts:
            await model.ainvoke(prompt)

    asyncio.run(calls())


def batch(model: BaseChatModel, prompts: Sequence[str]) -> None:
    for start in range(0, len(prompts), BATCH):
        model.batch(list(prompts[start : start + BATCH]))


WAYS: tuple[Measured, ...] = (invoke, stream, ainvoke, batch)


def seconds(way: Measured, model: BaseChatModel, prompts: Sequence[str]) -> float:
    start = time.perf_counter()
    way(model, prompts)
    return time.perf_counter() - start


def one_run(way: Measured, sides: Sequence[BaseChatModel], run: int, calls: int) -> list[float]:
    """Return microseconds per call of each side."""
    per_block = max(1, calls // BLOCKS)
    totals = [0.0 for _ in sides]
    gc.collect()
    gc.disable()
    try:
        for block in range(BLOCKS):
            prompts = [f"Question {run}-{block}-{call}: what is routed?" for call in range(per_block)]
            order = range(len(sides)) if (run + block) % 2 else reversed(range(len(sides)))
            for side in order:
                totals[side] += seconds(way, sides[side], prompts)
    finally:
        gc.enable()
    return [1e6 * total / (per_block * BLOCKS) for total in totals]


def median_of(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def measure(calls: int) -> tuple[list[str], float]:
    """Return the rows of the table and the largest ratio."""
    sides = [ours(), theirs()]
    rows, worst = [], 0.0
    for way in WAYS:
        one_run(way, sides, -1, max(BLOCKS, calls // 5))  # warms both up
        runs = [one_run(way, sides, run, calls) for run in range(RUNS)]
        ratios = [mine / peer for mine, peer in runs]
        worst = max(worst, statistics.median(ratios))
        mine, peer = ([run[side] for run in runs] for side in range(2))
        rows.append(f"| {way.__name__} | {median_of(mine, 0)} | {median_of(peer, 0)} | {median_of(ratios, 2)} |")
    return rows, worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=500, help="calls per run, way and side")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file")
    options = parser.parse_args()
    rows, worst = measure(options.calls)
    names = ("routellm-plugins", "langchain-model-router", "langchain-core")
    installed = ", ".join(f"{name} {version(name)}" for name in names if name != "routellm-plugins")
    measured = (
        f"Microseconds per call with instant models and a constant scorer: median of {RUNS} runs (smallest to largest), "
        f"{options.calls} calls per run and side, batches of {BATCH}."
    )
    target = (
        f"Target: a ratio of at most {TARGET:.2f} each. Measured with {installed}, Python {platform.python_version()}, "
        f"{platform.machine()}. Made by `python benchmarks/langchain_overhead.py`."
    )
    table = "\n".join(["| | RoutedChatModel | ChatRouter | ratio |", "|---|---|---|---|", *rows])
    report = f"# Overhead next to langchain-model-router\n\n{measured}\n\n{table}\n\n{target}\n"
    print(report)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(report, encoding="utf-8")
    sys.exit(worst > 1.1 * TARGET)


if __name__ == "__main__":
    main()
