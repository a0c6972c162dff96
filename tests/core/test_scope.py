import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from routellm_core import routing
from routellm_core.scope import RoutingScope, current_scope, delegated_call


def test_blocks_nest_and_end():
    with routing(threshold=0.3, session="s", chain="support"):
        with routing(route="weak"):
            assert current_scope() == RoutingScope(threshold=0.3, route="weak", session="s", chain="support")
        with routing(chain="summarise"):
            assert (current_scope().chain, current_scope().session) == ("summarise", "s")
        assert current_scope().route is None
    assert current_scope().threshold is None


def test_ends_when_the_block_raises():
    with pytest.raises(ZeroDivisionError), routing(threshold=0.3):
        raise ZeroDivisionError
    assert current_scope().threshold is None


async def test_tasks_inherit_it_and_do_not_disturb_each_other():
    async def call(threshold: float) -> float | None:
        async with routing(threshold=threshold):
            await asyncio.sleep(0.01 * (1 - threshold))
            return await asyncio.create_task(read())

    async def read() -> float | None:
        await asyncio.sleep(0)
        return current_scope().threshold

    thresholds = [i / 50 for i in range(50)]
    assert await asyncio.gather(*map(call, thresholds)) == thresholds
    assert current_scope().threshold is None


def test_decorates_functions_also_in_several_threads():
    @routing(threshold=0.25)
    def read(_: int) -> float | None:
        return current_scope().threshold

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(100))) == {0.25}
    assert current_scope().threshold is None


def test_one_object_may_be_entered_by_several_threads_and_tasks():
    block = routing(threshold=0.4)

    def read(_: int) -> float | None:
        with block:
            return current_scope().threshold

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(100))) == {0.4}
    with block, block:
        assert current_scope().threshold == 0.4
    assert current_scope().threshold is None


async def test_decorates_coroutine_functions():
    @routing(threshold=0.123)
    async def read() -> float | None:
        await asyncio.sleep(0)
        return current_scope().threshold

    assert await asyncio.gather(read(), read()) == [0.123, 0.123]
    assert current_scope().threshold is None


def test_refuses_to_decorate_generator_functions():
    with pytest.raises(TypeError, match="generator function"):

        @routing(threshold=0.1)
        def numbers():
            yield 1


def test_what_was_asked_of_the_routed_model_ends_where_it_calls_the_chosen_one():
    with routing(threshold=0.7, route="strong", chain="support", session="7"), delegated_call():
        assert current_scope() == RoutingScope(session="7")
        with routing(route="weak"):
            assert current_scope() == RoutingScope(session="7", route="weak")
    with delegated_call():
        assert current_scope() == RoutingScope()
