"""Copies, pickles and dumps: nothing is lost, nothing is assigned by mistake, no key is shown."""

import copy
import json
import pickle
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole

from routellm_core import RoutingEngine
from routellm_core.errors import ConfigurationError, InvalidThresholdError
from routellm_core.routers.length import LengthRouter
from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import ToolLLM
from support.routers import KeywordRouter

KEY = "sk-very-secret"


def test_dumps_and_representations_show_no_key(pair) -> None:
    shown = [
        repr(pair.llm),
        str(pair.llm),
        str(pair.llm.to_dict()),
        pair.llm.to_json(),
        str(pair.llm.model_dump()),
        pair.llm.model_dump_json(),
        str(pair.llm.to_payload()),
        str(pair.llm.as_structured_llm(ChatMessage).to_dict()),
        repr(pair.llm.engine),
    ]
    assert KEY in repr(pair.weak), "the model itself shows it"
    for text in shown:
        assert KEY not in text
    dumped = json.loads(pair.llm.to_json())
    assert dumped["class_name"] == "RoutedLLM"
    assert dumped["candidates"]["weak"]["model_name"] == "small"
    assert (dumped["router"], dumped["threshold"], dumped["policy"]) == ("keyword", 0.5, "threshold")


def test_errors_of_pydantic_show_no_key() -> None:
    with pytest.raises(ValueError, match="emit_events") as caught:
        RoutedLLM(strong=ToolLLM("a"), weak=ToolLLM("b"), router=KeywordRouter(), threshold=0.5, emit_events="maybe")
    assert KEY not in str(caught.value)
    assert "input_value" not in str(caught.value)


def test_from_dict_says_why_it_cannot(pair) -> None:
    with pytest.raises(ConfigurationError, match="cannot be made from a dict"):
        RoutedLLM.from_dict(pair.llm.to_dict())


@pytest.mark.parametrize("make_copy", [lambda llm: pickle.loads(pickle.dumps(llm)), copy.deepcopy])
def test_pickle_and_deepcopy_keep_router_models_and_settings(make_copy: Any) -> None:
    llm = RoutedLLM(
        candidates={"small": ToolLLM("s"), "large": ToolLLM("l")},
        router=LengthRouter(max_characters=10),
        threshold=0.7,
        on_router_error="raise",
        emit_events=False,
        context_window=1234,
    )
    copied = make_copy(llm)
    assert isinstance(copied.engine.router, LengthRouter)
    assert copied.engine.router.max_characters == 10
    assert (copied.threshold, copied.engine.plan.on_router_error, copied.emit_events) == (0.7, "raise", False)
    assert copied.metadata == llm.metadata
    assert copied.candidates["small"] is not llm.candidates["small"]
    assert copied.complete("short").text == "s says hi"
    assert copied.complete("a longer one").text == "l says hi"
    with pytest.raises(ConfigurationError, match="cannot be assigned"):
        copied.emit_events = True


def test_pickle_never_drops_a_part_silently() -> None:
    llm = RoutedLLM(
        strong=ToolLLM("a"),
        weak=ToolLLM("b"),
        router=KeywordRouter(),
        threshold=0.5,
        routing_text=lambda messages, variables: None,
    )
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(llm)


def test_model_copy_validates(pair) -> None:
    same = pair.llm.model_copy()
    assert same.engine is pair.llm.engine
    assert same.candidates["weak"] is pair.weak
    other = pair.llm.model_copy(update={"threshold": 0.95, "emit_events": False})
    assert (other.threshold, other.emit_events) == (0.95, False)
    assert (pair.llm.threshold, pair.llm.emit_events) == (0.5, True)
    assert other.candidates["weak"] is pair.weak
    deep = pair.llm.model_copy(deep=True)
    assert deep.candidates["weak"] is not pair.weak
    assert deep.engine is pair.llm.engine
    with pytest.raises(InvalidThresholdError):
        pair.llm.model_copy(update={"threshold": "nonsense"})
    with pytest.raises(ConfigurationError, match="does not take treshold"):
        pair.llm.model_copy(update={"treshold": 0.7})
    with pytest.raises(ConfigurationError, match="chooses among weak, strong"):
        pair.llm.model_copy(update={"candidates": {"a": ToolLLM("a"), "b": ToolLLM("b")}})


def test_copies_follow_the_router_of_the_original(pair) -> None:
    message = [ChatMessage(role=MessageRole.USER, content="a hard one")]
    pair.llm.chat(message)
    for copied in (pair.llm.with_threshold(0.6), pair.llm.model_copy(), copy.deepcopy(pair.llm), copy.copy(pair.llm)):
        copied.chat(message)
    assert pair.router.scored == ["a hard one"], "all share the score cache"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("emit_events", False, "make a copy with model_copy"),
        ("engine", RoutingEngine(KeywordRouter(), threshold=0.1), "make a copy with model_copy"),
        ("candidates", {}, "make a copy with model_copy"),
        ("system_prompt", "Be brief.", "set it on the models"),
        ("rate_limiter", object(), "set it on the models"),
        ("output_parser", None, "set it on the models"),
        ("messages_to_prompt", str, "set it on the models"),
    ],
)
def test_assignments_that_would_do_nothing_are_refused(pair, name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        setattr(pair.llm, name, value)


def test_threshold_is_not_assigned(pair) -> None:
    with pytest.raises(AttributeError):
        pair.llm.threshold = 0.7
