"""The models behind the candidates: what they may be given as, and how to reach the chat model inside a wrapped one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.fallbacks import RunnableWithFallbacks

from routellm_core.config import RoutingConfig
from routellm_core.errors import ConfigurationError, MissingDependencyError

ChatRunnable = Runnable[LanguageModelInput, BaseMessage]
"""A chat model, or one wrapped by `.bind`, `.with_config`, `.with_retry` or `.with_fallbacks`."""

SAMPLING = (
    *("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "seed", "n"),
    *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "reasoning_effort"),
)
"""Arguments that every call of a chat model may carry."""

_SYNONYMS = (("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"),)
"""Names of fields that mean the same; a class has one of them, and may take no other, not even with a call."""

STREAMING = ("streaming", "disable_streaming", "output_version")
"""Arguments that only the model object itself can carry."""

Schema = dict[str, Any] | type


@runtime_checkable
class SettingsTaker(Protocol):
    """A model that passes settings on to models of its own, as a routed model among the candidates does."""

    def with_model_settings(self, settings: Mapping[str, Any]) -> Runnable[Any, Any]:
        """Return a copy whose models have the settings."""
        ...


def resolve_model(name: str, model: object) -> ChatRunnable:
    """Return the model of a candidate.

    Args:
        name: The candidate, for the error.
        model: A runnable, or a string for LangChain's `init_chat_model` ("openai:gpt-5").

    Raises:
        ConfigurationError: If it is neither.
        MissingDependencyError: If it is a string and LangChain is not installed.
    """
    if isinstance(model, str):
        return _init_chat_model(f"{name}={model!r}", model, {})
    if not isinstance(model, Runnable):
        raise ConfigurationError(
            f"{name} must be a chat model, a wrapped one (.bind, .with_retry, .with_fallbacks) or a string such as "
            f"'openai:gpt-5', not {type(model).__name__}"
        )
    return model


def configured_models(config: RoutingConfig, given: Mapping[str, object]) -> dict[str, ChatRunnable]:
    """Return the models that the chains of a configuration file route among.

    Args:
        config: The file.
        given: Models as objects or strings, by their names in the file; they win over what the file says.

    Raises:
        ConfigurationError: If a given model is not in the file, or one of the file cannot be made.
        MissingDependencyError: If one is to be made and LangChain is not installed.
    """
    unknown = [name for name in given if name not in config.models]
    if unknown:
        raise ConfigurationError(
            f"models= has {unknown[0]!r}, which {config.path} has not; there are: {', '.join(config.models)}"
        )
    return {
        name: resolve_model(name, given[name]) if name in given else _configured_model(config, name)
        for name in config.chain_models()
    }


def _configured_model(config: RoutingConfig, name: str) -> ChatRunnable:
    settings = config.models[name]
    if settings.model is None:
        raise ConfigurationError(
            f"{config.path}: model {name!r} has no provider and model to make it from: add them, or give it as an object "
            f"with models={{{name!r}: ...}}"
        )
    called = settings.model if settings.provider is None else f"{settings.provider}:{settings.model}"
    try:
        return _init_chat_model(f"model {name!r} of {config.path}", called, settings.arguments)
    except MissingDependencyError:
        raise
    except (ImportError, ValueError, TypeError) as error:
        # The text of a validation error may repeat arguments, keys among them.
        why = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise ConfigurationError(f"{config.path}: model {name!r} ({called}) cannot be made: {why}") from error


def _init_chat_model(what: str, model: str, arguments: Mapping[str, Any]) -> ChatRunnable:
    try:
        from langchain.chat_models import init_chat_model
    except ModuleNotFoundError as error:
        raise MissingDependencyError.for_extra(f"{what}, a model as a string,", "langchain-agents") from error
    return cast("ChatRunnable", init_chat_model(model, **arguments))


def chat_models_in(model: Runnable[Any, Any]) -> list[Runnable[Any, Any]]:
    """Return what is inside the wrappers, the main model first."""
    if isinstance(model, RunnableBindingBase):
        return chat_models_in(model.bound)
    if isinstance(model, RunnableWithFallbacks):
        return [inner for runnable in model.runnables for inner in chat_models_in(runnable)]
    return [model]


def describe(model: Runnable[Any, Any]) -> str:
    """Return the class of a model and those of what it wraps."""
    inner = [type(chat_model).__name__ for chat_model in chat_models_in(model)]
    outer = type(model).__name__
    return outer if inner == [outer] else f"{outer} of {', '.join(inner)}"


def with_settings(name: str, model: ChatRunnable, settings: Mapping[str, Any]) -> ChatRunnable:
    """Return the model with settings of its own, in the way it takes them: as a field of that name, else with every call.

    Args:
        name: The candidate, for the error.
        model: Its model.
        settings: Arguments among `SAMPLING` and `STREAMING`; they win over what the model was made or bound with.

    Raises:
        ConfigurationError: If a setting that calls cannot carry is no field of the model. `streaming=True` never is an error:
            where there is no such field, whoever streams gets a stream all the same.
    """

    def apply(inner: Runnable[Any, Any]) -> Runnable[Any, Any]:
        if isinstance(inner, SettingsTaker):
            return inner.with_model_settings(settings)
        fields = _settable_fields(inner)
        on_model = {fields[setting]: value for setting, value in settings.items() if setting in fields}
        per_call = {setting: value for setting, value in settings.items() if setting not in fields}
        if per_call.get("streaming") is True:
            del per_call["streaming"]
        for setting in STREAMING:
            if setting in per_call:
                raise ConfigurationError(
                    f"{setting}= cannot be passed on to candidate {name!r}: {type(inner).__name__} has no such field"
                )
        if on_model:
            inner = cast("BaseChatModel", inner).model_copy(update=on_model)
        return inner.bind(**per_call) if per_call else inner

    return _rewrapped(model, apply, superseded=settings) if settings else model


def with_tools(name: str, model: ChatRunnable, *args: Any, **kwargs: Any) -> ChatRunnable:
    """Return the model with tools bound the way its class binds them.

    Raises:
        NotImplementedError: If it cannot bind tools; the message names the candidate.
    """
    return _rewrapped(model, _method(name, "bind_tools", args, kwargs))


def with_schema(
    name: str, model: ChatRunnable, schema: Schema, **kwargs: Any
) -> Runnable[LanguageModelInput, dict[str, Any] | Any]:
    """Return the model with a structured output the way its class makes one.

    Raises:
        NotImplementedError: If it cannot make one; the message names the candidate.
    """
    return _rewrapped(model, _method(name, "with_structured_output", (schema,), kwargs))


def bound_in_each(
    models: Mapping[str, ChatRunnable], bind: Callable[[str, ChatRunnable], Runnable[Any, Any]]
) -> tuple[dict[str, Runnable[Any, Any]], tuple[str, ...]]:
    """Bind something to every candidate that takes it.

    Args:
        models: The models by the names of their candidates.
        bind: From a candidate and its model to the bound model; raises `NotImplementedError` if it cannot.

    Returns:
        The bound models, and the names of the candidates that cannot; in the place of those is something that raises their
        error when it is called.

    Raises:
        NotImplementedError: If none can.
    """
    bound: dict[str, Runnable[Any, Any]] = {}
    errors: dict[str, NotImplementedError] = {}
    for name, model in models.items():
        try:
            bound[name] = bind(name, model)
        except NotImplementedError as error:
            errors[name] = error
            bound[name] = RunnableLambda(partial(_raise, error), name=name)
    if len(errors) == len(models):
        raise next(reversed(errors.values()))
    return bound, tuple(errors)


def _raise(error: NotImplementedError, _: LanguageModelInput) -> Any:
    raise error


def call_name(model: ChatRunnable) -> tuple[str | None, str | None]:
    """Return the name of a model and its provider, as they are in traces; None where it has none."""
    inner = chat_models_in(model)[0]
    if not isinstance(inner, BaseChatModel):
        return None, None
    params = inner._get_ls_params()
    return params.get("ls_model_name"), params.get("ls_provider")


def _method(
    candidate: str, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Callable[[Runnable[Any, Any]], Runnable[Any, Any]]:
    def call(inner: Runnable[Any, Any]) -> Runnable[Any, Any]:
        bound = getattr(inner, method, None)
        if bound is None:
            raise NotImplementedError(f"candidate {candidate!r} has no {method}: it is a {type(inner).__name__}")
        try:
            return cast("Runnable[Any, Any]", bound(*args, **kwargs))
        except NotImplementedError as error:
            message = f"candidate {candidate!r}, a {type(inner).__name__}, does not support {method}"
            raise NotImplementedError(message) from error

    return call


def _rewrapped(
    model: Runnable[Any, Any],
    change: Callable[[Runnable[Any, Any]], Runnable[Any, Any]],
    *,
    superseded: Mapping[str, Any] | None = None,
) -> Runnable[Any, Any]:
    """Change the chat models inside the wrappers, and keep the wrappers.

    The wrappers' own attribute lookup would hand out the inner model's methods, and with them lose
    bound arguments, retries and fallbacks.
    """
    superseded = superseded or {}
    if isinstance(model, RunnableBindingBase):
        bound = _rewrapped(model.bound, change, superseded=superseded)
        kwargs = {name: value for name, value in model.kwargs.items() if name not in superseded}
        return model.model_copy(update={"bound": _with_call_arguments(bound, kwargs), "kwargs": {}})
    if isinstance(model, RunnableWithFallbacks):
        changed = [_rewrapped(runnable, change, superseded=superseded) for runnable in model.runnables]
        return model.model_copy(update={"runnable": changed[0], "fallbacks": changed[1:]})
    return change(model)


def _with_call_arguments(runnable: Runnable[Any, Any], kwargs: Mapping[str, Any]) -> Runnable[Any, Any]:
    """Bind call arguments to the models of a runnable; where a model has an argument of that name bound, that one stays."""
    if not kwargs:
        return runnable
    if isinstance(runnable, RunnableSequence):
        return runnable.model_copy(update={"first": _with_call_arguments(runnable.first, kwargs)})
    if isinstance(runnable, RunnableParallel):
        steps = {key: _with_call_arguments(step, kwargs) for key, step in runnable.steps__.items()}
        return runnable.model_copy(update={"steps__": steps})
    if isinstance(runnable, RunnableWithFallbacks):
        first, *others = [_with_call_arguments(inner, kwargs) for inner in runnable.runnables]
        return runnable.model_copy(update={"runnable": first, "fallbacks": others})
    if isinstance(runnable, RunnableBindingBase):
        # Below what is bound already, which then wins.
        return runnable.model_copy(update={"bound": _with_call_arguments(runnable.bound, kwargs)})
    return runnable.bind(**kwargs)


def _settable_fields(model: Runnable[Any, Any]) -> dict[str, str]:
    """Return the fields of a chat model by every name its constructor takes them under."""
    if not isinstance(model, BaseChatModel):
        return {}
    fields: dict[str, str] = {}
    for name, field in type(model).model_fields.items():
        fields[name] = name
        if field.alias:
            fields[field.alias] = name
    for names in _SYNONYMS:
        known = [fields[name] for name in names if name in fields]
        if known:
            fields = dict.fromkeys(names, known[0]) | fields
    return fields
