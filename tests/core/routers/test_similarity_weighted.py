import threading

import numpy as np
import pytest

from routellm_core import PairRouter, PoolRouter, ThresholdTable, load_router
from routellm_core.checkpoints import arrays
from routellm_core.errors import CheckpointFormatError, ConfigurationError, EmbedderMismatchError, UnknownModelError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import assign_tiers, bradley_terry, elo_ratings, pair_statistics, win_probability
from routellm_core.routers import prompt_matrix
from routellm_core.routers.prompt_matrix import PromptMatrix
from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter
from routellm_core.testing import RouterContract
from support.arenas import Arena, arena, small_router
from support.embedders import AsyncHashEmbedder, HashEmbedder

CLOSE = {"rtol": 0, "atol": 1e-6}


class _Contract(RouterContract):
    batch_tolerance = 1e-6


class TestOfThePaper(_Contract):
    def make_router(self):
        return small_router(normalizer="train_query", gamma=4.0)


class TestReleased(_Contract):
    def make_router(self):
        return small_router(same_tier="routellm")


class TestHalfPrecision(_Contract):
    def make_router(self):
        return small_router(embeddings=arena(dimension=8).embeddings.astype(np.float16))


class TestPool(_Contract):
    def make_router(self):
        return small_router().for_pool(["m00", "m07", "m19"])


def queries(dimension: int, n: int = 7, seed: int = 5):
    return np.random.default_rng(seed).normal(size=(n, dimension))


def literal(
    battles: Arena, tiers: dict[str, int], query, *, normalizer: str, gamma: float = 10.0, same_tier: str = "drop"
):
    """Strengths of the tiers by the formulas, one battle at a time and without any shared code but the Newton fit."""
    rows = [row.astype(np.float64) for row in battles.embeddings]

    def cosine(x, y):
        return float(x @ y) / (float(x @ x) ** 0.5 * float(y @ y) ** 0.5)

    to_query = [cosine(query, row) for row in rows]
    n_tiers = max(tiers.values()) + 1
    wins = np.zeros((n_tiers + 1, n_tiers + 1))  # one more player, whose strength is the zero of the others'
    for i, (a, b, winner) in enumerate(zip(battles.model_a, battles.model_b, battles.winner, strict=True)):
        best = (
            max(to_query)
            if normalizer == "user_query"
            else max(cosine(rows[i], rows[j]) for j in range(len(rows)) if j != i)
        )
        weight = gamma ** (1 + to_query[i] / best)
        first, second = tiers[a], tiers[b]
        if first == second:
            if same_tier == "drop":
                continue
            first = n_tiers
        share = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}[winner]
        wins[first, second] += weight * share
        wins[second, first] += weight * (1 - share)
    return bradley_terry(wins)[:n_tiers]


@pytest.mark.parametrize("normalizer", ["user_query", "train_query"])
@pytest.mark.parametrize("same_tier", ["drop", "routellm"])
def test_literal_formula(normalizer, same_tier):
    battles = arena(1, n=150, k=8)
    router = battles.router(normalizer=normalizer, same_tier=same_tier, num_tiers=4)
    for query in queries(16, 3):
        strengths = literal(battles, router.tiers, query, normalizer=normalizer, same_tier=same_tier)
        got = router.tier_strengths_from_embeddings(query[None])[0]
        np.testing.assert_allclose(got - got.mean(), strengths - strengths.mean(), rtol=0, atol=5e-6)
        p = router.strong_win_rates_from_embeddings(query[None])[0]
        assert p == pytest.approx(
            1 / (1 + np.exp(strengths[router.tiers["m07"]] - strengths[router.tiers["m00"]])), abs=1e-6
        )


def unit(*angles_in_degrees):
    angles = np.deg2rad(angles_in_degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize(("cosine", "nearest", "expected"), [(0.5, 0.5, 0.5 * 1 / 0.5), (0.2, 0.6, 0.2 * 1 / 0.6)])
def test_worked_similarities_of_the_paper(cosine, nearest, expected):
    """The similarity of query and battle is their cosine over the battle's largest cosine with another battle."""
    battle = np.array([1.0, 0, 0])
    other = np.array([nearest, np.sqrt(1 - nearest**2), 0])
    query = np.array([cosine, 0, np.sqrt(1 - cosine**2)])
    router = SimilarityWeightedRouter(
        ["a", "a"],
        ["b", "b"],
        ["model_a", "model_b"],
        np.stack([battle, other]),
        reference_strong="a",
        reference_weak="b",
        num_tiers=2,
        normalizer="train_query",
    )
    to_other = cosine * nearest / nearest
    share = 10**expected / (10**expected + 10**to_other)
    assert router.strong_win_rates_from_embeddings(query[None])[0] == pytest.approx(share, abs=1e-6)


def test_two_models_have_a_closed_form():
    """The weighted share of wins, ties half."""
    vectors = unit(0, 20, 40, 60)
    router = SimilarityWeightedRouter(
        ["a", "b", "a", "b"],
        ["b", "a", "b", "a"],
        ["model_a", "model_a", "tie", "tie (bothbad)"],
        vectors,
        reference_strong="a",
        reference_weak="b",
        num_tiers=2,
    )
    query = unit(10)[0]
    cosines = vectors @ query
    weights = 10 ** (1 + cosines / cosines.max())
    expected = (weights * [1, 0, 0.5, 0.5]).sum() / weights.sum()
    assert router.strong_win_rates_from_embeddings(query[None])[0] == pytest.approx(expected, abs=1e-6)


def test_tiers_are_those_of_the_ratings():
    battles = arena(3)
    router = battles.router(num_tiers=5)
    index = {model: i for i, model in enumerate(battles.models)}
    a, b = ([index[m] for m in column] for column in (battles.model_a, battles.model_b))
    outcome = [{"model_a": 1.0, "model_b": 0.0, "tie": 0.5}[w] for w in battles.winner]
    ratings = bradley_terry(pair_statistics(a, b, outcome, len(index))[1])
    assert router.tiers == dict(zip(battles.models, assign_tiers(ratings, 5).tolist(), strict=True))
    np.testing.assert_allclose(list(router.ratings.values()), elo_ratings(ratings))
    assert np.mean(list(router.ratings.values())) == pytest.approx(1000)
    assert router.known_models == tuple(battles.models)


def test_it_learns_which_prompts_are_hard():
    """On prompts like those that only the strong model won, it wins more."""
    vectors = np.concatenate([unit(*np.linspace(0, 20, 50)), unit(*np.linspace(70, 90, 50))])
    winner = ["model_a"] * 45 + ["model_b"] * 5 + ["model_a"] * 20 + ["model_b"] * 30
    router = SimilarityWeightedRouter(
        ["s"] * 100, ["w"] * 100, winner, vectors, reference_strong="s", reference_weak="w", num_tiers=2
    )
    hard, easy = router.strong_win_rates_from_embeddings(unit(5, 85))
    assert hard > 0.7 > 0.6 > easy


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("normalizer", ["user_query", "train_query"])
def test_blocks_and_batches_do_not_matter(monkeypatch, dtype, normalizer):
    battles = arena(2, n=400)
    options = {"embeddings": battles.embeddings.astype(dtype), "normalizer": normalizer}
    q = queries(16, 23)
    expected = battles.router(**options).strong_win_rates_from_embeddings(q)
    monkeypatch.setattr(prompt_matrix, "_WIDENED_BYTES", 4 * 16 * 7)
    monkeypatch.setattr(prompt_matrix, "_PRODUCT_BYTES", 4 * 400 * 3)
    router = battles.router(**options)
    assert router._index.prompts.batch_size == 3
    np.testing.assert_allclose(router.strong_win_rates_from_embeddings(q), expected, **CLOSE)
    single = [router.strong_win_rates_from_embeddings(row[None])[0] for row in q]
    np.testing.assert_allclose(single, expected, **CLOSE)


def test_half_precision_is_exact_in_what_it_stores():
    """Every finite float16 comes out as the same float32: widening loses nothing."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 8)
    buffer = np.empty(finite.shape, np.float32)
    np.testing.assert_array_equal(prompt_matrix._widened(finite, buffer), finite.astype(np.float32))


def test_half_precision_is_close():
    battles = arena(2)
    q = queries(16, 50)
    whole = battles.router().strong_win_rates_from_embeddings(q)
    half = battles.router(embeddings=battles.embeddings.astype(np.float16)).strong_win_rates_from_embeddings(q)
    np.testing.assert_allclose(half, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_memory_mapped_embeddings_stay_on_disk(tmp_path, dtype):
    battles = arena(2)
    np.save(tmp_path / "rows.npy", battles.embeddings.astype(dtype))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    router = battles.router(embeddings=mapped)
    assert router._index.prompts.rows is mapped
    in_memory = battles.router(embeddings=battles.embeddings.astype(dtype))
    q = queries(16)
    np.testing.assert_array_equal(
        router.strong_win_rates_from_embeddings(q), in_memory.strong_win_rates_from_embeddings(q)
    )


def test_embeddings_in_float32_are_not_copied():
    battles = arena(2)
    assert battles.router()._index.prompts.rows is battles.embeddings


@pytest.mark.parametrize("normalizer", ["user_query", "train_query"])
@pytest.mark.parametrize("mapped", [True, False])
def test_equal_prompts_share_a_row(tmp_path, normalizer, mapped):
    battles = arena(2, n=300)
    prompt = np.random.default_rng(0).integers(0, 40, 300)
    repeated = battles.embeddings[prompt]
    if mapped:
        np.save(tmp_path / "rows.npy", repeated)
        repeated = np.load(tmp_path / "rows.npy", mmap_mode="r")
    router = battles.router(embeddings=repeated, normalizer=normalizer)
    assert len(router._index.prompts) == (300 if mapped else len(set(prompt)))
    models = np.array(battles.models)
    dataset = PreferenceDataset.from_indices(
        [str(i) for i in range(40)],
        battles.models,
        prompt,
        [list(models).index(m) for m in battles.model_a],
        [list(models).index(m) for m in battles.model_b],
        [{"model_a": 1.0, "model_b": 0.0, "tie": 0.5}[w] for w in battles.winner],
    )
    vectors = battles.embeddings[[int(prompt) for prompt in dataset.prompts]]
    once = SimilarityWeightedRouter.from_battles(
        dataset, embeddings=vectors, normalizer=normalizer, reference_strong="m00", reference_weak="m19"
    )
    q = queries(16)
    assert once.tiers == router.tiers
    np.testing.assert_allclose(
        once.strong_win_rates_from_embeddings(q), router.strong_win_rates_from_embeddings(q), **CLOSE
    )


def test_nearest_other_leaves_out_the_prompt_itself_and_its_copies():
    rows = np.concatenate([unit(0, 10, 30, 100), unit(10), np.zeros((1, 2))]).astype(np.float32)
    matrix = PromptMatrix(rows)
    matrix.forget_copies()
    expected = [np.cos(np.deg2rad(x)) for x in (10, 10, 20, 70)] + [0, 0]
    np.testing.assert_allclose(matrix.nearest_other(), expected, atol=1e-6)
    np.testing.assert_array_equal(PromptMatrix(rows[:1]).nearest_other(), [0.0])


def test_from_battles_embeds_each_prompt_once():
    embedder = HashEmbedder(8)
    battles = arena(n=200, k=5)
    dataset = PreferenceDataset.from_columns(
        prompt=[f"prompt {i % 50}" for i in range(200)],
        model_a=battles.model_a,
        model_b=battles.model_b,
        winner=battles.winner,
        weight=np.linspace(0, 2, 200),
    )
    options = {"reference_strong": 0, "reference_weak": 2, "num_tiers": 3}
    router = SimilarityWeightedRouter.from_battles(dataset, embedder, **options)
    assert [len(batch) for batch in embedder.calls] == [50]
    columns = SimilarityWeightedRouter(
        battles.model_a,
        battles.model_b,
        battles.winner,
        HashEmbedder(8).embed([f"prompt {i % 50}" for i in range(200)]),
        embedder,
        weights=np.linspace(0, 2, 200),
        **options,
    )
    np.testing.assert_allclose(router.strong_win_rates(["Hi!"]), columns.strong_win_rates(["Hi!"]), **CLOSE)
    with pytest.raises(ConfigurationError, match="give an embedder, or embeddings"):
        SimilarityWeightedRouter.from_battles(dataset, **options)
    with pytest.raises(ConfigurationError, match="3 embeddings for 50 prompts"):
        SimilarityWeightedRouter.from_battles(dataset, embeddings=np.ones((3, 8)), **options)


def test_weights_count():
    battles = arena(4, n=300, k=6)
    weights = np.random.default_rng(0).integers(1, 4, 300)
    repeat = np.repeat(np.arange(300), weights)
    repeated = Arena(
        battles.models,
        *([column[i] for i in repeat] for column in (battles.model_a, battles.model_b, battles.winner)),
        battles.embeddings[repeat],
    )
    q = queries(16)
    router = battles.router(num_tiers=3, weights=weights)
    expected = repeated.router(num_tiers=3)
    assert router.tiers == expected.tiers
    np.testing.assert_allclose(
        router.strong_win_rates_from_embeddings(q), expected.strong_win_rates_from_embeddings(q), **CLOSE
    )


@pytest.mark.parametrize("normalizer", ["user_query", "train_query"])
def test_no_similar_prompt_keeps_the_order_of_similarities(normalizer):
    """Where the largest similarity is not positive, dividing by it would let the least similar battle weigh most."""
    vectors = unit(100, 250)  # 150 degrees apart: each one's nearest other has a negative cosine
    router = SimilarityWeightedRouter(
        ["a", "a"],
        ["b", "b"],
        ["model_a", "model_b"],
        vectors,
        reference_strong="a",
        reference_weak="b",
        num_tiers=2,
        normalizer=normalizer,
    )
    query = unit(0)
    cosines = np.cos(np.deg2rad([100, 250]))
    assert (cosines < 0).all()
    expected = 10 ** cosines[0] / (10**cosines).sum()
    assert expected > 0.5  # the more similar battle was won
    assert router.strong_win_rates_from_embeddings(query)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("normalizer", ["user_query", "train_query"])
def test_a_prompt_without_meaning_gets_the_fit_over_all_battles(normalizer):
    battles = arena(5)
    router = battles.router(normalizer=normalizer)
    alike = battles.router(gamma=1)
    zero = router.strong_win_rates_from_embeddings(np.zeros((1, 16)))
    np.testing.assert_allclose(zero, alike.strong_win_rates_from_embeddings(queries(16, 1)), **CLOSE)


def test_training_prompts_without_meaning_are_similar_to_nothing():
    battles = arena(5)
    rows = battles.embeddings.copy()
    rows[::3] = 0
    for normalizer in ("user_query", "train_query"):
        rates = battles.router(embeddings=rows, normalizer=normalizer).strong_win_rates_from_embeddings(queries(16))
        assert ((rates > 0) & (rates < 1)).all()


def test_a_tiny_normalizer_does_not_overflow():
    """Nearly orthogonal training prompts make the paper's similarities huge: the most similar battle decides."""
    rows = np.eye(3) + 2e-6
    router = SimilarityWeightedRouter(
        ["a", "b", "a"],
        ["b", "a", "b"],
        ["model_a"] * 3,
        rows,
        reference_strong="a",
        reference_weak="b",
        num_tiers=2,
        normalizer="train_query",
    )
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        rates = router.strong_win_rates_from_embeddings(np.eye(3))
    np.testing.assert_allclose(rates, [1, 0, 1], atol=1e-3)


def test_length_of_the_vectors_does_not_matter():
    battles = arena(6)
    q = queries(16)
    router = battles.router()
    scaled = battles.router(embeddings=battles.embeddings * np.linspace(0.01, 100, len(battles.embeddings))[:, None])
    expected = router.strong_win_rates_from_embeddings(q)
    np.testing.assert_allclose(router.strong_win_rates_from_embeddings(q * 1e3), expected, **CLOSE)
    np.testing.assert_allclose(scaled.strong_win_rates_from_embeddings(q), expected, **CLOSE)


def test_pairs_by_model_and_by_tier():
    router = small_router(thresholds=ThresholdTable.uniform(source="a test"), metrics={"apgr": 0.5})
    q = queries(8)
    by_model = router.for_pair("m03", "m16")
    by_tier = router.for_pair(router.tiers["m03"], f"tier {router.tiers['m16']}")
    np.testing.assert_array_equal(
        by_model.strong_win_rates_from_embeddings(q), by_tier.strong_win_rates_from_embeddings(q)
    )
    assert by_model.models == ("m16", "m03")
    assert by_tier.models == (f"tier {router.tiers['m16']}", f"tier {router.tiers['m03']}")
    assert (by_model.thresholds, by_model.to_checkpoint().config.metrics) == (None, {})
    assert router.thresholds is not None
    assert by_model.fingerprint != router.fingerprint
    again = by_model.for_pair("m00", "m19")
    assert again.fingerprint == router.fingerprint
    assert again._index is router._index
    strengths = router.tier_strengths_from_embeddings(q)
    np.testing.assert_array_equal(
        by_tier.strong_win_rates_from_embeddings(q),
        win_probability(strengths[:, router.tiers["m03"]], strengths[:, router.tiers["m16"]]),
    )


def test_a_model_called_like_a_tier_is_the_model():
    router = SimilarityWeightedRouter(
        ["tier 1", "b"],
        ["b", "tier 1"],
        ["model_a", "model_b"],
        unit(0, 90),
        reference_strong="tier 1",
        reference_weak="b",
        num_tiers=2,
    )
    assert router.tiers["tier 1"] == 0
    assert router.strong_win_rates_from_embeddings(unit(0))[0] > 0.9


def test_one_tier_for_both_is_a_coin_and_says_so():
    battles = arena(7)
    tiers = battles.router(num_tiers=3).tiers
    first, second = [model for model, tier in tiers.items() if tier == 1][:2]
    with pytest.warns(UserWarning, match=rf"'{first}' and '{second}' are both in tier 1: every strong win rate is 0.5"):
        router = battles.router(num_tiers=3, reference_strong=first, reference_weak=second)
    np.testing.assert_array_equal(router.strong_win_rates_from_embeddings(queries(16)), np.full(7, 0.5))
    with pytest.warns(UserWarning, match="both in tier 1"):
        router.for_pair(second, 1)


def test_pool_is_the_win_rate_against_the_mean_strength():
    router = small_router()
    models = ["m10", "m00", "tier 5", 2]
    pool = router.for_pool(models)
    assert isinstance(pool, PoolRouter)
    assert not isinstance(pool, PairRouter)
    assert pool.models == ("m10", "m00", "tier 5", "tier 2")
    q = queries(8)
    strengths = router.tier_strengths_from_embeddings(q)[:, [router.tiers["m10"], router.tiers["m00"], 5, 2]]
    expected = 1 / (1 + np.exp(strengths.mean(axis=1, keepdims=True) - strengths))
    np.testing.assert_allclose(pool.score_from_embeddings(q), expected, rtol=0, atol=1e-12)
    prompts = ["Hi!", "What is the capital of France?"]
    np.testing.assert_array_equal(pool.score(prompts), pool.score_from_embeddings(HashEmbedder(8).embed(prompts)))


@pytest.mark.parametrize("models", [[], ["m00"], ["m00", "m00"], [1, "tier 1"]])
def test_pool_wants_two_different_models(models):
    with pytest.raises(ConfigurationError, match="two or more different models"):
        small_router().for_pool(models)


@pytest.mark.parametrize("unknown", ["gpt-5", 6, -1, True, "tier 6"])
def test_unknown_models_and_tiers_list_the_known_ones(unknown):
    router = small_router()
    for make in (
        lambda: router.for_pair(unknown, "m00"),
        lambda: router.for_pair("m00", unknown),
        lambda: router.for_pool(["m00", unknown]),
        lambda: small_router(reference_strong=unknown),
    ):
        with pytest.raises(UnknownModelError, match=r"nor a tier from 0 to 5; it knows: m00, m01"):
            make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"same_tier": "keep"}, r"same_tier='keep' must be 'drop' or 'routellm'"),
        ({"normalizer": "max"}, r"normalizer='max' must be 'user_query' or 'train_query'"),
        ({"gamma": 0.5}, r"gamma=0.5 must be a finite number of 1 or more"),
        ({"gamma": float("inf")}, "gamma=inf"),
        ({"gamma": True}, "gamma=True"),
        ({"num_tiers": 21}, r"20 rated models cannot fill 21 tiers: num_tiers must be in \[1, 20\]"),
        ({"num_tiers": 0}, "cannot fill 0 tiers"),
        ({"num_tiers": "5"}, "num_tiers='5' must be a whole number"),
        ({"num_tiers": 5.0}, r"num_tiers=5.0 must be a whole number"),
        ({"num_tiers": True}, "num_tiers=True must be a whole number"),
        ({"weights": [1.0]}, "weights have shape"),
        ({"weights": [-1.0] * 1500}, "0 or more"),
        ({"reference_weak": "m00"}, "two different models"),
        ({"embeddings": np.ones((4, 8))}, r"1,500 of model_a, 1,500 of model_b, 1,500 of winner, 4 of embeddings"),
        ({"embeddings": np.ones(1500)}, r"shape \(1500,\)"),
        ({"embeddings": np.full((1500, 8), np.nan)}, "not finite"),
        ({"embeddings": np.full((1500, 8), np.inf, np.float16)}, "not finite"),
        ({"embedder": HashEmbedder(9)}, r"8 dimensions, and embedder 'hash-9' gives 9"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        small_router(**changes)


def test_a_wrong_winner_names_its_battle():
    with pytest.raises(ConfigurationError, match=r"winner\[1\] is 'draw', and not one of 'model_a', 'model_b', 'tie'"):
        SimilarityWeightedRouter(
            ["a", "a"], ["b", "b"], ["tie", "draw"], unit(0, 1), reference_strong="a", reference_weak="b", num_tiers=2
        )


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.ones(8), r"shape \(8,\)"),
        (np.ones((2, 9)), r"shape \(2, 9\).*\(n, 8\)"),
        (np.ones((2, 8), dtype=int), "floating-point"),
        (np.full((2, 8), np.nan), "not finite"),
    ],
)
def test_wrong_vectors_to_score(embeddings, message):
    router = small_router()
    for score in (router.strong_win_rates_from_embeddings, router.for_pool(["m00", "m19"]).score_from_embeddings):
        with pytest.raises(ConfigurationError, match=message):
            score(embeddings)


def test_no_vectors_no_scores():
    router = small_router()
    assert router.strong_win_rates_from_embeddings(np.zeros((0, 8))).shape == (0,)
    assert router.for_pool(["m00", "m19"]).score_from_embeddings(np.zeros((0, 8))).shape == (0, 2)


async def test_without_an_embedder_only_vectors_are_scored(tmp_path):
    router = small_router(embedder=None)
    q = queries(8)
    expected = small_router().strong_win_rates_from_embeddings(q)
    np.testing.assert_array_equal(router.strong_win_rates_from_embeddings(q), expected)
    for score in (router.score, router.for_pool(["m00", "m19"]).score):
        with pytest.raises(ConfigurationError, match="no embedder and cannot score prompts: give it one as embedder="):
            score(["Hi!"])
    with pytest.raises(ConfigurationError, match="no embedder"):
        await router.ascore(["Hi!"])
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path)
    assert loaded.embedder is None
    assert loaded.fingerprint == router.fingerprint
    np.testing.assert_array_equal(loaded.strong_win_rates_from_embeddings(q), expected)
    with_one = load_router(tmp_path, embedder=HashEmbedder(8))
    np.testing.assert_allclose(with_one.score(["Hi!"]), small_router().score(["Hi!"]), **CLOSE)
    with pytest.raises(CheckpointFormatError, match="8 dimensions, and embedder 'hash-9' gives 9"):
        load_router(tmp_path, embedder=HashEmbedder(9))


async def test_asynchronous_scoring_uses_the_asynchronous_embedder():
    router = small_router(embedder=AsyncHashEmbedder(8))
    expected = small_router().score(["Hi!", "Ho!"])
    np.testing.assert_allclose(await router.ascore(["Hi!", "Ho!"]), expected, **CLOSE)
    pool = await router.for_pool(["m19", "m00"]).ascore(["Hi!"])
    np.testing.assert_allclose(pool, small_router().for_pool(["m19", "m00"]).score(["Hi!"]), **CLOSE)


@pytest.mark.parametrize("normalizer", ["user_query", "train_query"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_saved_and_loaded_nothing_is_worked_out_again(tmp_path, monkeypatch, normalizer, dtype):
    router = small_router(
        normalizer=normalizer,
        embeddings=arena(dimension=8).embeddings.astype(dtype),
        weights=np.linspace(0.5, 2, 1500),
        thresholds=ThresholdTable.uniform(source="a test"),
        provenance={"battles": "synthetic"},
    )
    router.save_pretrained(tmp_path)
    stored = router.to_checkpoint().arrays
    assert {"counts", "embeddings", "tiers"} <= set(stored)
    assert stored["embeddings"].dtype == dtype
    for name in ("nearest_other", "_measured", "forget_copies"):
        monkeypatch.setattr(PromptMatrix, name, None)
    loaded = load_router(tmp_path, embedder=HashEmbedder(8))
    assert isinstance(loaded, SimilarityWeightedRouter)
    assert (loaded.tiers, loaded.ratings, loaded.models) == (router.tiers, router.ratings, router.models)
    q = queries(8)
    np.testing.assert_array_equal(
        loaded.strong_win_rates_from_embeddings(q), router.strong_win_rates_from_embeddings(q)
    )
    assert loaded.fingerprint == router.fingerprint
    by_tier = router.for_pair(0, 3)
    by_tier.save_pretrained(tmp_path)
    assert load_router(tmp_path, embedder=HashEmbedder(8)).models == ("tier 3", "tier 0")
    with pytest.raises(EmbedderMismatchError, match=r"'hash-8'.*'hash-9'"):
        load_router(tmp_path, embedder=HashEmbedder(9))


def test_fingerprint_tells_routers_apart():
    made = [
        small_router(),
        small_router(1),
        small_router(gamma=5),
        small_router(normalizer="train_query"),
        small_router(same_tier="routellm"),
        small_router(num_tiers=5),
        small_router(reference_weak="m18"),
        small_router(embedder=None),
    ]
    assert len({router.fingerprint for router in made}) == len(made)
    assert small_router().fingerprint == made[0].fingerprint


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("embeddings", None, "no array 'embeddings'"),
        ("tiers", None, "no array 'tiers'"),
        ("tiers", lambda x: x + 1, "tiers"),
        ("battle_rows", lambda x: x + 10**6, "battle_rows"),
        ("battle_models", lambda x: x - 1, "battle_models"),
        ("battle_models", lambda x: x[:-1], "battle_models"),
        ("battle_outcomes", lambda x: x + 0.25, "battle_outcomes"),
        ("embedding_norms", lambda x: x[:-1], "norms"),
        ("counts", lambda x: x[:-1], "counts"),
        ("nearest_cosines", None, "nearest_cosines"),
    ],
)
def test_damaged_checkpoints(tmp_path, name, change, message):
    from safetensors.numpy import load_file, save_file

    small_router(normalizer="train_query").save_pretrained(tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    value = arrays.pop(name)
    if change is not None:
        arrays[name] = np.ascontiguousarray(change(value))
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointFormatError, match=message):
        load_router(tmp_path, embedder=HashEmbedder(8))


def test_many_threads_get_the_same_scores():
    router = small_router()
    batches = [queries(8, n, seed=n) for n in (1, 3, 16, 64)]
    expected = [router.strong_win_rates_from_embeddings(batch) for batch in batches]
    failures = []

    def work():
        for _ in range(5):
            for batch, want in zip(batches, expected, strict=True):
                if not np.allclose(router.strong_win_rates_from_embeddings(batch), want, **CLOSE):
                    failures.append(batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_large_matrix_stays_on_disk_when_it_is_loaded(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(arrays, "MAPPED_BYTES", 4096)
    router = small_router(embeddings=arena(dimension=8).embeddings.astype(dtype))
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path, embedder=HashEmbedder(8))
    rows = loaded._index.prompts.rows
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable
    q = queries(8, 30)
    np.testing.assert_array_equal(
        loaded.strong_win_rates_from_embeddings(q), router.strong_win_rates_from_embeddings(q)
    )
    assert loaded.fingerprint == router.fingerprint
    loaded.for_pair("m01", "m18").save_pretrained(tmp_path)  # over the file that is mapped
    np.testing.assert_array_equal(
        loaded.strong_win_rates_from_embeddings(q), router.strong_win_rates_from_embeddings(q)
    )
    again = load_router(tmp_path, embedder=HashEmbedder(8))
    assert again.models == ("m18", "m01")
