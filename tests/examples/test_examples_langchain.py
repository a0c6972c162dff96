"""The examples for LangChain, each as a process of its own with the real clients against a server on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.openai_server import OpenAIServer

pytest.importorskip("langchain_openai")
ROOT = Path(__file__).parents[2]
NAMES = (
    "langchain_chain",
    "langgraph_agent",
    "langchain_structured_output",
    "langchain_streaming",
    "langchain_config",
)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


def run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "core"), *sys.path])
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        env={**inherited, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_with(server: OpenAIServer, name: str) -> str:
    done = run(
        name, OPENAI_BASE_URL=server.url, OPENAI_API_KEY="sk-very-secret", STRONG_MODEL="big", WEAK_MODEL="small"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "sk-very-secret" not in done.stdout
    return done.stdout


def test_the_threshold_of_a_chain_decides_where_the_text_goes(server: OpenAIServer) -> None:
    output = run_with(server, "langchain_chain")
    assert server.models_asked() == ["small", "small", "small", "big", "big", "big"]
    easy, middling, hard = output.split("> ")[1:]
    assert "headline: weak" in easy
    assert "translate: weak" in easy
    assert "headline: weak (strong win rate 0." in middling
    assert "threshold 0.680): small says: The tenant" in middling
    assert "translate: strong (strong win rate 0." in middling
    assert "threshold 0.650): big says: The tenant" in middling
    assert "headline: strong" in hard
    assert "translate: strong" in hard
    tasks = [request.body["messages"][0]["content"] for request in server.requests[:2]]
    assert tasks == ["Write a headline of at most six words for the text.", "Translate the text to French."]


def test_every_call_of_the_agent_goes_to_the_strong_model(server: OpenAIServer) -> None:
    output = run_with(server, "langgraph_agent")
    assert server.models_asked() == ["small", "big", "big"]
    without, with_tools = output.split("with tools\n")
    assert "model: small says: What is" in without
    assert "-> weak, by policy: strong win rate" in without
    assert "model: calls height_of({'building'" in with_tools
    assert "  tools: " in with_tools
    assert "model: big says: What is" in with_tools
    assert with_tools.count("-> strong, by tools_route: ") == 2
    assert "weak: 1 calls\nstrong: 2 calls\n" in with_tools
    assert [message["role"] for message in server.requests[2].body["messages"]] == ["user", "assistant", "tool"]


def test_both_models_fill_the_schema(server: OpenAIServer) -> None:
    output = run_with(server, "langchain_structured_output")
    assert server.models_asked() == ["small", "big"]
    easy, hard = output.removeprefix("> ").split("\n> ")
    assert "Answer(value=3, subject='everyday')" in easy
    assert "-> weak: strong win rate" in easy
    assert "Answer(value=15, subject='everyday')" in hard
    assert "-> strong: strong win rate" in hard


def test_a_stream_shows_its_decision_once_and_first(server: OpenAIServer) -> None:
    output = run_with(server, "langchain_streaming")
    assert server.models_asked() == ["small", "big"]
    assert all(request.body["stream"] for request in server.requests)
    easy, hard = output.removeprefix("> ").split("\n> ")
    for block, choice, model in ((easy, "weak", "small"), (hard, "strong", "big")):
        prompt, decision, answer = block.strip().split("\n")
        assert decision.startswith(f"  -> {choice}: strong win rate")
        assert answer == f"{model} says: {prompt}"


def test_each_call_takes_its_section_of_the_file(server: OpenAIServer) -> None:
    output = run_with(server, "langchain_config")
    assert server.models_asked() == ["small", "big", "small"]
    calls, ledger = output.split("\n{", 1)
    support, legal, headlines = calls.strip().split("\n\n")
    assert support.startswith("support\n")
    assert "-> small: " in support
    assert legal.startswith("legal\n")
    assert "-> large: " in legal
    assert "reaches the threshold 0.4500" in legal
    assert headlines.startswith("headlines\n")
    assert "-> small: " in headlines
    assert "is below the threshold 0.7000" in headlines
    summary = json.loads("{" + ledger)
    assert {name: model["calls"] for name, model in summary["models"].items()} == {"small": 2, "large": 1}
    assert 0 < summary["cost_usd"] < summary["strong_only_cost_usd"]


@pytest.mark.parametrize("name", NAMES)
def test_without_a_key_they_say_how_to_run_them(name: str) -> None:
    done = run(name)
    assert done.returncode != 0
    assert f"run: python examples/local_models.py -- python {ROOT / 'examples' / name}.py" in done.stderr
    assert "Traceback" not in done.stderr
