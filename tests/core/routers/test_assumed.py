import numpy as np
import pytest

from routellm_core import RoutingEngine
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.routers.assumed import AssumedRouter
from routellm_core.testing import RouterContract
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from support.outcomes import MODELS, TopicEmbedder, topic_table

ROUTER, _ = train_knn(topic_table(), TopicEmbedder(), KNNConfig(k=(8,)))
PLAIN, _ = train_knn(topic_table(), TopicEmbedder(), KNNConfig(k=(8,), confidence=False))
PROMPTS = ["of poetry", "of algebra", "of python"]


class TestAssumed(RouterContract):
    def make_router(self):
        return AssumedRouter(ROUTER, like={"poet-2": "poet"}, capability={"oracle": 0.95})


def test_a_model_like_another_gets_its_scores():
    router = AssumedRouter(ROUTER, like={"poet-2": "poet"})
    assert router.models == (*MODELS, "poet-2")
    scores = router.score(PROMPTS)
    np.testing.assert_array_equal(scores[:, 3], scores[:, MODELS.index("poet")])


def test_a_capability_moves_with_how_hard_the_prompt_is():
    router = AssumedRouter(ROUTER, capability={"good": 0.9, "bad": 0.1}, typical=[0.5, 0.5, 0.5])
    labelled = ROUTER.score(PROMPTS)
    ease = np.log(labelled / (1 - labelled)).mean(axis=1)
    expected = 1 / (1 + np.exp(-(np.log(9) + ease)))
    np.testing.assert_allclose(router.score(PROMPTS)[:, 3], expected, atol=1e-6)
    assert (router.score(PROMPTS)[:, 4] < router.score(PROMPTS)[:, 3]).all()


def test_what_is_typical_is_what_the_router_learned_or_the_mean_of_the_prompts():
    labelled = ROUTER.score(PROMPTS)

    def expected(typical):
        ease = (np.log(labelled / (1 - labelled)) - np.log(typical / (1 - typical))).mean(axis=1)
        return 1 / (1 + np.exp(-(np.log(4) + ease)))

    learned = AssumedRouter(ROUTER, capability={"x": 0.8}).score(PROMPTS)[:, 3]
    np.testing.assert_allclose(learned, expected(ROUTER.confidence.accuracies))
    others = ["of algebra", "of algebra and python"]
    measured = AssumedRouter(ROUTER, capability={"x": 0.8}, prompts=others).score(PROMPTS)[:, 3]
    np.testing.assert_allclose(measured, expected(ROUTER.score(others).mean(axis=0)))


def test_s3_trusts_a_stand_in_as_the_model_it_stands_for_and_a_capability_as_it_is():
    router = AssumedRouter(ROUTER, like={"poet-2": "poet"}, capability={"good": 0.8, "bad": 0.1})
    poet = MODELS.index("poet")
    for distance in (0.1, 0.5):
        p, learned = router.confidence.probabilities(distance), ROUTER.confidence.probabilities(distance)
        np.testing.assert_allclose(p[:3], learned)
        np.testing.assert_allclose(p[3:], [learned[poet], 0.8, 0.9])
    np.testing.assert_allclose(router.confidence.accuracies[3:], [ROUTER.confidence.accuracies[poet], 0.8, 0.1])
    found = router.score_with_distance(PROMPTS)
    np.testing.assert_array_equal(found[:, :-1], router.score(PROMPTS))
    np.testing.assert_array_equal(found[:, -1], ROUTER.score_with_distance(PROMPTS)[:, -1])
    engine = RoutingEngine(router, candidates=["poet-2", "programmer", "good"], policy="s3")
    assert engine.decide_batch([f"question {i} of python" for i in range(30)])[-1].choice == "programmer"
    assert AssumedRouter(PLAIN, like={"x": "poet"}).confidence is None


def test_a_stand_in_has_the_threshold_of_the_model_it_stands_for():
    router = AssumedRouter(ROUTER, like={"poet-2": "poet"}, capability={"good": 0.8})
    assert router.model_thresholds == {
        **ROUTER.model_thresholds,
        "poet-2": ROUTER.model_thresholds["poet"],
        "good": 0.5,
    }


def test_decisions_say_that_nothing_was_learned():
    router = AssumedRouter(ROUTER, capability={"oracle": 0.97})
    engine = RoutingEngine(router, candidates=["poet", "large"], references={"large": "oracle"}, policy="argmax")
    decision = engine.decide("of algebra")
    assert decision.choice == "large"
    assert "that of 'large' was not learned: a capability of 0.97 was given" in decision.explanation
    assert (
        "not learned" not in engine.decide("of poetry, poetry").explanation
        or engine.decide("of poetry").choice == "large"
    )


def test_fingerprints_differ_by_what_is_assumed():
    prints = {AssumedRouter(ROUTER, capability={"x": share}).fingerprint for share in (0.4, 0.5, 0.5)}
    assert len(prints) == 2
    assert AssumedRouter(PLAIN, like={"x": "poet"}).fingerprint != AssumedRouter(ROUTER, like={"x": "poet"}).fingerprint


def test_refuses():
    with pytest.raises(UnknownModelError, match="like='nobody'"):
        AssumedRouter(ROUTER, like={"x": "nobody"})
    with pytest.raises(ConfigurationError, match="strictly between 0 and 1"):
        AssumedRouter(ROUTER, capability={"x": 1.0})
    with pytest.raises(ConfigurationError, match="once"):
        AssumedRouter(ROUTER, like={"poet": "poet"})
    with pytest.raises(ConfigurationError, match="one number for each of 3 models"):
        AssumedRouter(ROUTER, capability={"x": 0.5}, typical=[0.5])
    with pytest.raises(ConfigurationError, match="typical= or prompts="):
        AssumedRouter(PLAIN, capability={"x": 0.5})
    assert AssumedRouter(PLAIN, capability={"x": 0.5}, prompts=PROMPTS).score(PROMPTS).shape == (3, 4)
