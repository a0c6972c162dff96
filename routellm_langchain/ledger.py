"""How the ledger learns of tokens: a callback handler on the run of the chosen model."""

from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import ChatGeneration, LLMResult

from routellm_core import RoutingDecision, RoutingEngine
from routellm_core.ledger import Usage


class LedgerHandler(BaseCallbackHandler):
    """Records every model run under one decision in the ledger of the engine, with its tokens or its error.

    Retries and fallbacks inside a candidate are model runs of their own. A candidate that has no model run at all, such as
    a plain function, counts as one call whose tokens are not known.

    Args:
        engine: Whose ledger.
        decision: Where the call goes.
    """

    run_inline = True  # it only adds up, which is no work for a thread of its own
    ignore_chain = ignore_retriever = ignore_agent = ignore_custom_event = ignore_retry = True

    def __init__(self, engine: RoutingEngine, decision: RoutingDecision) -> None:
        self._engine = engine
        self._decision = decision
        self._recorded = False

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing; the inherited method would ask for the messages as one string."""

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:  # noqa: ARG002
        """Record an answer."""
        self._record(usage_of(response))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        """Record a failure, or a call whose caller wanted no more of it."""
        response = kwargs.get("response")
        self._record(usage_of(response) if isinstance(response, LLMResult) else None, error)

    def close(self, error: BaseException | None = None) -> None:
        """Record the call if no model run did.

        Args:
            error: What it raised; None if it answered.
        """
        if not self._recorded:
            self._record(None, error)

    def _record(self, usage: Usage | None, error: BaseException | None = None) -> None:
        self._recorded = True
        # A stream that is closed early and a task that is cancelled are no failures of the model.
        self._engine.record(self._decision, usage, error=error if isinstance(error, Exception) else None)


def usage_of(response: LLMResult) -> Usage | None:
    """Return the tokens that a model run reports; None if it reports none. An answer from LangChain's cache takes none."""
    generation = next((one for several in response.generations for one in several), None)
    usage = generation.message.usage_metadata if isinstance(generation, ChatGeneration) and _is_ai(generation) else None  # type: ignore[attr-defined]
    if usage is None:
        return None
    if usage.get("total_cost") == 0:
        return Usage()
    return Usage(
        input_tokens=usage["input_tokens"],
        output_tokens=usage["output_tokens"],
        cached_tokens=(usage.get("input_token_details") or {}).get("cache_read") or 0,
    )


def _is_ai(generation: ChatGeneration) -> bool:
    return hasattr(generation.message, "usage_metadata")
