"""A router inside LangChain's own `ModelRouterMiddleware`."""

from importlib.util import find_spec

import pytest

if find_spec("langchain_core.decisions") is None:
    pytest.skip("langchain-core is older than 1.8, which brought decision models", allow_module_level=True)

from langchain.agents import create_agent
from langchain.agents.middleware import ModelChoice, ModelRouterMiddleware
from langchain_core.decisions import BaseDecisionModel, Choice, Noul
from langchain_core.messages import HumanMessage

from routellm_core.errors import ConfigurationError
from routellm_langchain import RoutingDecisionModel
from support.chat_models import FakeChat

QUESTION = {"route": Choice(instructions="Which model?", criteria={"strong": None, "weak": None})}


@pytest.fixture
def classifier(router) -> RoutingDecisionModel:
    return RoutingDecisionModel(router, threshold=0.5)


async def test_a_choice_with_the_win_rate_as_its_probabilities(classifier):
    assert isinstance(classifier, BaseDecisionModel)
    for state in ("hard", HumanMessage("hard"), [HumanMessage("hard")], {"messages": [HumanMessage("hard")]}):
        request = {"state": state, "questions": QUESTION}
        for response in (classifier.invoke(request), await classifier.ainvoke(request)):
            answer = response.choices["route"]
            assert answer.choice == "strong"
            assert answer.probabilities == pytest.approx({"strong": 0.9, "weak": 0.1})
            assert answer.confidence == pytest.approx(0.9)
            assert response.model == "keyword"


async def test_the_threshold_of_the_config_decides(classifier):
    request = {"state": "easy", "questions": QUESTION}
    assert classifier.invoke(request).choices["route"].choice == "weak"
    config = {"configurable": {"routellm_threshold": 0.05}}
    for response in (classifier.invoke(request, config), await classifier.ainvoke(request, config)):
        assert response.choices["route"].choice == "strong"
        assert response.choices["route"].confidence == pytest.approx(0.1)


def test_a_choice_without_a_score(classifier):
    answer = classifier.invoke({"state": " ", "questions": QUESTION}).choices["route"]
    assert (answer.choice, answer.probabilities) == ("strong", {"strong": 1.0, "weak": 0.0})


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ({"q": Noul(instructions="Is it hard?")}, "'q' is a Noul"),
        ({"q": Choice(instructions="?", criteria={"big": None, "weak": None})}, "strong"),
    ],
)
def test_other_questions_are_refused(classifier, questions, message):
    with pytest.raises(ConfigurationError, match=message):
        classifier.invoke({"state": "hard", "questions": questions})


def test_a_state_without_a_prompt_is_refused(classifier):
    with pytest.raises(ConfigurationError, match="messages"):
        classifier.invoke({"state": {"x": 1}, "questions": QUESTION})


@pytest.mark.filterwarnings("ignore:.*ModelRouterMiddleware.*beta")
@pytest.mark.filterwarnings("ignore:The .* `ModelRouterMiddleware` is in beta")
async def test_in_langchains_own_router(classifier, strong, weak):
    router = ModelRouterMiddleware(
        choices={"strong": ModelChoice(model=strong, criteria=None), "weak": ModelChoice(model=weak, criteria=None)},
        instructions="Choose a model.",
        classifier=classifier,
    )
    agent = create_agent(FakeChat(model="own"), middleware=[router])
    for text, expected in (("hard", "strong-model"), ("easy", "weak-model")):
        given = {"messages": [HumanMessage(text)]}
        assert agent.invoke(given)["messages"][-1].text == f"I am {expected}"
        assert (await agent.ainvoke(given))["messages"][-1].text == f"I am {expected}"
    config = {"configurable": {"routellm_threshold": 0.05}}
    assert agent.invoke({"messages": [HumanMessage("easy")]}, config)["messages"][-1].text == "I am strong-model"
