"""The LangChain examples against the two real models, each as a program of its own."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def _run(name, models) -> str:
    """Run an example to its end and return what it prints."""
    environment = os.environ | {
        "OPENAI_BASE_URL": models.base_url,
        "OPENAI_API_KEY": "none",
        "STRONG_MODEL": models.strong,
        "WEAK_MODEL": models.weak,
    }
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_chains(models):
    lines = re.findall(
        r"^  (\w+): (weak|strong) \(strong win rate ([\d.]+), threshold ([\d.]+)\): (.+)$",
        _run("langchain_chain.py", models),
        re.MULTILINE,
    )
    assert [line[0] for line in lines] == ["headline", "translate"] * 3
    assert {line[1] for line in lines} == {"weak", "strong"}
    for _, choice, rate, threshold, _ in lines:
        assert choice == ("strong" if float(rate) >= float(threshold) else "weak")


def test_streaming(models):
    printed = _run("langchain_streaming.py", models)
    assert re.findall(r"^  -> (weak|strong): \S", printed, re.MULTILINE) == ["weak", "strong"]
    first, second = printed.split("\n> ")
    assert all(len(answer.split("  -> ")[1].splitlines()[1]) > 0 for answer in (first, second))


def test_structured_output(models):
    printed = _run("langchain_structured_output.py", models)
    assert re.findall(r"^  -> (weak|strong): \S", printed, re.MULTILINE) == ["weak", "strong"]
    # The server takes no notice of tools: the models are asked, and fill no schema.
    assert printed.count("the model did not fill the schema") == 2


def test_configuration(models):
    printed = _run("langchain_config.py", models)
    assert re.findall(r"^(\w+)\n> .+\n  -> (\w+): \S", printed, re.MULTILINE)[0][0] == "support"
    assert set(re.findall(r"^  -> (\w+): \S", printed, re.MULTILINE)) == {"small", "large"}


@pytest.mark.skipif(find_spec("langchain.agents") is None, reason="the agent needs langchain, not only langchain-core")
def test_agent(models):
    printed = _run("langgraph_agent.py", models)
    without, with_tools = printed.split("with tools\n")
    assert re.findall(r"-> (\w+), by (\w+):", without)[0][0] == "weak"
    decided = re.findall(r"-> (\w+), by (\w+):", with_tools)
    assert decided
    assert set(decided) == {("strong", "tools_route")}
    assert "weak: 1 calls" in printed
    assert f"strong: {len(decided)} calls" in printed
