"""From a name, a folder or a Hub repository to a router."""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routellm_core.checkpoints.hub import is_repo_id
from routellm_core.embedders.foreign import EmbedderLike
from routellm_core.errors import CheckpointFormatError, ConfigurationError, UnknownRouterError
from routellm_core.routers.base import Router
from routellm_core.routers.pretrained import PretrainedRouter, check_options, fetch_checkpoint

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINT_GROUP = "routellm_core.routers"
"""Third parties register a subclass of `Router` here, under the name that users and checkpoints give."""

ROUTERS: dict[str, str] = {
    "default": "routellm_core.routers.default:DefaultRouter",
    "random": "routellm_core.routers.random:RandomRouter",
    "length": "routellm_core.routers.length:LengthRouter",
    "mf": "routellm_core.routers.matrix_factorization:MatrixFactorizationRouter",
    "sw_ranking": "routellm_core.routers.similarity_weighted:SimilarityWeightedRouter",
    "bert": "routellm_core.routers.bert:BertRouter",
    "causal_llm": "routellm_core.routers.causal_llm:CausalLLMRouter",
    "knn": "routellm_core.routers.knn:KNNRouter",
    "mlp": "routellm_core.routers.mlp:MLPRouter",
    "cluster": "routellm_core.routers.cluster:ClusterRouter",
    "multilabel": "routellm_core.routers.multilabel:MultilabelRouter",
    "separate": "routellm_core.routers.separate:SeparateRouter",
}
"""The routers of this library: name -> "module:class". A class is imported when its name is used."""


def _entry_points() -> "EntryPoints":
    from importlib.metadata import entry_points  # a fifth of the time that importing this library would take

    return entry_points(group=ENTRY_POINT_GROUP)


def router_names() -> tuple[str, ...]:
    """Return every registered name, those of third parties included."""
    return tuple(sorted({*ROUTERS, *(entry.name for entry in _entry_points())}))


def router_class(name: str) -> type[Router]:
    """Return the class behind a registered name.

    Args:
        name: One of `router_names()`.

    Raises:
        UnknownRouterError: If nothing is registered under it.
        ConfigurationError: If what a third party registered is no router.
    """
    if name in ROUTERS:
        module, _, attribute = ROUTERS[name].partition(":")
        found: type[Router] = getattr(import_module(module), attribute)
        return found
    for entry in _entry_points().select(name=name):
        loaded = entry.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Router)):
            raise ConfigurationError(f"entry point {name!r} ({entry.value}) is no subclass of routellm_core.Router")
        return loaded
    raise UnknownRouterError(f"no router is registered as {name!r}; there are: {', '.join(router_names())}")


def load_router(
    name_or_path: str | os.PathLike[str],
    *,
    embedder: EmbedderLike | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> Router:
    """Load a router by name, from a folder or from the Hugging Face Hub.

    Args:
        name_or_path: A registered name ("default"), a folder, or a Hub repository ("org/name"). A registered name wins over a
            folder of the same name; write "./default", or give a `Path`, for the folder.
        embedder: The embedder to use, or an embedding object of LangChain or LlamaIndex; None makes the one the checkpoint names.
        revision: A branch, tag or commit of the repository; None takes its main branch.
        token: A Hub token; None takes the stored one, False none.
        cache_dir: Where downloads are kept; None takes the Hub client's own cache.
        local_files_only: Do not reach for the network.
        **options: Constructor arguments of a router that is loaded by its registered name (`seed=1` for "random"); what else
            `from_checkpoint` of its class takes, of a stored one (`device="cuda:1"` for "bert").

    Raises:
        UnknownRouterError: If it is neither a name, nor a folder, nor a repository id.
        RouterUnavailableError: If the router of that name needs an extra, a key or a network that is not there.
        CheckpointError: If the checkpoint cannot be fetched or read.
        ConfigurationError: If the router does not take an option.

    Example:
        >>> load_router("random", seed=1).strong_win_rate("Hi!") < 1
        True
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise UnknownRouterError(f"a router is loaded by name, folder or repository id, not from {name_or_path!r}")
    text = os.fspath(name_or_path)
    is_text = isinstance(name_or_path, str)  # a Path is a folder, whatever it is called
    hub_options = {
        "embedder": embedder,
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only or None,
    }
    if is_text and text in router_names():
        cls = router_class(text)
        given = {key: value for key, value in hub_options.items() if value is not None}
        make = cls.by_name if issubclass(cls, PretrainedRouter) else cls
        try:
            router = make(**given, **options)
        except TypeError as error:
            raise ConfigurationError(f"router {text!r} does not take these options: {error}") from error
        router.name = router.name or text
        return router
    if not (text and Path(text).is_dir()) and not (is_text and is_repo_id(text)):
        raise UnknownRouterError(
            f"router={text!r} is no registered name ({', '.join(router_names())}), no folder that exists, and no Hub "
            "repository id (org/name)"
        )
    checkpoint = fetch_checkpoint(
        text, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only
    )
    try:
        cls = router_class(checkpoint.config.router)
    except UnknownRouterError as error:
        raise CheckpointFormatError(
            f"{checkpoint.origin}: {error}; if a package provides it, install that package"
        ) from error
    if not issubclass(cls, PretrainedRouter):
        raise CheckpointFormatError(f"{checkpoint.origin}: router {checkpoint.config.router!r} cannot be stored")
    check_options(cls, options)
    return cls.from_checkpoint(checkpoint, embedder=embedder, **options)
