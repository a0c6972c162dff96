"""Answers in a schema: whichever model the router chooses fills the same Pydantic class.

    python examples/local_models.py -- python examples/langchain_structured_output.py   two small models on this machine, no key
    OPENAI_API_KEY=... python examples/langchain_structured_output.py                   OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[langchain]"` and
`pip install langchain-openai`.
"""

import os
import sys
from typing import Literal

from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from routellm_langchain import RoutedChatModel

QUESTIONS = (
    "How many days are there in 3 weeks?",
    "Let G be a group of order 15. Show that G is cyclic. How many elements of G generate it?",
)


class Answer(BaseModel):
    """The answer to a question."""

    value: int = Field(description="The number that was asked for")
    subject: Literal["everyday", "mathematics"] = Field(description="What the question is about")


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
        threshold=0.68,
        temperature=0.0,
        max_tokens=60,
    )


def main() -> None:
    # By function calling, an answer that does not fit the schema leaves `parsed` empty; by OpenAI's own method it raises.
    model = open_routed().with_structured_output(Answer, include_raw=True, method="function_calling")
    for question in QUESTIONS:
        output = model.invoke(question)
        assert isinstance(output, dict)  # because of include_raw
        decision = output["raw"].response_metadata["routellm"]
        print(f"> {question}")
        print(f"  {output['parsed'] or output['parsing_error'] or 'the model did not fill the schema'!r}")
        print(f"  -> {decision['choice']}: {decision['explanation']}\n")


if __name__ == "__main__":
    main()
