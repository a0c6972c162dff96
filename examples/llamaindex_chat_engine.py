"""A chat engine: each turn goes where it belongs; `sticky=True` keeps the conversation on its model.

    python examples/local_models.py -- python examples/llamaindex_chat_engine.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/llamaindex_chat_engine.py                           OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[llamaindex]"` and
`pip install llama-index-llms-openai-like`.
"""

import os
import sys

from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.llms.openai_like import OpenAILike

from routellm_core import routing
from routellm_llamaindex import RoutedLLM

TURNS = (
    (
        "Let G be a finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1. "
        "Show that G is cyclic."
    ),
    "Thank you! Say good morning in Spanish.",
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
        sticky=True,
    )


def main() -> None:
    llm = open_routed()
    memory = ChatMemoryBuffer.from_defaults(token_limit=3000)
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    with routing(session="a visitor"):
        for turn in TURNS:
            print(f"> {turn}\n{engine.chat(turn)}\n")
    for model, totals in llm.ledger.totals.items():
        print(f"{model}: {totals.calls} calls")


if __name__ == "__main__":
    main()
