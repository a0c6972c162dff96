"""Similarity-weighted ranking against routellm 0.2.0 itself, which runs in an environment of its own.

`benchmarks/peer/setup.sh` makes that environment; ROUTELLM_PEER_PYTHON names its interpreter.
"""

import os
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest

from support.arenas import arena

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peer" / "sw_forward.py"
ARENAS = {
    "20 models": {"seed": 1, "k": 20, "n": 3000, "dimension": 64, "ties": 0.2},
    "40 models": {"seed": 2, "k": 40, "n": 6000, "dimension": 32, "ties": 0.3},
    "64 models": {"seed": 3, "k": 64, "n": 12000, "dimension": 64, "ties": 0.25},
}


@pytest.fixture(scope="module")
def peer_python() -> str:
    python = os.environ.get("ROUTELLM_PEER_PYTHON")
    if python and Path(python).exists():
        return python
    reason = f"ROUTELLM_PEER_PYTHON names no interpreter: {python!r}; benchmarks/peer/setup.sh makes one"
    if os.environ.get("ROUTELLM_REQUIRE_PEER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def ask_peer(python: str, folder: Path, *options: str) -> dict:
    command = [python, str(SCRIPT), "input.npz", "embeddings.npy", "output.npz", *options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with np.load(folder / "output.npz") as answers:
        return dict(answers)


@pytest.fixture(scope="module", params=ARENAS)
def case(request, peer_python, tmp_path_factory):
    """Battles, queries (some like the battles', some like nothing), pairs, and the peer's answers by both solvers."""
    battles = arena(**ARENAS[request.param])
    rng = np.random.default_rng(9)
    queries = np.concatenate(
        [battles.embeddings[:4].astype(np.float64), rng.normal(size=(6, battles.embeddings.shape[1]))]
    )
    queries[5] += 3 * battles.embeddings.mean(axis=0)
    models = battles.models
    pairs = [(models[0], models[-1]), (models[1], models[len(models) // 2]), (models[-2], models[2])]
    folder = tmp_path_factory.mktemp("parity")
    np.save(folder / "embeddings.npy", battles.embeddings)
    columns = {name: np.array(getattr(battles, name)) for name in ("model_a", "model_b", "winner")}
    np.savez(folder / "input.npz", queries=queries, pairs=np.array(pairs), **columns)
    return battles, queries, pairs, ask_peer(peer_python, folder), ask_peer(peer_python, folder, "--tight")


def test_tiers_are_the_same(case):
    battles, _, _, *answers = case
    router = battles.router(same_tier="routellm")
    for peer in answers:
        assert router.tiers == dict(zip(peer["models"].tolist(), peer["tiers"].tolist(), strict=True))
    assert set(router.tiers.values()) == set(range(10))


def test_win_rates_are_the_same(case):
    battles, queries, pairs, stock, tight = case
    router = battles.router(same_tier="routellm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a pair of one tier is 0.5 for both
        routers = [router.for_pair(*pair) for pair in pairs]
    ours = np.stack([pair.strong_win_rates_from_embeddings(queries) for pair in routers], axis=1)
    # The formula.
    np.testing.assert_allclose(ours, tight["win_rates"], rtol=0, atol=1e-6)
    # The peer as it is: its solver stops at a tolerance of 1e-4.
    np.testing.assert_allclose(ours, stock["win_rates"], rtol=0, atol=1e-3)
    # A comparison of numbers that are all alike would prove nothing.
    assert np.ptp(ours[:, 0]) > 0.01
    assert np.abs(ours - 0.5).max() > 0.2
    single = [[pair.strong_win_rates_from_embeddings(query[None])[0] for pair in routers] for query in queries]
    np.testing.assert_allclose(single, ours, rtol=0, atol=1e-7)


def test_the_correct_mode_differs_from_the_peer(case):
    """What battles within a tier do to the released fit is no rounding."""
    battles, queries, pairs, stock, _ = case
    ours = battles.router().for_pair(*pairs[0]).strong_win_rates_from_embeddings(queries)
    assert np.abs(ours - stock["win_rates"][:, 0]).max() > 5e-3
