"""Structured prediction: four ways, models with and without tools, either route."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import MessageRole
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate, SelectorPromptTemplate
from llama_index.core.prompts.utils import is_chat_model
from pydantic import BaseModel

from support.llamaindex_models import PlainLLM, ToolLLM


class Rock(BaseModel):
    name: str


PROMPT = "Name one {query_str} rock."


def tool_llm(label: str) -> ToolLLM:
    return ToolLLM(label, arguments={"name": label})


def plain_llm(label: str) -> PlainLLM:
    return PlainLLM(label, reply=f'{{"name": "{label}"}}')


@pytest.fixture(params=["tools+tools", "tools+plain", "plain+tools", "plain+plain"])
def models(request: pytest.FixtureRequest, make_pair) -> Any:
    strong, weak = request.param.split("+")
    make = {"tools": tool_llm, "plain": plain_llm}
    return make_pair(strong=make[strong]("big"), weak=make[weak]("small"))


@pytest.mark.parametrize(("word", "label"), [("hard", "big"), ("soft", "small")])
async def test_every_model_answers_in_its_own_way(models, word: str, label: str) -> None:
    prompt = PromptTemplate(PROMPT)
    assert models.llm.structured_predict(Rock, prompt, query_str=word) == Rock(name=label)
    assert await models.llm.astructured_predict(Rock, prompt, query_str=word) == Rock(name=label)
    assert models.calls == ((2, 0) if label == "big" else (0, 2))
    assert models.router.scored == [word]


@pytest.mark.parametrize(("word", "label"), [("hard", "big"), ("soft", "small")])
async def test_streams_of_structured_answers(make_pair, word: str, label: str) -> None:
    pair = make_pair(strong=tool_llm("big"), weak=tool_llm("small"))
    prompt = PromptTemplate(PROMPT)
    answers = list(pair.llm.stream_structured_predict(Rock, prompt, query_str=word))
    stream = await pair.llm.astream_structured_predict(Rock, prompt, query_str=word)
    answers += [answer async for answer in stream]
    assert answers == [Rock(name=label), Rock(name=label)]
    assert pair.calls == ((2, 0) if label == "big" else (0, 2))


@pytest.mark.parametrize(("word", "label"), [("hard", "big"), ("soft", "small")])
async def test_structured_llm_chats(models, word: str, label: str) -> None:
    structured = models.llm.as_structured_llm(Rock)
    assert structured.complete(f"a {word} rock").text == f'{{"name":"{label}"}}'
    assert (await structured.acomplete(f"a {word} rock")).raw == Rock(name=label)


def templates() -> list[Any]:
    text = PromptTemplate(PROMPT)
    chat = ChatPromptTemplate.from_messages([(MessageRole.SYSTEM, "Be brief."), (MessageRole.USER, PROMPT)])
    selectors = [
        SelectorPromptTemplate(default_template=text, conditionals=[(condition, chat)])
        for condition in (is_chat_model, lambda llm: True)
    ]
    return [text, chat, *selectors]


@pytest.mark.parametrize("kind", range(4))
async def test_prompt_and_arguments_of_the_caller_are_left_alone(make_pair, kind: int) -> None:
    """A model without tools puts its output parser on the prompt it is given; the next call must not see it."""
    pair = make_pair(strong=tool_llm("big"), weak=plain_llm("small"))
    prompt, llm_kwargs = templates()[kind], {"temperature": 0.1, "tool_choice": "auto"}
    before = prompt.model_dump()
    parts = [prompt, *([prompt.default_template, prompt.conditionals[0][1]] if kind >= 2 else [])]
    assert pair.llm.structured_predict(Rock, prompt, llm_kwargs, query_str="soft") == Rock(name="small")
    assert await pair.llm.astructured_predict(Rock, prompt, llm_kwargs, query_str="soft") == Rock(name="small")
    assert [part.output_parser for part in parts] == [None] * len(parts)
    assert prompt.model_dump() == before
    assert pair.llm.structured_predict(Rock, prompt, llm_kwargs, query_str="hard") == Rock(name="big")
    assert llm_kwargs == {"temperature": 0.1, "tool_choice": "auto"}
    assert "JSON" in pair.weak.seen[0]
    assert not any("JSON" in (message.content or "") for message in pair.strong.seen[0])
