"""Concurrency of the engine: one scoring per prompt, callers that do not disturb each other, an event loop that goes on."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from routellm_core import RoutingEngine, RoutingRequest
from routellm_core.errors import ConfigurationError, ScoringError, ScoringTimeoutError
from routellm_core.testing import AsyncFunctionRouter, FunctionRouter

BOTH_KINDS = pytest.mark.parametrize("kind", [FunctionRouter, AsyncFunctionRouter])


def win_rate_of(prompt: str) -> float:
    """Read the win rate that a test wrote into its prompt."""
    return float(prompt.split()[-1])


@BOTH_KINDS
async def test_identical_prompts_in_flight_share_one_scoring(kind):
    router = kind(lambda _: 0.9, delay_s=0.05)
    engine = RoutingEngine(router, threshold=0.5)
    decisions = await asyncio.gather(*(engine.adecide("the same") for _ in range(100)))
    assert {d.choice for d in decisions} == {"strong"}
    assert router.calls == [("the same",)]


def test_threads_share_one_scoring_too():
    router = FunctionRouter(lambda _: 0.9, delay_s=0.05)
    engine = RoutingEngine(router, threshold=0.5)
    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(engine.decide, ["the same"] * 16))) == 16
    assert router.calls == [("the same",)]


@BOTH_KINDS
async def test_cancelling_one_waiter_leaves_the_others_alone(kind):
    router = kind(lambda _: 0.9, delay_s=0.1)
    engine = RoutingEngine(router, threshold=0.5)
    waiters = [asyncio.create_task(engine.adecide("the same")) for _ in range(10)]
    await asyncio.sleep(0.02)
    for waiter in waiters[:5]:  # the one that started the scoring among them
        waiter.cancel()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[:5])
    assert {result.choice for result in results[5:]} == {"strong"}
    assert router.calls == [("the same",)]


@BOTH_KINDS
async def test_a_deadline_follows_the_policy_and_a_late_score_is_kept(kind):
    router = kind(lambda _: 0.0, delay_s=0.2)
    engine = RoutingEngine(router, threshold=0.5, score_timeout_s=0.03)
    start = time.perf_counter()
    late = await engine.adecide("slow")
    assert time.perf_counter() - start < 0.15
    assert (late.choice, late.reason) == ("strong", "router_error")
    assert "0.03 s" in late.explanation
    await asyncio.sleep(0.3)
    assert (await engine.adecide("slow")).choice == "weak"
    assert len(router.calls) == 1


def test_a_deadline_holds_for_blocking_callers():
    engine = RoutingEngine(FunctionRouter(lambda _: 0.0, delay_s=0.2), threshold=0.5, score_timeout_s=0.02)
    start = time.perf_counter()
    assert engine.decide("slow").reason == "router_error"
    assert {d.reason for d in engine.decide_batch(["a", "b"])} == {"router_error"}
    assert time.perf_counter() - start < 0.18
    strict = RoutingEngine(
        FunctionRouter(lambda _: 0.0, delay_s=0.2), threshold=0.5, score_timeout_s=0.02, on_router_error="raise"
    )
    with pytest.raises(ScoringTimeoutError):
        strict.decide("slow")


async def test_a_blocking_router_does_not_block_the_event_loop():
    engine = RoutingEngine(FunctionRouter(lambda _: 0.9, delay_s=0.2), threshold=0.5)
    longest = 0.0

    async def heartbeat() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - before)

    beating = asyncio.create_task(heartbeat())
    await asyncio.gather(*(engine.adecide(f"p{i}") for i in range(4)), engine.adecide_batch(["a", "b"]))
    beating.cancel()
    assert longest < 0.1  # the router sleeps for 0.2 s at a time


async def test_a_blocking_caller_on_the_loop_does_not_wait_for_a_task_of_that_loop():
    engine = RoutingEngine(AsyncFunctionRouter(lambda _: 0.9, delay_s=0.05), threshold=0.5)
    pending = asyncio.create_task(engine.adecide("the same"))
    await asyncio.sleep(0.01)
    assert engine.decide("the same").choice == "strong"  # would hang for ever
    assert (await pending).choice == "strong"


def test_an_event_loop_that_ends_leaves_nobody_waiting():
    router = AsyncFunctionRouter(lambda _: 0.9, delay_s=0.05)
    engine = RoutingEngine(router, threshold=0.5, score_timeout_s=0.01)
    assert asyncio.run(engine.adecide("x")).reason == "router_error"  # its loop ends while the score is being made
    engine_without_deadline = RoutingEngine(router, threshold=0.5)
    assert asyncio.run(engine_without_deadline.adecide("x")).choice == "strong"
    assert asyncio.run(engine.adecide_batch(["x"]))[0].reason == "router_error"


async def test_concurrent_scorings_are_gathered_into_batches():
    router = FunctionRouter(win_rate_of)
    engine = RoutingEngine(router, threshold=0.5, max_batch=16, max_wait_ms=20)
    decisions = await asyncio.gather(*(engine.adecide(f"p {i / 64}") for i in range(64)))
    assert [d.strong_win_rate for d in decisions] == [i / 64 for i in range(64)]
    assert len(router.calls) <= 8
    assert max(map(len, router.calls)) == 16


async def test_a_bad_prompt_in_a_gathered_batch_fails_alone():
    engine = RoutingEngine(FunctionRouter(win_rate_of), threshold=0.5, max_batch=8, max_wait_ms=20)
    prompts = [f"p {i / 8}" for i in range(7)] + ["no number"]
    decisions = await asyncio.gather(*map(engine.adecide, prompts))
    assert [d.reason for d in decisions] == ["policy"] * 7 + ["router_error"]


def test_the_cache_is_bounded_and_keeps_what_is_used():
    router = FunctionRouter(lambda _: 0.9)
    engine = RoutingEngine(router, threshold=0.5, cache_size=2)
    for prompt in ["a", "b", "a", "c", "a", "b"]:
        engine.decide(prompt)
    assert [call[0] for call in router.calls] == ["a", "b", "c", "b"]
    uncached = RoutingEngine(router, threshold=0.5, cache_size=0)
    router.calls.clear()
    uncached.decide("a")
    uncached.decide("a")
    assert len(router.calls) == 2


def test_a_batch_scores_each_new_prompt_once():
    router = FunctionRouter(win_rate_of)
    engine = RoutingEngine(router, threshold=0.5)
    engine.decide("p 0.1")
    decisions = engine.decide_batch(["p 0.1", "q 0.9", "q 0.9", "", "r 0.2"])
    assert [d.choice for d in decisions] == ["weak", "strong", "strong", "strong", "weak"]
    assert router.calls == [("p 0.1",), ("q 0.9", "r 0.2")]


class LeakyEngine(RoutingEngine):
    """A copy with the mistake that this suite must find: the last decision is kept on the engine and returned from it."""

    async def adecide(self, request):
        self.last_decision = await super().adecide(request)
        await asyncio.sleep(0)
        return self.last_decision


async def storm(engine_class: type[RoutingEngine], kind: type[FunctionRouter], **options) -> int:
    """Make 1,000 concurrent calls, of which some are cancelled and some fail; return how many got a foreign decision."""
    rng = random.Random(7)

    def score(prompt: str) -> float:
        fate, value = prompt.split()[-2:]
        if fate == "fails":
            raise RuntimeError("planted")
        return float(value)

    router = kind(score, delay_s=(0.0, 0.05))
    engine = engine_class(router, threshold=0.5, score_timeout_s=20.0, executor=ThreadPoolExecutor(64), **options)
    prompts = [("fails" if rng.random() < 0.05 else "works", round(rng.random(), 6)) for _ in range(700)]
    calls = [(*prompts[i % 700], f"prompt {i % 700} {prompts[i % 700][0]} {prompts[i % 700][1]}") for i in range(1000)]
    rng.shuffle(calls)

    async def one(prompt: str) -> object:
        await asyncio.sleep(rng.uniform(0, 0.05))
        return await engine.adecide(prompt)

    tasks = [asyncio.create_task(one(prompt)) for _, _, prompt in calls]
    cancelled = set(rng.sample(range(1000), 100))
    for number in cancelled:
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.1), tasks[number].cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    gone = {calls[number][2] for number, result in enumerate(results) if isinstance(result, asyncio.CancelledError)}
    assert gone & {calls[number][2] for number, result in enumerate(results) if not isinstance(result, BaseException)}
    foreign = 0
    for number, ((fate, value, _), result) in enumerate(zip(calls, results, strict=True)):
        if isinstance(result, asyncio.CancelledError):
            assert number in cancelled
            continue
        assert not isinstance(result, BaseException), result
        if fate == "fails":
            foreign += result.reason != "router_error" or result.choice != "strong"
        else:
            foreign += result.strong_win_rate != value or result.choice != ("strong" if value >= 0.5 else "weak")
    return foreign


@BOTH_KINDS
@pytest.mark.parametrize("options", [{}, {"max_batch": 16, "max_wait_ms": 2}, {"cache_size": 0}])
async def test_every_surviving_caller_gets_its_own_decision(kind, options):
    assert await storm(RoutingEngine, kind, **options) == 0


async def test_the_storm_finds_a_decision_kept_on_the_engine():
    assert await storm(LeakyEngine, FunctionRouter) > 0


async def test_calls_that_time_out_do_not_disturb_the_others():
    over = threading.Event()

    def stuck_for_some(prompt: str) -> float:
        if "stuck" in prompt:
            over.wait(30)
        return win_rate_of(prompt)

    engine = RoutingEngine(
        FunctionRouter(stuck_for_some), threshold=0.5, score_timeout_s=2.0, executor=ThreadPoolExecutor(64)
    )
    prompts = [f"{'stuck' if i % 20 == 0 else 'fast'} {i} {i / 400}" for i in range(400)]
    decisions = await asyncio.gather(*map(engine.adecide, prompts))
    over.set()
    for prompt, decision in zip(prompts, decisions, strict=True):
        if "stuck" in prompt:
            assert decision.reason == "router_error"
        else:
            assert decision.strong_win_rate == win_rate_of(prompt)


def test_an_executor_that_was_shut_down_counts_as_failure():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    engine = RoutingEngine(FunctionRouter(lambda _: 0.0), threshold=0.5, executor=pool)
    assert asyncio.run(engine.adecide("x")).reason == "router_error"
    gathering = RoutingEngine(FunctionRouter(lambda _: 0.0), threshold=0.5, executor=pool, max_batch=4)
    assert asyncio.run(gathering.adecide("x")).reason == "router_error"


def test_an_interrupt_in_a_router_leaves_nobody_waiting():
    started = threading.Event()

    def interrupted(_: str) -> float:
        started.set()
        time.sleep(0.05)
        raise KeyboardInterrupt

    engine = RoutingEngine(FunctionRouter(interrupted), threshold=0.5)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.decide, "x")
        started.wait()
        assert engine.decide("x").reason == "router_error"
        assert isinstance(first.exception(), KeyboardInterrupt)


class TestNobodyIsLeftWaiting:
    """Whatever happens to the worker that scores a prompt, those who wait for the prompt go on."""

    def test_a_task_that_is_cancelled_before_it_begins(self):
        engine = RoutingEngine(AsyncFunctionRouter(lambda _: 0.9, delay_s=0.01), threshold=0.5)

        async def ask_and_leave() -> None:
            asyncio.create_task(engine.adecide("x"))  # noqa: RUF006  (forgotten on purpose)

        asyncio.run(ask_and_leave())
        assert asyncio.run(asyncio.wait_for(engine.adecide("x"), 5)).choice == "strong"

    @pytest.mark.parametrize("options", [{}, {"max_batch": 4, "max_wait_ms": 1}])
    def test_an_executor_that_drops_its_work(self, options):
        pool = ThreadPoolExecutor(1)
        block = threading.Event()
        pool.submit(block.wait, 10)
        engine = RoutingEngine(FunctionRouter(lambda _: 0.0), threshold=0.5, executor=pool, **options)

        async def ask() -> str:
            waiting = asyncio.create_task(engine.adecide("x"))
            await asyncio.sleep(0.05)
            pool.shutdown(wait=False, cancel_futures=True)
            return (await asyncio.wait_for(waiting, 5)).reason

        reason = asyncio.run(ask())
        block.set()
        assert reason == "router_error"

    def test_an_executor_of_processes_is_a_failure_and_no_hang(self):
        with ProcessPoolExecutor(1) as pool:
            engine = RoutingEngine(FunctionRouter(lambda _: 0.0), threshold=0.5, executor=pool)
            assert asyncio.run(asyncio.wait_for(engine.adecide("x"), 20)).reason == "router_error"

    def test_a_bad_text_in_a_batch(self):
        engine = RoutingEngine(FunctionRouter(lambda _: 0.9), threshold=0.5)
        with pytest.raises(ConfigurationError, match="bytes"):
            engine.decide_batch(["a", RoutingRequest(text=b"x")])
        assert engine.decide("a").choice == "strong"

    def test_a_loop_that_stops_while_it_scores(self):
        engine = RoutingEngine(AsyncFunctionRouter(lambda _: 0.9, delay_s=0.02), threshold=0.5)
        parked = asyncio.new_event_loop()
        try:
            started = parked.create_task(engine.adecide("x"))
            parked.run_until_complete(asyncio.sleep(0.001))
            assert asyncio.run(asyncio.wait_for(engine.adecide("x"), 5)).choice == "strong"
            assert parked.run_until_complete(started).choice == "strong"
        finally:
            parked.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_process(self):
        code = """
import asyncio, os
from routellm_core import RoutingEngine, RoutingRequest
from routellm_core.testing import FunctionRouter
engine = RoutingEngine(FunctionRouter(lambda _: 0.9), threshold=0.5)
asyncio.run(engine.adecide("in the parent"))
pid = os.fork()
if pid == 0:
    os._exit(asyncio.run(engine.adecide("in the child")).choice != "strong")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


async def test_a_batch_keeps_the_scores_that_came_before_the_deadline():
    engine = RoutingEngine(FunctionRouter(win_rate_of, delay_s=0.0), threshold=0.5, score_timeout_s=0.2)
    await engine.adecide("fast 0.1")
    slow = FunctionRouter(lambda _: time.sleep(1) or 0.9)
    engine = RoutingEngine(slow, threshold=0.5, score_timeout_s=0.2)
    blocked = asyncio.create_task(engine.adecide("slow"))
    await asyncio.sleep(0.01)
    decisions = await engine.adecide_batch(["slow", ""])
    assert [d.reason for d in decisions] == ["router_error", "empty_prompt"]
    assert (await blocked).reason == "router_error"


def test_an_error_class_of_the_routers_own_follows_the_policy():
    class TwoArgumentsError(ScoringError):
        def __init__(self, what, why):
            super().__init__(f"{what}: {why}")

    def fail(_: str) -> float:
        raise TwoArgumentsError("a", "b")

    assert RoutingEngine(FunctionRouter(fail), threshold=0.5).decide("x").reason == "router_error"


@pytest.mark.parametrize("bad", [None, 3, b"x", ["x"]])
def test_a_call_that_is_no_text_is_refused(bad):
    engine = RoutingEngine(FunctionRouter(win_rate_of), threshold=0.5)
    with pytest.raises(ConfigurationError, match=type(bad).__name__):
        engine.decide(bad)


def test_one_string_is_no_batch():
    engine = RoutingEngine("random")
    for take in (engine.decide_batch, engine.router.strong_win_rates):
        with pytest.raises(ConfigurationError, match="one string"):
            take("hello")
