"""Prices: what a call costs on a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from routellm_core.errors import ConfigurationError, MissingDependencyError

TYPICAL_INPUT_TOKENS = 95
TYPICAL_OUTPUT_TOKENS = 264
"""Mean tokens of a Chatbot Arena prompt and its answer (RouteLLM, arXiv 2406.18665, appendix D)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a model charges, in US dollars per million tokens.

    Attributes:
        input: For prompt tokens.
        output: For answer tokens.
        cached_input: For prompt tokens found in the provider's prompt cache; None if there is no discount.
    """

    input: float
    output: float
    cached_input: float | None = None

    def __post_init__(self) -> None:
        for value in (self.input, self.output, self.cached_input):
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf
            ):
                raise ConfigurationError(
                    f"a price is a number of US dollars per million tokens, 0 or more, not {value!r}"
                )

    def cost(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """Return the cost of a call in US dollars.

        Args:
            input_tokens: Of the prompt, those from the cache included.
            output_tokens: Of the answer.
            cached_tokens: How many of the prompt's came from the cache.
        """
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = input_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + output_tokens * self.output) / 1e6

    @property
    def typical_call(self) -> float:
        """The cost of a typical call in US dollars; orders models by price."""
        return self.cost(TYPICAL_INPUT_TOKENS, TYPICAL_OUTPUT_TOKENS)

    def per_token(
        self, input_tokens: float = TYPICAL_INPUT_TOKENS, output_tokens: float = TYPICAL_OUTPUT_TOKENS
    ) -> float:
        """Return the mean price of a token of such calls, in US dollars per million.

        Example:
            >>> round(Price(input=10, output=30).per_token(), 4)
            24.7075
        """
        return self.cost(input_tokens, output_tokens) / (input_tokens + output_tokens) * 1e6

    @classmethod
    def parse(cls, value: "Price | float | Mapping[str, Any]") -> Self:
        """Return a price from a price, from one number for input and output alike, or from its fields.

        Raises:
            ConfigurationError: If it is none of these.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return cls(input=float(value), output=float(value))
        if isinstance(value, Mapping) and {"input", "output"} <= value.keys() <= {"input", "output", "cached_input"}:
            return cls(**value)
        raise ConfigurationError(
            f"a price is a number (US dollars per million tokens) or has the fields input, output and cached_input, not {value!r}"
        )


def look_up_price(model: str, provider: str | None = None) -> Price | None:
    """Return the public list price of a model from the package genai-prices; None if it does not list the model.

    Args:
        model: The provider's name of the model.
        provider: The provider, if the name alone is ambiguous.

    Raises:
        MissingDependencyError: If the extra `prices` is not installed.
    """
    try:
        from genai_prices import Usage, calc_price
    except ImportError as error:
        raise MissingDependencyError.for_extra("Looking up list prices", "prices") from error
    thousand = {
        "input": Usage(input_tokens=1000),
        "output": Usage(output_tokens=1000),
        "cached_input": Usage(input_tokens=1000, cache_read_tokens=1000),
    }
    try:
        per_million = {
            kind: float(calc_price(usage, model_ref=model, provider_id=provider).total_price) * 1000
            for kind, usage in thousand.items()
        }
    except LookupError:
        return None
    return Price(**per_million)
