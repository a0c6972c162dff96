"""Many calls at once, with mixed thresholds and random delays: each answer and each decision belong to their call."""

import asyncio
import random
import time
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


# --- a thousand at once ------------------------------------------------------------------------------------------------


async def longest_gap(work):
    """Return the longest time in seconds that the event loop did not come back to a task that only sleeps."""
    loop = asyncio.get_running_loop()
    gaps = []

    async def beat():
        last = loop.time()
        while True:
            await asyncio.sleep(0.001)
            now = loop.time()
            gaps.append(now - last - 0.001)
            last = now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(0.02)
    await work()
    await asyncio.sleep(0.005)
    heart.cancel()
    return max(gaps)


async def paced(calls):
    """Run the calls concurrently; they begin over a second, so that what is measured is no burst of the calls themselves."""

    async def one(i, call):
        await asyncio.sleep(i / 1000)
        await call()

    await asyncio.gather(*(one(i, call) for i, call in enumerate(calls)))


async def test_a_thousand_asynchronous_calls_and_the_heartbeat_of_the_event_loop():
    delays = (0.0, 0.05)
    models = {name: Echo(model=name, delay_s=delays) for name in ("strong", "weak")}
    routed = RoutedChatModel(**models, router=FunctionRouter(win_rate, delay_s=delays), threshold=0.5)
    unscored = routed.with_config(configurable={"routellm_route": "strong"})
    answered = []

    def config_of(threshold):
        return {} if threshold is None else {"configurable": {"routellm_threshold": threshold}}

    def routed_call(prompt, threshold):
        async def call():
            check(prompt, threshold, await routed.ainvoke(prompt, config_of(threshold)))
            answered.append(prompt)

        return call

    def unscored_call(prompt):
        async def call():
            await unscored.ainvoke(prompt)

        return call

    # The same calls without scoring show what the machine and everything else take of the loop. A busy machine may stop any
    # run for a while, so the best of a few counts; a scorer on the loop would block it for up to 50 ms in every one of them.
    blocked = []
    for attempt in range(4):
        prompts = [(f"attempt {attempt} question {i}", threshold) for (_, threshold, i) in calls(1000)]
        control = await longest_gap(lambda given=prompts: paced([unscored_call(prompt) for prompt, _ in given]))
        measured = await longest_gap(lambda given=prompts: paced([routed_call(*call) for call in given]))
        blocked.append(measured - control)
        if min(blocked) <= 0.02:
            break
    assert min(blocked) <= 0.02
    assert len(answered) == 1000 * len(blocked)
    assert len(routed.engine.router.calls) >= 1000 * len(blocked)


async def test_a_thousand_asynchronous_calls_in_one_burst():
    delays = (0.0, 0.05)
    routed = RoutedChatModel(
        strong=Echo(model="strong", delay_s=delays),
        weak=Echo(model="weak", delay_s=delays),
        router=AsyncFunctionRouter(win_rate, delay_s=delays),
        threshold=0.5,
    )

    async def one(prompt, threshold, i):
        config = {} if threshold is None else {"configurable": {"routellm_threshold": threshold}}
        check(prompt, threshold, await routed.ainvoke(prompt, config))

    await asyncio.gather(*(one(*call) for call in calls(1000)))
    totals = routed.engine.ledger.totals
    assert sum(one.calls for one in totals.values()) == 1000


async def test_the_heartbeat_notices_a_scorer_on_the_event_loop():
    async def block():
        time.sleep(0.05)  # noqa: ASYNC251

    assert await longest_gap(lambda: paced([block])) > 0.03
