"""What calls of a benchmark cost: recorded, or from prices and tokens."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routellm_core.evaluation.curve import Array, CostQualityCurve
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
        routed: What the calls cost then.
        all_strong: What they would cost without routing.
        all_weak: What the weak model alone would cost.
    """

    gap: float
    strong_fraction: float
    routed: float
    all_strong: float
    all_weak: float

    @property
    def saved(self) -> float:
        """The saved share of the cost of strong calls alone; below 0 if routing costs more."""
        return 1.0 - self.routed / self.all_strong if self.all_strong else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON."""
        return {
            "gap": self.gap,
            "strong_fraction": self.strong_fraction,
            "usd_per_1000_calls": self.routed,
            "usd_per_1000_calls_strong": self.all_strong,
            "usd_per_1000_calls_weak": self.all_weak,
            "saved": self.saved,
        }


def savings_at(win_rates: Array, weak_costs: Array, strong_costs: Array, gap: float, strong_fraction: float) -> Savings:
    """Return what the calls cost when the prompts with the highest win rates go to strong.

    The router's own cost is not in it.

    Args:
        win_rates: The router's strong win rates, shape (n,).
        weak_costs: US dollars a call on the weak model, shape (n,).
        strong_costs: The same on the strong one.
        gap: The part of the gap that this recovers, for the record.
        strong_fraction: The share of strong calls, in [0, 1].
    """
    costs = CostQualityCurve.from_win_rates(win_rates, weak_costs, strong_costs)
    routed = float(np.interp(strong_fraction, costs.strong_fraction, costs.quality))
    return Savings(
        gap=gap,
        strong_fraction=strong_fraction,
        routed=1000 * routed,
        all_strong=1000 * costs.strong_quality,
        all_weak=1000 * costs.weak_quality,
    )
