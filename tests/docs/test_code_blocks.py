"""Every Python block of the README and the docs runs, in its order, against an OpenAI-compatible server on loopback."""

import re
import sys
from pathlib import Path

import pytest

from support.openai_server import OpenAIServer

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"^(?P<skip><!-- not run: .+ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the line and the code of every block that is to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text[: match.start("code")].count("\n"), match["code"])
        for match in BLOCK.finditer(text)
        if match["language"] == language and not match["skip"]
    ]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: str(p.relative_to(ROOT)))
def test_python_blocks_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "docs"}
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        for line, code in blocks(page, "python"):
            exec(compile("\n" * line + code, str(page), "exec"), namespace)
    assert not server.requests or {request.key for request in server.requests} == {"test"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(page):
    """Every command a page shows is one of ours with options that exist, or a well-known tool."""
    from typer.main import get_command

    from routellm_core.cli import app

    group = get_command(app)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for _, block in blocks(page, "console"):
        for line in block.splitlines():
            words = line.split()
            if words[:1] == ["routellm"] and words[1:2] != ["--version"]:
                command = group.commands[words[1]]
                if hasattr(command, "commands"):  # a group, such as `routellm data`
                    command = command.commands[words[2]]
                known = {name for parameter in command.params for name in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= known, line
            elif words[:1] == ["make"]:
                assert words[1] in targets, line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_examples_of_docstrings_run():
    import doctest
    import importlib
    import pkgutil

    import routellm_core
    from routellm_core.errors import MissingDependencyError

    tried = 0
    for module in pkgutil.walk_packages(routellm_core.__path__, "routellm_core."):
        if module.name.endswith("sentence_transformers") and "sentence_transformers" not in sys.modules:
            continue
        try:
            imported = importlib.import_module(module.name)
        except MissingDependencyError as error:
            if "[torch]" in str(error) or "[train]" in str(error):  # the other extras are in `dev`
                continue
            raise
        result = doctest.testmod(imported, optionflags=doctest.ELLIPSIS)
        assert result.failed == 0, module.name
        tried += result.attempted
    assert tried >= 6
