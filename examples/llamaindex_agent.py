"""An agent with tools: one model from the question to the answer, another one if that fails.

    python examples/local_models.py -- python examples/llamaindex_agent.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/llamaindex_agent.py                           OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations: `pip install "routellm-plugins[llamaindex]"` and
`pip install llama-index-llms-openai-like`.
"""

import asyncio
import os
import sys

from llama_index.core.agent.workflow import AgentOutput, FunctionAgent
from llama_index.llms.openai_like import OpenAILike

from routellm_llamaindex import RoutedLLM

QUESTIONS = (
    "What is the height of the Eiffel tower?",
    (
        "Let G be a finite group whose order is the height of Cologne cathedral in metres, a prime. "
        "Show that G is cyclic."
    ),
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
        threshold=0.65,
        fallback=True,
    )


def height_of(building: str) -> str:
    """Look up how many metres high a building is."""
    heights = {"eiffel tower": "330", "cologne cathedral": "157"}
    return next((height for name, height in heights.items() if name in building.lower()), "unknown")


async def main() -> None:
    llm = open_routed()
    for question in QUESTIONS:
        response: AgentOutput = await FunctionAgent(tools=[height_of], llm=llm).run(question)
        print(f"> {question}\n{response}\n  tools: {[call.tool_name for call in response.tool_calls]}\n")
    for model, totals in llm.ledger.totals.items():
        print(f"{model}: {totals.calls} calls, {totals.failures} failures")


if __name__ == "__main__":
    asyncio.run(main())
