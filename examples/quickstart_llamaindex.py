"""Send each call of a LlamaIndex application to a strong or a weak model: chat first, then a query engine.

    make demo                                                          two small models on this machine, no key
    OPENAI_API_KEY=... python examples/quickstart_llamaindex.py        OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[llamaindex]"` and
`pip install llama-index-llms-openai-like`.
"""

import os
import sys
from typing import Any

from llama_index.core import SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.schema import TextNode
from llama_index.llms.openai_like import OpenAILike
from llama_index_instrumentation import get_dispatcher
from rich.console import Console
from rich.table import Table

from routellm_core import RoutingDecision
from routellm_llamaindex import RoutedLLM, RoutingDecisionEvent

PROMPTS = (
    "What is the capital of France?",
    "Say good morning in Spanish.",
    (
        "In a group of 30 students, 18 play football, 15 play tennis and 7 play both. A student is chosen at random. "
        "What is the probability that the student plays neither?"
    ),
    (
        "Let G be a finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1. "
        "Show that G is cyclic."
    ),
)

CORPUS = (
    "Talc is the softest mineral: a fingernail scratches it.",
    "Quartz scratches glass. It is the most common mineral of beach sand.",
    (
        "Let G be the point group of a crystal lattice. Since a rotation in G maps lattice vectors to lattice vectors, its trace "
        "1 + 2 cos(a) is an integer, so the order of the rotation is 1, 2, 3, 4 or 6."
    ),
)

QUESTION = "What scratches glass?"


def open_model(name: str) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1",
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        context_window=8192,
        max_tokens=60,
        temperature=0.0,
        timeout=120.0,
    )


class KeepDecisions(BaseEventHandler):
    """Keeps every decision, also those made inside a query engine, which returns only text."""

    decisions: list[RoutingDecision] = []  # noqa: RUF012  (pydantic copies the default)

    @classmethod
    def class_name(cls) -> str:
        return "KeepDecisions"

    def handle(self, event: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if isinstance(event, RoutingDecisionEvent):
            self.decisions.append(event.decision)


def chat(llm: RoutedLLM, console: Console) -> None:
    table = Table(title="Chat: the prompt decides", show_lines=True)
    for heading, style in (
        ("prompt", ""),
        ("strong win rate", "cyan"),
        ("threshold", ""),
        ("model", "bold"),
        ("answer", ""),
    ):
        table.add_column(heading, style=style)
    for prompt in PROMPTS:
        response = llm.chat([ChatMessage(role=MessageRole.USER, content=prompt)])
        decision = response.additional_kwargs["routellm"]
        table.add_row(
            prompt,
            f"{decision['strong_win_rate']:.3f}",
            f"{decision['threshold']:.3f}",
            f"{decision['choice']}: {llm.candidates[decision['choice']].metadata.model_name.rpartition('/')[2]}",
            shortened(response.message.content),
        )
    console.print(table)


def query(llm: RoutedLLM, console: Console) -> None:
    index = SummaryIndex(nodes=[TextNode(text=text) for text in CORPUS])
    kept = KeepDecisions()
    get_dispatcher().add_event_handler(kept)
    answer = index.as_query_engine(llm=llm).query(QUESTION)
    (inside,) = kept.decisions

    with_text = llm.decide("\n".join((*CORPUS, QUESTION)))
    table = Table(title="Query engine: the question decides, not the text that was retrieved")
    for heading, style in (("what is scored", ""), ("strong win rate", "cyan"), ("choice", "bold")):
        table.add_column(heading, style=style)
    for what, decision in (
        ("the question alone", llm.decide(QUESTION)),
        ("by the query engine", inside),
        ("the question with the retrieved text", with_text),
    ):
        table.add_row(what, f"{decision.strong_win_rate:.3f}", decision.choice)
    console.print(table)
    console.print(f"{QUESTION} {shortened(str(answer))}", markup=False)


def shortened(text: str | None, length: int = 120) -> str:
    words = " ".join((text or "").split())
    return words if len(words) <= length else f"{words[: length - 1]}…"


def main() -> None:
    if not os.environ.get("OPENAI_API_KEY"):
        sys.exit(
            "No OPENAI_API_KEY is set. Run `make demo` for two small models on this machine, or set OPENAI_API_KEY "
            "(and, for another provider, OPENAI_BASE_URL, STRONG_MODEL and WEAK_MODEL)."
        )
    llm = RoutedLLM(
        strong=open_model(os.environ.get("STRONG_MODEL") or "gpt-4.1"),
        weak=open_model(os.environ.get("WEAK_MODEL") or "gpt-4.1-nano"),
    )
    console = Console()
    query(llm, console)
    console.print()
    chat(llm, console)


if __name__ == "__main__":
    main()
