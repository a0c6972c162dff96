"""Measure what routing costs: decision latency of the default router, and the overhead of the adapters.

    python benchmarks/latency.py [--calls 2000] [--out docs/benchmarks/latency.md]

Every call has a prompt of its own, so that no score comes from the cache. The inner models answer at once, so that what
is left is the adapter. Overhead = routed call - bare inner call - decision, the median over the prompts of one run; the
three take turns prompt by prompt, so that a machine that changes its pace changes it for all. The table shows the median
of five runs with the smallest and the largest. Exit code 1 if a target is missed by more than half (a slow machine is no
regression).
"""

import argparse
import asyncio
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM

from routellm_core import RoutingEngine, load_router
from routellm_langchain import RoutedChatModel
from routellm_llamaindex import RoutedLLM

RUNS = 5
SENTENCE = (
    "Explain the difference between a list and a tuple in Python, and say when each of them is the better choice for data "
    "that must not change while the program runs, with an example for each of the two. "
)


class InstantChatModel(BaseChatModel):
    """Answers at once."""

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(
        self,
        messages: list[BaseMessage],  # noqa: ARG002
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("answer"))])


def prompts(n: int, characters: int) -> list[str]:
    """Return n different prompts of a length."""
    text = SENTENCE * (characters // len(SENTENCE) + 1)
    return [f"{i:06d} {text}"[:characters] for i in range(n)]


def timed(call: Callable[[str], object], texts: Sequence[str]) -> list[float]:
    """Return how long each call took, in milliseconds."""
    return [times[0] for times in timed_in_turn((call,), texts)]


def timed_in_turn(calls: Sequence[Callable[[str], object]], texts: Sequence[str]) -> list[list[float]]:
    """Return how long each of several calls took for each text, in milliseconds; they take turns text by text."""
    for text in prompts(20, 50):
        for call in calls:
            call(text)
    gc.collect()
    times: list[list[float]] = []
    for text in texts:
        times.append([])
        for call in calls:
            start = time.perf_counter()
            call(text)
            times[-1].append((time.perf_counter() - start) * 1000)
    return times


def p50(times: Sequence[float]) -> float:
    return float(np.percentile(times, 50))


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def engine() -> RoutingEngine:
    return RoutingEngine("default", cache_size=0)


def decisions(calls: int) -> list[tuple[str, str, str]]:
    rows = []
    for characters, target in ((200, "0.3"), (2000, "-")):
        runs = [timed(engine().decide, prompts(calls, characters)) for _ in range(RUNS)]
        rows.append((f"decide, {characters} characters, p50 ms", spread([p50(run) for run in runs]), target))
        p99 = [float(np.percentile(run, 99)) for run in runs]
        rows.append((f"decide, {characters} characters, p99 ms", spread(p99), "-"))

    async def adecide_p50() -> float:
        asking = engine()
        times = []
        for text in prompts(calls, 200):
            start = time.perf_counter()
            await asking.adecide(text)
            times.append((time.perf_counter() - start) * 1000)
        return p50(times)

    rows.append(("adecide, 200 characters, p50 ms", spread([asyncio.run(adecide_p50()) for _ in range(RUNS)]), "-"))
    rates = []
    for _ in range(RUNS):
        texts = prompts(5000, 200)
        start = time.perf_counter()
        engine().decide_batch(texts)
        rates.append(len(texts) / (time.perf_counter() - start))
    rows.append(("decide_batch of 5,000, 200 characters, prompts/s", f"{statistics.median(rates):,.0f}", "-"))
    return rows


def overhead(
    name: str, routed: Callable[[str], object], bare: Callable[[str], object], calls: int
) -> list[tuple[str, str, str]]:
    differences = []
    for _ in range(RUNS):
        times = timed_in_turn((routed, bare, engine().decide), prompts(calls, 200))
        differences.append(p50([whole - inner - decision for whole, inner, decision in times]))
    return [(f"{name}, overhead beyond inner call and decision, p50 ms", spread(differences), "0.5")]


def langchain_overhead(calls: int) -> list[tuple[str, str, str]]:
    inner = InstantChatModel()
    routed = RoutedChatModel(strong=inner, weak=InstantChatModel(), engine=engine())
    return overhead("RoutedChatModel.invoke", routed.invoke, inner.invoke, calls)


def llamaindex_overhead(calls: int) -> list[tuple[str, str, str]]:
    inner = MockFunctionCallingLLM()
    routed = RoutedLLM(strong=inner, weak=MockFunctionCallingLLM(), engine=engine())
    return overhead(
        "RoutedLLM.chat",
        lambda text: routed.chat([ChatMessage(role="user", content=text)]),
        lambda text: inner.chat([ChatMessage(role="user", content=text)]),
        calls,
    )


def _verdict(measured: str, target: str) -> str:
    if target == "-":
        return "-"
    return f"{target}, {'held' if float(measured.split()[0]) <= float(target) else 'missed'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="calls per run")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    arguments = parser.parse_args()

    load_router("default").score(["warm up"])
    rows = [*decisions(arguments.calls), *langchain_overhead(arguments.calls), *llamaindex_overhead(arguments.calls)]
    packages = ("routellm-plugins", "langchain-core", "llama-index-core", "model2vec", "numpy")
    lines = [
        "# Latency",
        "",
        f"`python benchmarks/latency.py`, {time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()} "
        f"({os.cpu_count()} cores), Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in packages)
        + f". Median of {RUNS} runs of {arguments.calls} calls (smallest to largest run).",
        "",
        "| what | measured | target |",
        "|---|---|---|",
        *(f"| {what} | {measured} | {_verdict(measured, target)} |" for what, measured, target in rows),
        "",
    ]
    print("\n".join(lines))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(lines), encoding="utf-8")
    missed = [
        what for what, measured, target in rows if target != "-" and float(measured.split()[0]) > 1.5 * float(target)
    ]
    if missed:
        sys.exit("missed by more than half: " + "; ".join(missed))


if __name__ == "__main__":
    main()
