"""The models of a configuration file, made by the LlamaIndex integrations that are installed."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.llms.llm import LLM
from pydantic import ValidationError

from routellm_core.config import ModelConfig, RoutingConfig
from routellm_core.errors import ConfigurationError, MissingDependencyError


@dataclass(frozen=True, kw_only=True)
class _Integration:
    """Where a provider's class is.

    Attributes:
        module: Below `llama_index.llms`; with dashes, the end of the package's name.
        name: Of the class.
        renamed: Arguments as LangChain calls them to their names here, so that both can read one file.
        defaults: Arguments that go without saying there.
    """

    module: str
    name: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def package(self) -> str:
        return f"llama-index-llms-{self.module.replace('_', '-')}"

    def load(self, owner: str) -> type[Any]:
        try:
            module = importlib.import_module(f"llama_index.llms.{self.module}")
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("llama_index.llms"):
                raise
            raise MissingDependencyError(f"model {owner!r} needs {self.package}: pip install {self.package}") from error
        loaded: type[Any] = getattr(module, self.name)
        return loaded


_AS_OPENAI = {"base_url": "api_base"}
_COMPATIBLE = "openai-like"
_INTEGRATIONS = {
    "openai": _Integration(module="openai", name="OpenAI", renamed=_AS_OPENAI),
    _COMPATIBLE: _Integration(
        module="openai_like", name="OpenAILike", renamed=_AS_OPENAI, defaults={"is_chat_model": True}
    ),
    "anthropic": _Integration(module="anthropic", name="Anthropic"),
    "google_genai": _Integration(module="google_genai", name="GoogleGenAI"),
    "mistralai": _Integration(module="mistralai", name="MistralAI"),
    "groq": _Integration(module="groq", name="Groq"),
    "ollama": _Integration(module="ollama", name="Ollama"),
}


def open_models(config: RoutingConfig, given: Mapping[str, LLM]) -> dict[str, LLM]:
    """Return the models that any chain of a configuration uses.

    Args:
        config: Says which they are.
        given: Models by name; those that are missing are made.

    Raises:
        ConfigurationError: If a given name is not in the file, or the file does not say how to make a model.
        MissingDependencyError: If the integration package of a provider is not installed.
    """
    unknown = sorted(given.keys() - config.models.keys())
    if unknown:
        raise ConfigurationError(
            f"models= names {', '.join(map(repr, unknown))}; {config.path} has {', '.join(config.models)}"
        )
    return {name: given[name] if name in given else _make(name, config.models[name]) for name in config.chain_models()}


def _make(name: str, spec: ModelConfig) -> LLM:
    if spec.provider is None or spec.model is None:
        raise ConfigurationError(
            f"model {name!r} has no provider and model in the file: give both, or the model as models={{{name!r}: ...}}"
        )
    provider = spec.provider
    # The class for OpenAI itself knows OpenAI's own models alone.
    if provider == "openai" and spec.arguments.keys() & {"base_url", "api_base"}:
        provider = _COMPATIBLE
    integration = _INTEGRATIONS.get(provider)
    if integration is None:
        raise ConfigurationError(
            f"model {name!r}: provider {provider!r} is not known here; known are {', '.join(_INTEGRATIONS)}. "
            f"Any other model can be given as models={{{name!r}: ...}}"
        )
    cls = integration.load(name)
    arguments = {integration.renamed.get(key, key): value for key, value in spec.arguments.items()}
    allowed = cls.model_fields.keys() | inspect.signature(cls).parameters.keys()
    for key in arguments:
        if key not in allowed:  # pydantic would drop it without a word
            raise ConfigurationError(f"model {name!r}: {cls.__name__} has no argument {key!r}")
    try:
        made: LLM = cls(model=spec.model, **{**integration.defaults, **arguments})
    except ValidationError as error:
        # Without the values, and without the error itself: both may show a key.
        why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise ConfigurationError(f"model {name!r}: {cls.__name__} refuses its arguments: {why}") from None
    return made
