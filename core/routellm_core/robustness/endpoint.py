"""Multiple-choice questions to a model behind an OpenAI-compatible endpoint."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from routellm_core.errors import ConfigurationError, RouteLLMError
from routellm_core.robustness.demonstrations import Demonstration
from routellm_core.robustness.items import Item
from routellm_core.robustness.reading import read_answer
from routellm_core.robustness.scoring import Answers, Progress, Rule, check_demonstrations, render

Reading = Literal["auto", "log-probabilities", "text"]

_TOP = (20, 5)
"""How many log-probabilities are asked for; some servers allow no more than five."""

_TOO_MANY_CALLS = 429
_REPEAT_CUE = "Reply with the symbol of the right choice alone."


class EndpointError(RouteLLMError, RuntimeError):
    """A model behind an endpoint cannot be asked."""


class EndpointModel:
    """A remote model that is asked by the rule "symbol", the only one such an endpoint allows.

    Its first token's top log-probabilities are compared where it gives them; where it gives none, or refuses the call that asks
    for them, what it writes is read, and what cannot be read is counted. Likelihoods of given texts, which "hybrid" and "cloze"
    need, are not to be had.

    Args:
        client: An `openai.OpenAI` client, or one with the same methods.
        model: What the client is asked for.
        reading: "log-probabilities", "text", or "auto", which takes the first if the first answer has them.
        name: What tables call the model; None takes `model`.
        max_tokens: The longest answer that is read as text.
        concurrency: How many calls at once.

    Raises:
        ConfigurationError: If there is no such reading, or a number is below 1.
    """

    def __init__(
        self,
        client: Any,
        model: str,
        *,
        reading: Reading = "auto",
        name: str | None = None,
        max_tokens: int = 32,
        concurrency: int = 8,
    ) -> None:
        if reading not in get_args(Reading):
            raise ConfigurationError(f"reading must be one of {', '.join(get_args(Reading))}, not {reading!r}")
        if max_tokens < 1 or concurrency < 1:
            raise ConfigurationError(
                f"max_tokens and concurrency must be 1 or more, not {max_tokens} and {concurrency}"
            )
        self._client = client
        self._model = model
        self._reading = reading
        self._max_tokens = max_tokens
        self._concurrency = concurrency
        self._top_count = _TOP[0]
        self._limit_name = "max_tokens"
        self.name = name or model
        self.about = {"endpoint": _address(client), "model": model}

    def __repr__(self) -> str:
        return f"EndpointModel({self._model!r})"

    def answer(
        self,
        items: Sequence[Item],
        demonstrations: Sequence[Sequence[Demonstration]] | None = None,
        *,
        rule: Rule = "symbol",
        progress: Progress | None = None,
    ) -> Answers:
        """Answer items.

        Args:
            items: n items.
            demonstrations: What stands before each; None for nothing.
            rule: "symbol".
            progress: Told how far it is.

        Raises:
            ConfigurationError: If another rule is asked for, or log-probabilities of a model that gives none.
            EndpointError: If a call fails.
        """
        if rule != "symbol":
            raise ConfigurationError(
                f"rule {rule!r} cannot be had of {self._model!r}: an OpenAI-compatible endpoint does not give the likelihood of "
                "given texts; take rule 'symbol', or a local model"
            )
        shown = check_demonstrations(items, demonstrations)
        asked = list(zip(items, [render(item, before) for item, before in zip(items, shown, strict=True)], strict=True))
        reading = self._reading
        chosen: list[int | None] = []
        if reading != "text":
            top = self._first_top(asked[0][1])
            if top is None and reading == "log-probabilities":
                raise ConfigurationError(f"{self._model!r} gives no log-probabilities: take reading='text'")
            reading = "text" if top is None else "log-probabilities"
            chosen = [] if top is None else [likeliest(asked[0][0], top)]
        ask = self._by_text if reading == "text" else self._by_log_probabilities
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="endpoint") as pool:
            futures = [pool.submit(ask, *one) for one in asked[len(chosen) :]]
            try:
                for future in futures:
                    chosen.append(future.result())
                    if progress is not None:
                        progress(len(chosen), len(items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        by = "generated text" if reading == "text" else "top log-probabilities"
        instruction = _REPEAT_CUE if reading == "text" else ""
        return Answers(tuple(items), tuple(chosen), f"symbol, {by}", instruction)

    def _by_text(self, item: Item, prompt: str) -> int | None:
        reply = self._call(f"{_REPEAT_CUE}\n\n{prompt}", self._max_tokens)
        return read_answer(item, reply.message.content or "")

    def _by_log_probabilities(self, item: Item, prompt: str) -> int | None:
        top = self._top(prompt)
        return None if top is None else likeliest(item, top)

    def _first_top(self, prompt: str) -> dict[str, float] | None:
        """Find out whether log-probabilities are given: some models refuse the option as such, some so many of them."""
        for count in _TOP:
            self._top_count = count
            try:
                return self._top(prompt)
            except EndpointError as error:
                status = getattr(error.__cause__, "status_code", None)
                if status is None or status == _TOO_MANY_CALLS:  # which says nothing about the option
                    raise
        return None

    def _top(self, prompt: str) -> dict[str, float] | None:
        choice = self._call(prompt, 1, logprobs=True, top_logprobs=self._top_count)
        content = getattr(choice.logprobs, "content", None)
        if not content or not content[0].top_logprobs:
            return None
        return {one.token: one.logprob for one in content[0].top_logprobs}

    def _call(self, prompt: str, limit: int, **options: Any) -> Any:
        """Call the model; the limit of tokens goes by another name where the first one is refused."""
        name = self._limit_name
        try:
            return self._create(prompt, **{name: limit}, **options)
        except EndpointError as error:
            if name != "max_tokens" or name not in str(error.__cause__):
                raise
        self._limit_name = "max_completion_tokens"
        return self._create(prompt, **{self._limit_name: limit}, **options)

    def _create(self, prompt: str, **options: Any) -> Any:
        try:
            answer = self._client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": prompt}], temperature=0, **options
            )
        except Exception as error:
            status = getattr(error, "status_code", None)  # the text of the error may quote the key or the prompt
            why = type(error).__name__ + (f" (status {status})" if isinstance(status, int) else "")
            raise EndpointError(f"model {self._model!r} cannot be asked: {why}") from error
        if not answer.choices:
            raise EndpointError(f"model {self._model!r} answered without a choice")
        return answer.choices[0]


def _address(client: Any) -> str | None:
    """Return where the client sends its calls, without what may be secret."""
    parts = urlsplit(str(getattr(client, "base_url", "")))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else None


def likeliest(item: Item, top: dict[str, float]) -> int | None:
    """Return the position whose symbol is the likeliest first token.

    Args:
        item: The item.
        top: Token to log-probability; tokens that are equal but for white space and an opening bracket count together.

    Returns:
        None if no symbol is among the tokens: an absent symbol is less likely than each that is there.
    """
    totals = dict.fromkeys(item.symbols, 0.0)
    for token, log_probability in top.items():
        bare = token.strip().lstrip("(") or token.strip()
        if bare in totals:
            totals[bare] += math.exp(log_probability)
    best = max(totals.values())
    return None if best == 0 else list(totals.values()).index(best)
