"""Asking routellm 0.2.0, in the environment that `benchmarks/peer/setup.sh` makes."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peer" / "language_models.py"


@pytest.fixture(scope="session")
def peer_python() -> str:
    """The interpreter of the peer; skips without it, or fails where CI says that it must be there."""
    python = os.environ.get("ROUTELLM_PEER_PYTHON")
    if python and Path(python).exists():
        return python
    reason = f"ROUTELLM_PEER_PYTHON names no interpreter: {python!r}; benchmarks/peer/setup.sh makes one"
    if os.environ.get("ROUTELLM_REQUIRE_PEER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def ask_peer(python: str, router: str, folder: Path, prompts: list[str], *options: str) -> NDArray[np.float64]:
    """Return the strong win rates of the peer's own router for a folder in the published layout."""
    given, answers = folder.parent / "prompts.json", folder.parent / "peer.npz"
    given.write_text(json.dumps(prompts))
    command = [python, str(_SCRIPT), router, str(folder), str(given), str(answers), *options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with np.load(answers) as loaded:
        return loaded["win_rates"]
