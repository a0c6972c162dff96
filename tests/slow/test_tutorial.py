"""The tutorial, executed block by block with the two real models of `make demo`."""

import re
from pathlib import Path

import pytest

from routellm_core import load_router
from routellm_core.preferences.outcomes import read_outcomes

pytestmark = pytest.mark.slow

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # clients of langchain_openai that the blocks leave open
def test_the_tutorial_runs_with_real_models(models, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, value in models.environment().items():
        monkeypatch.setenv(name, value)
    blocks = BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))
    assert len(blocks) == 4
    namespace = {"__name__": "tutorial"}
    for block in blocks:
        exec(compile(block, str(TUTORIAL), "exec"), namespace)
    log = read_outcomes("log.csv")
    assert log.models == ("strong", "weak")
    assert log.column("strong").mean() > log.column("weak").mean()  # the weak model lacks a layer
    rates = load_router(tmp_path / "my-router").strong_win_rates(log.prompts)
    assert len(set(rates)) > 10
    shown = capsys.readouterr().out
    assert "log loss" in shown
    assert "capital of Chile" in shown
