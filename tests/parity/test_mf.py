"""Matrix factorisation against routellm 0.2.0 itself, which runs in an environment of its own.

`benchmarks/peer/setup.sh` makes that environment; ROUTELLM_PEER_PYTHON names its interpreter.
"""

import os
import subprocess
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.checkpoints.published import ARENA_MODELS
from support.embedders import HashEmbedder
from support.weights import PUBLISHED_EMBEDDER, published_weights, write_published

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peer" / "mf_forward.py"
PAIRS = np.array(list(permutations(range(64), 2)))
PROMPTS = ["Hi!", "What is the capital of France?", "Prove that there are infinitely many primes."]


@pytest.fixture(scope="module")
def peer_python() -> str:
    python = os.environ.get("ROUTELLM_PEER_PYTHON")
    if python and Path(python).exists():
        return python
    reason = f"ROUTELLM_PEER_PYTHON names no interpreter: {python!r}; benchmarks/peer/setup.sh makes one"
    if os.environ.get("ROUTELLM_REQUIRE_PEER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module", params=[1.0, 3.0], ids=lambda scale: f"scale {scale}")
def case(request, peer_python, tmp_path_factory):
    """Our router, and the peer's answers for the same files: win rates that are spread out, and extreme ones."""
    folder = tmp_path_factory.mktemp("parity")
    write_published(folder / "checkpoint", published_weights(seed=11, scale=request.param))
    router = load_router(folder / "checkpoint", embedder=HashEmbedder(1536, id=PUBLISHED_EMBEDDER))
    embeddings = router.embedder.embed(PROMPTS)
    np.savez(folder / "input.npz", embeddings=embeddings.astype(np.float64), pairs=PAIRS)
    command = [peer_python, str(SCRIPT), "checkpoint", "input.npz", "output.npz"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with np.load(folder / "output.npz") as answers:
        return router, embeddings, dict(answers), request.param


def test_every_pair_single_and_in_a_batch(case):
    router, embeddings, peer, scale = case
    batch, single = np.empty((2, len(PROMPTS), len(PAIRS)))
    for column, (strong, weak) in enumerate(PAIRS):
        pair = router.for_pair(ARENA_MODELS[strong], ARENA_MODELS[weak])
        batch[:, column] = pair.strong_win_rates_from_embeddings(embeddings)
        single[:, column] = [pair.strong_win_rates_from_embeddings(vector[None])[0] for vector in embeddings]

    np.testing.assert_array_equal(single, batch)
    # The formula: with the rounding of single precision taken away, the two agree to the last digits.
    np.testing.assert_allclose(batch, peer["float64"], rtol=0, atol=1e-12)
    # The peer as it is. What differs is its rounding, which grows with the size of the logits.
    np.testing.assert_allclose(batch, peer["float32"], rtol=0, atol=1e-6 * scale)
    # A comparison of numbers that are all one half would prove nothing.
    assert np.ptp(peer["float64"]) > 0.5


def test_reference_pair_from_prompts(case):
    router, _, peer, scale = case
    column = PAIRS.tolist().index([24, 36])  # gpt-4-1106-preview, mixtral-8x7b-instruct-v0.1
    got = [router.strong_win_rate(prompt) for prompt in PROMPTS]
    np.testing.assert_allclose(got, peer["float64"][:, column], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got, peer["float32"][:, column], rtol=0, atol=1e-6 * scale)
    np.testing.assert_array_equal(router.strong_win_rates(PROMPTS), got)


def test_rows_have_the_same_names(case):
    *_, peer, _ = case
    assert tuple(peer["models"]) == ARENA_MODELS
