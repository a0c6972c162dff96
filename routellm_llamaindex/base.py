"""What a routed LLM is made of, and how it is changed, copied, stored and shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.bridge.pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM

from routellm_core.engine import RoutingEngine
from routellm_core.errors import ConfigurationError
from routellm_core.ledger import Ledger
from routellm_llamaindex.loops import ToolLoops
from routellm_llamaindex.metadata import routed_metadata
from routellm_llamaindex.text import RoutingText


@dataclass
class _HandedOn:
    """The callback manager that a model was given last by those that route to it; they share this record, as the model."""

    manager: CallbackManager | None = None


class RoutedBase(FunctionCallingLLM):
    """The models and the engine of a routed LLM.

    Once constructed, only `callback_manager` can be assigned: LlamaIndex does so, and it is handed on to the models.
    Everything else is changed in a copy, which is validated: `with_threshold(...)` or `model_copy(update={...})`.
    """

    # An error of pydantic's would otherwise quote a model, and with it its key.
    model_config = ConfigDict(hide_input_in_errors=True)

    candidates: dict[str, LLM] = Field(description="The models by name, weakest first.")
    engine: RoutingEngine = Field(description="Decides which candidate takes a call.")
    routing_text: RoutingText | None = Field(default=None, description="What decides before the rule what is scored.")
    fallback: bool = Field(
        default=False, description="Whether the next candidate takes a call that the chosen one fails."
    )
    emit_events: bool = Field(default=True, description="Whether every decision is dispatched as an event.")
    context_window: int | None = Field(default=None, description="In tokens; None takes the tightest candidate's.")
    num_output: int | None = Field(default=None, description="In tokens; None takes the tightest candidate's.")

    _constructed: bool = PrivateAttr(default=False)
    _handed_on: dict[str, "_HandedOn"] = PrivateAttr(default_factory=dict)
    _tool_loops: ToolLoops = PrivateAttr(default_factory=ToolLoops)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises the class."""
        return "RoutedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex packs prompts for: the window of the candidate with the least room."""
        return routed_metadata(
            self.candidates,
            self.engine.capabilities,
            among=self.engine.candidates_of(),
            context_window=self.context_window,
            num_output=self.num_output,
        )

    @property
    def ledger(self) -> Ledger:
        """Tokens and money per model, and what the same calls would have cost on the strong model alone."""
        return self.engine.ledger

    @property
    def threshold(self) -> float | None:
        """The threshold of calls that name none; None if the policy has none."""
        return self.engine.threshold

    # --- changes -----------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "callback_manager":
            self._hand_on(value)
        elif name in type(self).model_fields and self._is_constructed():
            raise ConfigurationError(
                f"{name} of a RoutedLLM cannot be assigned: make a copy with model_copy(update={{{name!r}: ...}})"
                if name in _OWN
                else f"{name} of a RoutedLLM has no effect: set it on the models it routes to"
            )
        super().__setattr__(name, value)

    def _is_constructed(self) -> bool:
        return bool(self.__pydantic_private__ and self.__pydantic_private__.get("_constructed"))

    def _hand_on(self, manager: CallbackManager) -> None:
        """Give the candidates a callback manager, but for those that were given handlers of their own."""
        for name, llm in self.candidates.items():
            before = self._handed_on.setdefault(name, _HandedOn())
            known = llm.callback_manager
            # Every manager of LlamaIndex starts with the handlers of its settings: the same ones are nobody's own.
            if known is None or known is before.manager or all(one in manager.handlers for one in known.handlers):
                llm.callback_manager = before.manager = manager

    def with_threshold(self, threshold: float | None) -> Self:
        """Return a copy with another threshold that shares the models, the router and the score cache.

        Args:
            threshold: In [0, 1]; higher sends fewer calls to strong. None takes the router's calibrated value for a
                strong fraction of 0.5.

        Raises:
            InvalidThresholdError: If it is not a number in [0, 1].
        """
        return super().model_copy(update={"engine": self.engine.with_threshold(threshold)})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy that shares the models, the router and the score cache; changes are validated.

        Args:
            update: `threshold`, or a field of this class, to its new value.
            deep: Whether to copy the models too.

        Raises:
            ConfigurationError: If a change is unknown or not valid.
        """
        changes = dict(update or {})
        copied = super().model_copy(deep=deep)
        if "threshold" in changes:
            copied = copied.with_threshold(changes.pop("threshold"))
        if not changes:
            return copied
        unknown = sorted(changes.keys() - _OWN)
        if unknown:
            raise ConfigurationError(
                f"model_copy(update=...) of a RoutedLLM does not take {', '.join(unknown)}; it takes threshold, "
                f"{', '.join(sorted(_OWN))}"
            )
        made = type(self)(**{name: getattr(copied, name) for name in _OWN} | changes)
        made._tool_loops = copied._tool_loops
        made._share_handed_on(copied)
        return made

    def _share_handed_on(self, other: "RoutedBase") -> None:
        """Know from now on what another routed LLM handed on to the models that are also this one's."""
        for theirs, llm in other.candidates.items():
            for name in [name for name, own in self.candidates.items() if own is llm]:
                before = other._handed_on[theirs]
                before.manager = self._handed_on[name].manager or before.manager
                self._handed_on[name] = before
        self._hand_on(self.callback_manager)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # The router never changes and may be large; a copy of it would only lose the score cache.
        memo = {} if memo is None else memo
        memo[id(self.engine)] = self.engine
        return super().__deepcopy__(memo)

    # --- storage and display -----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # The method of LlamaIndex drops what cannot be pickled; a routed LLM that lost a model must be an error instead.
        return BaseModel.__getstate__(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        BaseModel.__setstate__(self, state)

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:  # noqa: ARG002
        """Describe the routed LLM without the settings of its models, which may hold keys."""
        return {
            "class_name": self.class_name(),
            "candidates": {name: llm.to_payload() for name, llm in self.candidates.items()},
            "router": self.engine.router.name,
            "policy": self.engine.plan.policy.name,
            "threshold": self.threshold,
            "on_router_error": self.engine.plan.on_router_error,
            "fallback": self.fallback,
            "emit_events": self.emit_events,
            "context_window": self.context_window,
            "num_output": self.num_output,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> NoReturn:  # noqa: ARG003
        """Refuse: a dump holds no keys, so the models cannot be made from it.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            "a RoutedLLM cannot be made from a dict, which has no keys for its models: construct it"
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield "candidates", {name: llm.metadata.model_name for name, llm in self.candidates.items()}
        yield "router", self.engine.router.name
        yield "threshold", self.threshold


_OWN = frozenset(RoutedBase.model_fields.keys() - FunctionCallingLLM.model_fields.keys() | {"callback_manager"})
