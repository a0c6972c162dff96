"""Many calls at once, with mixed thresholds and random delays: each answer and each decision belong to their call."""

import asyncio
import gc
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

DELAYS = (0.0, 0.05)


@pytest.fixture
def no_collections():
    """Keeps the garbage collector, whose pauses grow with all that is imported, out of what is measured."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def stretches(monkeypatch):
    """How long each callback kept the event loop, in seconds: every step of every task is one."""
    found = []
    run = asyncio.Handle._run

    def timed(handle):
        start = time.perf_counter()
        run(handle)
        found.append(time.perf_counter() - start)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    return found


def slow_routed(router_class):
    models = {name: Echo(model=name, delay_s=DELAYS) for name in ("strong", "weak")}
    return RoutedChatModel(**models, router=router_class(win_rate, delay_s=DELAYS), threshold=0.5)


async def a_thousand_calls(routed):
    async def one(prompt, threshold):
        config = {} if threshold is None else {"configurable": {"routellm_threshold": threshold}}
        check(prompt, threshold, await routed.ainvoke(prompt, config))

    tasks = []
    for prompt, threshold, i in calls(1000):
        tasks.append(asyncio.create_task(one(prompt, threshold)))
        if i % 20 == 0:  # making a thousand tasks takes its time, too
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert sum(one.calls for one in routed.engine.ledger.totals.values()) == 1000


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("router_class", [FunctionRouter, AsyncFunctionRouter])
async def test_a_thousand_asynchronous_calls_never_keep_the_event_loop(router_class, stretches):
    # A busy machine may stop any run for a while, so the best of a few counts; a scorer on the loop would keep it for up to
    # 50 ms in every one.
    longest = []
    while len(longest) < 4 and min(longest, default=1.0) > 0.02:
        stretches.clear()
        await a_thousand_calls(slow_routed(router_class))
        longest.append(max(stretches))
    assert min(longest) <= 0.02
    assert len(stretches) > 1000


class BlockingRouter(FunctionRouter):
    """Blocks the event loop, as no router should."""

    async def ascore(self, prompts):
        time.sleep(0.05)  # noqa: ASYNC251
        return self.score(prompts)


async def test_a_scorer_that_keeps_the_event_loop_is_noticed(stretches):
    await slow_routed(BlockingRouter).ainvoke("question 1")
    assert max(stretches) > 0.04


async def longest_gap(work):
    """Return the longest time in seconds that the event loop did not come back to a task that only sleeps."""
    loop = asyncio.get_running_loop()
    gaps = []

    async def beat():
        last = loop.time()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(loop.time() - last - 0.001)
            last = loop.time()

    heart = asyncio.create_task(beat())
    await asyncio.sleep(0.01)
    await work()
    await asyncio.sleep(0.005)
    heart.cancel()
    return max(gaps)


@pytest.mark.usefixtures("no_collections")
async def test_the_heart_of_the_event_loop_beats_on():
    routed = slow_routed(FunctionRouter)
    control = routed.with_config(configurable={"routellm_route": "strong"})

    async def paced(model, name):
        # Slower than the machine can answer: what a burst of calls itself takes is not the question here.
        async def one(i):
            await asyncio.sleep(i / 150)
            await model.ainvoke(f"{name} {i}")

        await asyncio.gather(*(one(i) for i in range(150)))

    # The same calls without scoring show what the machine and everything else take of the loop.
    blocked = []
    while len(blocked) < 4 and min(blocked, default=1.0) > 0.02:
        without = await longest_gap(lambda: paced(control, "control"))
        fresh = f"run {len(blocked)}"  # no score of theirs is in the cache
        scored = await longest_gap(lambda name=fresh: paced(routed, name))
        blocked.append(scored - without)
    assert min(blocked) <= 0.02
