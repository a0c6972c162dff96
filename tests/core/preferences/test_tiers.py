"""Tiers from battles, and the strong and weak models of the paper."""

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.battles import Battle, PreferenceDataset
from routellm_core.preferences.tiers import strong_weak_battles, tiers_from_battles


def ladder(n_models: int, battles_a_pair: int = 200, *, reach: int = 2) -> PreferenceDataset:
    """Battles between neighbours only, won as often as strengths in groups of three say."""
    rng = np.random.default_rng(0)
    rows = []
    for a in range(n_models):
        for b in range(a + 1, min(a + 1 + reach, n_models)):
            p = 1 / (1 + np.exp(-(b // 3 - a // 3) * 1.5))
            rows += [
                Battle(f"{a} {b} {i}", f"m{a}", f"m{b}", "model_a" if rng.random() < p else "model_b")
                for i in range(battles_a_pair)
            ]
    return PreferenceDataset.from_battles(rows)


def test_groups_of_equal_strength_are_found():
    tiers = tiers_from_battles(ladder(9, 400, reach=8), n_tiers=3)
    assert tiers.tiers == {f"m{i}": i // 3 for i in range(9)}
    assert set(tiers.strong) == {f"m{i}" for i in range(6)}
    assert set(tiers.weak) == {"m6", "m7", "m8"}
    assert tiers.strong[0] in {"m0", "m1", "m2"}


def test_tiers_cover_more_than_models():
    tiers = tiers_from_battles(ladder(12, reach=3), n_tiers=4)
    assert tiers.model_pairs_covered == pytest.approx((9 * 3 + 2 + 1) / 66)
    assert tiers.tier_pairs_covered == pytest.approx(3 / 6)
    assert tiers.tier_pairs_covered > tiers.model_pairs_covered
    assert 0 < tiers.battles_within_tiers < 0.5
    assert list(tiers.to_dict()["tiers"].values()) == sorted(tiers.tiers.values())


def test_one_tier_has_no_pairs():
    tiers = tiers_from_battles(ladder(3), n_tiers=1)
    assert (tiers.tier_pairs_covered, tiers.battles_within_tiers) == (1.0, 1.0)


def test_battles_of_strong_against_weak_put_the_strong_first():
    rows = [
        Battle("p", "s", "w", "model_a"),
        Battle("q", "w", "s", "model_a"),
        Battle("r", "w", "s", "tie"),
        Battle("t", "s", "x", "model_a"),
        Battle("u", "s", "s2", "model_a"),
    ]
    chosen = strong_weak_battles(PreferenceDataset.from_battles(rows), strong=["s", "s2"], weak=["w"])
    assert [(b.prompt, b.model_a, b.model_b, b.winner) for b in chosen] == [
        ("p", "s", "w", "model_a"),
        ("q", "s", "w", "model_b"),
        ("r", "s", "w", "tie"),
    ]


def test_wrong_models():
    dataset = PreferenceDataset.from_battles([Battle("p", "s", "w", "tie")])
    with pytest.raises(UnknownModelError, match="no battles of z; it has those of: s, w"):
        strong_weak_battles(dataset, strong=["s"], weak=["z"])
    with pytest.raises(ConfigurationError, match="strong and weak at once: s"):
        strong_weak_battles(dataset, strong=["s"], weak=["s"])
    with pytest.raises(ConfigurationError, match="tiers need battles"):
        tiers_from_battles(PreferenceDataset.from_battles([]), n_tiers=1)
    with pytest.raises(ConfigurationError, match="cannot fill 3 tiers"):
        tiers_from_battles(dataset, n_tiers=3)
