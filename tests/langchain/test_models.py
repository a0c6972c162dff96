"""The models being routed to: what they may be, what reaches them, and what stays theirs."""

import sys

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import Field

from routellm_core import RoutingEngine
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_core.testing import ConstantRouter
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.openai_server import Behaviour, OpenAIServer
from support.pools import NAMES, pool_engine
from support.runs import RunRecorder

SCHEMA = {"title": "A", "description": "An answer.", "type": "object", "properties": {"n": {"type": "integer"}}}


def ping(x: int) -> int:
    """A tool."""
    return x


@pytest.fixture(scope="module")
def shared_server():
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(shared_server):
    shared_server.reset()
    return shared_server


def openai(server, model, **arguments):
    return ChatOpenAI(model=model, base_url=server.url, api_key="test", **{"max_retries": 0, **arguments})


# --- wrapped models ----------------------------------------------------------------------------------------------------


def test_bound_arguments_are_kept(make_routed, strong):
    routed = make_routed(strong=strong.bind(temperature=0.3, seed=7))
    routed.invoke("hard")
    list(routed.stream("hard"))
    routed.bind_tools([ping]).invoke("hard 1")
    routed.with_structured_output(SCHEMA).invoke("hard 1")
    routed.with_structured_output(SCHEMA, include_raw=True).invoke("hard 1")
    assert [(seen["temperature"], seen["seed"]) for seen in strong.calls] == [(0.3, 7)] * 5
    assert [bool(seen.get("tools")) for seen in strong.calls] == [False, False, True, True, True]


def test_tools_bound_through_the_routed_model_replace_those_of_a_candidate(make_routed, strong):
    def other(x: int) -> int:
        """Another tool."""
        return x

    routed = make_routed(strong=strong.bind_tools([other], tool_choice="other", seed=7)).bind_tools(
        [ping], tool_choice="ping"
    )
    assert routed.invoke("hard 1").tool_calls[0]["name"] == "ping"
    assert [tool["function"]["name"] for tool in strong.calls[0]["tools"]] == ["ping"]
    assert strong.calls[0]["seed"] == 7


@pytest.mark.parametrize("bind", ["plain", "tools", "schema"])
def test_fallbacks_fall_back(make_routed, bind):
    broken, spare = FakeChat(model="broken", fail=ValueError("down")), FakeChat(model="spare")
    routed = make_routed(strong=broken.with_fallbacks([spare]))
    if bind == "plain":
        assert routed.invoke("hard").text == "I am spare"
        assert "".join(chunk.text for chunk in routed.stream("hard")) == "I am spare"
    elif bind == "tools":
        assert routed.bind_tools([ping]).invoke("hard 4").tool_calls[0]["args"] == {"x": 4}
    else:
        assert routed.with_structured_output(SCHEMA).invoke("hard 4") == {"n": 4}
    assert broken.calls
    assert spare.calls


@pytest.mark.parametrize("bind", ["plain", "tools"])
def test_retries_retry(make_routed, bind):
    flaky = FakeChat(model="flaky", fail=ValueError("busy"), failures=[2])
    routed = make_routed(strong=flaky.with_retry(wait_exponential_jitter=False, stop_after_attempt=3))
    model = routed if bind == "plain" else routed.bind_tools([ping])
    assert model.invoke("hard 1").response_metadata["routellm"]["choice"] == "strong"
    assert len(flaky.calls) == 3


def test_the_config_of_a_wrapped_model_is_kept(make_routed, strong):
    recorder = RunRecorder()
    routed = make_routed(strong=strong.with_config(tags=["expensive"]))
    routed.bind_tools([ping]).invoke("hard 1", {"callbacks": [recorder]})
    assert "expensive" in recorder.model_runs[0].tags


def test_a_routed_model_among_the_candidates(strong, weak, router):
    inner = RoutedChatModel(strong=strong, weak=weak, router=ConstantRouter(0.2), threshold=0.5)
    routed = RoutedChatModel(strong=inner, weak=FakeChat(model="tiny"), router=router, threshold=0.5, temperature=0.4)
    answer = routed.invoke("hard", {"configurable": {"routellm_threshold": 0.8}})
    assert answer.text == "I am weak-model"
    assert answer.response_metadata["routellm"]["strong_win_rate"] == 0.9
    assert weak.calls[0]["temperature"] == 0.4
    assert routed.bind_tools([ping]).invoke("hard 3").tool_calls[0]["args"] == {"x": 3}


def test_a_plain_runnable_answers_too(make_routed):
    routed = make_routed(strong=RunnableLambda(lambda _: HumanMessage("from a function")))
    assert routed.invoke("hard").text == "from a function"
    both = make_routed(strong=RunnableLambda(len), weak=RunnableLambda(len))
    with pytest.raises(NotImplementedError, match="candidate 'strong' has no bind_tools: it is a RunnableLambda"):
        both.bind_tools([ping])


def test_models_as_strings(router, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    routed = RoutedChatModel(strong="openai:big", weak="openai:small", router=router, threshold=0.5, max_tokens=9)
    assert routed.invoke("hard").text == "big says: hard"
    assert routed.invoke("easy").text == "small says: easy"
    assert [request.body["max_completion_tokens"] for request in server.requests] == [9, 9]


def test_models_as_strings_need_langchain(weak, router, monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "routellm-plugins\[langchain-agents\]"'):
        RoutedChatModel(strong="openai:big", weak=weak, router=router, threshold=0.5)


def test_many_candidates():
    models = {name: FakeChat(model=name) for name in NAMES}
    routed = RoutedChatModel(candidates=models, engine=pool_engine())
    assert [routed.invoke(f"the {name} one").text for name in NAMES] == [f"I am {name}" for name in NAMES]
    decision = routed.invoke("medium").response_metadata["routellm"]
    assert (decision["choice"], decision["alternatives"], decision["strong_win_rate"]) == (
        "medium",
        ["small", "large"],
        None,
    )


# --- what the constructor takes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"treshold": 0.3}, "takes no 'treshold'; did you mean 'threshold'?"),
        ({"temprature": 0.3}, "takes no 'temprature'; did you mean 'temperature'?"),
        ({"zzz": 1}, "takes no 'zzz'. It takes .*score_timeout_s"),
        ({"weak": None}, "weak= missing"),
        ({"strong": None, "weak": None}, "strong= and weak= missing"),
        ({"candidates": {"a": FakeChat(), "b": FakeChat()}}, "give either strong= and weak=, or candidates="),
        ({"strong": 7}, "strong must be a chat model, .* not int"),
        ({"threshold": 1.5}, r"threshold must be in \[0, 1\]"),
        ({"router": "no-such-router"}, "no registered name"),
        ({"policy": "no-such-policy"}, "policy='no-such-policy' is unknown"),
        ({"on_router_error": "shrug"}, "on_router_error"),
        ({"score_timeout_s": 0}, "score_timeout_s must be more than 0"),
        ({"prices": {"strong": 1.0}}, "prices has no entry for 'weak'"),
    ],
)
def test_errors_surface_at_construction(make_routed, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        make_routed(**arguments)


def test_a_ready_made_engine(strong, weak, router):
    engine = RoutingEngine(router, threshold=0.5)
    assert RoutedChatModel(strong=strong, weak=weak, engine=engine).engine is engine
    assert (
        RoutedChatModel(strong=strong, weak=weak, engine=engine, threshold=0.05).invoke("easy").text
        == "I am strong-model"
    )
    with pytest.raises(ConfigurationError, match="engine= already has its own router"):
        RoutedChatModel(strong=strong, weak=weak, engine=engine, router=router)
    with pytest.raises(ConfigurationError, match="the engine routes among"):
        RoutedChatModel(candidates={"a": strong, "b": weak}, engine=engine)
    with pytest.raises(ConfigurationError, match="the engine routes among"):
        RoutedChatModel(strong=strong, weak=weak, engine=pool_engine())


def test_a_pair_by_other_names(strong, weak, router):
    routed = RoutedChatModel(candidates={"small": weak, "big": strong}, router=router, threshold=0.5)
    assert routed.invoke("hard").response_metadata["routellm"]["choice"] == "big"


class CountingLimiter(BaseRateLimiter):
    acquired = 0

    def acquire(self, *, blocking=True):
        self.acquired += 1
        return True

    async def aacquire(self, *, blocking=True):
        return self.acquire()


@pytest.mark.parametrize(
    "argument",
    [
        {"cache": True},
        {"rate_limiter": CountingLimiter()},
        {"max_retries": 3},
        {"timeout": 5},
        {"api_key": "sk-secret"},
    ],
)
def test_what_belongs_to_the_inner_models_warns(make_routed, argument):
    (name,) = argument
    with pytest.warns(UserWarning, match=f"^{name}= given to RoutedChatModel has no effect") as caught:
        routed = make_routed(**argument)
    assert "sk-secret" not in str(caught[0].message) + repr(routed)
    assert caught[0].filename.endswith("conftest.py")


# --- what reaches the payload ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["hard", "easy"])
def test_sampling_arguments_reach_the_payload_of_the_chosen_model(router, server, prompt):
    routed = RoutedChatModel(
        strong=openai(server, "big", temperature=1.0),
        weak=openai(server, "small").bind(temperature=0.9, user="me"),
        router=router,
        threshold=0.5,
        temperature=0.1,
        max_tokens=7,
        stop=["END"],
        top_p=0.8,
        seed=3,
    )
    routed.invoke(prompt)
    list(routed.stream(prompt))
    routed.bind_tools([ping]).invoke(prompt + " 1")
    routed.with_structured_output(SCHEMA).invoke(prompt + " 1")
    assert len(server.requests) == 4
    for request in server.requests:
        assert request.model == ("big" if prompt == "hard" else "small")
        sent = {key: request.body.get(key) for key in ("temperature", "max_completion_tokens", "stop", "top_p", "seed")}
        assert sent == {"temperature": 0.1, "max_completion_tokens": 7, "stop": ["END"], "top_p": 0.8, "seed": 3}
        assert request.body.get("user") == (None if prompt == "hard" else "me")
    assert "tools" in server.requests[2].body


def test_arguments_of_one_call_win(router, server):
    routed = RoutedChatModel(
        strong=openai(server, "big"), weak=openai(server, "small"), router=router, threshold=0.5, temperature=0.1
    )
    routed.invoke("hard", temperature=0.7, stop=["x"])
    assert (server.requests[0].body["temperature"], server.requests[0].body["stop"]) == (0.7, ["x"])


def test_the_models_that_were_given_are_not_changed(router, server):
    big = openai(server, "big")
    RoutedChatModel(strong=big, weak=big, router=router, threshold=0.5, temperature=0.1, streaming=True)
    assert (big.temperature, big.streaming) == (None, False)


def test_streaming_and_output_version_reach_the_model(router, server):
    models = {"strong": openai(server, "big"), "weak": openai(server, "small")}
    routed = RoutedChatModel(**models, router=router, threshold=0.5, streaming=True, output_version="v1")
    message = routed.invoke("hard")
    assert server.requests[0].body["stream"] is True
    assert message.content[0]["type"] == "text"
    quiet = RoutedChatModel(**models, router=router, threshold=0.5, disable_streaming=True)
    assert len(list(quiet.stream("hard"))) == 1
    assert "stream" not in server.requests[1].body or not server.requests[1].body["stream"]


class StrictChat(FakeChat):
    """Calls the bound of an answer by another name, and takes it in no call."""

    num_predict: int | None = None

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        if {"max_tokens", "max_completion_tokens", "streaming"} & set(kwargs):
            raise TypeError("unexpected argument")
        return super()._generate(messages, stop, run_manager, num_predict=self.num_predict, **kwargs)


@pytest.mark.parametrize("setting", ["max_tokens", "max_completion_tokens"])
def test_the_bound_of_an_answer_reaches_a_model_that_calls_it_otherwise(make_routed, strong, setting):
    weak = StrictChat()
    routed = make_routed(weak=weak, **{setting: 7})
    routed.invoke("easy")
    routed.invoke("hard")
    assert weak.calls[0]["num_predict"] == 7
    assert strong.calls[0][setting] == 7
    make_routed(weak=StrictChat(num_predict=3)).invoke("easy")
    assert weak.num_predict is None


def test_a_model_that_has_no_field_for_streaming_streams_when_asked(make_routed):
    plain = FakeListChatModel(responses=["abc"])
    routed = make_routed(weak=plain, streaming=True)
    assert routed.candidates["strong"].streaming is True
    assert [chunk.text for chunk in routed.stream("easy")] == ["a", "b", "c"]


def test_what_no_field_of_a_model_takes_is_an_error(make_routed):
    with pytest.raises(
        ConfigurationError, match="streaming= cannot be passed on to candidate 'weak': FakeListChatModel"
    ):
        make_routed(weak=FakeListChatModel(responses=["x"]), streaming=False)


def test_sampling_arguments_of_a_model_without_such_fields_go_with_every_call(make_routed, strong):
    make_routed(top_p=0.5).invoke("hard")
    assert strong.calls[0]["top_p"] == 0.5


class OtherNames(FakeChat):
    """Takes `max_tokens`, and calls it something else."""

    limit: int | None = Field(default=None, alias="max_tokens")


def test_a_model_is_given_a_setting_by_the_name_its_constructor_takes(make_routed):
    routed = make_routed(strong=OtherNames(), max_tokens=5)
    routed.invoke("hard")
    assert routed.candidates["strong"].limit == 5
    assert "max_tokens" not in routed.candidates["strong"].calls[0]


def test_a_failing_provider(router, server):
    server.behaviours["big"] = Behaviour(status=500, failures=1)
    routed = RoutedChatModel(
        strong=openai(server, "big", max_retries=1), weak=openai(server, "small"), router=router, threshold=0.5
    )
    assert routed.invoke("hard").text == "big says: hard"
    assert server.models_asked() == ["big", "big"]


# --- what stays the inner models' --------------------------------------------------------------------------------------


@pytest.fixture
def global_cache():
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


@pytest.mark.usefixtures("global_cache")
async def test_the_cache_never_mixes_models(make_routed, strong, weak):
    routed = make_routed()
    assert routed.invoke("easy").text == "I am weak-model"
    assert routed.with_threshold(0.05).invoke("easy").text == "I am strong-model"
    other = make_routed(weak=FakeChat(model="another"))
    assert other.invoke("easy").text == "I am another"
    again = await routed.ainvoke("easy")
    assert again.text == "I am weak-model"
    assert (len(strong.calls), len(weak.calls)) == (1, 1)


@pytest.mark.usefixtures("global_cache")
def test_what_the_cache_holds_is_not_touched(make_routed, weak):
    routed = make_routed()
    routed.invoke("easy")
    assert routed.with_threshold(0.2).invoke("easy").response_metadata["routellm"]["threshold"] == 0.2
    assert "routellm" not in weak.invoke("easy").response_metadata
    assert len(weak.calls) == 1


async def test_the_rate_limiter_of_the_chosen_model_is_asked(make_routed):
    limiter = CountingLimiter()
    routed = make_routed(strong=FakeChat(model="strong-model", rate_limiter=limiter))
    routed.invoke("hard")
    await routed.ainvoke("hard")
    list(routed.stream("hard"))
    routed.invoke("easy")
    assert limiter.acquired == 3


# --- what others ask about it ------------------------------------------------------------------------------------------


def test_the_profile(make_routed):
    big = {
        "max_input_tokens": 1000,
        "tool_calling": True,
        "structured_output": True,
        "image_inputs": True,
        "name": "big",
    }
    small = {"max_input_tokens": 200, "tool_calling": True, "structured_output": False, "name": "small"}
    strong, weak = FakeChat(profile=big), FakeChat(profile=small)
    assert make_routed(strong=strong, weak=weak.bind(seed=1)).profile == {
        "max_input_tokens": 200,
        "tool_calling": True,
        "structured_output": False,
        "image_inputs": True,
    }
    assert make_routed(strong=strong).profile is None
    assert make_routed(strong=strong, profile={"max_input_tokens": 5}).profile == {"max_input_tokens": 5}


def test_tokens_are_counted_by_the_strongest(make_routed, strong):
    routed = make_routed(strong=strong.with_retry())
    assert routed.get_num_tokens("one two three") == 3
    assert routed.get_token_ids("one two") == [0, 1]
    messages = [HumanMessage("one two")]
    assert routed.get_num_tokens_from_messages(messages) == strong.get_num_tokens_from_messages(messages)
    assert make_routed(custom_get_token_ids=lambda text: [1] * len(text)).get_num_tokens("abc") == 3


def test_trace_parameters(routed, make_routed):
    params = routed._get_ls_params(stop=["x"])
    assert (params["ls_provider"], params["ls_model_name"], params["ls_stop"]) == ("routellm", "weak|strong", ["x"])
    assert routed._get_ls_params(model="other")["ls_model_name"] == "other"
    assert routed.asdict() == {
        "candidates": {"weak": "FakeChat", "strong": "FakeChat"},
        "router": "keyword",
        "threshold": 0.5,
        "_type": "routellm",
    }


def test_no_key_in_its_representation(router, server):
    key = "sk-very-secret"
    model = ChatOpenAI(model="big", base_url=server.url, api_key=key)
    routed = RoutedChatModel(strong=model, weak=model, router=router, threshold=0.5)
    assert key not in repr(routed) + str(routed.asdict()) + str(routed.to_json())
