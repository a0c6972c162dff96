"""The sentences of docs/results.md that do not hang on a result."""

from pathlib import Path

FOLDER = Path(__file__).parent / "text"


def prose(name: str) -> list[str]:
    """Return the lines of a text, and an empty one."""
    return [*(FOLDER / f"{name}.md").read_text(encoding="utf-8").rstrip().splitlines(), ""]
