"""How numbers and tables are written on the page."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
HOLDS, NOT, OPEN = "holds here", "does not hold here", "cannot be told"
Triple = Sequence[float | None]
"""A value with the ends of its interval."""

Claim = tuple[str, str, str]
"""What a paper says, the verdict, and on what it rests."""


class Stored(dict[str, Any]):
    """The results by the name of their file; None for a part that was not run."""

    def __missing__(self, key: str) -> None:
        return None

    @classmethod
    def read(cls, folder: Path) -> "Stored":
        """Read all results."""
        return cls({path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))})

    def result(self, name: str) -> Any:
        """Return the result of a part, or None."""
        found = self[name]
        return None if found is None else found["result"]


def number(value: float | None, digits: int = 3) -> str:
    """Write one number."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(values: Triple, digits: int = 3, *, sign: bool = False) -> str:
    """Write a value with its interval."""
    value, low, high = values
    if value is None:
        return "-"
    plus = "+" if sign else ""
    if low is None or high is None:
        return f"{value:{plus}.{digits}f}"
    return f"{value:{plus}.{digits}f} [{low:{plus}.{digits}f}, {high:{plus}.{digits}f}]"


def percent(value: float | None, digits: int = 0) -> str:
    """Write a share in percent."""
    return "-" if value is None else f"{100 * value:.{digits}f}%"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table, with an empty line after it."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def above(values: Triple, level: float = 0.0) -> str:
    """Say whether a figure is above a level: by its interval."""
    _, low, high = values
    if low is None or high is None:
        return OPEN
    return HOLDS if low > level else NOT if high <= level else OPEN


def below(values: Triple, level: float = 0.0) -> str:
    """Say whether a figure is below a level: by its interval."""
    return above(turned(values), -level)


def turned(values: Triple) -> Triple:
    """Return an interval with its sign turned."""
    return [None if end is None else -end for end in (values[0], values[2], values[1])]


def bootstrap_mean(values: Sequence[float]) -> Triple:
    """Return a mean with its interval over the values."""
    array = np.array(values)
    draws = array[np.random.default_rng(0).integers(0, len(array), (1000, len(array)))].mean(axis=1)
    return [float(array.mean()), *map(float, np.quantile(draws, [0.025, 0.975]))]


def over(verdicts: Sequence[str], what: str = "pools") -> str:
    """Return the verdict where all agree, and else how often each was found."""
    if len(set(verdicts)) == 1:
        return verdicts[0]
    counts = [f"{verdict} in {verdicts.count(verdict)}" for verdict in (HOLDS, NOT, OPEN) if verdict in verdicts]
    return f"{', '.join(counts)} of {len(verdicts)} {what}"


def all_of(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim from those on its parts: one that fails decides, one that is open leaves it open."""
    if not verdicts:
        return OPEN
    return NOT if NOT in verdicts else OPEN if OPEN in verdicts else HOLDS
