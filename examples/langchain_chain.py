"""Two chains share one routed model, each with a threshold of its own: what one sends to the strong model, the other need not.

    python examples/local_models.py -- python examples/langchain_chain.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/langchain_chain.py                     OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[langchain]"` and
`pip install langchain-openai`.
"""

import os
import sys
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_openai import ChatOpenAI

from routellm_langchain import RoutedChatModel

TEXTS = (
    "The shop opens at nine.",
    "The tenant shall give notice of three months to the end of a quarter, unless the lease provides for a longer period.",
    (
        "Every finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1, is cyclic: "
        "its Sylow subgroups are normal and intersect trivially."
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


def decision_of(message: AIMessage) -> dict[str, Any]:
    decision: dict[str, Any] = message.response_metadata["routellm"]
    return decision


def chain(model: RoutedChatModel, task: str, threshold: float) -> Runnable[dict[str, str], dict[str, Any]]:
    # The router scores the human message; the task, which is the same in every call, would tell it nothing.
    prompt = ChatPromptTemplate.from_messages([("system", task), ("human", "{text}")])
    outputs = {"answer": StrOutputParser(), "decision": RunnableLambda(decision_of)}
    return (prompt | model | outputs).with_config(configurable={"routellm_threshold": threshold})


def main() -> None:
    model = open_routed()
    chains = {
        "headline": chain(model, "Write a headline of at most six words for the text.", threshold=0.68),
        "translate": chain(model, "Translate the text to French.", threshold=0.65),
    }
    for text in TEXTS:
        print(f"> {text}")
        for name, one in chains.items():
            output = one.invoke({"text": text})
            decision = output["decision"]
            print(
                f"  {name}: {decision['choice']} (strong win rate {decision['strong_win_rate']:.3f}, threshold "
                f"{decision['threshold']:.3f}): {' '.join(output['answer'].split())}"
            )


if __name__ == "__main__":
    main()
