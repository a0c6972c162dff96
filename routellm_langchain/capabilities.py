"""What a call needs and what the models say they can take, in LangChain's terms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable

from routellm_core.constraints import Capabilities, combined_capabilities
from routellm_langchain.models import ChatRunnable, chat_models_in


@dataclass(frozen=True, kw_only=True, slots=True)
class CallNeeds:
    """What a call asks of the model that takes it, beyond its prompt.

    Attributes:
        tools: The tools it offers, in any form that a chat model takes.
        schema: What the provider must hold the answer to, as a class or a JSON schema; None means nothing.
    """

    tools: tuple[Any, ...] = ()
    schema: Any = None

    def and_of(self, arguments: Mapping[str, Any]) -> "CallNeeds":
        """Return these needs and those of the arguments of a call, as a provider's chat model takes them."""
        if not arguments:
            return self
        return CallNeeds(
            tools=(*self.tools, *(arguments.get("tools") or arguments.get("functions") or ())),
            schema=arguments["response_format"] if _is_schema(arguments.get("response_format")) else self.schema,
        )

    @property
    def schemas(self) -> tuple[Any, ...]:
        """Everything that takes tokens besides the messages."""
        return self.tools if self.schema is None else (*self.tools, self.schema)


def _is_schema(response_format: object) -> bool:
    if isinstance(response_format, Mapping):
        return response_format.get("type") not in ("text", "json_object")
    return response_format is not None


def has_images(messages: Sequence[BaseMessage]) -> bool:
    """Return whether any message holds an image."""
    return any(_is_image(part) for message in messages for part in _parts(message.content))


def _parts(content: object) -> list[Any]:
    return content if isinstance(content, list) else []


def _is_image(part: object) -> bool:
    """Whether a part of a message is an image, or holds one, as the result of a tool may."""
    if not isinstance(part, Mapping):
        return False
    source = part.get("source")
    kinds = (part.get("mime_type"), source.get("media_type") if isinstance(source, Mapping) else None)
    return (
        part.get("type") in _IMAGE_TYPES
        or any(isinstance(kind, str) and kind.lower().startswith("image/") for kind in kinds)
        or any(_is_image(inner) for inner in _parts(part.get("content")))
    )


_IMAGE_TYPES = ("image", "image_url", "input_image")


def capabilities_of(model: ChatRunnable) -> Capabilities:
    """Return what a model says it can take; of a wrapped one with fallbacks, what all inside it can."""
    every = [_of_chat_model(inner) for inner in chat_models_in(model)]
    together = combined_capabilities(every)
    return Capabilities(
        tools=_all(able.tools for able in every),
        images=_all(able.images for able in every),
        structured_output=together.structured_output,
        context_window=together.context_window,
    )


def common_profile(models: Mapping[str, ChatRunnable], given: Mapping[str, Capabilities]) -> ModelProfile | None:
    """Return what a routed model can do; None if one of its models does not say what it can.

    Tools and images hold if any model can take them, as calls with them go to those. Everything else holds if all have
    it; of limits the lowest holds; what else they disagree on is left out.

    Args:
        models: The models by the names of their candidates.
        given: What the engine was told they can take; wins over what they say.
    """
    profiles: list[dict[str, Any]] = []
    for inner in (inner for model in models.values() for inner in chat_models_in(model)):
        profile = getattr(inner, "profile", None)
        if profile is None:
            return None
        profiles.append(profile)
    common: dict[str, Any] = {}
    for key in set.intersection(*(set(profile) for profile in profiles)):
        values = [profile[key] for profile in profiles]
        if all(isinstance(value, bool) for value in values):
            common[key] = all(values)
        elif all(isinstance(value, int) for value in values):
            common[key] = min(values)
        elif all(value == values[0] for value in values):
            common[key] = values[0]
    nothing = Capabilities()
    together = combined_capabilities(
        given.get(name, nothing).completed_by(capabilities_of(model)) for name, model in models.items()
    )
    enforced = {
        "tool_calling": together.tools,
        "image_inputs": together.images,
        "structured_output": together.structured_output,
        "max_input_tokens": together.context_window,
    }
    common = {key: value for key, value in common.items() if key not in enforced}
    return cast("ModelProfile", common | {key: value for key, value in enforced.items() if value is not None})


def _of_chat_model(model: Runnable[Any, Any]) -> Capabilities:
    profile: Mapping[str, Any] = getattr(model, "profile", None) or {}
    binds = _has_own(model, "bind_tools")
    return Capabilities(
        tools=profile.get("tool_calling") if binds else False,
        images=profile.get("image_inputs"),
        structured_output=profile.get("structured_output")
        if binds or _has_own(model, "with_structured_output")
        else False,
        context_window=profile.get("max_input_tokens"),
    )


def _has_own(model: Runnable[Any, Any], method: str) -> bool:
    """Whether a model has its own way to do this; that of `BaseChatModel` only raises or needs the others."""
    if isinstance(model, BaseChatModel):
        return getattr(type(model), method) is not getattr(BaseChatModel, method)
    return getattr(model, method, None) is not None


def _all(values: Any) -> bool | None:
    seen = set(values)
    if False in seen:
        return False
    return None if None in seen else True
