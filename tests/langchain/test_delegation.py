"""What a call does: one chain run, the scoring and the chosen model's run in it, and the answer with its decision."""

import asyncio
import inspect
import threading
import time
import uuid

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler, get_usage_metadata_callback
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from routellm_core.errors import InvalidThresholdError, ScoringError
from routellm_core.testing import FunctionRouter
from support.chat_models import FakeChat
from support.runs import RunRecorder, until

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def merged(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    return total


async def as_awaitable(function, *args, **kwargs):
    result = function(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


async def chunks_of(model, how, given, config=None, **kwargs):
    if how == "stream":
        return list(model.stream(given, config, **kwargs))
    return [chunk async for chunk in model.astream(given, config, **kwargs)]


async def call(model, how, given, config=None, **kwargs):
    """Call the model in one of its ways and return one message."""
    if how == "invoke":
        return model.invoke(given, config, **kwargs)
    if how == "ainvoke":
        return await model.ainvoke(given, config, **kwargs)
    if how in ("stream", "astream"):
        return merged(await chunks_of(model, how, given, config, **kwargs))
    if how == "batch":
        return model.batch([given], config, **kwargs)[0]
    assert how == "abatch"
    return (await model.abatch([given], config, **kwargs))[0]


WAYS = ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(("prompt", "choice"), [("a hard one", "strong"), ("an easy one", "weak")])
async def test_the_chosen_model_answers_and_the_answer_says_why(routed, strong, weak, how, prompt, choice):
    answer = await call(routed, how, prompt)
    assert answer.text == f"I am {choice}-model"
    decision = answer.response_metadata["routellm"]
    assert decision["choice"] == choice
    assert decision["strong_win_rate"] == (0.9 if choice == "strong" else 0.1)
    assert decision["threshold"] == 0.5
    assert answer.response_metadata["model_name"] == f"{choice}-model"
    assert answer.usage_metadata == USAGE
    assert (len(strong.calls), len(weak.calls)) == ((1, 0) if choice == "strong" else (0, 1))


@pytest.mark.parametrize("how", WAYS)
async def test_one_chain_run_holds_the_scoring_and_the_one_model_run(routed, how):
    recorder = RunRecorder()
    await call(routed, how, "a hard one", {"callbacks": [recorder], "tags": ["mine"], "metadata": {"who": "me"}})
    outer, scoring, model = recorder.runs
    assert (outer.kind, outer.name, outer.parent) == ("chain", "RoutedChatModel", None)
    assert (scoring.kind, scoring.name, scoring.parent) == ("chain", "RoutingRunnable", outer.id)
    assert (model.kind, model.parent) == ("chat_model", outer.id)
    assert model.metadata["ls_model_name"] == "strong-model"
    assert model.metadata["routellm"]["choice"] == "strong"
    assert model.metadata["routellm_route"] == "strong"
    assert (model.metadata["routellm_score"], model.metadata["routellm_threshold"]) == (0.9, 0.5)
    assert model.metadata["who"] == "me"
    assert {"mine", "routellm:strong"} <= set(model.tags)
    assert "nostream" not in model.tags
    assert outer.outputs["routellm"] == model.metadata["routellm"]
    assert outer.outputs["output"].text == "I am strong-model"
    assert scoring.outputs.to_dict() == model.metadata["routellm"]
    assert [run.ended for run in recorder.runs] == [1, 1, 1]


@pytest.mark.parametrize("how", WAYS)
async def test_usage_is_counted_once(routed, how):
    handler = UsageMetadataCallbackHandler()
    with get_usage_metadata_callback() as context:
        await call(routed, how, "a hard one", {"callbacks": [handler]})
    assert handler.usage_metadata == {"strong-model": USAGE}
    assert context.usage_metadata == {"strong-model": USAGE}


@pytest.mark.parametrize("how", ["stream", "astream"])
async def test_the_decision_is_on_exactly_one_chunk(routed, how):
    chunks = await chunks_of(routed, how, "a hard one")
    assert [chunk.text for chunk in chunks] == ["I", " am", " strong-model"]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert ["routellm" in chunk.response_metadata for chunk in chunks] == [True, False, False]
    assert chunks[-1].chunk_position == "last"


async def test_native_paths_are_taken(routed, strong):
    for how in ("invoke", "ainvoke", "stream", "astream"):
        await call(routed, how, "a hard one")
    assert [seen["how"] for seen in strong.calls] == ["generate", "agenerate", "stream", "astream"]


async def test_call_arguments_reach_the_model_and_stop_only_when_given(routed, strong):
    routed.invoke("a hard one", stop=["x"], logprobs=True)
    routed.invoke("a hard one", stop=None)
    assert strong.calls[0]["stop"] == ["x"]
    assert strong.calls[0]["logprobs"] is True
    assert strong.calls[1]["stop"] is None


def test_the_callers_name_and_id_are_the_outer_runs(routed):
    recorder = RunRecorder()
    run_id = uuid.uuid4()
    routed.invoke("easy", {"callbacks": [recorder], "run_name": "router", "run_id": run_id})
    assert (recorder.runs[0].name, recorder.runs[0].id) == ("router", run_id)


def test_its_own_callbacks_tags_and_metadata_reach_the_model_run(make_routed):
    recorder = RunRecorder()
    routed = make_routed(callbacks=[recorder], tags=["summary"], metadata={"team": "a"}, name="my-router")
    routed.invoke("easy")
    outer, _, model = recorder.runs
    assert outer.name == "my-router"
    assert "summary" in model.tags
    assert model.metadata["team"] == "a"


def test_in_a_chain(routed):
    recorder = RunRecorder()
    chain = (
        ChatPromptTemplate.from_messages([("system", "be hard"), ("user", "{question}")]) | routed | StrOutputParser()
    )
    assert chain.invoke({"question": "easy"}, {"callbacks": [recorder]}) == "I am weak-model"
    assert "".join(chain.stream({"question": "a hard one"})) == "I am strong-model"
    (inner,) = recorder.named("RoutedChatModel")
    assert inner.parent == recorder.runs[0].id


# --- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
async def test_an_error_of_the_model_ends_every_run_and_is_raised(make_routed, how):
    recorder = RunRecorder()
    routed = make_routed(strong=FakeChat(model="strong-model", fail=ValueError("overloaded")))
    with pytest.raises(ValueError, match="overloaded"):
        await call(routed, how, "a hard one", {"callbacks": [recorder]})
    outer, scoring, model = recorder.runs
    assert str(outer.error) == str(model.error) == "overloaded"
    assert scoring.error is None
    assert [run.ended for run in recorder.runs] == [1, 1, 1]


@pytest.mark.parametrize("how", WAYS)
async def test_a_scoring_error_follows_on_router_error(make_routed, how):
    def fail(prompt):
        raise RuntimeError("the router is down")

    answer = await call(make_routed(router=FunctionRouter(fail)), how, "easy")
    assert answer.text == "I am strong-model"
    assert answer.response_metadata["routellm"]["reason"] == "router_error"
    answer = await call(make_routed(router=FunctionRouter(fail), on_router_error="weak"), how, "easy")
    assert answer.text == "I am weak-model"
    recorder = RunRecorder()
    with pytest.raises(ScoringError):
        await call(
            make_routed(router=FunctionRouter(fail), on_router_error="raise"), how, "easy", {"callbacks": [recorder]}
        )
    assert [run.ended for run in recorder.runs] == [1, 1]
    assert recorder.model_runs == []


def test_a_stream_that_is_not_read_to_its_end_is_no_error(routed):
    recorder = RunRecorder()
    stream = routed.stream("a hard one", {"callbacks": [recorder]})
    next(stream)
    stream.close()
    outer = recorder.runs[0]
    assert (outer.error, outer.ended) == (None, 1)
    assert outer.outputs["output"].text == "I"
    assert [run.ended for run in recorder.runs] == [1, 1, 1]


async def test_an_asynchronous_stream_that_is_not_read_to_its_end_is_no_error(routed):
    recorder = RunRecorder()
    stream = routed.astream("a hard one", {"callbacks": [recorder]})
    await anext(stream)
    await stream.aclose()
    assert (recorder.runs[0].error, recorder.runs[0].ended) == (None, 1)
    assert [run.ended for run in recorder.runs] == [1, 1, 1]


async def test_cancellation_ends_the_runs(make_routed):
    recorder = RunRecorder()
    routed = make_routed(strong=FakeChat(model="strong-model", delay_s=30.0))
    task = asyncio.create_task(routed.ainvoke("a hard one", {"callbacks": [recorder]}))
    await until(lambda: len(recorder.runs) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(recorder.runs[0].error, asyncio.CancelledError)
    assert recorder.runs[0].ended == 1


# --- batches -----------------------------------------------------------------------------------------------------------

PROMPTS = [f"{'hard' if i % 3 == 0 else 'easy'} question {i}" for i in range(12)]


@pytest.mark.parametrize("how", ["batch", "abatch"])
async def test_a_batch_is_scored_once_and_keeps_its_order(make_routed, how):
    router = FunctionRouter(lambda prompt: 0.9 if "hard" in prompt else 0.1)
    recorder = RunRecorder()
    routed = make_routed(router=router)
    config = {"callbacks": [recorder]}
    answers = await as_awaitable(getattr(routed, how), PROMPTS, config)
    assert router.calls == [tuple(PROMPTS)]
    assert [answer.text for answer in answers] == [
        f"I am {'strong' if i % 3 == 0 else 'weak'}-model" for i in range(len(PROMPTS))
    ]
    outers = recorder.named("RoutedChatModel")
    assert len(outers) == len(recorder.model_runs) == len(recorder.named("RoutingRunnable")) == len(PROMPTS)
    assert {run.parent for run in recorder.model_runs} == {run.id for run in outers}
    assert {run.ended for run in recorder.runs} == {1}


@pytest.mark.parametrize("how", ["batch", "abatch"])
async def test_max_concurrency_is_honoured(make_routed, how):
    running, peak, lock = 0, 0, threading.Lock()

    class Counting(FakeChat):
        def _enter(self, step):
            nonlocal running, peak
            with lock:
                running += step
                peak = max(peak, running)

        def _generate(self, *args, **kwargs):
            self._enter(1)
            time.sleep(0.01)
            self._enter(-1)
            return super()._generate(*args, **kwargs)

        async def _agenerate(self, *args, **kwargs):
            self._enter(1)
            await asyncio.sleep(0.01)
            self._enter(-1)
            return await super()._agenerate(*args, **kwargs)

    routed = make_routed(weak=Counting())
    config = {"max_concurrency": 3}
    prompts = [f"easy {i}" for i in range(12)]
    answers = await as_awaitable(getattr(routed, how), prompts, config)
    assert len(answers) == 12
    assert peak == 3


@pytest.mark.parametrize("how", ["batch", "abatch"])
async def test_a_batch_can_return_its_errors(make_routed, how):
    def win_rate(prompt):
        if "unscorable" in prompt:
            raise RuntimeError("no")
        return 0.9 if "hard" in prompt else 0.1

    recorder = RunRecorder()
    routed = make_routed(
        router=FunctionRouter(win_rate), on_router_error="raise", strong=FakeChat(fail=ValueError("overloaded"))
    )
    prompts = ["easy", "hard", "unscorable", "easy with a bad threshold"]
    configs = [{"callbacks": [recorder]} for _ in prompts]
    configs[3]["configurable"] = {"routellm_threshold": 7}
    results = await as_awaitable(getattr(routed, how), prompts, configs, return_exceptions=True)
    assert [type(result) for result in results] == [AIMessage, ValueError, ScoringError, InvalidThresholdError]
    assert {run.ended for run in recorder.runs} == {1}


@pytest.mark.parametrize("how", ["batch", "abatch"])
async def test_a_batch_that_fails_raises_and_leaves_no_run_open(make_routed, how):
    recorder = RunRecorder()
    routed = make_routed(strong=FakeChat(fail=ValueError("overloaded")))
    config = {"callbacks": [recorder], "max_concurrency": 1}
    batch = getattr(routed, how)
    with pytest.raises(ValueError, match="overloaded"):
        await as_awaitable(batch, ["hard", "easy 1", "easy 2"], config)
    await until(lambda: all(run.ended for run in recorder.runs))  # what had begun goes on, as in any asyncio.gather
    assert {run.ended for run in recorder.runs} == {1}


async def test_an_empty_batch(routed):
    assert routed.batch([]) == []
    assert await routed.abatch([]) == []


async def test_batch_as_completed(routed):
    assert sorted((i, m.text) for i, m in routed.batch_as_completed(["hard", "easy"])) == [
        (0, "I am strong-model"),
        (1, "I am weak-model"),
    ]
    results = [(i, m.text) async for i, m in routed.abatch_as_completed(["hard", "easy"])]
    assert sorted(results) == [(0, "I am strong-model"), (1, "I am weak-model")]


async def test_generate(routed):
    recorder = RunRecorder()
    conversations = [[HumanMessage("hard")], [HumanMessage("easy")]]
    for result in (
        routed.generate(conversations, stop=["x"], callbacks=[recorder], tags=["t"]),
        await routed.agenerate(conversations, stop=["x"], callbacks=[recorder], tags=["t"]),
    ):
        assert [row[0].text for row in result.generations] == ["I am strong-model", "I am weak-model"]
        assert {info.run_id for info in result.run} <= {run.id for run in recorder.named("RoutedChatModel")}
    assert len(recorder.model_runs) == 4
    assert all("t" in run.tags for run in recorder.model_runs)


# --- structured output and tools ---------------------------------------------------------------------------------------


def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


SCHEMA = {"title": "Answer", "description": "An answer.", "type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize("how", WAYS)
async def test_bound_tools(routed, how):
    answer = await call(routed.bind_tools([get_weather]), how, "hard: the weather in Rome")
    (tool_call,) = answer.tool_calls
    assert (tool_call["name"], tool_call["args"]) == ("get_weather", {"city": "Rome"})
    assert answer.response_metadata["routellm"]["choice"] == "strong"


def test_binding_again_replaces_the_tools_and_leaves_the_model_alone(routed, weak):
    def other(x: int) -> int:
        """Another."""
        return x

    routed.bind_tools([get_weather]).bind_tools([other]).invoke("easy 5")
    routed.invoke("easy 6")
    assert [tool["function"]["name"] for tool in weak.calls[0]["tools"]] == ["other"]
    assert "tools" not in weak.calls[1]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_structured_output(routed, how):
    recorder = RunRecorder()
    structured = routed.with_structured_output(SCHEMA)
    if how in ("stream", "astream"):
        answer = (await chunks_of(structured, how, "easy 5", {"callbacks": [recorder]}))[-1]
    else:
        answer = await call(structured, how, "easy 5", {"callbacks": [recorder]})
    assert answer == {"n": 5}
    (model,) = recorder.model_runs
    assert model.metadata["routellm"]["choice"] == "weak"
    assert recorder.runs[0].outputs["output"] == {"n": 5}
    assert recorder.runs[0].outputs["routellm"]["choice"] == "weak"


async def test_structured_output_with_the_raw_message(routed):
    structured = routed.with_structured_output(SCHEMA, include_raw=True)
    answer = structured.invoke("hard 5")
    assert answer["parsed"] == {"n": 5}
    assert answer["raw"].response_metadata["routellm"]["choice"] == "strong"
    chunks = list(structured.stream("hard 5", stop=None))
    assert (
        sum("routellm" in c["raw"].response_metadata for c in chunks if isinstance(c.get("raw"), AIMessageChunk)) == 1
    )
    assert [chunk["parsed"] for chunk in chunks if "parsed" in chunk][-1] == {"n": 5}


def test_a_candidate_without_tools_is_named_if_none_has_them(make_routed):
    plain = FakeListChatModel(responses=["x"])
    routed = make_routed(strong=plain, weak=plain)
    with pytest.raises(
        NotImplementedError, match="candidate 'strong', a FakeListChatModel, does not support bind_tools"
    ):
        routed.bind_tools([get_weather])
