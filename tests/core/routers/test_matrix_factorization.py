import itertools

import numpy as np
import pytest

from routellm_core import ThresholdTable, load_router
from routellm_core.checkpoints.published import ARENA_MODELS, ARENA_TIERS
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter
from support.embedders import AsyncHashEmbedder, HashEmbedder
from support.weights import published_router, published_weights

PROMPTS = ["Hi!", "What is the capital of France?", "Prove Fermat's last theorem for n = 3.", ""]
STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"


def small(**changes) -> MatrixFactorizationRouter:
    """Five models, dim 4, embeddings of 6 dimensions, in the form of the paper."""
    rng = np.random.default_rng(1)
    arguments = {
        "model_embeddings": rng.normal(size=(5, 4)),
        "output_weights": rng.normal(size=4),
        "text_projection": rng.normal(size=(4, 6)),
        "bias": rng.normal(size=4),
        "models": list("abcde"),
        "reference_strong": "d",
        "reference_weak": "b",
        "embedder": HashEmbedder(6),
        "normalize_models": False,
        **changes,
    }
    return MatrixFactorizationRouter(arguments.pop("model_embeddings"), arguments.pop("output_weights"), **arguments)


def released(strong: int, weak: int, q, rows, projection, w) -> float:
    """The released forward pass, one number at a time: logit(M, q) = w . (row of M / its length * projection q)."""

    def logit(model: int) -> float:
        row = [float(x) for x in rows[model]]
        length = sum(x * x for x in row) ** 0.5
        projected = [sum(float(projection[i, j]) * float(q[j]) for j in range(len(q))) for i in range(len(row))]
        return sum(float(w[i]) * row[i] / length * projected[i] for i in range(len(row)))

    return 1 / (1 + np.exp(logit(weak) - logit(strong)))


def test_collapsed_equals_the_full_computation_for_every_pair():
    weights = published_weights()
    rows, projection, w = (
        weights[k].astype(np.float64) for k in ("P.weight", "text_proj.0.weight", "classifier.0.weight")
    )
    router = published_router()
    q = router.embedder.embed(PROMPTS).astype(np.float64)
    normal = rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))
    logits = np.array([[(w[0] * (normal[m] * (projection @ v))).sum() for m in range(64)] for v in q])
    spread = []
    for a, b in itertools.combinations(range(64), 2):
        got = router.for_pair(ARENA_MODELS[a], ARENA_MODELS[b]).strong_win_rates_from_embeddings(q)
        np.testing.assert_allclose(got, 1 / (1 + np.exp(logits[:, b] - logits[:, a])), rtol=0, atol=1e-6)
        spread += [got.min(), got.max()]
    assert min(spread) < 0.1  # otherwise the tolerance would say little
    assert max(spread) > 0.9


def test_literal_released_formula():
    weights = published_weights()
    router = published_router()
    q = router.embedder.embed(PROMPTS[:2])
    for strong, weak in [(24, 36), (36, 24), (0, 63)]:
        expected = [
            released(
                strong, weak, v, weights["P.weight"], weights["text_proj.0.weight"], weights["classifier.0.weight"][0]
            )
            for v in q
        ]
        got = router.for_pair(ARENA_MODELS[strong], ARENA_MODELS[weak]).strong_win_rates(PROMPTS[:2])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("projected", [True, False])
def test_literal_formula_of_the_paper(bias, normalize, projected):
    """P(s beats w | q) = sigma(delta(s, q) - delta(w, q)), delta(M, q) = w2 . (v_M * (W1 q + b))."""
    rng = np.random.default_rng(2)
    d = 4 if projected else 6
    v, w2, w1, b = rng.normal(size=(5, d)), rng.normal(size=d), rng.normal(size=(d, 6)), rng.normal(size=d)
    router = small(
        model_embeddings=v,
        output_weights=w2,
        text_projection=w1 if projected else None,
        bias=b if bias else None,
        normalize_models=normalize,
    )
    for prompt in PROMPTS:
        q = HashEmbedder(6).embed([prompt])[0].astype(np.float64)

        def delta(model, q=q):
            row = v[model] / np.linalg.norm(v[model]) if normalize else v[model]
            hidden = (w1 @ q if projected else q) + (b if bias else 0)
            return sum(w2[i] * row[i] * hidden[i] for i in range(d))

        for s, w in itertools.permutations(range(5), 2):
            expected = 1 / (1 + np.exp(-(delta(s) - delta(w))))
            assert router.for_pair("abcde"[s], "abcde"[w]).strong_win_rate(prompt) == pytest.approx(expected, abs=1e-12)
        qualities = router.model_qualities_from_embeddings(q[None])
        np.testing.assert_allclose(qualities, [[delta(m) for m in range(5)]], atol=1e-12)


def test_bias_matters_in_the_form_of_the_paper():
    assert small().strong_win_rate("Hi!") != small(bias=None).strong_win_rate("Hi!")


def test_swapped_pair_wins_the_rest():
    router = published_router()
    for a, b in [(STRONG, WEAK), ("vicuna-7b", "palm-2")]:
        forth, back = router.for_pair(a, b).strong_win_rates(PROMPTS), router.for_pair(b, a).strong_win_rates(PROMPTS)
        np.testing.assert_allclose(forth, 1 - back, rtol=0, atol=1e-15)
    with pytest.raises(ConfigurationError, match="two different models"):
        router.for_pair(WEAK, WEAK)


def test_single_equals_batch_to_the_last_bit():
    router = published_router()
    prompts = [f"prompt {i}" for i in range(70)]
    batch, pool = router.strong_win_rates(prompts), router.for_pool(ARENA_MODELS[:7]).score(prompts)
    for i, prompt in enumerate(prompts):
        assert router.strong_win_rate(prompt) == batch[i]
        np.testing.assert_array_equal(router.for_pool(ARENA_MODELS[:7]).score([prompt])[0], pool[i])


def test_layout_of_the_embeddings_in_memory_does_not_matter():
    router = published_router()
    q = router.embedder.embed([f"prompt {i}" for i in range(30)])
    expected = router.strong_win_rates_from_embeddings(q)
    wide = np.zeros((30, 3072), dtype=np.float32)
    wide[:, ::2] = q
    for same in (np.asfortranarray(q), wide[:, ::2], q.astype(np.float64), q.astype(">f4")):
        np.testing.assert_allclose(router.strong_win_rates_from_embeddings(same), expected, rtol=0, atol=1e-14)


def test_for_pair_keeps_the_weights_and_drops_the_thresholds():
    table = ThresholdTable.uniform(source="a test")
    router = published_router(thresholds=table)
    other = router.for_pair("claude-2.1", "vicuna-7b")
    assert (other.models, other.thresholds, other.embedder) == (("vicuna-7b", "claude-2.1"), None, router.embedder)
    assert (router.models, router.thresholds) == ((WEAK, STRONG), table)
    again = other.for_pair(STRONG, WEAK)
    np.testing.assert_array_equal(again.strong_win_rates(PROMPTS), router.strong_win_rates(PROMPTS))
    assert again.fingerprint == router.fingerprint
    assert other.fingerprint != router.fingerprint


def test_pool_is_the_win_rate_against_the_mean_quality():
    router, models = published_router(), ["vicuna-7b", STRONG, "palm-2"]
    q = router.embedder.embed(PROMPTS)
    pool = router.for_pool(models)
    columns = [ARENA_MODELS.index(m) for m in models]
    qualities = router.model_qualities_from_embeddings(q)[:, columns]
    expected = 1 / (1 + np.exp(qualities.mean(axis=1, keepdims=True) - qualities))
    assert pool.models == tuple(models)
    np.testing.assert_allclose(pool.score(PROMPTS), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(pool.score(PROMPTS), pool.score_from_embeddings(q))
    backwards = router.for_pool(models[::-1]).score(PROMPTS)
    np.testing.assert_allclose(backwards[:, ::-1], pool.score(PROMPTS), rtol=0, atol=1e-15)


def test_pool_of_two_orders_them_like_the_pair():
    router = published_router()
    prompts = [f"prompt {i}" for i in range(50)]
    pool = router.for_pool([WEAK, STRONG]).score(prompts)
    np.testing.assert_array_equal(pool[:, 1] > pool[:, 0], router.strong_win_rates(prompts) > 0.5)


@pytest.mark.parametrize("models", [[], [STRONG], [STRONG, STRONG], [STRONG, WEAK, STRONG]])
def test_pool_wants_two_different_models(models):
    with pytest.raises(ConfigurationError, match="two or more different models"):
        published_router().for_pool(models)


@pytest.mark.parametrize(
    ("make", "role"),
    [
        (lambda r: r.for_pair("gpt-5", WEAK), "reference_strong='gpt-5'"),
        (lambda r: r.for_pair(STRONG, "gpt-5"), "reference_weak='gpt-5'"),
        (lambda r: r.for_pool([STRONG, "gpt-5"]), "model='gpt-5'"),
    ],
)
def test_unknown_model_lists_the_known_ones(make, role):
    with pytest.raises(
        UnknownModelError, match=r"is not a reference model.*RWKV-4-Raven-14B.*zephyr-7b-beta"
    ) as caught:
        make(published_router())
    assert role in str(caught.value)


async def test_asynchronous_score_awaits_the_embedder():
    router = published_router()
    asynchronous = published_router(embedder=AsyncHashEmbedder(1536))
    np.testing.assert_array_equal(await asynchronous.ascore(PROMPTS), router.score(PROMPTS))
    assert asynchronous.embedder.calls == [PROMPTS]
    pool = asynchronous.for_pool([STRONG, WEAK, "palm-2"])
    np.testing.assert_array_equal(await pool.ascore(PROMPTS), router.for_pool([STRONG, WEAK, "palm-2"]).score(PROMPTS))


async def test_asynchronous_score_uses_a_thread_for_an_embedder_that_blocks():
    router = published_router()
    np.testing.assert_array_equal(await router.ascore(PROMPTS), router.score(PROMPTS))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_embeddings": np.ones((4, 4))}, "model_embeddings has shape"),
        ({"model_embeddings": np.ones((5, 3))}, "model_embeddings has shape"),
        ({"model_embeddings": np.ones(5)}, "model_embeddings has shape"),
        ({"output_weights": np.ones((1, 4))}, "has shape"),
        ({"output_weights": np.ones(3)}, "has shape"),
        ({"output_weights": 3.0}, "has shape"),
        ({"text_projection": np.ones((6, 4))}, "text_projection has shape"),
        ({"text_projection": np.ones(4)}, "text_projection has shape"),
        ({"text_projection": np.ones((4, 7))}, "takes embeddings of 7 dimensions, and embedder 'hash-6' gives 6"),
        ({"text_projection": None}, "takes embeddings of 4 dimensions, and embedder 'hash-6' gives 6"),
        ({"bias": np.ones(6)}, "bias has shape"),
        ({"bias": np.array([1, 2, np.nan, 4])}, "bias holds numbers that are not finite"),
        ({"model_embeddings": np.full((5, 4), np.inf)}, "not finite"),
        ({"models": list("abcda")}, "'a' more than once"),
    ],
)
def test_what_does_not_fit_is_refused(changes, match):
    with pytest.raises(ConfigurationError, match=match):
        small(**changes)


def test_row_of_zeros_can_be_normalised():
    rows = np.random.default_rng(0).normal(size=(5, 4))
    rows[3] = 0
    assert np.isfinite(small(model_embeddings=rows, normalize_models=True).strong_win_rates(PROMPTS)).all()


def test_extreme_qualities_do_not_overflow():
    router = small(output_weights=np.full(4, 1e6))
    rates = router.strong_win_rates([f"prompt {i}" for i in range(100)])
    assert set(np.unique(rates)) == {0.0, 1.0}
    assert small(output_weights=np.zeros(4)).strong_win_rate("Hi!") == 0.5


def test_repr_names_the_router_and_holds_no_prompt():
    assert repr(small()) == "<MatrixFactorizationRouter 'mf' over 2 models>"


# --- models that the router does not know ---------------------------------------------------------------------------


def tiered(**changes) -> MatrixFactorizationRouter:
    return small(tiers={"a": 0, "d": 0, "b": 2, "c": 2}, **changes)


def test_reference_stands_for_an_unknown_model():
    router = small()
    pair = router.for_pair("gpt-next", "b", references={"gpt-next": "d", "unused": "a"})
    np.testing.assert_array_equal(pair.score(PROMPTS), router.score(PROMPTS))
    assert (pair.reference_strong, pair.reference_weak) == ("d", "b")
    pool = router.for_pool(["gpt-next", "b", "mine"], references={"gpt-next": "d", "mine": "a"})
    assert pool.models == ("gpt-next", "b", "mine")
    np.testing.assert_array_equal(pool.score(PROMPTS), router.for_pool(["d", "b", "a"]).score(PROMPTS))


def test_tier_is_the_mean_quality_of_its_models(tmp_path):
    router = tiered()
    qualities = router.model_qualities_from_embeddings(router.embedder.embed(PROMPTS))
    best, second = qualities[:, [0, 3]].mean(axis=1), qualities[:, [1, 2]].mean(axis=1)
    expected = 1 / (1 + np.exp(second - best))
    for pair in (
        router.for_pair("tier 0", "tier 2"),
        router.for_pair("x", "y", references={"x": "tier 0", "y": "tier 2"}),
    ):
        np.testing.assert_allclose(pair.strong_win_rates(PROMPTS), expected, rtol=0, atol=1e-12)
        loaded = load_router(pair.save_pretrained(tmp_path / "tiers"), embedder=HashEmbedder(6))
        np.testing.assert_array_equal(loaded.score(PROMPTS), pair.score(PROMPTS))
        assert loaded.tiers == router.tiers
    pool = router.for_pool(["tier 0", "e", "tier 2"]).score(PROMPTS)
    ordered = np.stack([best, qualities[:, 4], second], axis=1)
    expected = 1 / (1 + np.exp(ordered.mean(axis=1, keepdims=True) - ordered))
    np.testing.assert_allclose(pool, expected, rtol=0, atol=1e-12)


def test_published_models_have_the_tiers_of_the_paper():
    assert [len(models) for models in ARENA_TIERS] == [2, 5, 17, 22, 5, 3, 5, 2, 2, 1]
    assert sorted(model for models in ARENA_TIERS for model in models) == list(ARENA_MODELS)
    assert ARENA_TIERS[0] == ("gpt-4-0125-preview", "gpt-4-1106-preview")
    assert WEAK in ARENA_TIERS[2]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda r: r.for_pair("tier 1", "b"), "'tier 1' is no tier of this router; there are: 'tier 0', 'tier 2'"),
        (lambda r: r.for_pool(["x", "b"], references={"x": "tier 9"}), "model='tier 9' is no tier"),
        (lambda r: r.for_pair("x", "b", references={"x": "gpt-5"}), r"'gpt-5' is not a reference model.*a, b, c"),
        (lambda r: r.for_pair("a", "b", references={"a": "c"}), "references names 'a', which the router knows itself"),
        (lambda r: r.for_pair("x", "b", references={"x": "b"}), "two different models"),
        (lambda r: r.for_pair(0, "b"), "reference_strong=0 is not a reference model"),
        (lambda r: r.for_pool("ab"), "models must be a list of strings, not one string"),
        (lambda r: small().for_pair("tier 0", "b"), "there are: none"),
        (lambda r: small(tiers={"z": 0}), "tiers names 'z'"),
    ],
)  # fmt: skip
def test_reference_or_tier_that_is_not_there(make, match):
    with pytest.raises(ConfigurationError, match=match):  # an UnknownModelError is one
        make(tiered())
