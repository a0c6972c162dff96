"""Sticky conversations: by the session of the block, else by the first user message."""

from typing import Any

import pytest
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import TextNode
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from routellm_core import routing
from routellm_llamaindex import BundledEmbedding
from support.llamaindex_models import ToolLLM


class Product(BaseModel):
    a: int
    b: int


def turns(*texts: str) -> list[ChatMessage]:
    roles = (MessageRole.USER, MessageRole.ASSISTANT)
    return [ChatMessage(role=roles[number % 2], content=text) for number, text in enumerate(texts)]


def record_of(response: Any) -> dict[str, Any]:
    return response.additional_kwargs["routellm"]


def test_a_conversation_is_known_by_its_first_message(make_pair) -> None:
    llm = make_pair(sticky=True).llm
    assert record_of(llm.chat(turns("a hard start")))["choice"] == "strong"
    record = record_of(llm.chat(turns("a hard start", "yes", "an easy end")))
    assert (record["choice"], record["reason"]) == ("strong", "session")
    assert record_of(llm.chat(turns("another start", "yes", "an easy end")))["choice"] == "weak"


async def test_deciding_alone_does_not_begin_a_conversation(make_pair) -> None:
    llm = make_pair(sticky=True).llm
    assert llm.decide(turns("a start", "yes", "hard")).choice == "strong"
    assert (await llm.adecide(turns("a start", "yes", "hard"))).choice == "strong"
    assert record_of(llm.chat(turns("a start", "yes", "easy")))["choice"] == "weak"


def test_the_session_of_the_block_wins(make_pair) -> None:
    llm = make_pair(sticky=True).llm
    with routing(session="one"):
        assert record_of(llm.chat(turns("hard")))["choice"] == "strong"
        assert llm.complete("easy").additional_kwargs["routellm"]["reason"] == "session"
    with routing(session="two"):
        assert record_of(llm.chat(turns("hard", "yes", "easy")))["choice"] == "weak"


async def test_texts_and_queries_belong_to_no_conversation(make_pair) -> None:
    llm = make_pair(sticky=True).llm
    engine = SummaryIndex(nodes=[TextNode(text="Talc.")]).as_query_engine(llm=llm)
    for question, label in (("hard?", "big"), ("easy?", "small"), ("hard?", "big")):
        assert str(await engine.aquery(question)) == f"{label} says hi"
    with routing(session="one"):
        assert [str(await engine.aquery(question)) for question in ("hard?", "easy?")] == ["big says hi"] * 2


@pytest.mark.parametrize(("sticky", "labels"), [(True, ["big", "big"]), (False, ["big", "small"])])
def test_a_chat_engine_stays_on_its_model(make_pair, sticky: bool, labels: list[str]) -> None:
    memory = ChatMemoryBuffer.from_defaults(token_limit=3000)
    engine = SimpleChatEngine.from_defaults(llm=make_pair(sticky=sticky).llm, memory=memory)
    assert [str(engine.chat(text)) for text in ("hard", "easy")] == [f"{label} says hi" for label in labels]


@pytest.mark.parametrize("system_role", [MessageRole.SYSTEM, MessageRole.USER])
@pytest.mark.parametrize("mode", ["simple", "context", "condense_plus_context"])
async def test_every_chat_engine_keeps_each_conversation_on_its_model(make_pair, mode: str, system_role: Any) -> None:
    pair = make_pair(ToolLLM("big", system_role=system_role), sticky=True)
    index = VectorStoreIndex(
        [TextNode(text="Granite is a rock."), TextNode(text="Talc is soft.")], embed_model=BundledEmbedding()
    )
    options = {} if mode == "simple" else {"similarity_top_k": 1}  # what is retrieved differs by turn
    for texts, label in ((("hard granite", "easy talc"), "big"), (("easy talc", "hard granite"), "small")):
        engine = index.as_chat_engine(
            chat_mode=mode,
            llm=pair.llm,
            memory=ChatMemoryBuffer.from_defaults(token_limit=3000),
            system_prompt="Be kind.",
            **options,
        )
        assert str(engine.chat(texts[0])) == f"{label} says hi"
        assert str(await engine.achat(texts[1])) == f"{label} says hi"
        assert "".join(engine.stream_chat(texts[1]).response_gen).strip() == f"{label} says hi"


def test_it_moves_where_that_pays_for_the_cold_cache(make_pair) -> None:
    prices = {"weak": {"input": 1, "output": 4}, "strong": {"input": 5, "output": 20, "cached_input": 0.5}}
    llm = make_pair(sticky=True, prices=prices).llm
    llm.chat(turns("a hard start"))
    record = record_of(llm.chat(turns("a hard start", "yes", "easy")))
    # With the prices and the tokens known, the short prompt's warm cache does not pay for the strong model.
    assert (record["choice"], record["reason"]) == ("weak", "policy")
    long = "a hard start " * 2000
    llm.chat(turns(long))
    record = record_of(llm.with_threshold(0.11).chat(turns(long, "yes", "easy")))
    assert (record["choice"], record["reason"]) == ("strong", "session")
    assert record["threshold"] < 0.1


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
async def test_structured_turns_of_a_conversation_stay_on_its_model(make_pair) -> None:
    pair = make_pair(sticky=True)
    pair.llm.chat(turns("a hard start"))
    history = turns("a hard start", "yes", "an easy end")
    structured = pair.llm.as_structured_llm(Product)
    structured.chat(history)
    list(structured.stream_chat(history))
    await structured.achat(history)
    [chunk async for chunk in await structured.astream_chat(history)]
    assert pair.calls == (5, 0)


def test_a_structured_prediction_of_a_template_belongs_to_no_conversation(make_pair) -> None:
    pair = make_pair(sticky=True)
    pair.llm.chat(turns("a hard start"))
    prompt = PromptTemplate("a hard start")
    pair.llm.structured_predict(Product, prompt, query_str="easy")
    assert pair.calls == (1, 1)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
async def test_the_output_cls_of_an_agent_stays_on_the_model_of_the_conversation(make_pair) -> None:
    tool = FunctionTool.from_defaults(lambda a, b: a * b, name="multiply", description="Multiply.")
    pair = make_pair(sticky=True)
    pair.llm.chat(turns("a hard start"))
    agent = FunctionAgent(tools=[tool], llm=pair.llm, output_cls=Product)
    response = await agent.run("an easy end", chat_history=turns("a hard start", "yes"))
    assert response.structured_response == {"a": 6, "b": 7}
    assert pair.calls == (4, 0), "the loop and the structured answer are the strong model's"
