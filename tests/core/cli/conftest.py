"""The command line in this process."""

import io
import sys

import pytest

from routellm_core.cli import main


@pytest.fixture
def routellm(monkeypatch, capsys):
    """Run the command line in this process; returns exit code, standard output and standard error."""

    def run(*arguments: str, stdin: str | bytes = ""):
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        monkeypatch.setattr(sys, "argv", ["routellm", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused():
    """Check that a run ended as bad input does, and return its standard error."""

    def check(result) -> str:
        code, out, err = result
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        return err

    return check
