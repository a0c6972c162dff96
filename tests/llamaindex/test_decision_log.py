"""The decision log behind the routed LLM."""

import pytest
from llama_index.core.base.llms.types import ChatMessage

from routellm_core.errors import ConfigurationError
from routellm_core.traffic import read_decisions
from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import ToolLLM
from support.routers import KeywordRouter

SECRET = "my password is hunter2, a hard one"


async def test_every_call_is_a_line(tmp_path):
    path = tmp_path / "decisions.jsonl"
    llm = RoutedLLM(strong=ToolLLM("strong"), weak=ToolLLM("weak"), router=KeywordRouter(), threshold=0.5, log=path)
    llm.complete(SECRET)
    await llm.acomplete("easy")
    list(llm.stream_chat([ChatMessage(content="easy")]))
    llm.with_threshold(0.05).complete("easy")
    assert llm.engine.log.flush()
    rows = read_decisions(path)
    assert [row.choice for row in rows] == ["strong", "weak", "weak", "strong"]
    assert [row.threshold for row in rows] == [0.5, 0.5, 0.5, 0.05]
    assert "hunter2" not in path.read_text()


def test_an_engine_has_its_own(tmp_path):
    llm = RoutedLLM(strong=ToolLLM("strong"), weak=ToolLLM("weak"), router="length", threshold=0.5)
    with pytest.raises(ConfigurationError, match="log"):
        RoutedLLM(strong=ToolLLM("strong"), weak=ToolLLM("weak"), engine=llm.engine, log=tmp_path / "d.jsonl")
