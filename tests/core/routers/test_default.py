import json
import subprocess
import sys

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.errors import ConfigurationError, EmbedderMismatchError
from routellm_core.routers.default import ASSET, DefaultRouter
from support.embedders import HashEmbedder

PROMPTS = ["Hi!", "What is the capital of France?", "Prove that there are infinitely many primes.", "", "\ud800"]


def test_works_without_any_socket(tmp_path):
    code = f"""
import json, pytest_socket
pytest_socket.disable_socket(allow_unix_socket=False)
import socket
try:
    socket.socket()
except pytest_socket.SocketBlockedError:
    from routellm_core import load_router
    router = load_router("default")
    print(json.dumps([router.fingerprint, router.strong_win_rates({PROMPTS!r}).tolist()]))
"""
    # A home of its own: nothing that an earlier run may have downloaded can help.
    run = subprocess.run(
        [sys.executable, "-c", code], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    router = load_router("default")
    assert json.loads(run.stdout) == [router.fingerprint, router.strong_win_rates(PROMPTS).tolist()]
    assert not list(tmp_path.iterdir())


def test_asset_is_small_and_complete():
    assert sum(path.stat().st_size for path in ASSET.iterdir()) < 1_000_000
    assert {path.name for path in ASSET.iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_card_says_what_it_was_trained_on_and_how_well_it_does():
    card, config = (ASSET / "README.md").read_text(), json.loads((ASSET / "config.json").read_text())
    for line in ("## How it was made", "## How well it does", "licences", "held-out", "APGR", "CPT50", "intervals"):
        assert line in card
    assert config["metrics"]
    assert config["provenance"]["script"] == "scripts/train_default.py"


def test_is_calibrated_and_tells_prompts_apart():
    router = load_router("default")
    rates = router.strong_win_rates([f"question number {i} about {'abcdefgh'[i % 8] * i}" for i in range(200)])
    assert np.ptp(rates) > 0.02
    table = router.thresholds
    assert 0.3 < table.threshold_for(0.5) < 0.8
    assert table.n_prompts > 100


def test_literal_formula():
    rng = np.random.default_rng(0)
    weights, intercepts, embedder = rng.normal(size=(2, 5)), rng.normal(size=2), HashEmbedder(4)
    router = DefaultRouter(weights, intercepts, embedder=embedder)
    for prompt in PROMPTS:
        features = [*embedder.embed([prompt])[0].tolist(), np.log(1 + len(prompt))]
        weak, strong = (
            1 / (1 + np.exp(-(intercepts[head] + sum(w * x for w, x in zip(weights[head], features, strict=True)))))
            for head in (0, 1)
        )
        expected = strong * (1 - weak) + 0.5 * (strong * weak + (1 - strong) * (1 - weak))
        assert router.strong_win_rate(prompt) == pytest.approx(expected, abs=1e-6)


def test_only_its_own_embedder_will_do():
    with pytest.raises(EmbedderMismatchError) as caught:
        load_router("default", embedder=HashEmbedder(240))
    assert BundledEmbedder().id in str(caught.value)
    assert "'hash-240' (240 dimensions)" in str(caught.value)


def test_its_own_embedder_may_be_given():
    embedder = BundledEmbedder()
    router = load_router("default", embedder=embedder)
    assert router.embedder is embedder
    assert router.fingerprint == load_router("default").fingerprint


@pytest.mark.parametrize(("weights", "intercepts"), [((2, 4), 2), ((1, 5), 2), ((2, 5), 3), ((5,), 2)])
def test_wrong_shapes(weights, intercepts):
    with pytest.raises(ConfigurationError, match=r"shapes \(2, 5\) and \(2,\), not"):
        DefaultRouter(np.ones(weights), np.ones(intercepts), embedder=HashEmbedder(4))
