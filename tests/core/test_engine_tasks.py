"""Policies that need more than the scores of a call: prices, and the calls of the chain so far."""

import asyncio
import threading

import numpy as np
import pytest

from routellm_core import RoutingEngine, routing
from routellm_core.config import RoutingConfig
from routellm_core.decision import RoutingRequest
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.pool import evaluate_pool
from routellm_core.policies import POLICIES
from routellm_core.training.matrix_factorization import MatrixFactorizationConfig, train_matrix_factorization
from routellm_core.training.outcome_cluster import ClusterConfig, train_cluster
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from routellm_core.training.outcome_linear import LinearConfig, train_multilabel, train_separate
from routellm_core.training.outcome_mlp import MLPConfig, train_mlp
from routellm_core.training.similarity_weighted import SimilarityWeightedConfig, train_similarity_weighted
from support.outcomes import MODELS, TopicEmbedder, topic_table
from support.pools import NAMES, NamedPoolRouter


@pytest.fixture(scope="module")
def router():
    return train_knn(topic_table(240), TopicEmbedder(), KNNConfig(k=(8,)))[0]


def test_cost_aware_takes_the_prices_of_the_plan_and_lambda_per_call():
    prices = {"small": 1, "medium": 2, "large": 10}
    engine = RoutingEngine(NamedPoolRouter(), candidates=NAMES, prices=prices, policy="cost_aware", threshold=0.1)
    assert engine.decide("for the large one").choice == "large"  # 0.9 - 0.1 against 0.5 - 0.01
    assert engine.with_threshold(0.9).decide("for the large one").choice == "small"
    with routing(threshold=0.9):
        decision = engine.decide("for the large one")
    assert (decision.choice, decision.threshold, decision.policy) == ("small", 0.9, "cost_aware")
    assert engine.decide(RoutingRequest(text="for the medium one", threshold=0.0)).choice == "medium"
    with pytest.raises(ConfigurationError, match="price of every candidate"):
        RoutingEngine(NamedPoolRouter(), candidates=NAMES, policy="cost_aware", threshold=0.1)
    with pytest.raises(ConfigurationError, match="threshold"):
        RoutingEngine(NamedPoolRouter(), candidates=NAMES, prices=prices, policy="cost_aware")


def test_a_chain_settles_on_the_model_of_its_task(router):
    engine = RoutingEngine(router, candidates=MODELS, policy="s1")
    for i in range(20):
        engine.decide(f"question 9.{i} of poetry")
    decision = engine.decide("question 9.1 of algebra")  # one call does not turn the chain
    assert decision.choice == "poet"
    assert "21 calls of this chain" in decision.explanation
    assert max(decision.scores, key=decision.scores.__getitem__) == "mathematician"  # the scores are of the call alone


def test_the_router_does_not_depend_on_the_task(router):
    engine = RoutingEngine(router, candidates=MODELS, policy="s1")
    first = engine.decide("question 9.0 of python")
    for i in range(5):
        engine.decide(f"question 9.{i} of poetry")
    assert engine.decide("question 9.0 of python").scores == first.scores


def test_a_dry_run_does_not_count(router):
    engine = RoutingEngine(router, candidates=MODELS, policy="s2")
    engine.decide("question 9.0 of python")
    for i in range(10):
        engine.decide(RoutingRequest(text=f"question 9.{i} of poetry", dry_run=True))
    assert engine.decide("question 9.1 of python").choice == "programmer"


def test_s3_knows_the_distance_of_the_task(router):
    engine = RoutingEngine(router, candidates=MODELS, policy="s3")
    prompts = [f"question 9.{i} of python" for i in range(30)]
    decisions = engine.decide_batch(prompts)
    assert decisions[-1].choice == router.choose_for_task(prompts)
    assert set(decisions[-1].scores) == set(MODELS)
    assert asyncio.run(engine.adecide("question 9.3 of python")).choice == decisions[-1].choice


def test_candidates_may_be_some_of_the_router_in_another_order(router):
    engine = RoutingEngine(router, candidates=["b", "a"], references={"a": "poet", "b": "programmer"}, policy="s3")
    other = RoutingEngine(router, candidates=["a", "b"], references={"a": "poet", "b": "programmer"}, policy="s3")
    prompts = [f"question 9.{i} of poetry" for i in range(20)]
    assert engine.decide_batch(prompts)[-1].choice == other.decide_batch(prompts)[-1].choice


def test_s3_needs_a_router_that_knows_distances(router):
    with pytest.raises(ConfigurationError, match="trained on prompts with tasks"):
        RoutingEngine(NamedPoolRouter(), candidates=NAMES, policy="s3")


def test_threads_share_one_task(router):
    engine = RoutingEngine(router, candidates=MODELS, policy="s1")
    texts = [f"question 9.{i} of poetry" for i in range(10)]
    threads = [threading.Thread(target=lambda: [engine.decide(text) for text in texts]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "81 calls" in engine.decide("question 9.0 of algebra").explanation


def test_chains_have_tasks_of_their_own_and_keep_them_over_a_reload(tmp_path):
    (tmp_path / "routing.yaml").write_text(CONFIG, encoding="utf-8")
    trained, _ = train_knn(topic_table(60), BundledEmbedder(), KNNConfig(k=(4,)))
    trained.save_pretrained(tmp_path / "router")
    config = RoutingConfig(tmp_path / "routing.yaml")
    engine = RoutingEngine.from_source(config, "one")
    for _ in range(3):
        engine.decide("question of poetry")
    assert "4 calls" in engine.decide("question of poetry").explanation
    assert "1 calls" in engine.decide(RoutingRequest(text="question of poetry", chain="two")).explanation
    engine.reload(RoutingConfig(tmp_path / "routing.yaml"))
    assert "5 calls" in engine.decide("question of poetry").explanation


@pytest.mark.parametrize("name", ["mf", "sw_ranking"])
def test_routers_that_know_many_models_are_pools_like_any_other(tmp_path, name):
    battles = topic_table(240).to_battles()
    if name == "mf":
        trained, _ = train_matrix_factorization(battles, BundledEmbedder(), MatrixFactorizationConfig(epochs=60))
    else:
        trained, _ = train_similarity_weighted(battles, BundledEmbedder(), SimilarityWeightedConfig(num_tiers=3))
    trained.save_pretrained(tmp_path / "router")
    config = tmp_path / "routing.yaml"
    config.write_text(POOLS, encoding="utf-8")
    engine = RoutingEngine.from_source(RoutingConfig(config), "argmax")
    prompt = "question 99.5 of python"
    decision = engine.decide(prompt)
    pool = trained.for_pool(MODELS)
    assert list(decision.scores.values()) == pytest.approx(pool.score([prompt])[0].tolist())
    assert decision.choice == max(decision.scores, key=decision.scores.__getitem__) == "programmer"
    chosen = {chain: engine.decide(RoutingRequest(text=prompt, chain=chain)) for chain in ("cost_aware", "cheap")}
    assert chosen["cost_aware"].choice in ("mathematician", "poet")
    assert (chosen["cheap"].choice, chosen["cheap"].threshold) == ("mathematician", 0.0)
    new = topic_table(90, seed=7)
    found = evaluate_pool({"many": trained, "pool": pool}, new, resamples=10, speed=False)
    assert found.routers["many"]["quality"] == found.routers["pool"]["quality"]
    assert found.routers["many"]["gain"].value > 0


TRAINED = {
    "knn": lambda table: train_knn(table, BundledEmbedder(), KNNConfig(k=(4,))),
    "mlp": lambda table: train_mlp(table, BundledEmbedder(), MLPConfig(hidden=(8,), epochs=5)),
    "cluster": lambda table: train_cluster(table, BundledEmbedder(), ClusterConfig(clusters=(3,), min_size=2)),
    "multilabel": lambda table: train_multilabel(table, BundledEmbedder(), LinearConfig(penalties=(1.0,))),
    "separate": lambda table: train_separate(table, BundledEmbedder(), LinearConfig(penalties=(1.0,))),
}


@pytest.mark.parametrize("name", TRAINED)
def test_every_policy_chooses_by_every_router_of_the_configuration(tmp_path, name):
    trained, _ = TRAINED[name](topic_table(90))
    trained.save_pretrained(tmp_path / "router")
    policies = [policy for policy in POLICIES if policy != "threshold"]
    chains = [
        f"  {policy}: {{candidates: [mathematician, poet, programmer], router: own, policy: {policy}"
        + (", threshold: 0.5}" if POLICIES[policy]().uses_threshold else "}")
        for policy in policies
    ]
    (tmp_path / "routing.yaml").write_text("\n".join([EVERY, *chains]), encoding="utf-8")
    engine = RoutingEngine.from_source(RoutingConfig(tmp_path / "routing.yaml"), "argmax")
    prompt = "question 99.5 of python"
    scores = trained.score([prompt])[0]
    found = {policy: engine.decide(RoutingRequest(text=prompt, chain=policy)) for policy in policies}
    for policy, decision in found.items():
        assert decision.policy == policy
        assert list(decision.scores.values()) == pytest.approx(scores.tolist())
        assert decision.threshold == (0.5 if POLICIES[policy]().uses_threshold else None)
    good = [model for model, score in zip(MODELS, scores, strict=True) if score >= trained.model_thresholds[model]]
    if good:
        assert found["model_thresholds"].choice == good[0]
    expected = scores @ trained.closest[:-1] + trained.closest[-1]
    assert found["closest"].choice == MODELS[np.abs(scores - expected).argmin()]
    assert found["argmax"].choice == MODELS[scores.argmax()]
    assert found["cost_aware"].choice == MODELS[(scores - 0.5 * np.array([1, 2, 30]) / 30).argmax()]
    assert found["s3"].choice == trained.choose_for_task([prompt], by_price=MODELS)


def test_closest_wants_the_models_of_the_router_in_any_order(router):
    prompt = "question 9.5 of poetry"
    straight = RoutingEngine(router, candidates=MODELS, policy="closest").decide(prompt)
    assert RoutingEngine(router, candidates=MODELS[::-1], policy="closest").decide(prompt).choice == straight.choice
    with pytest.raises(ConfigurationError, match="exactly these candidates"):
        RoutingEngine(router, candidates=MODELS[:2], policy="closest")


EVERY = """
models: {mathematician: {price: 1}, poet: {price: 2}, programmer: {price: 30}}
routers: {own: {load: ./router}}
chains:"""

POOLS = """
models: {mathematician: {price: 1}, poet: {price: 2}, programmer: {price: 30}}
routers: {many: {load: ./router, pool: [mathematician, poet, programmer]}}
chains:
  argmax: {candidates: [mathematician, poet, programmer], router: many, policy: argmax}
  cost_aware: {candidates: [mathematician, poet, programmer], router: many, policy: cost_aware, threshold: 1.0}
  cheap: {candidates: [mathematician, poet, programmer], router: many, policy: cheapest_above, threshold: 0.0}
"""

CONFIG = """
models: {mathematician: {price: 1}, poet: {price: 2}, programmer: {price: 3}}
routers: {own: {load: ./router}}
chains:
  one: {candidates: [mathematician, poet, programmer], router: own, policy: s3}
  two: {candidates: [mathematician, poet, programmer], router: own, policy: s1}
"""


def test_models_without_labels_are_named_in_the_configuration(tmp_path):
    trained, _ = train_knn(topic_table(60), BundledEmbedder(), KNNConfig(k=(4,)))
    trained.save_pretrained(tmp_path / "router")
    config = tmp_path / "routing.yaml"
    config.write_text(ASSUMED, encoding="utf-8")
    engine = RoutingEngine.from_source(RoutingConfig(config), "one")
    decision = engine.decide("question of poetry")
    assert decision.scores["poet-2"] == decision.scores["poet"]
    assert decision.choice == "newcomer"
    assert "was not learned: a capability of 0.99 was given" in decision.explanation
    config.write_text(ASSUMED.replace("0.99", "1.5"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"chains\.one: a capability is a share strictly between 0 and 1"):
        RoutingConfig(config).build_sections()


ASSUMED = """
models: {poet: {}, poet-2: {}, newcomer: {}}
routers: {own: {load: ./router, assumed: {poet-2: poet, newcomer: 0.99}}}
chains:
  one: {candidates: [poet, poet-2, newcomer], router: own, policy: argmax}
"""
