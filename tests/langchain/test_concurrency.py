"""Many calls at once, with mixed thresholds and random delays: each answer and each decision belong to their call."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from routellm_core import routing
from routellm_core.testing import AsyncFunctionRouter, FunctionRouter
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat


class Echo(FakeChat):
    """Answers its name and the prompt."""

    def _message(self, messages, kwargs):
        message = super()._message(messages, kwargs)
        message.content = f"{self.model}:{messages[-1].text}"
        return message


def win_rate(prompt: str) -> float:
    return int(prompt.rsplit(" ", 1)[1]) % 100 / 100


def routed_with(router_class):
    return RoutedChatModel(
        strong=Echo(model="strong", delay_s=(0.0, 0.02)),
        weak=Echo(model="weak", delay_s=(0.0, 0.02)),
        router=router_class(win_rate, delay_s=(0.0, 0.02)),
        threshold=0.5,
    )


def calls(n):
    rng = random.Random(7)
    for i in range(n):
        yield f"question {rng.randrange(1000)}", rng.choice([None, 0.0, 0.25, 0.5, 0.75, 1.0]), i


def check(prompt, threshold, message):
    threshold = 0.5 if threshold is None else threshold
    choice = "strong" if win_rate(prompt) >= threshold else "weak"
    decision = message.response_metadata["routellm"]
    assert message.text == f"{choice}:{prompt}"
    assert (decision["choice"], decision["threshold"]) == (choice, threshold)
    assert decision["strong_win_rate"] == pytest.approx(win_rate(prompt))


@pytest.mark.parametrize("router_class", [FunctionRouter, AsyncFunctionRouter])
async def test_asynchronous_calls(router_class):
    routed = routed_with(router_class)

    async def one(prompt, threshold, i):
        config = {} if threshold is None else {"configurable": {"routellm_threshold": threshold}}
        await asyncio.sleep(random.uniform(0, 0.02))
        if i % 4 == 0 and threshold is not None:
            with routing(threshold=threshold):
                message = await routed.ainvoke(prompt)
        elif i % 4 == 1:
            total = None
            async for chunk in routed.astream(prompt, config):
                total = chunk if total is None else total + chunk
            message = total
        else:
            message = await routed.ainvoke(prompt, config)
        check(prompt, threshold, message)

    await asyncio.gather(*(one(*call) for call in calls(300)))


def test_calls_in_threads():
    routed = routed_with(FunctionRouter)

    def one(call):
        prompt, threshold, _ = call
        config = {} if threshold is None else {"configurable": {"routellm_threshold": threshold}}
        check(prompt, threshold, routed.invoke(prompt, config))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, calls(200)))


async def test_scoring_does_not_block_the_event_loop():
    routed = RoutedChatModel(
        strong=Echo(model="strong"),
        weak=Echo(model="weak"),
        router=FunctionRouter(win_rate, delay_s=0.2),
        threshold=0.5,
    )
    start = asyncio.get_running_loop().time()
    await asyncio.gather(*(routed.ainvoke(f"question {i}") for i in range(5)))
    assert asyncio.get_running_loop().time() - start < 0.8  # one after the other they take 1.0 s
