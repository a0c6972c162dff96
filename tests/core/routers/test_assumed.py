import numpy as np
import pytest

from routellm_core import RoutingEngine
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.routers.assumed import AssumedRouter
from routellm_core.testing import RouterContract
from routellm_core.training.outcome_knn import KNNConfig, train_knn
from support.outcomes import MODELS, TopicEmbedder, topic_table

ROUTER, _ = train_knn(topic_table(), TopicEmbedder(), KNNConfig(k=(8,)))
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


def test_refuses():
    with pytest.raises(UnknownModelError, match="like='nobody'"):
        AssumedRouter(ROUTER, like={"x": "nobody"})
    with pytest.raises(ConfigurationError, match="strictly between 0 and 1"):
        AssumedRouter(ROUTER, capability={"x": 1.0})
    with pytest.raises(ConfigurationError, match="once"):
        AssumedRouter(ROUTER, like={"poet": "poet"})
    with pytest.raises(ConfigurationError, match="one number for each of 3 models"):
        AssumedRouter(ROUTER, capability={"x": 0.5}, typical=[0.5])
    plain, _ = train_knn(topic_table(), TopicEmbedder(), KNNConfig(k=(8,), confidence=False))
    with pytest.raises(ConfigurationError, match="typical= or prompts="):
        AssumedRouter(plain, capability={"x": 0.5})
    assert AssumedRouter(plain, capability={"x": 0.5}, prompts=PROMPTS).score(PROMPTS).shape == (3, 4)
