"""A query engine over two real models: the question decides which one answers, whatever was retrieved."""

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CORPUS = (
    "Talc is the softest mineral: a fingernail scratches it.",
    "Quartz scratches glass. It is the most common mineral of beach sand.",
    "Calcite fizzes in vinegar. Limestone and marble consist of it.",
    (
        "Let G be the point group of a crystal lattice. Since a rotation in G maps lattice vectors to lattice vectors, its trace "
        "1 + 2 cos(a) is an integer, so the order of the rotation is 1, 2, 3, 4 or 6. Prove the converse."
    ),
)
EASY = ("What scratches glass?", "What is the softest mineral?")
HARD = (
    (
        "Let G be a finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1. "
        "Show that G is cyclic."
    ),
)


@pytest.fixture
def llm(models) -> Iterator[Any]:
    import httpx
    from llama_index.llms.openai_like import OpenAILike

    from routellm_llamaindex import RoutedLLM

    def open_model(name: str, http: httpx.Client) -> Any:
        return OpenAILike(
            model=name,
            api_base=models.base_url,
            api_key="none",
            is_chat_model=True,
            context_window=4096,
            max_tokens=16,
            temperature=0,
            max_retries=0,
            timeout=120,
            http_client=http,
        )

    with httpx.Client() as http:
        yield RoutedLLM(strong=open_model(models.strong, http), weak=open_model(models.weak, http))


@pytest.fixture
def index() -> Any:
    from llama_index.core import VectorStoreIndex
    from llama_index.core.schema import TextNode

    from routellm_llamaindex import BundledEmbedding

    return VectorStoreIndex([TextNode(text=text) for text in CORPUS], embed_model=BundledEmbedding())


async def test_questions_go_where_they_should(llm, index) -> None:
    engine = index.as_query_engine(llm=llm, similarity_top_k=2)
    answers = {question: engine.query(question) for question in (*EASY, *HARD)}
    assert all(str(answer).strip() for answer in answers.values())
    totals = llm.ledger.totals
    assert (totals["weak"].calls, totals["strong"].calls) == (len(EASY), len(HARD))
    for one in totals.values():
        assert one.failures == one.calls_without_usage == 0
        assert one.usage.input_tokens > 50 * one.calls, "the retrieved text was read"
        assert 0 < one.usage.output_tokens <= 16 * one.calls
    retrieved = [node.text for node in answers[EASY[0]].source_nodes]
    assert CORPUS[1] in retrieved, "the embedding finds the text"


async def test_the_text_that_was_retrieved_does_not_move_the_route(llm, index) -> None:
    everything = index.as_query_engine(llm=llm, similarity_top_k=len(CORPUS))
    whole = "\n".join((*CORPUS, EASY[0]))
    assert llm.decide(whole).choice == "strong", "scored with its texts, the question would move"
    response = everything.query(EASY[0])
    assert len(response.source_nodes) == len(CORPUS)
    assert list(llm.ledger.totals) == ["weak"]
    assert str(llm.with_threshold(0.0).complete(EASY[0])).strip()
    assert llm.ledger.totals["strong"].calls == 1
