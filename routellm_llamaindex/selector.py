"""`RouterSelector`: chooses the query engine, not the model, by the same scores."""

from collections.abc import Sequence

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata

from routellm_core.decision import RoutingDecision, RoutingRequest
from routellm_core.engine import RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.routers.base import Router
from routellm_llamaindex.engines import make_engine
from routellm_llamaindex.events import dispatch_decision


class RouterSelector(BaseSelector):
    """Chooses one of the tools of a `RouterQueryEngine` by the query alone, without calling a model.

    The tools stand for the engine's candidates in their order, weakest (cheapest) first; by default that is two, "weak" and
    "strong".

    Args:
        router: A router, or what `load_router` takes; None takes the engine's default, the embedded router.
        threshold: In [0, 1]; higher chooses the last tool less often. None takes the router's calibrated value for a
            strong fraction of 0.5.
        engine: A `RoutingEngine` instead, for a pool router, prices or another policy.
        emit_events: Whether every decision is dispatched as a `RoutingDecisionEvent`.

    Raises:
        ConfigurationError: If an argument is out of range or does not fit the others.

    Example:
        >>> selector = RouterSelector(router="length", threshold=0.5)
        >>> selector.select(["a summary of each document", "all documents in full"], "Who wrote it?").ind
        0
    """

    def __init__(
        self,
        *,
        router: Router | str | None = None,
        threshold: float | None = None,
        engine: RoutingEngine | None = None,
        emit_events: bool = True,
    ) -> None:
        self.engine = make_engine(engine, None, router=router, threshold=threshold)
        self.emit_events = emit_events

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        self._check(choices)
        return self._selection(self.engine.decide(RoutingRequest(text=query.query_str)), choices)

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        self._check(choices)
        return self._selection(await self.engine.adecide(RoutingRequest(text=query.query_str)), choices)

    def _check(self, choices: Sequence[ToolMetadata]) -> None:
        if len(choices) != len(self.engine.candidates):
            raise ConfigurationError(
                f"RouterSelector chooses among {len(self.engine.candidates)} candidates "
                f"({', '.join(self.engine.candidates)}) and was given {len(choices)} tools"
            )

    def _selection(self, decision: RoutingDecision, choices: Sequence[ToolMetadata]) -> SelectorResult:
        index = self.engine.candidates.index(decision.choice)
        if self.emit_events:
            dispatch_decision(decision, lambda: choices[index].name or decision.choice)
        return SelectorResult(selections=[SingleSelection(index=index, reason=decision.explanation)])

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        """Do nothing: there is no prompt."""
