import itertools

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.ratings import (
    assign_tiers,
    bradley_terry,
    elo_ratings,
    pair_statistics,
    win_probability,
)


def arena(seed: int = 0, *, k: int = 12, n: int = 4000, ties: float = 0.2):
    """Battles among k players of known strengths, none with itself."""
    rng = np.random.default_rng(seed)
    strengths = rng.normal(size=k)
    a = rng.integers(0, k, n)
    b = (a + rng.integers(1, k, n)) % k
    outcome = (rng.random(n) < win_probability(strengths[a], strengths[b])).astype(float)
    outcome[rng.random(n) < ties] = 0.5
    return a, b, outcome


def score_equations(wins, strengths):
    """Gradient of the likelihood, which is 0 where nothing is penalised: expected wins equal wins."""
    counts = wins + wins.T
    expected = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
    return (wins - counts * expected).sum(axis=1)


def test_statistics_of_a_few_battles():
    counts, wins = pair_statistics([0, 0, 2, 1], [1, 1, 0, 1], [1.0, 0.5, 0.0, 1.0], 3)
    np.testing.assert_array_equal(
        wins, [[0, 1.5, 1], [0.5, 0, 0], [0, 0, 0]]
    )  # the battle of 1 with itself is left out
    np.testing.assert_array_equal(counts, wins + wins.T)


def test_a_batch_of_weightings_is_each_of_them():
    a, b, outcome = arena(n=300)
    weights = np.random.default_rng(1).random((5, 300))
    counts, wins = pair_statistics(a, b, outcome, 12, weights)
    strengths = bradley_terry(wins)
    assert counts.shape == wins.shape == (5, 12, 12)
    for row, weight in enumerate(weights):
        np.testing.assert_array_equal(wins[row], pair_statistics(a, b, outcome, 12, weight)[1])
        np.testing.assert_array_equal(strengths[row], bradley_terry(wins[row]))
    assert pair_statistics(a, b, outcome, 12, np.zeros((0, 300)))[1].shape == (0, 12, 12)
    assert bradley_terry(np.zeros((0, 12, 12))).shape == (0, 12)


def test_weight_two_is_the_battle_twice():
    a, b, outcome = arena(n=200)
    doubled = pair_statistics(np.tile(a, 2), np.tile(b, 2), np.tile(outcome, 2), 12)[1]
    np.testing.assert_allclose(pair_statistics(a, b, outcome, 12, np.full(200, 2.0))[1], doubled)


@pytest.mark.parametrize("seed", range(3))
def test_fit_solves_the_score_equations(seed):
    _, wins = pair_statistics(*arena(seed), 12)
    strengths = bradley_terry(wins)
    assert np.abs(score_equations(wins, strengths)).max() < 1e-4 * wins.sum() / 1000
    assert np.abs(score_equations(wins, bradley_terry(wins, ridge=1e-13))).max() < 1e-8
    assert strengths.mean() == pytest.approx(0, abs=1e-12)


def test_two_players_have_a_closed_form():
    strengths = bradley_terry([[0, 7.5], [2.5, 0]])
    assert win_probability(*strengths) == pytest.approx(0.75, abs=1e-8)


def test_fit_is_that_of_logistic_regression():
    sklearn = pytest.importorskip("sklearn.linear_model")
    a, b, outcome = arena(4)
    weights = np.random.default_rng(2).uniform(1, 100, len(a))
    rows = np.zeros((2 * len(a), 12))
    rows[np.arange(2 * len(a)), np.tile(a, 2)] = 1
    rows[np.arange(2 * len(a)), np.tile(b, 2)] = -1
    solver = sklearn.LogisticRegression(fit_intercept=False, C=np.inf, tol=1e-10, max_iter=10_000, solver="newton-cg")
    solver.fit(
        rows, np.repeat([1, 0], len(a)), sample_weight=np.concatenate([weights * outcome, weights * (1 - outcome)])
    )
    expected = solver.coef_[0] - solver.coef_[0].mean()
    strengths = bradley_terry(pair_statistics(a, b, outcome, 12, weights)[1])
    np.testing.assert_allclose(strengths, expected, atol=1e-6)


def test_scale_of_the_weights_does_not_matter():
    a, b, outcome = arena()
    _, wins = pair_statistics(a, b, outcome, 12)
    for scale in (1e-30, 10.0, 1e30):
        np.testing.assert_allclose(bradley_terry(wins * scale), bradley_terry(wins), rtol=0, atol=1e-12)


def test_separable_players_stay_finite_and_ordered():
    strengths = bradley_terry([[0, 5, 0], [0, 0, 5], [0, 0, 0]])
    assert np.isfinite(strengths).all()
    assert strengths[0] > strengths[1] + 3 > strengths[2] + 6
    one_sided = np.triu(np.ones((40, 40)), 1) * 1000
    assert (np.diff(bradley_terry(one_sided)) < 0).all()


def test_groups_that_never_met_are_each_centred():
    strengths = bradley_terry([[0, 3, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 9, 0]])
    half = np.log(3) / 2
    np.testing.assert_allclose(strengths, [half, -half, -np.log(9) / 2, np.log(9) / 2], atol=1e-6)


def test_no_battles_no_opinion():
    np.testing.assert_array_equal(bradley_terry(np.zeros((3, 3))), np.zeros(3))
    with_a_stranger = bradley_terry([[0, 3, 0], [1, 0, 0], [0, 0, 0]])
    assert with_a_stranger[2] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(bradley_terry([[5.0]]), [0.0])


def test_very_unequal_counts_converge():
    wins = np.array([[0, 1e7, 1], [1e7, 0, 1e-3], [2, 1, 0]])
    strengths = bradley_terry(wins, ridge=1e-14)
    assert np.abs(score_equations(wins, strengths)).max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [1], [1.0], 2), "one entry per battle"),
        (([0], [2], [1.0], 2), r"model_b goes from 2 to 2, outside of \[0, 2\)"),
        (([-1], [1], [1.0], 2), "model_a goes from -1"),
        (([0.0], [1], [1.0], 2), "model_a must hold whole numbers"),
        (([0], [1], [1.5], 2), r"outcome .*1.5.* not in \[0, 1\]"),
        (([0], [1], [np.nan], 2), "not in"),
        (([0], [1], [1.0], 2, [1.0, 2.0]), r"weights have shape \(2,\)"),
        (([0], [1], [1.0], 2, [-1.0]), "0 or more"),
        (([0], [1], [1.0], 2, [np.inf]), "finite"),
    ],
)
def test_wrong_battles(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        pair_statistics(*arguments)


@pytest.mark.parametrize(
    ("wins", "ridge", "message"),
    [
        (np.zeros((2, 3)), 1e-9, r"shape \(2, 3\)"),
        (np.zeros((0, 0)), 1e-9, "k of 1 or more"),
        (-np.ones((2, 2)), 1e-9, "0 or more"),
        (np.full((2, 2), np.nan), 1e-9, "finite"),
        (np.ones((2, 2)), 0.0, "ridge=0.0"),
        (np.ones((2, 2)), np.nan, "ridge=nan"),
    ],
)
def test_wrong_wins(wins, ridge, message):
    with pytest.raises(ConfigurationError, match=message):
        bradley_terry(wins, ridge=ridge)


def test_elo_scale():
    strengths = np.array([np.log(10), 0.0, -np.log(10)])
    np.testing.assert_allclose(elo_ratings(strengths), [1400, 1000, 600])
    np.testing.assert_allclose(elo_ratings(strengths, anchor=(1, 1082.0)), [1482, 1082, 682])
    np.testing.assert_allclose(elo_ratings(np.stack([strengths, strengths + 5]), anchor=(2, 0.0)), [[800, 400, 0]] * 2)


def test_win_probability():
    assert win_probability(0.3, 0.3) == 0.5
    assert win_probability(1e4, -1e4) == 1.0
    assert win_probability(-1e4, 1e4) == 0.0
    np.testing.assert_allclose(win_probability([np.log(3), 0.0], 0.0), [0.75, 0.5])
    np.testing.assert_allclose(win_probability(0.4, 1.7) + win_probability(1.7, 0.4), 1.0, rtol=0, atol=1e-16)


@pytest.mark.parametrize(
    ("n_tiers", "tiers"), [(1, [0, 0, 0, 0, 0]), (2, [0, 0, 1, 1, 1]), (3, [0, 0, 1, 1, 2]), (5, [0, 1, 2, 3, 4])]
)
def test_worked_tiers(n_tiers, tiers):
    ratings = [1200, 1190, 1000, 990, 800]
    np.testing.assert_array_equal(assign_tiers(ratings, n_tiers), tiers)
    shuffled = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(assign_tiers(np.array(ratings)[shuffled], n_tiers), np.array(tiers)[shuffled])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_tiers", [1, 2, 3, 4, 8])
def test_tiers_are_the_best_of_all_cuts(weighted, n_tiers):
    for seed in range(20):
        ratings = np.random.default_rng(seed).normal(1000, 200, 8)
        ordered = np.sort(ratings)[::-1]

        def cost(cuts, ordered=ordered):
            parts = np.split(ordered, cuts)
            return sum(part.var() * (len(part) if weighted else 1) for part in parts)

        least = min(cost(list(cuts)) for cuts in itertools.combinations(range(1, 8), n_tiers - 1))
        tiers = assign_tiers(ratings, n_tiers, weighted=weighted)
        sizes = np.bincount(tiers, minlength=n_tiers)
        assert (sizes > 0).all()
        assert (np.diff(tiers[np.argsort(-ratings)]) >= 0).all()
        assert cost(list(np.cumsum(sizes)[:-1])) == pytest.approx(least, abs=1e-9)


def test_the_two_objectives_differ():
    """Sixteen equal ratings with a straggler vary less, on average, than two far apart; in sum they do not."""
    ratings = [100.0, 90.0, *[50.0] * 16, 38.0]
    assert assign_tiers(ratings, 2).tolist() == [0, 0, *[1] * 17]
    assert assign_tiers(ratings, 3).tolist() == [0, 1, *[2] * 17]
    assert assign_tiers(ratings, 3, weighted=True).tolist() == [0, 0, *[1] * 16, 2]


def test_equal_ratings_fill_every_tier():
    np.testing.assert_array_equal(assign_tiers([7.0] * 6, 3), [0, 1, 2, 2, 2, 2])


@pytest.mark.parametrize("n_tiers", [0, -1, 6])
def test_more_tiers_than_models(n_tiers):
    with pytest.raises(ConfigurationError, match=rf"5 rated models cannot fill {n_tiers} tiers.*\[1, 5\]"):
        assign_tiers(np.arange(5.0), n_tiers)


def test_ratings_that_are_no_numbers():
    with pytest.raises(ConfigurationError, match="finite"):
        assign_tiers([1.0, np.nan], 1)
