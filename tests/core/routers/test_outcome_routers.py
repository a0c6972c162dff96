import numpy as np
import pytest

from routellm_core import Router, load_router
from routellm_core.embedders.tfidf import TfidfEmbedder
from routellm_core.errors import (
    CheckpointFormatError,
    ConfigurationError,
    EmbedderMismatchError,
    RouterUnavailableError,
)
from routellm_core.routers.cluster import ClusterRouter
from routellm_core.routers.index import ApproximateIndex
from routellm_core.routers.knn import KNNRouter
from routellm_core.routers.mlp import MLPRouter
from routellm_core.routers.multilabel import MultilabelRouter
from routellm_core.routers.outcome import Training, mean_distances
from routellm_core.routers.separate import SeparateRouter
from routellm_core.task_state import TaskConfidence
from routellm_core.testing import RouterContract
from routellm_core.training.outcome_cluster import ClusterConfig, train_cluster
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.outcome_linear import LinearConfig, train_multilabel, train_separate
from routellm_core.training.outcome_mlp import MLPConfig, train_mlp
from support.embedders import HashEmbedder
from support.outcomes import MODELS, TOPICS, TopicEmbedder, topic_table

MLP = MLPConfig(hidden=(16,), epochs=30, learning_rate=1e-2, confidence=False)

TRAINERS = {
    "knn": lambda table: train_knn(table, TopicEmbedder(), KNNConfig(k=(8,))),
    "mlp": lambda table: train_mlp(table, TopicEmbedder(), MLP),
    "cluster": lambda table: train_cluster(table, TopicEmbedder(), ClusterConfig(clusters=(3, 5), restarts=2)),
    "multilabel": lambda table: train_multilabel(table, TopicEmbedder(), LinearConfig(penalties=(0.1, 1.0))),
    "separate": lambda table: train_separate(table, TopicEmbedder(), LinearConfig(penalties=(0.1, 1.0))),
}


@pytest.fixture(scope="module")
def trained():
    return {name: train(topic_table(missing=0.1)) for name, train in TRAINERS.items()}


class TestKNN(RouterContract):
    def make_router(self) -> Router:
        return TRAINERS["knn"](topic_table(60, missing=0.2))[0]


class TestMLP(RouterContract):
    def make_router(self) -> Router:
        return TRAINERS["mlp"](topic_table(60))[0]


class TestCluster(RouterContract):
    def make_router(self) -> Router:
        return TRAINERS["cluster"](topic_table(60))[0]


class TestClusterOnWords(RouterContract):
    def make_router(self) -> Router:
        return train_cluster(topic_table(60), "tfidf", ClusterConfig(clusters=(3,), min_size=2))[0]


class TestMultilabel(RouterContract):
    def make_router(self) -> Router:
        return TRAINERS["multilabel"](topic_table(60))[0]


class TestMulticlass(RouterContract):
    def make_router(self) -> Router:
        return train_multilabel(topic_table(60), TopicEmbedder(), LinearConfig(head="multiclass"))[0]


class TestSeparate(RouterContract):
    def make_router(self) -> Router:
        return TRAINERS["separate"](topic_table(60))[0]


@pytest.mark.parametrize("name", TRAINERS)
def test_knows_who_is_good_at_what(name, trained):
    router, report = trained[name]
    new = topic_table(90, seed=7)
    chosen = router.score(new.prompts).argmax(axis=1)
    right = np.array([TOPICS.index(topic) for topic in new.groups])
    assert (chosen == right).mean() > 0.95
    assert router.models == MODELS
    assert report.validation_loss < 0.8 * report.baseline_loss
    assert report.router == name
    assert type(report).from_dict(report.to_dict()) == report


@pytest.mark.parametrize("name", TRAINERS)
def test_by_its_name_alone_there_is_none(name):
    with pytest.raises(RouterUnavailableError, match=f"routellm train --router {name}"):
        load_router(name)


@pytest.mark.parametrize("name", TRAINERS)
def test_comes_back_with_its_card_its_thresholds_and_its_confidence(name, trained, tmp_path):
    router, _ = trained[name]
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path, embedder=TopicEmbedder())
    assert type(loaded) is type(router)
    assert loaded.fingerprint == router.fingerprint
    assert loaded.model_thresholds == router.model_thresholds
    assert set(router.model_thresholds) == set(MODELS)
    np.testing.assert_array_equal(loaded.closest, router.closest)
    assert router.closest.shape == (len(MODELS) + 1,)
    assert "topics" in (tmp_path / "README.md").read_text()
    if router.confidence is not None:
        np.testing.assert_array_equal(loaded.confidence.distances, router.confidence.distances)
        np.testing.assert_array_equal(
            loaded.score_with_distance(["of poetry"]), router.score_with_distance(["of poetry"])
        )
        assert loaded.choose_for_task(["of poetry"]) == router.choose_for_task(["of poetry"])
    with pytest.raises(EmbedderMismatchError, match="hash-8"):
        load_router(tmp_path, embedder=HashEmbedder(8))


def test_the_tfidf_words_are_stored_with_the_router(tmp_path):
    router, _ = train_cluster(topic_table(60), "tfidf", ClusterConfig(clusters=(3,), min_size=2, confidence=False))
    router.save_pretrained(tmp_path)
    loaded = load_router(tmp_path)
    np.testing.assert_array_equal(loaded.score(["some poetry", "unknown"]), router.score(["some poetry", "unknown"]))


def with_confidence(confidence):
    """Return a router that gives the models 0.9, 0.2 and 0.6 on every prompt, at a distance of nearly 0."""
    embeddings = np.tile(TopicEmbedder().embed(["of poetry"]), (20, 1))
    return MLPRouter(
        [(np.zeros((3, 8)), np.log([0.9 / 0.1, 0.2 / 0.8, 0.6 / 0.4]))],
        models=MODELS,
        embedder=TopicEmbedder(),
        training=Training(confidence=confidence, embeddings=embeddings),
    )


def test_a_confidence_of_other_settings_comes_back_whole(tmp_path):
    confidence = TaskConfidence(
        np.array([0.1, 0.4]), np.array([[0.9, np.nan, 0.7], [0.6, 0.8, np.nan]]), np.array([0.2, 0.5, 0.4]), 0.03, 0.8
    )
    with_confidence(confidence).save_pretrained(tmp_path)
    loaded = load_router(tmp_path, embedder=TopicEmbedder()).confidence
    for name in ("distances", "agreement", "accuracies", "bandwidth", "fallback"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(confidence, name))


def test_s3_of_a_whole_task_goes_by_how_far_its_prompts_are():
    near_and_far = np.array([[0.95, 0.95, 0.7], [0.05, 0.95, 0.5]])  # far away the first model's votes are wrong
    router = with_confidence(TaskConfidence(np.array([0.0, 0.9]), near_and_far, np.array([0.4, 0.3, 0.5])))
    assert router.choose_for_task(["of poetry"] * 30) == MODELS[0]
    far = router.distances_from_embeddings(TopicEmbedder().embed(["of python"]))
    assert far[0] > 0.5
    assert router.choose_for_task(["of python"] * 30) == MODELS[2]


@pytest.mark.parametrize("policy", ["s1", "s2", "s3"])
def test_of_equally_good_models_a_task_goes_to_the_cheapest(policy):
    router = with_confidence(TaskConfidence(np.array([0.0]), np.full((1, 3), 0.5), np.array([0.5, 0.5, 0.5])))
    router._layers = [(np.zeros((3, 8)), np.zeros(3))]
    assert router.choose_for_task(["of poetry"] * 9, policy=policy) == MODELS[0]
    assert router.choose_for_task(["of poetry"] * 9, policy=policy, by_price=MODELS[::-1]) == MODELS[2]


@pytest.mark.parametrize("name", TRAINERS)
async def test_scores_without_blocking(name, trained):
    router, _ = trained[name]
    prompts = ["of poetry", "of python"]
    np.testing.assert_array_equal(await router.ascore(prompts), router.score(prompts))
    np.testing.assert_array_equal(router.score_from_embeddings(TopicEmbedder().embed(prompts)), router.score(prompts))


# --- kNN ---------------------------------------------------------------------------------------------------------------


def literal_knn(vectors, outcomes, query, k, shrinkage, *, uniform):
    """The formula of the class, model by model and neighbour by neighbour."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ (query / np.linalg.norm(query))
    nearest = np.argsort(-cosines, kind="stable")[:k]
    scores = []
    for column in range(outcomes.shape[1]):
        mean = np.nanmean(outcomes[:, column])
        top, bottom = shrinkage * mean, shrinkage
        for j in nearest:
            if not np.isnan(outcomes[j, column]):
                weight = 1.0 if uniform else max(0.0, cosines[j])
                top, bottom = top + weight * outcomes[j, column], bottom + weight
        scores.append(top / bottom if bottom else mean)
    return scores


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("shrinkage", [0.0, 3.5])
def test_knn_is_its_formula(uniform, shrinkage):
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(200, 6)).astype(np.float32)
    outcomes = np.where(rng.random((200, 4)) < 0.3, np.nan, rng.random((200, 4)))
    router = KNNRouter(
        vectors,
        outcomes,
        models=list("abcd"),
        embedder=HashEmbedder(6),
        k=9,
        shrinkage=shrinkage,
        weights="uniform" if uniform else "similarity",
    )
    queries = rng.normal(size=(20, 6)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    expected = [literal_knn(vectors, outcomes, q, 9, shrinkage, uniform=uniform) for q in queries]
    np.testing.assert_allclose(router.score_from_embeddings(queries), expected, atol=1e-5)


def test_knn_of_the_paper_gives_sixths():
    """Shnitzer et al.: five neighbours, unweighted, so that g is one of 0, 0.2, ..., 1."""
    rng = np.random.default_rng(0)
    outcomes = (rng.random((50, 3)) < 0.5).astype(float)
    router = KNNRouter(
        rng.normal(size=(50, 4)),
        outcomes,
        models=list("abc"),
        embedder=HashEmbedder(4),
        k=5,
        weights="uniform",
        shrinkage=0,
    )
    scores = router.score(["a", "b", "c", "d"])
    np.testing.assert_allclose(scores * 5, np.round(scores * 5), atol=1e-12)


def test_a_prompt_that_points_the_other_way_has_no_say():
    router = KNNRouter(-np.eye(2), np.eye(2), models=["a", "b"], embedder=HashEmbedder(2), k=2, shrinkage=0)
    np.testing.assert_allclose(router.score_from_embeddings(np.array([[1.0, 0.0]])), [[0.5, 0.5]])


def test_an_opposite_is_no_farther_than_an_unrelated_one():
    np.testing.assert_allclose(mean_distances(np.array([[0.5, -1.0], [0.5, 0.0], [1.0, 1.0]])), [0.75, 0.75, 0.0])


@pytest.mark.parametrize("k", [3, 30])
def test_scores_and_distance_of_one_search_are_those_of_two(k):
    rng = np.random.default_rng(4)
    router = KNNRouter(rng.random((200, 4)), rng.random((200, 2)), models=["a", "b"], embedder=HashEmbedder(4), k=k)
    prompts = ["one", "two", "three"]
    found = router.score_with_distance(prompts)
    np.testing.assert_array_equal(found[:, :-1], router.score(prompts))
    np.testing.assert_array_equal(found[:, -1], router.distances_from_embeddings(HashEmbedder(4).embed(prompts)))


def test_a_model_that_no_neighbour_knows_gets_its_mean():
    outcomes = np.array([[1.0, np.nan], [1.0, np.nan], [0.0, 0.25], [0.0, 0.75]])
    vectors = np.array([[1, 0], [1, 0.1], [-1, 0], [-1, 0.1]])
    router = KNNRouter(vectors, outcomes, models=["a", "b"], embedder=HashEmbedder(2), k=2, shrinkage=0)
    np.testing.assert_allclose(router.score_from_embeddings(np.array([[1.0, 0.0]])), [[1.0, 0.5]])


def test_explain_shows_the_nearest_training_prompts(trained):
    router, _ = trained["knn"]
    neighbours = router.explain("question 0.50 of poetry", k=3)
    assert neighbours[0].prompt == "question 0.50 of poetry"
    assert neighbours[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert all("poetry" in neighbour.prompt for neighbour in neighbours)
    assert neighbours == sorted(neighbours, key=lambda neighbour: -neighbour.similarity)
    table = topic_table(missing=0.1)
    row = table.prompts.index(neighbours[0].prompt)
    expected = {m: s for m, s in zip(MODELS, table.scores[row].tolist(), strict=True) if s == s}
    assert neighbours[0].outcomes == expected


def test_prompts_need_not_be_kept(tmp_path):
    config = KNNConfig(k=(4,), keep_prompts=False, confidence=False)
    router, _ = train_knn(topic_table(60), TopicEmbedder(), config)
    router.save_pretrained(tmp_path)
    assert b"question" not in (tmp_path / "model.safetensors").read_bytes()
    assert router.explain("of poetry", k=1)[0].prompt is None


def test_a_few_labels_of_a_new_task_change_the_choice(trained):
    router, _ = trained["knn"]
    new = [f"question {i} of algebra in poetry" for i in range(12)]
    labels = np.tile([0.0, 0.0, 1.0], (12, 1))
    adapted = router.with_examples(new, labels)
    assert adapted.models[adapted.score(["question 99 of algebra in poetry"]).argmax()] == "programmer"
    assert len(adapted) == len(router) + 12
    assert adapted.fingerprint != router.fingerprint
    assert adapted.explain(new[3], k=1)[0].prompt == new[3]
    with pytest.raises(ConfigurationError, match=r"\(1, 3\), not \(1, 2\)"):
        router.with_examples(["x"], [[1.0, 0.0]])


@pytest.mark.parametrize("index", ["exact", "approximate"])
def test_further_examples_leave_the_settings_as_they_were(index):
    if index == "approximate":
        pytest.importorskip("usearch")
    rng = np.random.default_rng(6)
    rows, outcomes = rng.normal(size=(300, 8)), rng.random((300, 2))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    options = {"models": ["a", "b"], "embedder": HashEmbedder(8), "k": 3, "weights": "uniform", "shrinkage": 0.25}
    confidence = TaskConfidence(np.array([0.1]), np.array([[0.9, 0.8]]), np.array([0.5, 0.6]))
    router = KNNRouter(rows, outcomes, index=index, training=Training(confidence=confidence), **options)
    prompts, labels = ["one", "two"], [[1.0, np.nan], [0.0, 1.0]]
    adapted = router.with_examples(prompts, labels)
    vectors = HashEmbedder(8).embed(prompts)
    anew = KNNRouter(np.concatenate([rows, vectors]), np.concatenate([outcomes, labels]), index=index, **options)
    queries = [*prompts, *(f"query {i}" for i in range(20))]
    alike = np.isclose(adapted.score(queries), anew.score(queries), rtol=0, atol=1e-7).all(axis=1)
    # A graph of neighbours is built by several threads, comes out differently each time, and may miss one of three.
    assert alike.mean() >= (0.75 if index == "approximate" else 1.0)
    assert adapted.confidence is confidence
    assert type(adapted._index) is type(router._index)
    assert len(router) == 300


def test_an_approximate_router_comes_back_with_its_graph(tmp_path, monkeypatch):
    pytest.importorskip("usearch")
    rng = np.random.default_rng(7)
    rows, outcomes = rng.normal(size=(2000, 8)), rng.random((2000, 2))
    router = KNNRouter(
        rows, outcomes, models=["a", "b"], embedder=HashEmbedder(8), k=5, shrinkage=0.0, index="approximate"
    )
    router.save_pretrained(tmp_path)
    built = []
    monkeypatch.setattr(usearch_index(), "add", lambda *given, **_: built.append(given))
    loaded = load_router(tmp_path, embedder=HashEmbedder(8))
    prompts = [f"query {i}" for i in range(50)]
    np.testing.assert_array_equal(loaded.score(prompts), router.score(prompts))
    assert isinstance(loaded._index, ApproximateIndex)
    assert built == []


def usearch_index():
    from usearch.index import Index

    return Index


def test_explain_shows_all_neighbours_that_count(trained):
    router, _ = trained["knn"]
    assert len(router.explain("of poetry")) == router.k == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be a whole number of 1 or more, not 0"),
        ({"k": True}, "not True"),
        ({"shrinkage": -1}, "shrinkage must be"),
        ({"weights": "gauss"}, "uniform, similarity, not 'gauss'"),
        ({"index": "fast"}, "'exact', 'approximate' or None, not 'fast'"),
        ({"prompts": ["one"]}, "1 prompts for 2 embeddings"),
        ({"models": ["a", "a"]}, "different names"),
        ({"models": ["a", "b", "c"]}, r"expected are \(n, 2\)"),
    ],
)
def test_knn_refuses(change, message):
    arguments = {"models": ["a", "b"], "embedder": HashEmbedder(2), **change}
    with pytest.raises(ConfigurationError, match=message):
        KNNRouter(np.eye(2), np.eye(2), **arguments)


def test_outcomes_outside_of_the_unit_interval_are_refused():
    with pytest.raises(ConfigurationError, match=r"in \[0, 1\]"):
        KNNRouter(np.eye(2), 2 * np.eye(2), models=["a", "b"], embedder=HashEmbedder(2))


# --- the others --------------------------------------------------------------------------------------------------------


def test_mlp_is_its_layers():
    rng = np.random.default_rng(1)
    layers = [(rng.normal(size=(5, 4)), rng.normal(size=5)), (rng.normal(size=(2, 5)), rng.normal(size=2))]
    router = MLPRouter(layers, models=["a", "b"], embedder=HashEmbedder(4))
    x = HashEmbedder(4).embed(["hello"])[0].astype(float)
    hidden = np.maximum(0, layers[0][0] @ x + layers[0][1])
    expected = 1 / (1 + np.exp(-(layers[1][0] @ hidden + layers[1][1])))
    np.testing.assert_allclose(router.score(["hello"])[0], expected, atol=1e-6)


def test_layers_must_fit():
    with pytest.raises(ConfigurationError, match=r"shape \(out, 4\)"):
        MLPRouter([(np.ones((2, 3)), np.ones(2))], models=["a", "b"], embedder=HashEmbedder(4))
    with pytest.raises(ConfigurationError, match="one output for each of 3 models, not 2"):
        MLPRouter([(np.ones((2, 4)), np.ones(2))], models=["a", "b", "c"], embedder=HashEmbedder(4))


def test_a_certain_network_is_trusted_on_a_task_like_the_training_tasks(trained):
    router, _ = trained["mlp"]
    near = router.thresholded_confidence([f"question 1.{i} of poetry" for i in range(30)])
    assert near.shape == (3,)
    assert ((near >= 0) & (near <= 1)).all()
    assert near.mean() > 0.6


def test_multiclass_scores_are_shares_and_no_correctness():
    router, report = train_multilabel(topic_table(), TopicEmbedder(), LinearConfig(head="multiclass"))
    scores = router.score(["of poetry", "of python"])
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    assert router.score_kind == "win_rate"
    assert scores.argmax(axis=1).tolist() == [1, 2]
    assert router.confidence is None
    assert report.config["head"] == "multiclass"


def test_linear_heads_must_fit():
    with pytest.raises(ConfigurationError, match=r"\(2, 4\) and \(2,\)"):
        SeparateRouter(np.ones((2, 3)), np.ones(2), models=["a", "b"], embedder=HashEmbedder(4))
    with pytest.raises(ConfigurationError, match="head must be one of multilabel, multiclass, not 'sum'"):
        MultilabelRouter(np.ones((2, 4)), np.ones(2), models=["a", "b"], embedder=HashEmbedder(4), head="sum")


def test_cluster_scores_are_smoothed_accuracies(trained):
    router, _ = trained["cluster"]
    clusters = router.clusters_from_embeddings(TopicEmbedder().embed(["of poetry", "of python"]))
    np.testing.assert_array_equal(router.score(["of poetry", "of python"]), router.accuracies[clusters])
    assert router.sizes.sum() == 120
    assert router.sizes.min() >= 10


def test_the_nearest_cluster_is_that_of_the_smallest_distance():
    """Not of the largest product: centroids are means, and shorter the wider their cluster is."""
    router = ClusterRouter([[0.5, 0.0], [0.9, 0.3]], np.eye(2), [9, 9], models=["a", "b"], embedder=HashEmbedder(2))
    x = np.array([[0.8, -0.6], [0.0, -1.0], [1.0, 0.0]])
    expected = [np.linalg.norm(router.centroids - row, axis=1).argmin() for row in x]
    assert router.clusters_from_embeddings(x).tolist() == expected == [0, 0, 1]


def test_cluster_shapes_are_checked():
    with pytest.raises(ConfigurationError, match=r"shapes \(k, 2\), \(k, 2\) and \(k,\)"):
        ClusterRouter(np.ones((3, 2)), np.ones((2, 2)), [1, 1, 1], models=["a", "b"], embedder=HashEmbedder(2))
    with pytest.raises(ConfigurationError, match=r"\[0, 1\]"):
        ClusterRouter(np.ones((1, 2)), [[2.0, 0.0]], [1], models=["a", "b"], embedder=HashEmbedder(2))


def test_a_damaged_checkpoint_is_named(tmp_path, trained):
    trained["knn"][0].save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"shrinkage": 4.0', '"shrinkage": "x"'))
    with pytest.raises(CheckpointFormatError, match="'shrinkage' must be a number, not 'x'"):
        load_router(tmp_path, embedder=TopicEmbedder())


def test_tfidf_is_its_formula():
    embedder = TfidfEmbedder.fit(["a b b", "a c", "b c d", "e"], max_share=1.0)
    [row] = embedder.embed(["A b b zzz"])
    idf = {word: np.log(5 / 3) + 1 for word in "abc"}  # a, b and c are in two of four texts, d and e in one
    expected = np.array([idf["a"], 2 * idf["b"], 0.0])
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_array_equal(embedder.embed(["zzz"]), np.zeros((1, 3)))
    with pytest.raises(ConfigurationError, match="no word occurs"):
        TfidfEmbedder.fit(["one", "two"])
