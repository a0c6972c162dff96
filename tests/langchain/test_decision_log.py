"""The decision log behind the chat model and the middleware."""

import pickle

import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.traffic import read_decisions
from routellm_langchain import RoutedChatModel
from support.chat_models import FakeChat
from support.routers import KeywordRouter

SECRET = "my password is hunter2, a hard one"


async def test_every_call_is_a_line_with_its_tokens(tmp_path):
    path = tmp_path / "decisions.jsonl"
    model = RoutedChatModel(strong=FakeChat(), weak=FakeChat(), router=KeywordRouter(), threshold=0.5, log=path)
    model.invoke(SECRET)
    await model.ainvoke("easy")
    list(model.stream("easy"))
    model.batch(["hard", "easy"])
    assert model.engine.log.flush()
    rows = read_decisions(path)
    assert sorted(row.choice for row in rows) == ["strong", "strong", "weak", "weak", "weak"]
    reported = model.engine.ledger.totals
    for name in ("strong", "weak"):
        tokens = sum(row.usage.input_tokens for row in rows if row.choice == name)
        assert tokens == reported[name].usage.input_tokens > 0
    assert "hunter2" not in path.read_text()


def test_a_decision_alone_is_no_call(tmp_path):
    path = tmp_path / "decisions.jsonl"
    model = RoutedChatModel(strong=FakeChat(), weak=FakeChat(), router=KeywordRouter(), threshold=0.5, log=path)
    model.decide("hard")
    assert model.engine.log.flush()
    assert not path.exists()


def test_copies_and_pickles_write_to_the_same_file(tmp_path):
    path = tmp_path / "decisions.jsonl"
    model = RoutedChatModel(strong=FakeChat(), weak=FakeChat(), router="length", threshold=0.5, log=path)
    for one in (model, model.model_copy(), pickle.loads(pickle.dumps(model))):
        one.invoke("easy")
        assert one.engine.log.flush()
    assert len(read_decisions(path)) == 3


def test_an_engine_has_its_own(tmp_path):
    model = RoutedChatModel(strong=FakeChat(), weak=FakeChat(), router="length", threshold=0.5)
    with pytest.raises(ConfigurationError, match="log"):
        RoutedChatModel(strong=FakeChat(), weak=FakeChat(), engine=model.engine, log=tmp_path / "d.jsonl")
