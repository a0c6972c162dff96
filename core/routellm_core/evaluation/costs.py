"""What calls of a benchmark cost: recorded, or from prices and tokens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from routellm_core.evaluation.bootstrap import Ranking, map_resamples
from routellm_core.evaluation.curve import Array, first_crossing, quality_at
from routellm_core.evaluation.interval import Interval, interval_from_draws
from routellm_core.evaluation.metrics import recovered
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.pricing import TYPICAL_INPUT_TOKENS, TYPICAL_OUTPUT_TOKENS, Price


def call_costs(table: OutcomeTable, model: str, prices: Mapping[str, Any]) -> Array | None:
    """Return what each call of a model costs in US dollars, shape (n,); None if that cannot be known.

    A recorded cost comes first. Where there is none, the price times the tokens; where those are not recorded either, the
    tokens of a typical call.

    Args:
        table: The benchmark.
        model: A model of it.
        prices: Model to `Price`, number or fields; see `Price.parse`.

    Raises:
        UnknownModelError: If the table does not have the model.
        ConfigurationError: If the price is none.
    """
    one = table.for_models([model])
    unknown = np.full(len(table), np.nan)
    recorded = unknown if one.cost_usd is None else one.cost_usd[:, 0]
    if model not in prices:
        return None if np.isnan(recorded).any() else recorded
    price = Price.parse(prices[model])
    tokens_in, tokens_out = (
        np.full(len(table), float(typical))
        if tokens is None
        else np.where(np.isnan(tokens[:, 0]), typical, tokens[:, 0])
        for tokens, typical in ((one.tokens_in, TYPICAL_INPUT_TOKENS), (one.tokens_out, TYPICAL_OUTPUT_TOKENS))
    )
    priced = np.array([price.cost(i, o) for i, o in zip(tokens_in.tolist(), tokens_out.tolist(), strict=True)])
    return np.where(np.isnan(recorded), priced, recorded)


@dataclass(frozen=True, kw_only=True, slots=True)
class Savings:
    """What routing saves at one part of the recovered gap. Costs are US dollars per thousand calls.

    Attributes:
        gap: The part of the performance gap that is recovered.
        strong_fraction: The share of strong calls it takes.
        routed: What the calls cost then, the router's own cost included.
        router: The router's own cost; 0 where it is not known.
        all_strong: What they would cost without routing.
        all_weak: What the weak model alone would cost.
        saved: The saved share of the cost of strong calls alone; below 0 if routing costs more.
    """

    gap: float
    strong_fraction: float
    routed: Interval
    router: float
    all_strong: float
    all_weak: float
    saved: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "gap": self.gap,
            "strong_fraction": self.strong_fraction,
            "usd_per_1000_calls": self.routed.to_dict(),
            "usd_per_1000_calls_router": self.router,
            "usd_per_1000_calls_strong": self.all_strong,
            "usd_per_1000_calls_weak": self.all_weak,
            "saved": self.saved.to_dict(),
        }


def bootstrap_savings(
    win_rates: Array,
    scores: tuple[Array, Array],
    costs: tuple[Array, Array],
    levels: Sequence[float],
    *,
    router_cost: float = 0.0,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Savings, ...]:
    """Return what the calls cost where parts of the gap are recovered: prompts with the highest win rates go to strong.

    On every resample the share of strong calls that recovers the part is found anew.

    Args:
        win_rates: The router's strong win rates, shape (n,).
        scores: The weak and the strong model's score on each prompt, shape (n,) each.
        costs: What each call costs on weak and on strong, US dollars, shape (n,) each.
        levels: The parts of the gap; those that are never recovered are left out.
        router_cost: What scoring one prompt costs, US dollars.
        resamples: Of the bootstrap.
        confidence: Of the intervals, in (0, 1).
        seed: Of the resamples; the same resamples as `bootstrap_pair` takes with it.
    """
    (weak, strong), (weak_costs, strong_costs), n = scores, costs, len(win_rates)
    sides = np.stack([weak, weak_costs, strong_costs], axis=1)

    def read(counts: Array, ranking: Ranking) -> Array:
        """Return the mean cost on strong, and for each level the share and the cost, shape (1 + 2 levels, rows)."""
        means = counts @ sides / n
        x, quality = ranking.curves(counts, counts * (strong - weak), means[:, 0])
        _, cost = ranking.curves(counts, counts * (strong_costs - weak_costs), means[:, 1])
        r = recovered(quality)
        shares = [first_crossing(x, r, level) for level in levels]
        routed = [np.where(np.isnan(share), np.nan, quality_at(x, cost, share)) + router_cost for share in shares]
        return np.array([means[:, 2], *shares, *routed])

    ranking = Ranking.of(win_rates)
    value = read(np.ones((1, n)), Ranking.of(win_rates, most_groups=n))[:, 0]
    drawn = np.concatenate(map_resamples(lambda counts: read(counts, ranking), n, resamples, seed), axis=1)
    shares, routed = np.split(value[1:], 2)
    _, routed_drawn = np.split(drawn[1:], 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        saved, saved_drawn = 1 - routed / value[0], 1 - routed_drawn / drawn[0]
    return tuple(
        Savings(
            gap=level,
            strong_fraction=float(shares[i]),
            routed=interval_from_draws(1000 * float(routed[i]), 1000 * routed_drawn[i], confidence=confidence),
            router=1000 * router_cost,
            all_strong=1000 * float(value[0]),
            all_weak=1000 * float(weak_costs.mean()),
            saved=interval_from_draws(float(saved[i]), saved_drawn[i], confidence=confidence)
            if value[0] > 0
            else Interval.undefined("strong calls cost nothing here"),
        )
        for i, level in enumerate(levels)
        if not math.isnan(shares[i])
    )
