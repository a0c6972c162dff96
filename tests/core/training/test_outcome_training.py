from dataclasses import replace

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.policies import fit_closest, tune_thresholds
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.knn import KNNRouter
from routellm_core.task_state import VOTE
from routellm_core.training.outcome_cluster import ClusterConfig, cluster_outcomes, k_means, train_cluster
from routellm_core.training.outcome_confidence import learn_confidence, share_of_right_votes, task_distances
from routellm_core.training.outcome_data import (
    LabelConfig,
    OutcomeData,
    labels_from_samples,
    losses_by_model,
    majority_label,
    make_labels,
    mean_loss,
    routing_quality,
)
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.outcome_linear import LinearConfig, fit_linear, train_multilabel, train_separate
from routellm_core.training.outcome_mlp import MLPConfig, train_mlp
from routellm_core.training.outcome_network import NetworkSettings, train_network
from support.outcomes import MODELS, TOPICS, TopicEmbedder, topic_table

RNG = np.random.default_rng(0)


def data_of(table):
    return OutcomeData.of(table, TopicEmbedder(), LabelConfig())


# --- labels ------------------------------------------------------------------------------------------------------------


def graded(groups=None):
    return OutcomeTable(
        prompts=("a", "b"), models=("x", "y"), scores=np.array([[0.2, 0.7], [0.5, np.nan]]), groups=groups, name="t"
    )


def test_labels_are_graded_or_by_threshold():
    np.testing.assert_array_equal(make_labels(graded(), LabelConfig()), graded().scores)
    one = make_labels(graded(), LabelConfig(labels="threshold", threshold=0.4))
    np.testing.assert_array_equal(one, [[0, 1], [1, np.nan]])
    by_task = LabelConfig(labels="threshold", threshold={"qa": 0.1, "math": 0.5})
    np.testing.assert_array_equal(make_labels(graded(("qa", "math")), by_task), [[1, 1], [0, np.nan]])
    with pytest.raises(ConfigurationError, match="no number for the tasks 'code'"):
        make_labels(graded(("qa", "code")), by_task)


def test_scores_on_another_scale_are_refused_with_their_place():
    table = replace(graded(), scores=np.array([[0.2, 7.0], [0.5, 1.0]]))
    with pytest.raises(ConfigurationError, match=r"row 1: the score 7 of 'y'.*threshold"):
        make_labels(table, LabelConfig())


@pytest.mark.parametrize(
    ("answers", "expected"),
    [(["4", "4", "5"], 1), (["5", "4"], 0), (["4", "5"], 1), (["INVALID", "INVALID", "4"], 0), (["4"], 1)],
)
def test_majority_of_repeated_answers(answers, expected):
    assert majority_label(answers, "4") == expected


def test_a_majority_needs_answers():
    with pytest.raises(ConfigurationError, match="one answer"):
        majority_label([], "4")


def test_labels_of_repeated_samples():
    samples = np.array([[[1, 1, 0, 1], [1, 0, 0, np.nan], [np.nan] * 4]], dtype=float)
    np.testing.assert_array_equal(labels_from_samples(samples), [[1, 0, np.nan]])
    eight_of_ten = np.array([[[1] * 8 + [0] * 2, [1] * 7 + [0] * 3]], dtype=float)
    np.testing.assert_array_equal(labels_from_samples(eight_of_ten, share=0.75), [[1, 0]])


def test_equal_prompts_are_never_on_both_sides():
    table = topic_table(60)
    twice = replace(table, prompts=table.prompts[:30] * 2, scores=table.scores, groups=table.groups, provenance={})
    known, held = data_of(twice).split(0.3, 0)
    assert not set(known.prompts) & set(held.prompts)
    assert len(known) + len(held) == 60
    assert len(set(held.prompts)) == 9
    with pytest.raises(ConfigurationError, match="two different prompts"):
        data_of(table.select([0])).split(0.2, 0)


def test_a_model_without_any_score_is_named():
    table = topic_table(30)
    table.scores[:, 1] = np.nan
    with pytest.raises(ConfigurationError, match="no score for poet"):
        data_of(table)


def test_losses_leave_out_what_is_not_known():
    scores, labels = np.array([[0.5, 0.9], [0.5, 0.2]]), np.array([[1.0, 1.0], [np.nan, np.nan]])
    np.testing.assert_allclose(losses_by_model(scores, labels), -np.log([0.5, 0.9]))
    assert mean_loss(scores, labels) == pytest.approx(-np.log([0.5, 0.9]).mean())
    assert routing_quality(scores, labels) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelConfig(labels="yes"), "graded, threshold, not 'yes'"),
        (lambda: LabelConfig(validation_fraction=0.0), "up to 0.5, not 0.0"),
        (lambda: LinearConfig(penalties=()), "penalties must be one or more"),
        (lambda: ClusterConfig(clusters=()), "clusters must be a whole number"),
        (lambda: MLPConfig(epochs=0), "epochs must be 1 or more, not 0"),
        (lambda: MLPConfig(hidden=(8, 0)), r"hidden\[1\] must be 1 or more, not 0"),
        (lambda: MLPConfig(batch=0), "batch must be 1 or more, not 0"),
        (lambda: MLPConfig(learning_rate=0), "learning_rate must be above 0"),
        (lambda: ClusterConfig(smoothing=-1), "smoothing must be 0 or more"),
        (lambda: train_knn(topic_table(), TopicEmbedder(), KNNConfig(k=())), "k must be a whole number"),
        (lambda: train_cluster(topic_table(), "words"), "'tfidf', not 'words'"),
        (lambda: train_separate(topic_table(), TopicEmbedder(), LinearConfig(head="multiclass")), "no head"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


# --- fits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["multilabel", "multiclass"])
def test_the_linear_fit_is_at_its_optimum(head):
    x, y = RNG.normal(size=(300, 6)).astype(np.float32), (RNG.random((300, 3)) < [0.2, 0.5, 0.97]).astype(float)
    y[RNG.random(y.shape) < 0.2] = np.nan
    weights = fit_linear(x, y, 2.0, head=head)
    design, known = np.column_stack([x, np.ones(300)]), ~np.isnan(y)
    logits = design @ weights.T
    if head == "multilabel":
        predicted, target = 1 / (1 + np.exp(-logits)), np.nan_to_num(y)
    else:
        powers = np.where(known, np.exp(logits), 0.0)
        predicted = powers / np.maximum(powers.sum(axis=1, keepdims=True), 1e-9)
        filled = np.where(known, y, -np.inf)
        best = (filled == filled.max(axis=1, keepdims=True)) & known
        target = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    error = np.where(known, predicted - target, 0.0)
    ridge = np.array([2.0] * 6 + [0.0])
    gradient = error.T @ design + ridge * weights
    assert np.abs(gradient).max() < 0.05  # of 300 prompts


def test_a_model_that_is_always_right_has_a_finite_fit():
    weights = fit_linear(RNG.normal(size=(50, 3)).astype(np.float32), np.ones((50, 1)), 1.0)
    assert np.isfinite(weights).all()
    assert weights[0, -1] > 2


def test_thresholds_and_losses_are_of_prompts_that_were_held_out():
    table, config = topic_table(noise=0.3), KNNConfig(k=(1,), shrinkage=0.5, confidence=False)
    router, report = train_knn(table, TopicEmbedder(), config)
    known, held = data_of(table).split(config.validation_fraction, config.seed)
    apart = KNNRouter(known.embeddings, known.labels, models=MODELS, embedder=TopicEmbedder(), k=1, shrinkage=0.5)
    predicted = apart.score_from_embeddings(held.embeddings)
    assert list(router.model_thresholds.values()) == tune_thresholds(predicted, held.labels).tolist()
    assert router.closest.tolist() == fit_closest(predicted, held.labels).tolist()
    assert report.validation_loss == mean_loss(predicted, held.labels)
    assert report.baseline_loss == mean_loss(np.broadcast_to(known.mean_labels(), held.labels.shape), held.labels)


@pytest.mark.parametrize("backwards", [False, True])
def test_what_does_best_on_held_out_prompts_is_kept(backwards):
    """One cluster, all prompts as neighbours, or weights of 0, tell no prompt from another."""
    table, embedder, order = topic_table(), TopicEmbedder(), slice(None, None, -1 if backwards else 1)
    cluster = train_cluster(table, embedder, ClusterConfig(clusters=[1, 3][order], confidence=False))[1]
    knn = train_knn(table, embedder, KNNConfig(k=[8, 96][order], weights="uniform", confidence=False))[1]
    linear = train_multilabel(table, embedder, LinearConfig(penalties=[1.0, 1e7][order], confidence=False))[1]
    several = train_multilabel(table, embedder, LinearConfig(penalties=[1.0, 1e7][order], head="multiclass"))[1]
    assert [report.config["chosen"] for report in (cluster, knn, linear, several)] == [3, 8, 1.0, 1.0]


def test_separate_classifiers_choose_their_own_penalty():
    _, report = train_separate(topic_table(noise=0.3), TopicEmbedder(), LinearConfig(penalties=(0.01, 100.0)))
    assert len(report.config["chosen"]) == len(MODELS)
    assert report.validation_loss <= min(point.validation for point in report.history) + 1e-9


def test_backpropagation_is_the_gradient():
    x, y = RNG.normal(size=(20, 4)).astype(np.float32), RNG.random((20, 3))
    y[0, 0] = np.nan
    settings = NetworkSettings(hidden=(8,), batch=None, epochs=300, learning_rate=1e-2, weight_decay=0.0)

    def loss(layers):
        hidden = np.maximum(0, x @ layers[0][0].T + layers[0][1])
        return mean_loss(1 / (1 + np.exp(-(hidden @ layers[1][0].T + layers[1][1]))), y)

    before, _ = train_network(x, y, replace(settings, epochs=1))
    after, history = train_network(x, y, replace(settings, patience=300), loss)
    assert loss(after) < loss(before) - 0.05
    assert loss(after) == pytest.approx(min(history))
    assert (np.diff(history) < 1e-4).mean() > 0.95  # full batch, small steps: the loss falls


def test_patience_begins_anew_with_every_lower_loss():
    x, y = RNG.normal(size=(20, 4)).astype(np.float32), RNG.random((20, 3))
    losses = [5.0, 6.0, 4.0, 6.0, 3.0, 6.0, 6.0, 1.0]
    settings = NetworkSettings(hidden=(2,), epochs=8, patience=2)
    left = iter(losses)
    _, history = train_network(x, y, settings, lambda _: next(left))
    assert history == losses[:7]


@pytest.mark.parametrize(("keep", "kept"), [("best", 1), ("last", 3)])
def test_the_weights_are_those_of_the_lowest_loss_or_of_the_end(keep, kept):
    x, y = RNG.normal(size=(20, 4)).astype(np.float32), RNG.random((20, 3))
    losses, seen = iter([5.0, 3.0, 3.0, 4.0, 1.0]), []

    def validation(layers):
        seen.append([weights.copy() for weights, _ in layers])
        return next(losses)

    settings = NetworkSettings(hidden=(2,), epochs=5, patience=2, keep=keep)
    layers, history = train_network(x, y, settings, validation)
    assert history == [5.0, 3.0, 3.0, 4.0]
    for found, expected in zip([weights for weights, _ in layers], seen[kept], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_is_not_known_pulls_nothing():
    x, y = RNG.normal(size=(20, 4)).astype(np.float32), RNG.random((20, 3))
    y[:, 1], y[3, 0] = np.nan, np.nan
    settings = NetworkSettings(hidden=(), batch=None, learning_rate=1e-2, weight_decay=0.0)
    (first, _), (second, _) = (train_network(x, y, replace(settings, epochs=n)) for n in (1, 50))
    np.testing.assert_array_equal(first[0][0][1], second[0][0][1])
    rows = np.arange(20) != 3
    alone, _ = train_network(x[rows], y[rows][:, [0]], replace(settings, epochs=500))
    masked, _ = train_network(x, y[:, [0]], replace(settings, epochs=500))
    np.testing.assert_allclose(masked[0][0], alone[0][0], atol=1e-3)


def test_the_last_weights_are_kept_where_the_paper_does():
    config = replace(MLPConfig.of_the_paper(), hidden=(8, 8), epochs=12, confidence=False)
    _, report = train_mlp(topic_table(), TopicEmbedder(), config)
    assert report.best_step == len(report.history) - 1
    paper = MLPConfig.of_the_paper()
    assert (tuple(paper.hidden), paper.learning_rate, paper.batch, paper.patience) == ((1500, 1500), 1e-2, None, 10)


def test_k_means_finds_what_is_apart():
    centers = np.eye(4) * 10
    x = (np.repeat(centers, 25, axis=0) + RNG.normal(size=(100, 4)) * 0.1).astype(np.float32)
    found, inertia = min((k_means(x, 4, seed=s) for s in range(5)), key=lambda run: run[1])
    np.testing.assert_allclose(np.sort(found.max(axis=1)), [10] * 4, atol=0.2)
    expected = sum(((x - center) ** 2).sum(axis=1)[k * 25 : k * 25 + 25].sum() for k, center in enumerate(centers))
    assert inertia == pytest.approx(expected, rel=0.05)
    assert len(k_means(np.ones((10, 2), np.float32), 4, seed=0)[0]) == 1


def test_cluster_outcomes_are_smoothed_and_large_enough():
    x = np.repeat(np.eye(2, dtype=np.float32), [30, 3], axis=0)
    labels = np.column_stack([np.r_[np.ones(30), np.zeros(3)], np.full(33, np.nan)])
    labels[0, 1] = 0.5
    config = ClusterConfig(smoothing=2.0, min_size=1)
    _, sizes, accuracies = cluster_outcomes(x, labels, 2, config)
    mean = 30 / 33
    expected = {30: (30 + 2 * mean) / 32, 3: (0 + 2 * mean) / 5}
    for size, row in zip(sizes.tolist(), accuracies, strict=True):
        assert row[0] == pytest.approx(expected[size])
        assert row[1] == pytest.approx(0.5)
    _, sizes, _ = cluster_outcomes(x, labels, 2, replace(config, min_size=5))
    assert sizes.tolist() == [33]


def test_the_smallest_clusters_are_dissolved():
    x = np.repeat(np.eye(3, dtype=np.float32), [30, 8, 3], axis=0)
    _, sizes, _ = cluster_outcomes(x, np.ones((41, 1)), 3, ClusterConfig(min_size=5))
    assert sizes.sum() == 41
    assert len(sizes) == 2
    assert max(sizes) in (30, 33)


# --- confidence --------------------------------------------------------------------------------------------------------


def test_confidence_is_learned_by_leaving_tasks_out():
    data = data_of(topic_table())
    config = KNNConfig(k=(8,), confidence=False)
    fits = []

    def fit(part):
        fits.append(set(part.groups.tolist()))
        table = topic_table()
        keep = np.isin(table.prompts, part.prompts)
        return train_knn(table.select(keep), TopicEmbedder(), config)[0]

    found = learn_confidence(data, fit)
    assert fits == [rest for topic in sorted(TOPICS) for rest in (set(TOPICS) - {topic}, set(TOPICS))]
    assert found.distances.shape == (6,)
    for position, topic in zip((0, 2, 4), sorted(TOPICS), strict=True):
        inside = data.groups == topic
        rest, held = data.select(~inside), data.select(inside)
        assert found.distances[position] == pytest.approx(task_distances(rest, held).mean())
        assert found.distances[position + 1] < found.distances[position]
        assert found.agreement[position + 1].mean() > found.agreement[position].mean()
        predicted = fit(rest).score_from_embeddings(held.embeddings)
        np.testing.assert_allclose(found.agreement[position], ((predicted > VOTE) == (held.labels > VOTE)).mean(axis=0))
    by_task = np.array([data.labels[data.groups == topic].mean(axis=0) for topic in sorted(TOPICS)])
    np.testing.assert_allclose(found.accuracies, by_task.mean(axis=0))


def test_without_tasks_there_is_no_confidence():
    table = replace(topic_table(), groups=None)
    router, _ = train_knn(table, TopicEmbedder(), KNNConfig(k=(8,)))
    assert router.confidence is None
    with pytest.raises(ConfigurationError, match="tasks"):
        router.choose_for_task(["of poetry"])
    assert router.choose_for_task(["of poetry", "of poetry too"], policy="s1") == "poet"


def test_agreement_masks_what_is_not_known():
    scores, labels = np.array([[0.9, 0.9], [0.1, 0.9]]), np.array([[1.0, np.nan], [1.0, np.nan]])
    np.testing.assert_array_equal(share_of_right_votes(scores, labels), [0.5, np.nan])


def test_s3_chooses_for_a_task():
    router, _ = train_knn(topic_table(240), TopicEmbedder(), KNNConfig(k=(8,)))
    prompts = [f"question 5.{i} of python" for i in range(40)]
    for policy in ("s1", "s2"):
        assert router.choose_for_task(prompts, policy=policy) == "programmer"
    with pytest.raises(ConfigurationError, match="s1, s2 and s3"):
        router.choose_for_task(prompts, policy="argmax")
    with pytest.raises(ConfigurationError, match="n of 1 or more"):
        router.choose_for_task([])
