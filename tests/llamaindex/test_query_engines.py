"""Inside query and chat engines the question decides, never the text that was retrieved."""

import asyncio
from typing import Any

import pytest
from llama_index.core import Settings, SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine, SimpleChatEngine
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.selectors import LLMSingleSelector
from pydantic import BaseModel

from routellm_core import routing
from routellm_core.testing import FunctionRouter
from routellm_llamaindex import RoutedLLM
from support.llamaindex_models import PlainLLM, ToolLLM

MODES = ("compact", "refine", "tree_summarize", "simple_summarize", "accumulate", "compact_accumulate", "generation")
STREAMING_MODES = MODES[:4] + MODES[6:]
NODES = [TextNode(text="Granite is a hard rock."), TextNode(text="Talc is soft; diamond is hard.")]
EASY, HARD = "Which rock is soft?", "Which rock is hard, and why?"


class Rock(BaseModel):
    name: str


def index() -> SummaryIndex:
    return SummaryIndex(nodes=NODES)


def memory() -> ChatMemoryBuffer:
    # The default memory of these engines leaves a database connection open.
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


async def ask(llm: Any, mode: str, how: str, question: str) -> str:
    engine = index().as_query_engine(llm=llm, response_mode=mode, streaming=how.endswith("stream"))
    if how in ("query", "stream"):
        return str(engine.query(question))
    response = await engine.aquery(question)
    if how == "astream":
        return "".join([token async for token in response.async_response_gen()])
    return str(response)


@pytest.mark.parametrize(("question", "label"), [(EASY, "small"), (HARD, "big")])
@pytest.mark.parametrize("how", ["query", "aquery", "stream", "astream"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_question_is_scored_in_every_mode(pair, mode: str, how: str, question: str, label: str) -> None:
    if "stream" in how and mode not in STREAMING_MODES:
        with pytest.raises(ValueError, match=r"[Ss]tream"):
            await ask(pair.llm, mode, how, question)
        return
    answer = await ask(pair.llm, mode, how, question)
    assert f"{label} says hi" in answer
    assert pair.router.scored == [question], "the question, once, whatever number of calls it takes"
    strong, weak = pair.calls
    assert (weak == 0 and strong > 0) if label == "big" else (strong == 0 and weak > 0)


def test_multimodal_answer_is_routed_by_the_question(pair) -> None:
    synthesizer = get_response_synthesizer(llm=pair.llm, response_mode="simple_summarize", multimodal=True)
    synthesizer.synthesize(EASY, nodes=[NodeWithScore(node=NODES[0])])
    assert pair.router.scored == [EASY]


def test_settings_llm_reaches_engines(pair) -> None:
    Settings.llm = pair.llm
    assert str(index().as_query_engine().query(HARD)) == "big says hi"
    assert pair.calls == (1, 0)


async def test_each_engine_has_its_own_threshold(pair) -> None:
    careful = index().as_query_engine(llm=pair.llm.with_threshold(0.05))
    cheap = index().as_query_engine(llm=pair.llm.with_threshold(0.95))
    assert str(careful.query(EASY)) == "big says hi"
    assert str(await cheap.aquery(HARD)) == "small says hi"
    assert str(index().as_query_engine(llm=pair.llm).query(HARD)) == "big says hi"


@pytest.mark.parametrize("use_async", [False, True])
async def test_routing_block_reaches_into_engines(pair, use_async: bool) -> None:
    engine = index().as_query_engine(llm=pair.llm, response_mode="tree_summarize", use_async=use_async)
    with routing(route="strong"):
        assert str(engine.query(EASY)) == "big says hi"
        assert str(await engine.aquery(EASY)) == "big says hi"
    with routing(threshold=0.95):
        assert str(engine.query(HARD)) == "small says hi"
    assert pair.calls == (2, 1)


@pytest.mark.parametrize("mode", STREAMING_MODES)
async def test_routing_block_reaches_streams_that_are_read_inside(pair, mode: str) -> None:
    with routing(route="strong"):
        for how in ("stream", "astream"):
            assert "big says hi" in await ask(pair.llm, mode, how, EASY)
    assert pair.calls[1] == 0


def test_compact_streams_call_the_model_when_they_are_read(pair) -> None:
    """A documented limit: by then the block is over; an engine's own threshold is not."""
    with routing(route="strong"):
        response = index().as_query_engine(llm=pair.llm, streaming=True).query(EASY)
    assert pair.calls == (0, 0)
    assert str(response).strip() == "small says hi"
    careful = index().as_query_engine(llm=pair.llm.with_threshold(0.05), streaming=True)
    assert str(careful.query(EASY)).strip() == "big says hi"


async def test_concurrent_queries_keep_their_own_decision() -> None:
    """500 aquery calls with mixed thresholds and random delays: each is answered by the model its own question asks for."""
    router = FunctionRouter(lambda prompt: int(prompt.split()[1]) / 500, delay_s=(0.0, 0.005))
    strong, weak = ToolLLM("big", delay_s=0.02), ToolLLM("small", delay_s=0.02)
    llm = RoutedLLM(strong=strong, weak=weak, router=router, threshold=0.5)
    engine = index().as_query_engine(llm=llm)
    high = index().as_query_engine(llm=llm.with_threshold(0.8))

    async def query(number: int) -> None:
        kind = number % 3
        if kind == 0:
            answer, threshold = await engine.aquery(f"question {number} please"), 0.5
        elif kind == 1:
            answer, threshold = await high.aquery(f"question {number} please"), 0.8
        else:
            with routing(threshold=0.2):
                answer, threshold = await engine.aquery(f"question {number} please"), 0.2
        assert str(answer) == f"{'big' if number / 500 >= threshold else 'small'} says hi", number

    await asyncio.gather(*(query(number) for number in range(500)))
    assert len(strong.seen) + len(weak.seen) == 500


# --- paths of their own ----------------------------------------------------------------------------------------------


def test_output_cls_is_routed_by_the_question(make_pair) -> None:
    pair = make_pair(weak=ToolLLM("small", arguments={"name": "talc"}), strong=ToolLLM("big", arguments={"name": "x"}))
    engine = index().as_query_engine(llm=pair.llm, output_cls=Rock, response_mode="compact")
    assert engine.query(EASY).response == Rock(name="talc")
    assert set(pair.router.scored) == {EASY}


def test_structured_llm_in_an_engine_hides_the_question(make_pair) -> None:
    """A documented limit: the structured LLM formats its prompt first, so the retrieved text is scored with it."""
    pair = make_pair(weak=ToolLLM("small", arguments={"name": "x"}), strong=ToolLLM("big", arguments={"name": "y"}))
    structured = pair.llm.as_structured_llm(Rock)
    assert isinstance(structured, StructuredLLM)
    index().as_query_engine(llm=structured).query(EASY)
    (scored,) = pair.router.scored
    assert EASY in scored
    assert "Granite" in scored
    assert pair.calls == (1, 0)


def test_selector_prompt_is_routed_by_the_query(pair) -> None:
    selector = LLMSingleSelector.from_defaults(llm=pair.llm)
    with pytest.raises(ValueError, match="JSON"):  # the fake model does not answer in the selector's format
        selector.select(["hard rocks", "soft rocks"], EASY)
    assert pair.router.scored == [EASY]


async def test_chat_engines_score_the_last_question(pair) -> None:
    retriever = index().as_retriever()
    simple = SimpleChatEngine.from_defaults(llm=pair.llm, memory=memory())
    assert str(simple.chat(EASY)) == "small says hi"
    assert str(await simple.achat(HARD)) == "big says hi"
    context = ContextChatEngine.from_defaults(retriever=retriever, llm=pair.llm, memory=memory())
    assert str(context.chat(EASY)) == "small says hi"
    assert str(await context.achat(HARD)) == "big says hi"
    assert "".join(context.stream_chat(EASY).response_gen).strip() == "small says hi"
    assert set(pair.router.scored) == {EASY, HARD}


def test_condense_plus_context_answers_by_the_condensed_question(pair) -> None:
    engine = CondensePlusContextChatEngine.from_defaults(
        retriever=index().as_retriever(), llm=pair.llm, memory=memory()
    )
    assert str(engine.chat(EASY)) == "small says hi"
    assert pair.router.scored[0] == EASY


def test_routing_text_decides_what_is_scored(make_pair) -> None:
    given: list[tuple[list[ChatMessage], dict[str, Any]]] = []

    def last_context(messages: Any, variables: Any) -> str | None:
        given.append((list(messages), dict(variables)))
        return variables.get("context_str")

    pair = make_pair(routing_text=last_context)
    assert str(index().as_query_engine(llm=pair.llm).query(EASY)) == "big says hi"
    messages, variables = given[0]
    assert variables["query_str"] == EASY
    assert "Granite" in pair.router.scored[0]
    assert EASY in (messages[-1].content or "")
    pair.llm.chat([ChatMessage(role=MessageRole.USER, content=EASY)])
    assert pair.router.scored[-1] == EASY, "None leaves it to the rule"


def test_predict_without_a_question_scores_the_prompt(pair) -> None:
    assert pair.llm.predict(PromptTemplate("Name a {kind} thing."), kind="hard") == "big says hi"
    assert pair.router.scored == ["Name a hard thing."]


def test_system_prompt_and_template_of_the_chosen_model_hold(make_pair) -> None:
    weak = PlainLLM("plain", system_prompt="Be brief.", completion_to_prompt=lambda prompt: f"<s>{prompt}</s>")
    pair = make_pair(weak=weak, strong=ToolLLM("big", system_prompt="Be thorough."))
    pair.llm.predict(PromptTemplate("{query_str}"), query_str="easy")
    assert weak.seen == ["Be brief.\n\n<s>easy</s>"]
    pair.llm.predict(PromptTemplate("{query_str}"), query_str="hard")
    assert [message.content for message in pair.strong.seen[0]] == ["Be thorough.", "hard"]


def test_image_only_question_does_not_break(pair) -> None:
    image = ChatMessage(role=MessageRole.USER, blocks=[ImageBlock(image=b"iVBORw0KGgo=")])
    assert pair.llm.chat([image]).additional_kwargs["routellm"]["reason"] == "empty_prompt"
