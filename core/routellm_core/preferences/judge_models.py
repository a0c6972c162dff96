"""One way to ask a judge: an OpenAI-compatible client, a chat model with `.invoke` such as LangChain's, or a function."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from routellm_core.errors import ConfigurationError, JudgeError
from routellm_core.preferences.judge import MAX_ANSWER_TOKENS, Question

_PASSING_STATUS = frozenset({408, 409, 425, 429})
_REFUSED_STATUS = frozenset({400, 413, 422})  # this request is too long or against a rule; another may pass
_PASSING_ERRORS = frozenset({"APIConnectionError", "APITimeoutError", "TransportError", "TimeoutException"})
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Reply:
    """What a judge answered.

    Attributes:
        text: The answer; None if the judge refused this request.
        tokens_in: Tokens of the question; None if unknown.
        tokens_out: Tokens of the answer; None if unknown.
        retries: How many calls failed before.
    """

    text: str | None
    tokens_in: int | None = None
    tokens_out: int | None = None
    retries: int = 0


class JudgeModel:
    """A language model that judges.

    Args:
        model: An `openai.OpenAI` client (or one with the same methods); a chat model whose `.invoke` takes messages, such as
            any of LangChain; or a function from the question's text to the answer's.
        name: The model's name: what the client is asked for, and what verdicts are kept under. None takes the chat model's own.
        options: What a client sends with every request beside temperature 0 and at most 300 tokens; None as a value leaves one of
            these out, which some models refuse: `{"max_tokens": None, "max_completion_tokens": 2000}`.
        max_attempts: How often a call is tried when the judge is busy or cannot be reached.
        first_wait_s: The wait after the first failure; it doubles with each further one, to a minute at most.
        sleep: How to wait.

    Raises:
        ConfigurationError: If the model is none of these, or has no name.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        max_attempts: int = 6,
        first_wait_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if max_attempts < 1 or not first_wait_s >= 0:
            raise ConfigurationError(
                f"max_attempts must be 1 or more and first_wait_s 0 or more, not {max_attempts!r} and {first_wait_s!r}"
            )
        own_name = next(
            (n for a in ("model_name", "model") if isinstance(n := getattr(model, a, None), str) and n), None
        )
        self.name = name or own_name or ""
        if not self.name:
            raise ConfigurationError("give the judge's name=: its verdicts are kept under it")
        if hasattr(model, "chat") and hasattr(model.chat, "completions"):
            self._call: Callable[[Question], Reply] = self._call_client
        elif hasattr(model, "invoke"):
            self._call = self._call_chat_model
        elif callable(model):
            self._call = self._call_function
        else:
            raise ConfigurationError(
                f"a judge is an OpenAI client, a chat model with .invoke, or a function, not {type(model).__name__}"
            )
        self._model = model
        sent = {"temperature": 0, "max_tokens": MAX_ANSWER_TOKENS, **(options or {})}
        self._options = {name: value for name, value in sent.items() if value is not None}
        self._max_attempts = max_attempts
        self._first_wait_s = first_wait_s
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"JudgeModel({self.name!r})"

    def ask(self, question: Question) -> Reply:
        """Ask, and again after a wait while the judge is busy or out of reach.

        Raises:
            JudgeError: If it still fails after the last attempt, or fails in a way that a further attempt does not change.
        """
        for attempt in range(self._max_attempts):
            try:
                reply = self._call(question)
            except Exception as error:
                status = getattr(error, "status_code", None)
                if status in _REFUSED_STATUS:
                    return Reply(None, retries=attempt)
                if not _passes(error, status):
                    raise JudgeError(f"judge {self.name!r} cannot be asked: {_named(error, status)}") from error
                if attempt + 1 == self._max_attempts:
                    raise JudgeError(
                        f"judge {self.name!r} failed {self._max_attempts} times in a row, at last with {_named(error, status)}"
                    ) from error
                self._sleep(self._wait_s(attempt, error))
            else:
                return Reply(reply.text, reply.tokens_in, reply.tokens_out, attempt)
        raise AssertionError("unreachable")

    def _wait_s(self, attempt: int, error: Exception) -> float:
        headers = getattr(getattr(error, "response", None), "headers", {})
        asked = str(headers.get("retry-after", ""))
        wait = float(asked) if asked.replace(".", "", 1).isdigit() else self._first_wait_s * 2.0**attempt
        return min(wait, _LONGEST_WAIT_S) * random.uniform(1.0, 1.25)  # so that waiting callers do not return at once

    def _call_client(self, question: Question) -> Reply:
        answer = self._model.chat.completions.create(
            model=self.name,
            messages=[
                {"role": "system", "content": question.system},
                {"role": "user", "content": question.user},
            ],
            **self._options,
        )
        usage = answer.usage
        text = answer.choices[0].message.content if answer.choices else None
        return Reply(text or "", usage and usage.prompt_tokens, usage and usage.completion_tokens)

    def _call_chat_model(self, question: Question) -> Reply:
        answer = self._model.invoke([("system", question.system), ("human", question.user)])
        usage = getattr(answer, "usage_metadata", None) or {}
        return Reply(_text(answer), usage.get("input_tokens"), usage.get("output_tokens"))

    def _call_function(self, question: Question) -> Reply:
        return Reply(_text(self._model(f"{question.system}\n\n{question.user}")))


def _text(answer: Any) -> str:
    content = getattr(answer, "content", answer)
    if isinstance(content, list):  # of parts, as some providers answer
        parts = (part if isinstance(part, str) else part.get("text", "") for part in content)
        return "".join(parts)
    if not isinstance(content, str):
        raise JudgeError(f"the judge answered with {type(content).__name__}, and text was expected")
    return content


def _passes(error: Exception, status: Any) -> bool:
    if isinstance(status, int):
        return status in _PASSING_STATUS or status >= 500
    return isinstance(error, ConnectionError | TimeoutError) or any(
        base.__name__ in _PASSING_ERRORS for base in type(error).__mro__
    )


def _named(error: Exception, status: Any) -> str:
    # The text of the error may quote the key or the prompt.
    return type(error).__name__ + (f" (status {status})" if isinstance(status, int) else "")
