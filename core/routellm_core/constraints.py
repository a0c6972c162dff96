"""Constraints: what a call needs, what a model can take, and which candidates that leaves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from routellm_core.decision import RoutingRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a model can take; None where it is not known, which counts as able.

    Attributes:
        tools: Whether it calls tools.
        images: Whether it reads images.
        structured_output: Whether it can be held to a schema.
        context_window: How many tokens a prompt may have.
    """

    tools: bool | None = None
    images: bool | None = None
    structured_output: bool | None = None
    context_window: int | None = None

    def completed_by(self, told: "Capabilities") -> "Capabilities":
        """Return these capabilities with those of another source where these say nothing."""
        return Capabilities(
            tools=told.tools if self.tools is None else self.tools,
            images=told.images if self.images is None else self.images,
            structured_output=told.structured_output if self.structured_output is None else self.structured_output,
            context_window=told.context_window if self.context_window is None else self.context_window,
        )


def rule_out(request: RoutingRequest, capabilities: Mapping[str, Capabilities]) -> dict[str, str]:
    """Return the candidates that cannot take a call, each with why.

    Args:
        request: The call.
        capabilities: What each candidate can take; one that is missing can take everything.
    """
    ruled_out = {}
    for name, able in capabilities.items():
        reasons = []
        if request.tools and able.tools is False:
            reasons.append("cannot call tools")
        if request.images and able.images is False:
            reasons.append("cannot read images")
        if request.structured_output and able.structured_output is False:
            reasons.append("has no structured output")
        if request.tokens is not None and able.context_window is not None and request.tokens > able.context_window:
            reasons.append(f"takes {able.context_window} tokens, the call has about {request.tokens}")
        if reasons:
            ruled_out[name] = ", ".join(reasons)
    return ruled_out


def combined_capabilities(candidates: Iterable[Capabilities]) -> Capabilities:
    """Return what a routed model can take, given what its candidates can.

    Tools and images are the union, for calls that need them are kept from the models that cannot take them. Structured output
    and the window are the intersection: frameworks read them to shape every call in advance.
    """
    every = list(candidates)
    windows = [able.context_window for able in every if able.context_window is not None]
    return Capabilities(
        tools=_any(able.tools for able in every),
        images=_any(able.images for able in every),
        structured_output=_all(able.structured_output for able in every),
        context_window=min(windows, default=None),
    )


def _any(values: Iterable[bool | None]) -> bool | None:
    seen = set(values)
    if True in seen:
        return True
    return None if None in seen or not seen else False


def _all(values: Iterable[bool | None]) -> bool | None:
    seen = set(values)
    if False in seen:
        return False
    return None if None in seen or not seen else True
