"""Stream to a terminal, word by word; the first chunk says which model is answering.

    python examples/local_models.py -- python examples/langchain_streaming.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/langchain_streaming.py                     OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[langchain]"` and
`pip install langchain-openai`.
"""

import os
import sys

from langchain_openai import ChatOpenAI

from routellm_langchain import RoutedChatModel

PROMPTS = (
    "Describe the sea in one sentence.",
    (
        "Let G be a finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1. "
        "Show that G is cyclic."
    ),
)


def open_model(name: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=os.environ.get("OPENAI_BASE_URL") or None, timeout=120.0)


def open_routed() -> RoutedChatModel:
    if not os.environ.get("OPENAI_API_KEY"):
        sys.exit(
            "No OPENAI_API_KEY is set. Set it, and for another provider OPENAI_BASE_URL, STRONG_MODEL and WEAK_MODEL, or "
            f"run: python examples/local_models.py -- python {sys.argv[0]}"
        )
    return RoutedChatModel(
        strong=open_model(os.environ.get("STRONG_MODEL") or "gpt-4.1"),
        weak=open_model(os.environ.get("WEAK_MODEL") or "gpt-4.1-nano"),
        temperature=0.0,
        max_tokens=60,
    )


def main() -> None:
    model = open_routed()
    for prompt in PROMPTS:
        print(f"> {prompt}")
        for chunk in model.stream(prompt):
            decision = chunk.response_metadata.get("routellm")  # on one chunk alone, so that adding chunks up keeps one
            if decision is not None:
                print(f"  -> {decision['choice']}: {decision['explanation']}")
            print(chunk.text, end="", flush=True)
        print("\n")


if __name__ == "__main__":
    main()
