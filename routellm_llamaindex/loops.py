"""Which questions an agent is working on with tools.

At the end of its patience an agent asks for a final answer (`early_stopping_method="generate"`). LlamaIndex leaves the
calls that were made out of that request, so it looks the same whether the loop called tools or, as a `ReActAgent`, wrote
about them in plain text. Only the first kind belongs to the models that call tools, so the questions asked with tools are kept.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

from llama_index.core.base.llms.types import ChatMessage, MessageRole

from routellm_llamaindex.text import first_question, last_question

_LAST_REQUEST = "You have reached the maximum number of iterations ("
_MAX_QUESTIONS = 10_000

_lock = threading.Lock()  # not on the object, which is copied and pickled


class ToolLoops:
    """The questions that were last asked with tools, those asked last if there are very many; no text is kept."""

    def __init__(self) -> None:
        self._questions: OrderedDict[bytes, None] = OrderedDict()

    def end_with(self, messages: Sequence[ChatMessage]) -> bool:
        """Return whether the messages ask for the final answer of a loop with tools."""
        return bool(self._questions) and _ask_for_final_answer(messages) and _digest(messages) in self._questions

    def add(self, messages: Sequence[ChatMessage]) -> None:
        """Note that the question of these messages is asked with tools."""
        key = _digest(messages)
        with _lock:
            self._questions[key] = None
            self._questions.move_to_end(key)
            if len(self._questions) > _MAX_QUESTIONS:
                self._questions.popitem(last=False)

    def discard(self, messages: Sequence[ChatMessage]) -> None:
        """Note that the question of these messages is asked without tools, unless they ask for the final answer."""
        if self._questions and not _ask_for_final_answer(messages):
            with _lock:
                self._questions.pop(_digest(messages), None)


def _ask_for_final_answer(messages: Sequence[ChatMessage]) -> bool:
    return any(
        message.role == MessageRole.SYSTEM and (message.content or "").startswith(_LAST_REQUEST) for message in messages
    )


def _digest(messages: Sequence[ChatMessage]) -> bytes:
    question = f"{first_question(messages) or ''}\0{last_question(messages)}"
    return hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=16).digest()
