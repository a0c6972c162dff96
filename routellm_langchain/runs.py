"""The chain run of a routed call, and the configs of the runs nested in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.callbacks.base import BaseCallbackHandler, BaseCallbackManager, Callbacks
from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config

from routellm_core import RoutingDecision
from routellm_langchain.configurable import RoutingKeys
from routellm_langchain.decisions import DECISION_KEY, run_metadata
from routellm_langchain.ledger import LedgerHandler

Manager = TypeVar("Manager", bound=BaseCallbackManager)

_NO_STREAM = "nostream"
"""LangGraph's tag for models whose tokens are not part of the answer; a router may ask such a model."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a routed runnable itself adds to its runs.

    They reach the chosen model too: who gives callbacks, tags or metadata to a chat model means its model run.
    """

    name: str
    callbacks: Callbacks = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None
    verbose: bool = False

    def start(self, model_input: LanguageModelInput, config: RunnableConfig) -> CallbackManagerForChainRun:
        """Open the chain run of one call."""
        return self.manager(config).on_chain_start(
            None, model_input, name=config.get("run_name") or self.name, run_id=config.pop("run_id", None)
        )

    async def astart(self, model_input: LanguageModelInput, config: RunnableConfig) -> AsyncCallbackManagerForChainRun:
        """Open the chain run of one asynchronous call."""
        return await self.amanager(config).on_chain_start(
            None, model_input, name=config.get("run_name") or self.name, run_id=config.pop("run_id", None)
        )

    def manager(self, config: RunnableConfig) -> CallbackManager:
        """Return the callbacks of a call: the config's and these."""
        manager = CallbackManager.configure(config.get("callbacks"), **self._configured(config))
        return self._with_own_callbacks(manager)

    def amanager(self, config: RunnableConfig) -> AsyncCallbackManager:
        """Return the callbacks of an asynchronous call: the config's and these."""
        manager = AsyncCallbackManager.configure(config.get("callbacks"), **self._configured(config))
        return self._with_own_callbacks(manager)

    def _configured(self, config: RunnableConfig) -> dict[str, Any]:
        return {
            "verbose": self.verbose,
            "inheritable_tags": [*self.tags, *config.get("tags", [])],
            "inheritable_metadata": {**(self.metadata or {}), **config.get("metadata", {})},
        }

    def _with_own_callbacks(self, manager: Manager) -> Manager:
        own = self.callbacks.handlers if isinstance(self.callbacks, BaseCallbackManager) else self.callbacks or []
        for handler in own:
            manager.add_handler(handler, inherit=True)
        return manager


ChainRun = CallbackManagerForChainRun | AsyncCallbackManagerForChainRun


def scoring_config(config: RunnableConfig, run: ChainRun) -> RunnableConfig:
    """Return the config of the scoring inside a routed run."""
    return silent(patch_config(config, callbacks=run.get_child("routellm:score")))


def silent(config: RunnableConfig) -> RunnableConfig:
    """Return the config of a scoring, whose models are no part of the answer.

    Their tokens stay out of LangGraph's message stream, and their runs out of the ledger of a routed model further out, which
    would take them for runs of its candidate.
    """
    silenced: RunnableConfig = {**config, "tags": [*config.get("tags", []), _NO_STREAM]}
    callbacks = config.get("callbacks")
    if isinstance(callbacks, BaseCallbackManager):
        without = callbacks.copy()
        for handler in callbacks.handlers:
            if isinstance(handler, LedgerHandler):
                without.remove_handler(handler)
        silenced["callbacks"] = without
    return silenced


def delegated_config(
    config: RunnableConfig, run: ChainRun, decision: RoutingDecision, keys: RoutingKeys, ledger: BaseCallbackHandler
) -> RunnableConfig:
    """Return the config of the chosen model inside a routed run.

    Args:
        config: That of the routed run.
        run: The routed run.
        decision: What chose the model.
        keys: The keys that steered it.
        ledger: Hears of the model's runs.
    """
    callbacks = run.get_child(f"routellm:{decision.choice}")
    callbacks.add_handler(ledger, inherit=True)
    return decided(patch_config(config, callbacks=callbacks), decision, keys)


def decided(config: RunnableConfig, decision: RoutingDecision, keys: RoutingKeys) -> RunnableConfig:
    """Return the config with the decision in its metadata and without the keys that led to it."""
    return {**keys.without(config), "metadata": {**config.get("metadata", {}), **run_metadata(decision)}}


def outputs(output: object, decision: RoutingDecision) -> dict[str, Any]:
    """Return the outputs of a routed run."""
    return {"output": output, DECISION_KEY: decision.to_dict()}
