"""Where a decision shows up: on the message, in the metadata of the chosen model's run, in the outputs of the routed run."""

from typing import Any, TypeVar, cast

from langchain_core.messages import BaseMessage

from routellm_core import RoutingDecision

DECISION_KEY = "routellm"
"""The key of the decision in `response_metadata`, and in the metadata and outputs of runs."""

T = TypeVar("T")


def attach(output: T, decision: RoutingDecision) -> T:
    """Return the output with the decision in the `response_metadata` of its message.

    The message is copied, as a cache may own it. What holds no message comes back as it is; the raw message of
    a structured output (`include_raw=True`) is found.
    """
    if isinstance(output, BaseMessage):
        metadata = {**output.response_metadata, DECISION_KEY: decision.to_dict()}
        return cast("T", output.model_copy(update={"response_metadata": metadata}))
    if isinstance(output, dict) and isinstance(output.get("raw"), BaseMessage):
        return cast("T", type(output)({**output, "raw": attach(output["raw"], decision)}))
    return output


def run_metadata(decision: RoutingDecision) -> dict[str, Any]:
    """Return what the chosen model's run is to carry: the decision, and the plain values that trace viewers can filter by."""
    score = decision.strong_win_rate
    if score is None and decision.scores is not None:
        score = decision.scores[decision.choice]
    return {
        DECISION_KEY: decision.to_dict(),
        "routellm_route": decision.choice,
        "routellm_score": score,
        "routellm_threshold": decision.threshold,
    }
