"""An agent on LangGraph whose every model call is routed: those with tools always go to the strong model.

    python examples/local_models.py -- python examples/langgraph_agent.py     two small models on this machine, no key
    OPENAI_API_KEY=... python examples/langgraph_agent.py                     OpenAI, or what OPENAI_BASE_URL names

STRONG_MODEL and WEAK_MODEL name the models. It needs two installations:
`pip install "routellm-plugins[langchain-agents]"` and `pip install langchain-openai`.
"""

import os
import sys

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from routellm_langchain import RoutedChatModel

QUESTION = "What is the height of the Eiffel tower?"


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
        threshold=0.65,
        tools_route="strong",
        temperature=0.0,
        max_tokens=60,
    )


@tool
def height_of(building: str) -> str:
    """Look up how many metres high a building is."""
    heights = {"eiffel tower": "330", "cologne cathedral": "157"}
    return next((height for name, height in heights.items() if name in building.lower()), "unknown")


def show(step: str, message: AnyMessage) -> None:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    wanted = [f"calls {call['name']}({call['args']})" for call in calls]
    print(f"  {step}: {' '.join([*message.text.split(), *wanted])}")
    if isinstance(message, AIMessage):
        decision = message.response_metadata["routellm"]
        print(f"    -> {decision['choice']}, by {decision['reason']}: {decision['explanation']}")


def main() -> None:
    model = open_routed()
    print(f"without tools\n> {QUESTION}")
    show("model", model.invoke(QUESTION))

    agent = create_agent(model, tools=[height_of])
    print(f"with tools\n> {QUESTION}")
    for update in agent.stream({"messages": [HumanMessage(QUESTION)]}, {"recursion_limit": 12}, stream_mode="updates"):
        for step, state in update.items():
            for message in state["messages"]:
                show(step, message)
    for name, totals in model.engine.ledger.totals.items():
        print(f"{name}: {totals.calls} calls")


if __name__ == "__main__":
    main()
