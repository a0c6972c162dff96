"""The examples for LlamaIndex, each as a process of its own with the real clients against a server on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.openai_server import Behaviour, OpenAIServer

pytest.importorskip("llama_index.llms.openai_like")
ROOT = Path(__file__).parents[2]
NAMES = ("query_engine", "chat_engine", "agent", "thresholds")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


def run(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "core"), *sys.path])
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "examples" / f"llamaindex_{name}.py")],
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
    assert done.returncode == 0, done.stderr
    assert "sk-very-secret" not in done.stdout + done.stderr
    return done.stdout


def test_query_engine(server: OpenAIServer) -> None:
    output = run_with(server, "query_engine")
    assert server.models_asked() == ["small", "big"]
    assert "-> weak: small says" in output
    assert "-> strong: big says" in output
    assert "strong: 1 calls, " in output


def test_chat_engine_stays_on_its_model(server: OpenAIServer) -> None:
    output = run_with(server, "chat_engine")
    assert server.models_asked() == ["big", "big"]
    assert "strong: 2 calls" in output
    assert len(server.requests[1].body["messages"]) == 3


def test_agent_calls_its_tool_on_one_model_for_each_question(server: OpenAIServer) -> None:
    output = run_with(server, "agent")
    assert server.models_asked() == ["small", "small", "big", "big"]
    assert output.count("tools: ['height_of']") == 2
    assert "strong: 2 calls, 0 failures" in output


def test_agent_falls_back(server: OpenAIServer) -> None:
    server.behaviours["small"] = Behaviour(status=401)
    output = run_with(server, "agent")
    assert "weak: 0 calls, 2 failures" in output
    assert "strong: 4 calls, 0 failures" in output


def test_thresholds(server: OpenAIServer) -> None:
    output = run_with(server, "thresholds")
    assert server.models_asked() == ["big", "small", "big"]
    assert "careful: big says" in output
    assert "cheap: small says" in output


@pytest.mark.parametrize("name", NAMES)
def test_without_a_key_they_say_how_to_run_them(name: str) -> None:
    done = run(name)
    assert done.returncode != 0
    assert "No OPENAI_API_KEY is set" in done.stderr
    assert "Traceback" not in done.stderr
