"""Three hundred multiple-choice questions with four choices, half of MMLU, half plain facts; and twenty to demonstrate with.

The half of MMLU (MIT licence) is a sample with right answers that the package `evals` carries (`pip install --no-deps
evals==3.0.1.post1`); questions whose prompt has more than 250 characters are left out, which keeps the reading short, and so are
those that depend on the order of their choices. The other half are those of `general_questions.py`, which a small model may know.
"""

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from general_questions import questions as facts

from routellm_core.robustness.items import Item, parse_item, select_items

PACKAGE = "evals"
FILE = "evals/registry/data/sandbagging/samples-all-large.jsonl"
SHA256 = "ae8f5342c41efd39921ee0e16c19c3ac3ef09cd8cf367158b47c69592e8f8fac"
LONGEST = 250
ASKED, POOL = 150, 10


@cache
def mmlu() -> list[Item]:
    """Return the short questions of MMLU that the package carries, in its order.

    Raises:
        SystemExit: If the package is not installed, or its file is another one.
    """
    try:
        content = Path(str(distribution(PACKAGE).locate_file(FILE))).read_bytes()
    except (PackageNotFoundError, OSError):
        raise SystemExit(
            "the questions of MMLU are read from a package: pip install --no-deps evals==3.0.1.post1"
        ) from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{FILE} is not that of evals 3.0.1.post1")
    rows = [json.loads(line) for line in content.decode().splitlines()]
    items = [
        parse_item(row["question"], item_id=f"mmlu-{i}", gold="ABCD".index(row["answer"]), group="mmlu")
        for i, row in enumerate(rows)
    ]
    return [item for item in select_items(items).items if len(item.prompt) <= LONGEST and len(set(item.choices)) == 4]


@cache
def question_set(*, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """Return the questions for demonstrations, of both kinds in turn, and those that are asked, in a random order."""
    halves = mmlu(), facts(seed=seed)
    asked = [item for half in halves for item in half[POOL : POOL + ASKED]]
    short = sorted(mmlu()[POOL + ASKED :], key=lambda item: len(item.prompt))  # they stand before every question
    pools = short[:POOL], facts(seed=seed)[:POOL]
    order = np.random.default_rng(seed).permutation(len(asked))
    return [item for pair in zip(*pools, strict=True) for item in pair], [asked[i] for i in order]
