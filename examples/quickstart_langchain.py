"""Send each call of a LangChain application to a strong or a weak model: invoke, stream, and a threshold for one call.

    make demo                                                        two small models on this machine, no key
    OPENAI_API_KEY=... python examples/quickstart_langchain.py       OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[langchain]"` and
`pip install langchain-openai`.
"""

import os
import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from rich.console import Console
from rich.table import Table

from routellm_langchain import RoutedChatModel

PROMPTS = (
    "What is the capital of France?",
    "Say good morning in Spanish.",
    "Name three fruits that are red.",
    "Why does ice float on water? Answer in two sentences.",
    (
        "In a group of 30 students, 18 play football, 15 play tennis and 7 play both. A student is chosen at random. "
        "What is the probability that the student plays neither?"
    ),
    (
        "Let G be a finite group whose order is the product of two distinct primes p < q, where p does not divide q - 1. "
        "Show that G is cyclic."
    ),
)


def open_model(name: str) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=os.environ.get("OPENAI_BASE_URL") or None, timeout=120.0)


def invoke(model: RoutedChatModel, console: Console) -> None:
    table = Table(title="invoke: the prompt decides", show_lines=True)
    for heading, style in (
        ("prompt", ""),
        ("strong win rate", "cyan"),
        ("threshold", ""),
        ("model", "bold"),
        ("answer", ""),
    ):
        table.add_column(heading, style=style, overflow="fold")
    for prompt in PROMPTS:
        answer = model.invoke(prompt)
        decision = answer.response_metadata["routellm"]
        table.add_row(
            prompt,
            f"{decision['strong_win_rate']:.3f}",
            f"{decision['threshold']:.3f}",
            f"{decision['choice']}: {answer.response_metadata['model_name'].rpartition('/')[2]}",
            shortened(answer.text),
        )
    console.print(table)


def stream(model: RoutedChatModel, console: Console) -> None:
    console.print("\n[bold]stream[/bold] in a chain, word by word as the chosen model answers")
    chain = ChatPromptTemplate.from_template("Describe {thing} in one sentence.") | model | StrOutputParser()
    for text in chain.stream({"thing": "the sea"}):
        console.print(text, end="", markup=False, highlight=False)
    console.print()


def one_call(model: RoutedChatModel, console: Console) -> None:
    prompt = PROMPTS[0]
    win_rate = model.decide(prompt).strong_win_rate or 0.0
    table = Table(title=f"configurable: another threshold for one call\n{prompt} (strong win rate {win_rate:.3f})")
    for heading in ("routellm_threshold", "model", "answer"):
        table.add_column(heading)
    for threshold in (win_rate - 0.05, win_rate + 0.05):
        answer = model.invoke(prompt, {"configurable": {"routellm_threshold": threshold}})
        table.add_row(f"{threshold:.3f}", answer.response_metadata["routellm"]["choice"], shortened(answer.text))
    console.print(table)


def shortened(text: str, length: int = 120) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else f"{words[: length - 1]}…"


def main() -> None:
    if not os.environ.get("OPENAI_API_KEY"):
        sys.exit(
            "No OPENAI_API_KEY is set. Run `make demo` for two small models on this machine, or set OPENAI_API_KEY "
            "(and, for another provider, OPENAI_BASE_URL, STRONG_MODEL and WEAK_MODEL)."
        )
    model = RoutedChatModel(
        strong=open_model(os.environ.get("STRONG_MODEL") or "gpt-4.1"),
        weak=open_model(os.environ.get("WEAK_MODEL") or "gpt-4.1-nano"),
        temperature=0.0,
        max_tokens=60,
    )
    console = Console()
    stream(model, console)
    one_call(model, console)
    invoke(model, console)


if __name__ == "__main__":
    main()
