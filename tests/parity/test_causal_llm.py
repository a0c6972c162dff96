"""The causal router against routellm 0.2.0 itself, which runs in an environment of its own and decodes token by token.

`benchmarks/peer/setup.sh` makes that environment; ROUTELLM_PEER_PYTHON names its interpreter.
"""

import numpy as np
import pytest

from routellm_core import load_router
from support.peer import ask_peer, peer_python  # noqa: F401
from support.tiny_transformers import TEXTS, require_torch, write_published_causal

pytestmark = pytest.mark.parity

PROMPTS = [*TEXTS, *(f"{text} Once more, {number}." for number, text in enumerate(TEXTS))]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("follows", [True, False], ids=["writes the header", "writes anything"])
def test_same_win_rates(peer_python, tmp_path, follows, seed):  # noqa: F811
    """Both where the label comes after the assistant's header and where it comes elsewhere, or not at all."""
    require_torch()
    folder = write_published_causal(tmp_path / "checkpoint", follows=follows, seed=seed)
    router = load_router(folder)

    peer = ask_peer(peer_python, "causal_llm", folder, PROMPTS, "--dtype", "float32")

    np.testing.assert_allclose(router.strong_win_rates(PROMPTS), peer, rtol=0, atol=1e-4)
    np.testing.assert_allclose([router.strong_win_rate(prompt) for prompt in PROMPTS], peer, rtol=0, atol=1e-4)
    # A comparison of numbers that are all alike would prove nothing.
    assert np.ptp(peer) > 0.5
    if not follows:
        assert (peer == 1.0).any(), "some prompts should lead to no label"


def test_in_bfloat16_as_the_peer_runs_it(peer_python, tmp_path):  # noqa: F811
    """Both round to eight bits, along different ways; the tie of two tokens can then fall to either side."""
    require_torch()
    from routellm_core.routers.causal_llm import CausalLLMRouter

    folder = write_published_causal(tmp_path / "checkpoint", seed=1)
    router = CausalLLMRouter.from_pretrained(folder, dtype="bfloat16")

    peer = ask_peer(peer_python, "causal_llm", folder, PROMPTS)

    assert np.median(np.abs(router.strong_win_rates(PROMPTS) - peer)) < 0.02
