"""Metrics against those of routellm 0.2.0 itself, which runs in an environment of its own, and where that is wrong.

`benchmarks/peer/setup.sh` makes that environment; ROUTELLM_PEER_PYTHON names its interpreter.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from routellm_core.evaluation import (
    CostQualityCurve,
    average_performance_gap_recovered,
    bootstrap_pair,
    call_performance_threshold,
)
from routellm_core.evaluation.baselines import length_win_rates, oracle_win_rates
from routellm_core.evaluation.benchmarks import load_benchmark
from routellm_core.evaluation.curve import decile_points
from routellm_core.evaluation.evaluate import EXCLUDED_FLAGS, usable_rows

pytestmark = pytest.mark.parity

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peer" / "metrics.py"
WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"


def simulated(seed, n, levels):
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    rates = hard + rng.normal(scale=0.3, size=n)
    rates = np.round(rates * levels) / levels if levels else rates
    return {
        "rates": rates,
        "weak": (rng.random(n) > hard).astype(float),
        "strong": (rng.random(n) > hard / 4).astype(float),
    }


@pytest.fixture(scope="module")
def cases(outcome_data):
    found = {f"n={n} levels={levels}": simulated(n, n, levels) for n in (30, 661, 2000) for levels in (0, 50)}
    for name in ("routellm_mmlu", "routellm_gsm8k"):
        rows, _ = usable_rows(load_benchmark(outcome_data / f"{name}.parquet"), (WEAK, STRONG), EXCLUDED_FLAGS)
        found[name] = {
            "rates": length_win_rates(rows.prompts),
            "weak": rows.column(WEAK),
            "strong": rows.column(STRONG),
        }
    found["constant"] = simulated(0, 40, 0) | {"rates": np.full(40, 0.5)}
    weak, strong = np.ones((2, 10, 10))  # a row a tenth of the prompts, the highest win rates first
    for tenth, gain in enumerate(
        (1, 0, 1, -2, 8, 0, -1, 2, 0, 1)
    ):  # recovers 0.1, 0.1, 0.2, 0, 0.8, 0.8, 0.7, 0.9, 0.9, 1
        (weak if gain > 0 else strong)[tenth, : abs(gain)] = 0.0
    found["falling"] = {"rates": np.arange(100.0)[::-1], "weak": weak.ravel(), "strong": strong.ravel()}
    return found


@pytest.fixture(scope="module")
def peer(cases, tmp_path_factory):
    python = os.environ.get("ROUTELLM_PEER_PYTHON")
    if not (python and Path(python).exists()):
        reason = f"ROUTELLM_PEER_PYTHON names no interpreter: {python!r}; benchmarks/peer/setup.sh makes one"
        if os.environ.get("ROUTELLM_REQUIRE_PEER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("parity")
    np.savez(folder / "in.npz", **{f"{case}/{key}": v for case, data in cases.items() for key, v in data.items()})
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [python, str(SCRIPT), "in.npz", "out.json"]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads((folder / "out.json").read_text())


REGULAR = [f"n={n} levels={levels}" for n in (30, 661, 2000) for levels in (0, 50)] + [
    "routellm_mmlu",
    "routellm_gsm8k",
]


@pytest.mark.parametrize("name", REGULAR)
def test_upstreams_eleven_points_and_metrics(cases, peer, name):
    data, theirs = cases[name], peer["cases"][name]
    if "error" in theirs:  # deciles of so few levels coincide, and upstream gives up: see below
        assert name == "n=30 levels=50"
        return
    curve = CostQualityCurve.from_win_rates(data["rates"], data["weak"], data["strong"])
    x, q = decile_points(*curve.points(), len(data["rates"]))
    np.testing.assert_allclose(x, sorted(np.array(theirs["strong_percentage"]) / 100), atol=1e-12)
    np.testing.assert_allclose(q, theirs["accuracy"][::-1] / np.float64(100), atol=1e-12)
    assert average_performance_gap_recovered(curve, "deciles") == pytest.approx(theirs["apgr"], abs=1e-12)
    eleven = CostQualityCurve(x, q)
    assert 100 * eleven.auc == pytest.approx(theirs["auc"], abs=1e-10)
    if (np.diff(q) >= 0).all():  # where it is not, see below
        for level in (20, 50, 80):
            assert 100 * call_performance_threshold(eleven, level / 100) == pytest.approx(
                theirs[f"cpt{level}"], abs=0.00501
            )


@pytest.mark.parametrize("name", REGULAR)
def test_oracle_of_right_and_wrong_answers(cases, peer, name):
    data, theirs = cases[name], peer["cases"][name]
    if "error" in theirs:
        return
    oracle = CostQualityCurve.from_win_rates(
        oracle_win_rates(data["weak"], data["strong"]), data["weak"], data["strong"]
    )
    ours = np.interp(np.linspace(0, 1, 11), oracle.strong_fraction, oracle.quality)
    # Upstream stays at its best where more strong calls are to be made than help; a router that must make them loses again.
    best = np.maximum.accumulate(ours)
    helped = ((data["strong"] > data["weak"]).mean(), np.linspace(0, 1, 11))
    exact = data["weak"].mean() + np.minimum(*helped)
    np.testing.assert_allclose(np.array(theirs["optimal"]) / 100, exact, atol=1e-12)
    np.testing.assert_allclose(best[helped[1] <= helped[0]], exact[helped[1] <= helped[0]], atol=1e-12)


# --- where upstream is wrong ----------------------------------------------------------------------------------------


def test_equal_win_rates_stop_upstream(cases, peer):
    """B6: `pandas.qcut` raises on edges that coincide. Ours gives the curve, and says in `evaluate` why no figure."""
    assert "Bin edges must be unique" in peer["cases"]["constant"]["error"]
    data = cases["constant"]
    curve = CostQualityCurve.from_win_rates(data["rates"], data["weak"], data["strong"])
    assert average_performance_gap_recovered(curve) == pytest.approx(0.5)
    found = bootstrap_pair({"stuck": data["rates"]}, data["weak"], data["strong"], resamples=10).figures["stuck"][
        "apgr"
    ]
    assert "same win rate" in found.reason


def test_upstreams_cpt_on_a_curve_that_falls(cases, peer):
    """B7: `numpy.interp` on accuracies that do not rise gives a share at which the part of the gap is not recovered."""
    data, theirs = cases["falling"], peer["cases"]["falling"]
    curve = CostQualityCurve.from_win_rates(data["rates"], data["weak"], data["strong"])
    eleven = CostQualityCurve(*decile_points(*curve.points(), 100))
    recovered = (eleven.quality - eleven.weak_quality) / (eleven.strong_quality - eleven.weak_quality)
    assert (np.diff(recovered) < 0).any()
    for level in (0.2, 0.5, 0.8):
        share = call_performance_threshold(eleven, level)
        assert np.interp(share, eleven.strong_fraction, recovered) == pytest.approx(level)
        before = np.linspace(0, share, 500, endpoint=False)
        assert (np.interp(before, eleven.strong_fraction, recovered) < level).all()
    assert call_performance_threshold(eleven, 0.8) == pytest.approx(0.5)
    assert theirs["cpt80"] == pytest.approx(75.0)
    assert average_performance_gap_recovered(curve, "deciles") == pytest.approx(theirs["apgr"])


def test_upstream_prints_no_metric_as_it_is(peer):
    """B4 and B5: its main program passes a name where the pair is wanted, and `numpy.trapz` is gone."""
    assert peer["defects"]["generate_results with a name"] == "'str' object has no attribute 'weak'"
    assert peer["defects"]["numpy has trapz"] is False


def test_upstreams_optimum_of_mt_bench_counts_contaminated_questions(peer):
    """B8: at no strong call the optimum must be the weak model's score on the questions that count."""
    assert peer["defects"]["mt-bench weak"] == 5.0
    assert peer["defects"]["mt-bench optimal at no strong call"] != 5.0
    weak, strong = np.array([4.0, 6.0]), np.array([8.0, 9.0])
    assert CostQualityCurve.from_win_rates(oracle_win_rates(weak, strong), weak, strong).quality[0] == 5.0
