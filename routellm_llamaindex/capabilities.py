"""Keeps calls with tools away from models that cannot call tools."""

from collections.abc import Mapping
from dataclasses import replace

from llama_index.core.llms.llm import LLM

from routellm_core.decision import RoutingDecision
from routellm_core.errors import NoCandidateError
from routellm_llamaindex.metadata import calls_tools


def require_tool_calls(decision: RoutingDecision, candidates: Mapping[str, LLM]) -> RoutingDecision:
    """Return the decision without the candidates that cannot call tools; a forced route does not change that.

    Args:
        decision: What the engine decided for the text alone.
        candidates: The models by name.

    Raises:
        NoCandidateError: If none can.
    """
    unable = {name: "cannot call tools" for name, llm in candidates.items() if not calls_tools(llm)}
    if not unable:
        return decision
    ruled_out = {**decision.ruled_out, **unable}
    able = [name for name in (decision.choice, *decision.alternatives) if name not in ruled_out]
    if not able:
        raise NoCandidateError(ruled_out.items())
    choice, *alternatives = able
    if choice == decision.choice:
        return replace(decision, alternatives=tuple(alternatives), ruled_out=ruled_out)
    return replace(
        decision,
        choice=choice,
        alternatives=tuple(alternatives),
        ruled_out=ruled_out,
        reason=decision.reason if alternatives else "only_candidate",
        explanation=f"{decision.explanation}; {decision.choice!r} cannot call tools, so {choice!r} takes the call",
    )
