"""Compare two folders of results, note what was compared, and say on the page whether a second run gave the same.

    python -m benchmarks.replication.page --compare FOLDER [--record]

Says of every part that both folders have whether the results are the same to the last stored digit; exit code 1 if one is not.
Parts that are times, and times within other parts, are left out: they vary between runs. `--record` keeps what was found in
`compared.json`, with a digest of each result, so that a result that is computed anew is not taken for compared.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.replication.writing import Stored

RECORD = Path(__file__).parent / "compared.json"
TIMES = ("routellm-overhead", "multiple_minds-latency", "features-latency")
"""Parts that are nothing but times."""


def repeatable(result: Any) -> Any:
    """Return a result without the times in it."""
    if isinstance(result, dict):
        return {key: repeatable(value) for key, value in result.items() if key != "time"}
    return result


def digest(result: Any) -> str:
    """Return a short hash of what a second run should repeat."""
    return hashlib.sha256(json.dumps(repeatable(result), sort_keys=True).encode()).hexdigest()[:12]


def compare(first: Path, second: Path, record: Path | None) -> int:
    """Print which parts are the same in two folders; return 1 if one is not.

    Args:
        first: The results that the page is written from.
        second: Those of another run.
        record: Where to note what was found; None notes nothing.
    """
    known = json.loads(record.read_text(encoding="utf-8")) if record is not None and record.is_file() else {}
    found: dict[str, bool] = {}
    for path in sorted(first.glob("*.json")):
        other = second / path.name
        if path.stem in TIMES or not other.is_file():
            continue
        a, b = (digest(json.loads(one.read_text(encoding="utf-8"))["result"]) for one in (path, other))
        found[path.stem] = a == b
        print(f"{path.stem}: {'the same' if a == b else 'different'}")
        known[path.stem] = {"date": dt.datetime.now(dt.UTC).date().isoformat(), "digest": a, "same": a == b}
    if record is not None:
        record.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")
    return int(not all(found.values()))


def compared_lines(stored: Stored, parts: Sequence[str]) -> list[str]:
    """Write which results a second run repeated."""
    known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    shown = [name for name in parts if name in stored and name not in TIMES]
    current = {
        name: known[name] for name in shown if name in known and known[name]["digest"] == digest(stored.result(name))
    }
    same = [name for name in shown if name in current and current[name]["same"]]
    different = [name for name in shown if name in current and not current[name]["same"]]
    never = [name for name in shown if name not in current]
    dates = sorted({entry["date"] for entry in current.values()})
    lines = ["**A second run.**"]
    if current:
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        lines.append(
            f"{len(current)} of the {len(shown)} parts were computed a second time, from the same seeds in another folder"
            f" ({when}): {len(same)} came out the same to the last stored digit."
        )
        lines.append(f"Different: {named(different)}." if different else "None came out different.")
    lines.append(f"Not computed twice: {named(never)}." if never else "")
    lines.append(
        "The vectors of the encoder were not made a second time." if "multiple_minds-encoder" in current else ""
    )
    lines.append("On another processor last digits can differ, and with them what the random policy draws.")
    lines.append(f"Times are left out of the comparison ({named(TIMES)}, and those of bert and causal_llm).")
    return [*(line for line in lines if line), ""]


def named(names: Sequence[str]) -> str:
    """Write names of parts."""
    return ", ".join(f"`{name}`" for name in names)
