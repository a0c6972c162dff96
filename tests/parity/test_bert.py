"""The classifier router against routellm 0.2.0 itself, which runs in an environment of its own.

`benchmarks/peer/setup.sh` makes that environment; ROUTELLM_PEER_PYTHON names its interpreter.
"""

import numpy as np
import pytest

from routellm_core import load_router
from support.peer import ask_peer, peer_python  # noqa: F401
from support.tiny_transformers import TEXTS, require_torch, write_classifier

pytestmark = pytest.mark.parity

PROMPTS = [*TEXTS, "longer than the model reads " * 60]


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta"])
def test_same_win_rates(peer_python, tmp_path, kind):  # noqa: F811
    require_torch()
    folder = write_classifier(tmp_path / "checkpoint", kind=kind)
    router = load_router(folder)

    peer = ask_peer(peer_python, "bert", folder, PROMPTS)

    np.testing.assert_allclose(router.strong_win_rates(PROMPTS), peer, rtol=0, atol=1e-5)
    np.testing.assert_allclose([router.strong_win_rate(prompt) for prompt in PROMPTS], peer, rtol=0, atol=1e-5)
    # A comparison of numbers that are all alike would prove nothing.
    assert np.ptp(peer) > 0.2
