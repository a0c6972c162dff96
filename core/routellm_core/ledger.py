"""The ledger: tokens and money per model, and what the same calls would have cost on the strong model alone."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from routellm_core.pricing import Price


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The tokens of one call.

    Attributes:
        input_tokens: Of the prompt, those from the provider's cache included.
        output_tokens: Of the answer.
        cached_tokens: How many of the prompt's came from the provider's cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelTotals:
    """What one model was asked.

    Attributes:
        calls: How many calls it answered.
        failures: How many it failed.
        calls_without_usage: Answered calls whose tokens it did not report; they are missing in tokens and cost.
        usage: The tokens of all calls.
        cost: In US dollars; None if its price is not known.
        strong_only_cost: What these calls would have cost on the strong model, in US dollars; None if that price is not known.
    """

    calls: int = 0
    failures: int = 0
    calls_without_usage: int = 0
    usage: Usage = Usage()
    cost: float | None = None
    strong_only_cost: float | None = None


class Ledger:
    """Adds up calls by model. Safe to feed from many threads.

    The cost on the strong model alone takes the tokens as they were: an answer of the strong model may be longer or shorter.

    Args:
        prices: The price of each candidate; one that is missing is counted in tokens alone.
        strong: The candidate that would have taken every call.
    """

    def __init__(self, prices: Mapping[str, Price], strong: str) -> None:
        self._prices = dict(prices)
        self._strong = strong
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], ModelTotals] = {}

    def record(
        self, model: str, usage: Usage | None = None, *, failed: bool = False, strong: str | None = None
    ) -> None:
        """Add one call.

        Args:
            model: The candidate that was called.
            usage: Its tokens; None if they are not known.
            failed: Whether the call failed.
            strong: The candidate that would have taken this call; None takes the ledger's own. Chains may differ in it.
        """
        key = (model, self._strong if strong is None else strong)
        with self._lock:
            totals = self._totals.get(key, ModelTotals())
            if failed:
                totals = replace(totals, failures=totals.failures + 1)
            else:
                totals = replace(
                    totals, calls=totals.calls + 1, calls_without_usage=totals.calls_without_usage + (usage is None)
                )
            if usage is not None:
                totals = replace(totals, usage=_added(totals.usage, usage))
            self._totals[key] = totals

    def update_prices(self, prices: Mapping[str, Price], strong: str) -> None:
        """Take other prices; what was recorded is counted at them from now on."""
        with self._lock:
            self._prices = dict(prices)
            self._strong = strong

    @property
    def totals(self) -> dict[str, ModelTotals]:
        """The totals of every model that was called, costs included."""
        with self._lock:
            totals = dict(self._totals)
        merged: dict[str, ModelTotals] = {}
        for (model, strong), one in totals.items():
            priced = replace(one, cost=self._cost(one.usage, model), strong_only_cost=self._cost(one.usage, strong))
            merged[model] = _merged(merged[model], priced) if model in merged else priced
        return merged

    @property
    def cost(self) -> float | None:
        """What all calls cost, in US dollars; None if a price is not known."""
        return _sum(one.cost for one in self.totals.values())

    @property
    def strong_only_cost(self) -> float | None:
        """What they would have cost on the strong model alone, in US dollars; None if its price is not known."""
        return _sum(one.strong_only_cost for one in self.totals.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: every model's totals, both costs and the share saved."""
        cost, strong_only = self.cost, self.strong_only_cost
        return {
            "models": {
                model: {
                    "calls": one.calls,
                    "failures": one.failures,
                    "calls_without_usage": one.calls_without_usage,
                    "input_tokens": one.usage.input_tokens,
                    "output_tokens": one.usage.output_tokens,
                    "cached_tokens": one.usage.cached_tokens,
                    "cost_usd": one.cost,
                    "strong_only_cost_usd": one.strong_only_cost,
                }
                for model, one in self.totals.items()
            },
            "cost_usd": cost,
            "strong_only_cost_usd": strong_only,
            "saved_fraction": None if cost is None or not strong_only else 1 - cost / strong_only,
        }

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _cost(self, usage: Usage, model: str) -> float | None:
        price = self._prices.get(model)
        if price is None:
            return None
        return price.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)


def _added(a: Usage, b: Usage) -> Usage:
    return Usage(
        input_tokens=a.input_tokens + b.input_tokens,
        output_tokens=a.output_tokens + b.output_tokens,
        cached_tokens=a.cached_tokens + b.cached_tokens,
    )


def _merged(a: ModelTotals, b: ModelTotals) -> ModelTotals:
    return ModelTotals(
        calls=a.calls + b.calls,
        failures=a.failures + b.failures,
        calls_without_usage=a.calls_without_usage + b.calls_without_usage,
        usage=_added(a.usage, b.usage),
        cost=_sum([a.cost, b.cost]),
        strong_only_cost=_sum([a.strong_only_cost, b.strong_only_cost]),
    )


def _sum(costs: Any) -> float | None:
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
