"""A model that fails: the next alternative takes over, or it does not."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.openai_server import Behaviour, OpenAIServer
from support.pools import NAMES, HighestScore, NamedPoolRouter
from support.runs import RunRecorder

SCHEMA = {"title": "A", "description": "An answer.", "type": "object", "properties": {"n": {"type": "integer"}}}


def ping(x: int) -> int:
    """A tool."""
    return x


def broken(**fields):
    return FakeChat(model="strong-model", fail=RuntimeError("down"), **fields)


def decision(message):
    return message.response_metadata["routellm"]


def check(message):
    assert message.text == "I am weak-model"
    found = decision(message)
    assert (found["choice"], found["fallback_from"], found["reason"]) == ("weak", "strong", "fallback")
    assert found["explanation"] == "'strong' failed with RuntimeError"


async def test_the_next_alternative_takes_over(make_routed, router):
    routed = make_routed(strong=broken(), fallback=True)
    check(routed.invoke("hard"))
    check(await routed.ainvoke("hard"))
    check(routed.batch(["hard"])[0])
    check((await routed.abatch(["hard"]))[0])
    check(sum_of(list(routed.stream("hard"))))
    check(sum_of([chunk async for chunk in routed.astream("hard")]))
    assert len(router.scored) == 1
    totals = routed.engine.ledger.totals
    assert (totals["strong"].failures, totals["strong"].calls, totals["weak"].calls) == (6, 0, 6)


def sum_of(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


async def test_without_it_the_error_surfaces(make_routed):
    routed = make_routed(strong=broken())
    with pytest.raises(RuntimeError, match="down"):
        routed.invoke("hard")
    with pytest.raises(RuntimeError, match="down"):
        await routed.ainvoke("hard")
    with pytest.raises(RuntimeError, match="down"):
        list(routed.stream("hard"))
    assert routed.engine.ledger.totals["strong"].failures == 3
    assert "weak" not in routed.engine.ledger.totals


async def test_not_after_the_first_chunk(make_routed, weak):
    routed = make_routed(strong=broken(fail_after_chunks=1), fallback=True)
    stream, astream = routed.stream("hard"), routed.astream("hard")
    assert (next(stream).text, (await anext(astream)).text) == ("I", "I")
    with pytest.raises(RuntimeError, match="down"):
        next(stream)
    with pytest.raises(RuntimeError, match="down"):
        await anext(astream)
    assert weak.calls == []


def test_the_runs(make_routed):
    recorder = RunRecorder()
    make_routed(strong=broken(), fallback=True).invoke("hard", {"callbacks": [recorder]})
    whole, _, failed, answered = recorder.runs
    assert [run.ended for run in recorder.runs] == [1, 1, 1, 1]
    assert str(failed.error) == "down"
    assert failed.parent == answered.parent == whole.id
    assert answered.metadata["routellm"]["fallback_from"] == "strong"
    assert whole.outputs["routellm"]["choice"] == "weak"


def test_every_alternative_in_turn_and_the_last_error():
    def model(name, **fields):
        return FakeChat(model=name, **fields)

    candidates = {name: model(name, fail=RuntimeError(f"{name} is down")) for name in NAMES}
    options = {"router": NamedPoolRouter(), "policy": HighestScore(), "fallback": True}
    routed = RoutedChatModel(candidates=candidates, **options)
    with pytest.raises(RuntimeError, match="large is down") as caught:
        routed.invoke("medium")
    assert str(caught.value.__context__) == "small is down"
    assert [len(candidates[name].calls) for name in NAMES] == [1, 1, 1]
    candidates["large"] = model("large")
    message = RoutedChatModel(candidates=candidates, **options).invoke("medium")
    assert (message.text, decision(message)["fallback_from"]) == ("I am large", "small")


class Interrupted(FakeChat):
    """Is stopped from outside."""

    def _generate(self, *args, **kwargs):
        raise KeyboardInterrupt

    def _stream(self, *args, **kwargs):
        raise KeyboardInterrupt
        yield


async def test_nothing_but_errors_is_caught(make_routed, weak):
    routed = make_routed(strong=Interrupted(), fallback=True)
    with pytest.raises(KeyboardInterrupt):
        routed.invoke("hard")
    with pytest.raises(KeyboardInterrupt):
        list(routed.stream("hard"))
    slow = make_routed(strong=FakeChat(delay_s=5), fallback=True)
    task = asyncio.create_task(slow.ainvoke("hard"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stream = make_routed(fallback=True).stream("hard")
    next(stream)
    stream.close()
    assert weak.calls == []
    assert all(m.engine.ledger.totals["strong"].failures == 0 for m in (routed, slow))


async def test_the_consumer_of_a_stream_that_fails_itself_is_left_alone(make_routed, weak):
    stream = make_routed(fallback=True).stream("hard")
    next(stream)
    with pytest.raises(ValueError, match="mine"):
        stream.throw(ValueError("mine"))
    assert weak.calls == []


def test_with_tools_and_schemas(make_routed):
    routed = make_routed(strong=broken(), fallback=True)
    message = routed.bind_tools([ping]).invoke("hard 3")
    assert (message.tool_calls[0]["args"], decision(message)["fallback_from"]) == ({"x": 3}, "strong")
    structured = routed.with_structured_output(SCHEMA, include_raw=True)
    assert decision(structured.invoke("hard 3")["raw"])["fallback_from"] == "strong"
    assert list(routed.with_structured_output(SCHEMA).stream("hard 3"))[-1] == {"n": 3}


def test_what_was_ruled_out_takes_nothing_over(make_routed):
    weak = FakeChat(profile={"tool_calling": False})
    with pytest.raises(RuntimeError, match="down"):
        make_routed(strong=broken(), weak=weak, fallback=True).bind_tools([ping]).invoke("hard 1")
    assert weak.calls == []


def test_a_candidate_that_is_no_chat_model(make_routed):
    def fail(_):
        raise RuntimeError("down")

    routed = make_routed(strong=RunnableLambda(fail), fallback=True)
    check(routed.invoke("hard"))
    assert routed.engine.ledger.totals["strong"].failures == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_version_3_before_its_first_event(make_routed):
    routed = make_routed(strong=broken(), fallback=True)
    stream = routed.stream_events("hard", version="v3")
    assert "".join(stream.text) == "I am weak-model"
    assert decision(stream.output)["fallback_from"] == "strong"
    stream = await routed.astream_events("hard", version="v3")
    assert "".join([token async for token in stream.text]) == "I am weak-model"
    assert decision(await stream.output)["fallback_from"] == "strong"
    assert routed.engine.ledger.totals["strong"].failures == 2
    late = make_routed(strong=broken(fail_after_chunks=2), fallback=True).stream_events("hard", version="v3")
    with pytest.raises(RuntimeError, match="down"):
        _ = late.output
    hopeless = make_routed(strong=broken(), weak=broken(), fallback=True).stream_events("hard", version="v3")
    with pytest.raises(RuntimeError, match="down"):
        _ = hopeless.output


# --- among other fallbacks ---------------------------------------------------------------------------------------------


def test_inside_with_fallbacks(make_routed):
    spare = FakeChat(model="spare")
    routed = make_routed(strong=broken(), weak=broken(), fallback=True).with_fallbacks([spare])
    assert routed.invoke("hard").text == "I am spare"
    assert "".join(chunk.text for chunk in routed.stream("hard")) == "I am spare"
    check(make_routed(strong=broken(), fallback=True).with_fallbacks([spare]).invoke("hard"))


def test_outside_with_fallbacks(make_routed):
    routed = make_routed(strong=broken().with_fallbacks([FakeChat(model="spare")]), fallback=True)
    message = routed.invoke("hard")
    assert (message.text, decision(message)["fallback_from"]) == ("I am spare", None)
    check(make_routed(strong=broken().with_fallbacks([broken()]), fallback=True).invoke("hard"))


async def test_with_the_fallback_middleware(make_routed):
    spare = FakeChat(model="spare", text="from the spare")
    given = {"messages": [HumanMessage("hard")]}
    for models, text in (
        ({"strong": broken()}, "I am weak-model"),
        ({"strong": broken(), "weak": broken()}, "from the spare"),
    ):
        routed = make_routed(**models, fallback=True)
        agent = create_agent(routed, tools=[], middleware=[ModelFallbackMiddleware(spare)])
        assert agent.invoke(given)["messages"][-1].text == text
        assert (await agent.ainvoke(given))["messages"][-1].text == text
    taking_over = make_routed(strong=broken(), fallback=True)
    agent = create_agent(broken(), tools=[], middleware=[ModelFallbackMiddleware(taking_over)])
    check(agent.invoke(given)["messages"][-1])


async def test_a_failing_provider(router):
    with OpenAIServer() as server:
        server.behaviours["big"] = Behaviour(status=500)

        def client(model):
            return ChatOpenAI(model=model, base_url=server.url, api_key="test", max_retries=0)

        routed = RoutedChatModel(
            strong=client("big"), weak=client("small"), router=router, threshold=0.5, fallback=True
        )
        assert routed.invoke("hard").text == "small says: hard"
        assert "".join([chunk.text async for chunk in routed.astream("hard")]) == "small says: hard"
        assert server.models_asked() == ["big", "small", "big", "small"]
