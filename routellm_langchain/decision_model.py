"""`RoutingDecisionModel`: a router for LangChain's own `ModelRouterMiddleware`."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from langchain_core.messages import BaseMessage
from pydantic import ConfigDict, Field, PrivateAttr

from routellm_core import Router, RoutingDecision, RoutingEngine
from routellm_core.errors import ConfigurationError, MissingDependencyError
from routellm_langchain.messages import ExtractPrompt, last_human_text
from routellm_langchain.runnable import EngineOptions, RoutingRunnable

try:
    from langchain_core.decisions import (
        BaseDecisionModel,
        Choice,
        ChoiceAnswer,
        ClassifierResponse,
        Question,
        State,
    )
except ImportError as error:
    message = 'RoutingDecisionModel needs langchain-core 1.8 or newer: pip install "langchain-core>=1.8"'
    raise MissingDependencyError(message) from error


class RoutingDecisionModel(BaseDecisionModel):
    """A decision model that answers which model should take a task.

    It answers `Choice` questions whose labels are the names of the engine's candidates ("strong" and "weak"), as
    `ModelRouterMiddleware` asks them. What the criteria and instructions say is not read: the router has learned them.

    The choice is the engine's, by its threshold, which the `configurable` keys of `RoutedChatModel` steer. Probabilities are, of
    a pair, the strong win rate and the rest; of a pool, the scores in proportion; of a choice without a score, 1 and
    0. The confidence is the probability of the choice.

    Args:
        router: A router, or what `load_router` takes; None takes "default".
        engine: A ready-made engine instead of `router` and the options.
        candidates: The labels, weakest first; None means `("weak", "strong")`.
        threshold: In [0, 1]; None takes the router's calibrated value for a strong fraction of 0.5.
        extract_prompt: From the messages in the state to the text that is scored.
        config_prefix: Put before the `configurable` keys; "" puts nothing.
        **options: Further arguments of `RoutingEngine`.

    Raises:
        ConfigurationError: If an argument is wrong.

    Example:
        ```python
        ModelRouterMiddleware(
            choices={
                "strong": ModelChoice(model="openai:gpt-5", criteria=None),
                "weak": ModelChoice(model="openai:gpt-5-mini", criteria=None),
            },
            instructions="Choose a model.",
            classifier=RoutingDecisionModel(threshold=0.6),
        )
        ```
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    engine: RoutingEngine = Field(exclude=True)
    """What decides."""

    _routing: RoutingRunnable = PrivateAttr()

    def __init__(
        self,
        router: Router | str | None = None,
        *,
        engine: RoutingEngine | None = None,
        candidates: Sequence[str] | None = None,
        threshold: float | None = None,
        extract_prompt: ExtractPrompt = last_human_text,
        config_prefix: str = "",
        **options: Unpack[EngineOptions],
    ) -> None:
        routing = RoutingRunnable(
            router,
            engine=engine,
            candidates=candidates,
            threshold=threshold,
            extract_prompt=extract_prompt,
            config_prefix=config_prefix,
            **options,
        )
        fields: dict[str, Any] = {"model": routing.engine.router.name, "engine": routing.engine}
        super().__init__(**fields)
        self._routing = routing

    @property
    def _provider(self) -> str:
        return "routellm"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        self._check(questions)
        return self._response(self.engine.decide(self._routing.request(_messages(state))), questions)

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        self._check(questions)
        return self._response(await self.engine.adecide(self._routing.request(_messages(state))), questions)

    def _check(self, questions: Mapping[str, Question]) -> None:
        candidates = set(self.engine.candidates)
        for name, question in questions.items():
            if not isinstance(question, Choice):
                raise ConfigurationError(
                    f"question {name!r} is a {type(question).__name__}; this model answers only a Choice among "
                    f"{', '.join(self.engine.candidates)}"
                )
            if set(question.criteria) != candidates:
                raise ConfigurationError(
                    f"question {name!r} offers {', '.join(question.criteria)}; the labels must be the engine's candidates: "
                    f"{', '.join(self.engine.candidates)}"
                )

    def _response(self, decision: RoutingDecision, questions: Mapping[str, Question]) -> ClassifierResponse:
        probabilities = _probabilities(decision, self.engine.candidates)
        answer = ChoiceAnswer(
            type="choice",
            choice=decision.choice,
            probabilities=probabilities,
            confidence=probabilities[decision.choice],
        )
        return ClassifierResponse(model=self.model, answers=dict.fromkeys(questions, answer))


def _probabilities(decision: RoutingDecision, candidates: Sequence[str]) -> dict[str, float]:
    scores = decision.scores
    if decision.strong_win_rate is not None:
        weak, strong = candidates
        return {strong: decision.strong_win_rate, weak: 1.0 - decision.strong_win_rate}
    total = 0.0 if scores is None else sum(scores.values())
    if scores is None or total == 0.0:
        return {name: float(name == decision.choice) for name in candidates}
    return {name: scores[name] / total for name in candidates}


def _messages(state: State) -> Any:
    """Return the part of the state that is a prompt.

    Raises:
        ConfigurationError: If there is none.
    """
    prompt: Any = state["messages"] if isinstance(state, Mapping) and "messages" in state else state
    if isinstance(prompt, BaseMessage):
        return [prompt]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Sequence) and all(isinstance(message, BaseMessage) for message in prompt):
        return list(prompt)
    raise ConfigurationError(
        "the state must be a string, a message, a list of messages, or a mapping with such messages under 'messages', not "
        f"{type(prompt).__name__}"
    )
