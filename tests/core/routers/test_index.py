import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.routers import cosine_bounds
from routellm_core.routers import index as index_module
from routellm_core.routers.cosine_bounds import CosineBounds
from routellm_core.routers.index import ApproximateIndex, ExactIndex, build_index, unit_rows


@pytest.fixture(autouse=True, params=[0, index_module._SHORT], ids=["by stripes", "whole"])
def short(request, monkeypatch):
    monkeypatch.setattr(index_module, "_SHORT", request.param)


def by_definition(vectors, query, k):
    unit = vectors.astype(np.float64) / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    cosines = unit @ (query / max(np.linalg.norm(query), 1e-30))
    return np.argsort(-np.round(cosines, 6), kind="stable")[:k], np.sort(cosines)[::-1][:k]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 60), st.integers(0, 1000))
def test_finds_the_nearest_by_definition(n, k, seed):
    rng = np.random.default_rng(seed)
    vectors, queries = rng.normal(size=(n, 5)), rng.normal(size=(3, 5))
    positions, cosines = ExactIndex(vectors).search(queries, k)
    assert positions.shape == (3, min(k, n))
    for row, query in enumerate(queries):
        _, expected = by_definition(vectors, query, k)
        np.testing.assert_allclose(cosines[row], expected, atol=1e-6)
        unit = vectors[positions[row]] / np.linalg.norm(vectors[positions[row]], axis=1, keepdims=True)
        np.testing.assert_allclose(unit @ query / np.linalg.norm(query), cosines[row], atol=1e-6)
        assert len(set(positions[row].tolist())) == min(k, n)


def test_of_equally_near_ones_the_first_come_first():
    vectors = np.tile([[1.0, 0.0], [0.0, 1.0]], (5000, 1))
    positions, cosines = ExactIndex(vectors).search([[1.0, 0.0]], 4)
    assert positions.tolist() == [[0, 2, 4, 6]]
    assert cosines.tolist() == [[1.0] * 4]


@pytest.mark.parametrize("n", [50, 5000])
def test_a_query_does_not_depend_on_the_others(n, monkeypatch):
    rng = np.random.default_rng(1)
    index = ExactIndex(rng.normal(size=(n, 33)))
    queries = rng.normal(size=(17, 33))
    together = index.search(queries, 9)
    monkeypatch.setattr(index_module, "_BLOCK", 4 * n)
    for row, query in enumerate(queries):
        for whole, single, blocks in zip(
            together, index.search(query[None, :], 9), index.search(queries, 9), strict=True
        ):
            np.testing.assert_array_equal(whole[row], single[0])
            np.testing.assert_array_equal(whole, blocks)


def test_zeros_are_near_to_nothing():
    index = ExactIndex(np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert index.search([[0.0, 0.0]], 2)[1].tolist() == [[0.0, 0.0]]
    assert index.search(np.zeros((0, 2)), 2)[0].shape == (0, 2)
    with pytest.raises(ConfigurationError, match="n of 1 or more"):
        ExactIndex(np.zeros((0, 2)))


def test_exact_is_the_default_up_to_a_limit(monkeypatch):
    assert isinstance(build_index(np.eye(3)), ExactIndex)
    monkeypatch.setattr(index_module, "EXACT_UP_TO", 2)
    pytest.importorskip("usearch")
    assert isinstance(build_index(np.eye(3)), ApproximateIndex)
    assert isinstance(build_index(np.eye(3), "exact"), ExactIndex)


def test_the_approximate_index_agrees_for_the_most_part():
    pytest.importorskip("usearch")
    rng = np.random.default_rng(2)
    vectors, queries = rng.normal(size=(3000, 16)), rng.normal(size=(50, 16))
    approximate, exact = ApproximateIndex(vectors), ExactIndex(vectors)
    found, cosines = approximate.search(queries, 10)
    true, _ = exact.search(queries, 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, true, strict=True)]) > 0.9
    assert (np.diff(cosines, axis=1) <= 0).all()
    again = ApproximateIndex(vectors, graph=approximate.graph())
    np.testing.assert_array_equal(again.search(queries, 10)[0], found)
    with pytest.raises(ConfigurationError, match="the graph is of 3000 vectors, and there are 2999"):
        ApproximateIndex(vectors[:-1], graph=approximate.graph())


def test_vectors_are_added_to_a_graph_of_the_first():
    pytest.importorskip("usearch")
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(1200, 8))
    grown = ApproximateIndex(vectors, graph=ApproximateIndex(vectors[:1000]).graph())
    found, cosines = grown.search(vectors[1000:], 1)
    itself = found[:, 0] == np.arange(1000, 1200)
    # A graph is built by several threads and differs from run to run: now and then a vector stays out of reach.
    assert itself.mean() >= 0.98
    np.testing.assert_allclose(cosines[itself], 1.0, atol=1e-6)


def test_neighbours_that_single_precision_cannot_tell_apart_are_the_true_ones():
    rng = np.random.default_rng(5)
    vectors = unit_rows(rng.normal(size=64) + 1e-6 * rng.normal(size=(3000, 64)))
    queries = unit_rows(vectors[:20] + 1e-3 * rng.normal(size=(20, 64)))
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    found, cosines = ExactIndex(vectors).search(queries, 5)
    np.testing.assert_allclose(cosines, -np.sort(-exact, axis=1)[:, :5], rtol=0, atol=1e-14)
    assert len(np.unique(found[0])) == 5


def sets_of_vectors(kind, n, rng, d=64):
    if kind == "without structure":
        return rng.normal(size=(n, d))
    if kind == "in clusters":
        return rng.normal(size=(20, d))[rng.integers(20, size=n)] + 0.4 * rng.normal(size=(n, d))
    if kind == "in few directions":
        return rng.normal(size=(n, 6)) @ rng.normal(size=(6, d)) + 1e-3 * rng.normal(size=(n, d))
    rows = rng.normal(size=(n // 10, d))[rng.integers(n // 10, size=n)]  # equal ones, and zeros
    rows[::7] = 0.0
    return rows


KINDS = ["without structure", "in clusters", "in few directions", "equal and zero"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 12])
def test_bounds_leave_out_none_of_the_nearest(kind, k, monkeypatch):
    rng = np.random.default_rng(len(kind) + k)
    vectors = sets_of_vectors(kind, 4000, rng)
    queries = np.concatenate(
        [sets_of_vectors(kind, 20, rng), vectors[:10], rng.normal(size=(5, 64)), np.zeros((1, 64))]
    )
    plain = ExactIndex(vectors).search(queries, k)
    monkeypatch.setattr(cosine_bounds, "FROM_NUMBERS", 0)
    bounded = ExactIndex(vectors)
    for at_once in (1, 4, len(queries)):
        for start in range(0, len(queries), at_once):
            for whole, found in zip(plain, bounded.search(queries[start : start + at_once], k), strict=True):
                np.testing.assert_array_equal(found, whole[start : start + at_once])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 7, 63, 64])
def test_no_cosine_is_above_its_bound(kind, width):
    rng = np.random.default_rng(width)
    vectors = unit_rows(sets_of_vectors(kind, 500, rng))
    queries = unit_rows(np.concatenate([rng.normal(size=(20, 64)), vectors[:20]]))
    upper = CosineBounds(vectors, width).of_queries(queries, np.empty((40, 500), np.float32))
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    assert (upper >= exact).all()
    if width == 64:
        assert (upper - exact).max() < 0.01


def test_a_small_set_has_no_bounds():
    assert CosineBounds.of(unit_rows(np.ones((100, 64)))) is None


def test_bounds_spare_most_of_a_clustered_set(monkeypatch):
    rng = np.random.default_rng(4)
    vectors = sets_of_vectors("in clusters", 40_000, rng)
    monkeypatch.setattr(cosine_bounds, "FROM_NUMBERS", 0)
    index = ExactIndex(vectors)
    read = []
    ranked = index_module.rank
    monkeypatch.setattr(index_module, "rank", lambda *given: read.append(len(given[2])) or ranked(*given))
    monkeypatch.setattr(index, "_preselect", lambda numbers, k: np.argsort(-numbers)[:k])
    for query in vectors[:20] + 0.1 * rng.normal(size=(20, 64)):
        index.search(query[None, :], 8)
    assert np.median(read) < 400  # of 40,000
