"""Models, prices and a threshold per chain in one file, `routing.yaml`; each call names its chain.

    python examples/local_models.py -- python examples/langchain_config.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/langchain_config.py                     OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models; the prices in the file are those of OpenAI's default pair. It needs two
installations: `pip install "routellm-plugins[langchain]"` and `pip install langchain-openai`.
"""

import json
import os
import sys
from pathlib import Path

from langchain_openai import ChatOpenAI

from routellm_langchain import RoutedChatModel

CALLS = {
    "support": "Say good morning in Spanish.",
    "legal": "Can a tenant end a lease early?",
    "headlines": "Write a headline: the city council votes on the new tram line.",
}


def open_model(name: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=os.environ.get("OPENAI_BASE_URL") or None, timeout=120.0)


def open_routed() -> RoutedChatModel:
    if not os.environ.get("OPENAI_API_KEY"):
        sys.exit(
            "No OPENAI_API_KEY is set. Set it, and for another provider OPENAI_BASE_URL, STRONG_MODEL and WEAK_MODEL, or "
            f"run: python examples/local_models.py -- python {sys.argv[0]}"
        )
    return RoutedChatModel.from_config(
        Path(__file__).with_name("routing.yaml"),
        chain="support",
        models={
            "large": open_model(os.environ.get("STRONG_MODEL") or "gpt-4.1"),
            "small": open_model(os.environ.get("WEAK_MODEL") or "gpt-4.1-nano"),
        },
        temperature=0.0,
        max_tokens=60,
    )


def main() -> None:
    model = open_routed()
    for chain, prompt in CALLS.items():
        answer = model.invoke(prompt, {"configurable": {"routellm_chain": chain}})
        decision = answer.response_metadata["routellm"]
        print(f"{chain}\n> {prompt}\n  -> {decision['choice']}: {decision['explanation']}")
        print(f"  {' '.join(answer.text.split())}\n")
    print(json.dumps(model.engine.ledger.to_dict(), indent=2))


if __name__ == "__main__":
    main()
