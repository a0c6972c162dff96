"""A routed model from a configuration file."""

import threading

import pytest
from langchain_core.messages import HumanMessage

from routellm_core.config import load_config
from routellm_core.errors import ConfigurationError, UnknownTargetError
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.openai_server import OpenAIServer

TEXT = """\
models:
  large: {price: {input: 2.0, output: 8.0}}
  medium: {price: 1.0, capabilities: {images: true}}
  small: {price: 0.1}
routers:
  size: {load: length}
chains:
  support: {strong: large, weak: small, router: size, threshold: 0.9}
  summarise: {strong: medium, weak: small, router: size, threshold: 0.000001, tools_route: strong}
  careful: {strong: large, weak: small, router: size, threshold: 0.0, sticky: true}
"""


@pytest.fixture
def models():
    return {name: FakeChat(model=name) for name in ("large", "medium", "small")}


@pytest.fixture
def write(tmp_path):
    path = tmp_path / "routing.yaml"

    def write(text=TEXT):
        path.write_text(text, encoding="utf-8")
        return path

    return write


def in_chain(name):
    return {"configurable": {"routellm_chain": name}}


async def test_the_chain_of_the_model_and_the_chain_of_a_call(write, models):
    routed = RoutedChatModel.from_config(write(), chain="support", models=models)
    assert routed.invoke("hello").text == "I am small"
    assert routed.invoke("hello", in_chain("summarise")).text == "I am medium"
    assert (await routed.ainvoke("hello", in_chain("careful"))).text == "I am large"
    assert "".join(c.text for c in routed.stream("hello", in_chain("summarise"))) == "I am medium"
    assert [m.text for m in routed.batch(["a", "b"], [in_chain("support"), in_chain("careful")])] == [
        "I am small",
        "I am large",
    ]
    assert routed.with_config(in_chain("summarise")).invoke("hello").text == "I am medium"
    assert RoutedChatModel.from_config(write(), chain="summarise", models=models).invoke("hello").text == "I am medium"
    with pytest.raises(UnknownTargetError, match="chain='sumarise' is not in the configuration"):
        routed.invoke("hello", in_chain("sumarise"))


def test_what_the_constructor_takes_besides(write, models):
    models["small"] = FakeChat(model="small", fail=RuntimeError("down"))
    routed = RoutedChatModel.from_config(write(), chain="support", models=models, fallback=True, temperature=0.3)
    assert routed.invoke("hello").text == "I am large"
    assert models["large"].calls[0]["temperature"] == 0.3
    with pytest.raises(ConfigurationError, match="engine= already has its own tools_route"):
        RoutedChatModel.from_config(write(), chain="support", models=models, tools_route="strong")


def test_constraints_come_from_the_file_and_from_the_profiles(write, models):
    models["small"] = FakeChat(model="small", profile={"image_inputs": False})
    models["medium"] = FakeChat(model="medium", profile={"image_inputs": False})
    path = write(TEXT.replace("small: {price: 0.1}", "small: {price: 0.1, capabilities: {tools: false}}"))
    routed = RoutedChatModel.from_config(path, chain="support", models=models)
    image = HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}])
    assert routed.invoke([image]).text == "I am large"
    assert routed.invoke([image], in_chain("summarise")).text == "I am medium"  # the file wins over the profile
    assert routed.bind_tools([{"name": "t", "description": "t"}]).decide("hello").choice == "large"
    routed.engine.reload(load_config(path))
    assert routed.invoke([image]).text == "I am large"


def test_models_are_made_by_the_file(write, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    with OpenAIServer() as server:
        arguments = f"arguments: {{base_url: '{server.url}', max_retries: 0, temperature: 0.2}}"
        path = write(
            f"""\
models:
  large: {{provider: openai, model: big-one, {arguments}}}
  small: {{provider: openai, model: small-one, {arguments}}}
chains:
  only: {{strong: large, weak: small, router: length, threshold: 0.9}}
"""
        )
        routed = RoutedChatModel.from_config(path)
        assert routed.invoke("hello").text == "small-one says: hello"
        strong = routed.invoke("hello", {"configurable": {"routellm_route": "strong"}})
        assert strong.text == "big-one says: hello"
        assert [request.body["temperature"] for request in server.requests] == [0.2, 0.2]
        given = RoutedChatModel.from_config(path, models={"small": FakeChat(model="mine")})
        assert given.invoke("hello").text == "I am mine"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("", ""), {}, "say which chain= to take: support, summarise, careful"),
        (("", ""), {"chain": "suport"}, "chain='suport' is not in the configuration"),
        (("", ""), {"chain": "support"}, "model 'small' has no provider and model to make it from"),
        (
            ("", ""),
            {"chain": "support", "models": {"huge": 1}},
            "models= has 'huge', which .* has not; there are: large",
        ),
        (("", ""), {"chain": "support", "models": {"small": 7}}, "small must be a chat model"),
        (
            ("threshold: 0.9", "treshold: 0.9"),
            {"chain": "support"},
            "line 8, .*treshold: unknown key; did you mean 'threshold'",
        ),
        (
            ("{price: 0.1}", "{price: 0.1, provider: nobody, model: x}"),
            {"chain": "support"},
            r"model 'small' \(nobody:x\) cannot be made",
        ),
    ],
)
def test_mistakes(write, change, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        RoutedChatModel.from_config(write(TEXT.replace(*change) if change[0] else TEXT), **arguments)


def test_a_key_in_the_file_never_shows_up_in_an_error(write):
    text = TEXT.replace("{price: 0.1}", "{price: 0.1, provider: openai, model: x, arguments: {api_key: [sk-secret]}}")
    with pytest.raises(ConfigurationError) as caught:
        RoutedChatModel.from_config(write(text), chain="support")
    assert "sk-secret" not in str(caught.value)


def test_a_reload_while_calls_run(write, models):
    path = write()
    routed = RoutedChatModel.from_config(path, chain="support", models=models)
    bound = routed.bind_tools([{"name": "t", "description": "t"}])
    other = TEXT.replace("threshold: 0.9", "threshold: 0.0").replace(
        "careful: {strong: large", "careful: {strong: medium"
    )
    stop, wrong = threading.Event(), []

    def call():
        while not stop.is_set():
            found = routed.decide("hello"), routed.decide("hello", in_chain("careful"))
            allowed = ({("small", 0.9), ("large", 0.0)}, {("large", 0.0), ("medium", 0.0)})
            wrong.extend(one for one, may in zip(found, allowed, strict=True) if (one.choice, one.threshold) not in may)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for text in (other, TEXT) * 4:
        routed.engine.reload(load_config(write(text)))
    routed.engine.reload(load_config(write(other)))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert routed.invoke("hello").text == "I am large"
    assert bound.decide("hello").choice == "large"
    with pytest.raises(ConfigurationError, match="a reload cannot add models"):
        routed.engine.reload(load_config(write(TEXT.replace("medium", "huge"))))
    assert routed.invoke("hello").text == "I am large"
