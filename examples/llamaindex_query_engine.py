"""A query engine over a vector index: the question chooses the model, not the text that was retrieved.

    python examples/local_models.py -- python examples/llamaindex_query_engine.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/llamaindex_query_engine.py                           OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[llamaindex]"` and
`pip install llama-index-llms-openai-like`.
"""

import os
import sys

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.llms.openai_like import OpenAILike

from routellm_llamaindex import BundledEmbedding, RoutedLLM

CORPUS = (
    "Talc is the softest mineral: a fingernail scratches it.",
    "Quartz scratches glass. It is the most common mineral of beach sand.",
    (
        "Let G be the point group of a crystal lattice. Since a rotation in G maps lattice vectors to lattice vectors, its trace "
        "1 + 2 cos(a) is an integer, so the order of the rotation is 1, 2, 3, 4 or 6."
    ),
)
EASY = "What scratches glass?"
HARD = (
    "Let G be a finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1. "
    "Show that G is cyclic."
)


def open_model(name: str) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=8192,
        max_tokens=60,
        temperature=0.0,
        timeout=120.0,
    )


def open_routed() -> RoutedLLM:
    if not os.environ.get("OPENAI_API_KEY"):
        sys.exit(
            "No OPENAI_API_KEY is set. Set it, and for another provider OPENAI_BASE_URL, STRONG_MODEL and WEAK_MODEL, or "
            f"run: python examples/local_models.py -- python {sys.argv[0]}"
        )
    return RoutedLLM(
        strong=open_model(os.environ.get("STRONG_MODEL") or "gpt-4.1"),
        weak=open_model(os.environ.get("WEAK_MODEL") or "gpt-4.1-nano"),
    )


def main() -> None:
    llm = open_routed()
    index = VectorStoreIndex([TextNode(text=text) for text in CORPUS], embed_model=BundledEmbedding())
    engine = index.as_query_engine(llm=llm, similarity_top_k=2)
    for question in (EASY, HARD):
        print(f"{question}\n  -> {llm.decide(question).choice}: {engine.query(question)}\n")
    for model, totals in llm.ledger.totals.items():
        print(f"{model}: {totals.calls} calls, {totals.usage.input_tokens} + {totals.usage.output_tokens} tokens")


if __name__ == "__main__":
    main()
