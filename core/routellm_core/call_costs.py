"""What every call of a decision log cost, and what it would have cost on the other model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.pricing import TYPICAL_INPUT_TOKENS, Price
from routellm_core.traffic import LoggedDecision

Array = NDArray[np.float64]

_NOT_THE_ROUTERS = frozenset({"forced", "tools_route", "only_candidate", "empty_prompt"})
"""Reasons of decisions that would be the same without a router, whatever its threshold."""
_MOST_BLOCKS = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterCost:
    """What the router itself costs.

    Attributes:
        usd_per_hour: The price of the machine it runs on.
        requests_per_second: How many prompts that machine scores; None takes the times in the log, which say how long calls
            waited: too much where many were decided in one batch.
        usd_per_million_tokens: What a paid embedding of the prompts costs.

    Raises:
        ConfigurationError: If a number is out of range.
    """

    usd_per_hour: float = 0.0
    requests_per_second: float | None = None
    usd_per_million_tokens: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.usd_per_hour < math.inf and 0 <= self.usd_per_million_tokens < math.inf):
            raise ConfigurationError("the prices of a router are US dollars, 0 or more")
        if self.requests_per_second is not None and not self.requests_per_second > 0:
            raise ConfigurationError(f"requests_per_second must be more than 0, not {self.requests_per_second!r}")

    def per_call(self, *, seconds: float = 0.0, tokens: float = TYPICAL_INPUT_TOKENS) -> float:
        """Return the cost of scoring one prompt in US dollars; a million times this is a row of RouteLLM's table 7.

        Args:
            seconds: How long the router took, where `requests_per_second` does not say.
            tokens: Of the prompt.

        Example:
            >>> RouterCost(usd_per_hour=0.39, requests_per_second=2.9, usd_per_million_tokens=0.02).per_call() * 1e6
            39.25...
        """
        busy = seconds if self.requests_per_second is None else 1 / self.requests_per_second
        return self.usd_per_hour / 3600 * busy + self.usd_per_million_tokens * tokens / 1e6


class CallCosts:
    """What answered calls cost, in US dollars.

    Args:
        rows: n answered calls, at least one of which has tokens.
        prices: The price of every model that they name.
        router: What scoring costs.

    Attributes:
        own: On the models that answered, shape (n,).
        strong: On the strong model of each, shape (n,).
        weak: On the weak model of each, shape (n,).
        router: Of scoring them, shape (n,).
        without_routing: Where the router's calls go to strong, and the others where they went, shape (n,).
        rates: The strong win rate that decides each, its own or that of its conversation, shape (n,); NaN if there is none.
        simulated: Which calls would go elsewhere at another threshold, shape (n,).
        is_strong: Which went to strong, shape (n,).
        blocks: The number of the block that each is to be resampled with, shape (n,).
        warnings: What is not certain about them.

    Raises:
        ConfigurationError: If a model has no price.
    """

    def __init__(self, rows: Sequence[LoggedDecision], prices: Mapping[str, Price], router: RouterCost) -> None:
        known = [row.usage for row in rows if row.usage is not None]
        mean = tuple(
            float(np.mean([getattr(usage, name) for usage in known]))
            for name in ("input_tokens", "output_tokens", "cached_tokens")
        )
        tokens = np.array(
            [
                mean
                if row.usage is None
                else (row.usage.input_tokens, row.usage.output_tokens, row.usage.cached_tokens)
                for row in rows
            ],
            dtype=np.float64,
        )
        chosen = [row.choice for row in rows]
        strong, weak = [row.strong or row.choice for row in rows], [row.weak or row.choice for row in rows]
        missing = sorted({*chosen, *strong, *weak} - prices.keys())
        if missing:
            raise ConfigurationError(f"there is no price of {', '.join(map(repr, missing))}, which the log names")
        self.own, self.strong, self.weak = (_cost(tokens, names, prices) for names in (chosen, strong, weak))
        self.rates = _rates(rows)
        routed = np.array([row.reason not in _NOT_THE_ROUTERS for row in rows])
        self.simulated = routed & ~np.isnan(self.rates)
        self.without_routing = np.where(routed, self.strong, self.own)
        self.router = np.array(
            [
                router.per_call(seconds=row.scoring_ms / 1000, tokens=tokens[i, 0])
                if row.strong_win_rate is not None
                else 0.0
                for i, row in enumerate(rows)
            ]
        )
        self.is_strong = np.array([row.choice == row.strong for row in rows])
        self.blocks = _blocks(rows)
        self.warnings = _token_warnings(rows, len(known), self)

    @property
    def actual(self) -> tuple[Array, float]:
        """The cost of each call as it was, the router's included, and the share of strong ones."""
        share = self.is_strong[self.simulated].mean() if self.simulated.any() else self.is_strong.mean()
        return self.own + self.router, float(share)

    def at(self, threshold: float) -> tuple[Array, float]:
        """The same at a threshold."""
        goes_to_strong = self.rates >= threshold  # False for NaN, which is not simulated
        simulated = np.where(goes_to_strong, self.strong, self.weak)
        return np.where(self.simulated, simulated, self.own) + self.router, float(goes_to_strong[self.simulated].mean())


def _cost(tokens: Array, models: Sequence[str], prices: Mapping[str, Price]) -> Array:
    costs = np.empty(len(models))
    names = np.array(models)
    for name in set(models):
        inside = names == name
        costs[inside] = [prices[name].cost(*row) for row in tokens[inside].tolist()]
    return costs


def _rates(rows: Sequence[LoggedDecision]) -> Array:
    """Return the strong win rate that decides each call: its own, or that of its conversation; NaN if there is none."""
    rates = np.full(len(rows), np.nan)
    of_session: dict[str, float] = {}
    for position, row in enumerate(rows):
        if row.strong_win_rate is not None:
            rates[position] = row.strong_win_rate
            if row.session_hash is not None:
                of_session[row.session_hash] = row.strong_win_rate
        elif row.reason == "session" and row.session_hash is not None:
            rates[position] = of_session.get(row.session_hash, np.nan)
    return rates


def _blocks(rows: Sequence[LoggedDecision]) -> NDArray[np.intp]:
    """Return the number of the block that each call is resampled with: its conversation's, or its own."""
    keys: dict[object, int] = {}
    blocks = np.array([keys.setdefault(row.session_hash or position, len(keys)) for position, row in enumerate(rows)])
    # Very many blocks are put together at random: their sums are as independent as they were, and quicker to resample.
    if len(keys) > _MOST_BLOCKS:
        blocks = np.random.default_rng(0).permutation(len(keys))[blocks] % _MOST_BLOCKS
    return np.asarray(blocks, dtype=np.intp)


def _token_warnings(rows: Sequence[LoggedDecision], known: int, costs: CallCosts) -> list[str]:
    warnings = []
    if known < len(rows):
        warnings.append(
            f"{len(rows) - known} of {len(rows)} calls report no tokens: they are taken for the mean of the others"
        )
    lengths = {
        strong: [
            row.usage.output_tokens
            for row, is_strong in zip(rows, costs.is_strong, strict=True)
            if row.usage and is_strong == strong
        ]
        for strong in (True, False)
    }
    if all(len(one) >= 20 for one in lengths.values()):
        ratio = float(np.mean(lengths[True])) / max(1.0, float(np.mean(lengths[False])))
        if not 0.8 <= ratio <= 1.25:
            warnings.append(
                f"strong's answers are {ratio:.2f} times as long as the others', and a call that changes its model keeps its "
                "tokens here: costs at other thresholds are off by some of that, as far as it is not due to the prompts"
            )
    fixed = int((~costs.simulated).sum())
    if fixed:
        warnings.append(
            f"{fixed} of {len(rows)} calls have no strong win rate, or were not the router's to decide: they stay where they "
            "were at every threshold"
        )
    if (costs.weak >= costs.strong).all():
        warnings.append("no call is cheaper on the weak model: check the prices, and which model is the weak one")
    return warnings
