"""What routing saves: what the calls of a decision log cost, and what they would have cost at other thresholds."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import calibrate_threshold
from routellm_core.call_costs import CallCosts, RouterCost
from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.interval import Interval, interval_from_draws
from routellm_core.ledger import Ledger
from routellm_core.pricing import Price
from routellm_core.traffic import DecisionRecords, LoggedDecision

Array = NDArray[np.float64]

FRACTIONS = tuple(step / 10 for step in range(11))
WORTH_USD = 50.0
"""Below this a month, a saving hardly pays for anybody's time; a round figure, to be replaced by one's own."""

_DAYS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdCost:
    """What the calls would have cost at one threshold.

    Attributes:
        threshold: Strong from this win rate on; None for what really happened.
        strong_fraction: The share of strong calls among those that the router decides.
        usd: The cost of all calls in a month, the router's included.
        saved_usd: How much less than without routing.
        saved_fraction: The same as a share.
    """

    threshold: float | None
    strong_fraction: float
    usd: Interval
    saved_usd: Interval
    saved_fraction: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "threshold": self.threshold,
            "strong_fraction": self.strong_fraction,
            "usd": self.usd.to_dict(),
            "saved_usd": self.saved_usd.to_dict(),
            "saved_fraction": self.saved_fraction.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class SavingsEstimate:
    """What routing saves, by a decision log.

    All amounts are for 30 days of such traffic; without routing, the calls that the router decides go to strong.

    Attributes:
        calls: How many answered calls the log has.
        days: How many days it covers.
        without_routing_usd: What a month costs without routing.
        router_usd: What the router costs in it.
        router_seconds: How long calls waited for their scores in it.
        actual: What it costs as the calls were routed.
        thresholds: What it would cost at other thresholds; empty if no call has a strong win rate.
        models: Tokens and money of each model in the log itself, not scaled to a month (`Ledger.to_dict`).
        worth_it: Whether routing pays: True or False where the interval and the size of the saving say so, else None.
        verdict: The same as a sentence.
        warnings: What is not certain.
    """

    calls: int
    days: float
    without_routing_usd: Interval
    router_usd: float
    router_seconds: float
    actual: ThresholdCost
    thresholds: tuple[ThresholdCost, ...]
    models: Mapping[str, Any]
    worth_it: bool | None
    verdict: str
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "calls": self.calls,
            "days": self.days,
            "without_routing_usd": self.without_routing_usd.to_dict(),
            "router_usd": self.router_usd,
            "router_seconds": self.router_seconds,
            "actual": self.actual.to_dict(),
            "thresholds": [one.to_dict() for one in self.thresholds],
            "models": dict(self.models),
            "worth_it": self.worth_it,
            "verdict": self.verdict,
            "warnings": list(self.warnings),
        }


def estimate_savings(
    records: DecisionRecords | Sequence[LoggedDecision],
    prices: Mapping[str, Price],
    *,
    router: RouterCost | None = None,
    days: float | None = None,
    worth_usd: float = WORTH_USD,
    resamples: int = 1000,
    seed: int = 0,
) -> SavingsEstimate:
    """Estimate what a month of such traffic costs at different thresholds, with 95% bootstrap intervals.

    A call that goes to the other model keeps its number of tokens. Forced calls, calls with tools that have a route of their
    own, and calls that only one model could take stay where they were. A call that stayed on the model of its conversation goes
    where the last scored call of the conversation goes. Conversations are resampled where they are known, else calls.

    Args:
        records: The log.
        prices: The price of every model in it.
        router: What the router itself costs; None takes nothing for it.
        days: How long the log is; None takes the time between its first and its last call, but at least a day.
        worth_usd: What a month must save for routing to be worth it.
        resamples: How many bootstrap resamples to draw.
        seed: Of the resamples.

    Raises:
        ConfigurationError: If the log has no answered call with tokens, a model has no price, or a number is out of range.
    """
    if not 0 <= worth_usd < math.inf or resamples < 1 or (days is not None and not 0 < days < math.inf):
        raise ConfigurationError(
            "worth_usd must be 0 or more, resamples 1 or more and days more than 0, not "
            f"{worth_usd!r}, {resamples!r} and {days!r}"
        )
    rows = [row for row in records if row.error is None]
    if not any(row.usage is not None for row in rows):
        raise ConfigurationError("no answered call of the log has tokens: there is nothing to price")
    costs = CallCosts(rows, prices, router or RouterCost())
    span = (max(row.time for row in rows) - min(row.time for row in rows)).total_seconds() / 86400
    length = days if days is not None else max(span, 1.0)
    month = _Month(costs, _DAYS / length, resamples, seed)
    actual = month.at(None, costs.actual)
    scored = costs.rates[costs.simulated]
    found = [calibrate_threshold(scored, fraction).threshold for fraction in FRACTIONS] if scored.size else []
    thresholds = tuple(month.at(threshold, costs.at(threshold)) for threshold in dict.fromkeys(found))
    worth_it, verdict = _judge(actual, thresholds, worth_usd)
    return SavingsEstimate(
        calls=len(rows),
        days=length,
        without_routing_usd=month.total(costs.without_routing),
        router_usd=float(costs.router.sum()) * _DAYS / length,
        router_seconds=sum(row.scoring_ms for row in rows) / 1000 * _DAYS / length,
        actual=actual,
        thresholds=thresholds,
        models=_ledger(rows, prices),
        worth_it=worth_it,
        verdict=verdict,
        warnings=(
            *costs.warnings,
            *_log_warnings(records, span if days is None else None, (actual, *thresholds), router),
        ),
    )


class _Month:
    """Sums over the calls, for a month of them, with their intervals."""

    def __init__(self, costs: CallCosts, scale: float, resamples: int, seed: int) -> None:
        self._baseline = costs.without_routing
        self._blocks = costs.blocks
        self._scale = scale
        n = int(self._blocks.max()) + 1
        self._drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
        self._without = self._draw(self._baseline)

    def _draw(self, values: Array) -> Array:
        return np.asarray(self._drawn @ np.bincount(self._blocks, values) * self._scale)

    def total(self, values: Array) -> Interval:
        """Return what the calls come to in a month."""
        return interval_from_draws(float(values.sum()) * self._scale, self._draw(values))

    def at(self, threshold: float | None, cost_and_share: tuple[Array, float]) -> ThresholdCost:
        cost, share = cost_and_share
        saved, before = self._baseline - cost, float(self._baseline.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            fractions = self._draw(saved) / self._without
        fraction = (
            interval_from_draws(float(saved.sum()) / before, fractions)
            if before > 0
            else Interval.undefined("without routing these calls cost nothing")
        )
        return ThresholdCost(
            threshold=threshold,
            strong_fraction=share,
            usd=self.total(cost),
            saved_usd=self.total(saved),
            saved_fraction=fraction,
        )


def _ledger(rows: Sequence[LoggedDecision], prices: Mapping[str, Price]) -> dict[str, Any]:
    strong, _ = Counter(row.strong or row.choice for row in rows).most_common(1)[0]
    ledger = Ledger(prices, strong)
    for row in rows:
        ledger.record(row.choice, row.usage, strong=row.strong)
    models: dict[str, Any] = ledger.to_dict()["models"]
    return models


def _judge(actual: ThresholdCost, thresholds: Sequence[ThresholdCost], worth_usd: float) -> tuple[bool | None, str]:
    """Say whether routing pays as it is, or, where all calls went to strong, at half of them."""
    shown, how = actual, "as the calls were routed"
    if actual.strong_fraction == 1.0 and thresholds:
        shown = min(thresholds, key=lambda one: abs(one.strong_fraction - 0.5))
        how = f"with {shown.strong_fraction:.0%} of the calls on strong (so far all were)"
    saved = shown.saved_usd
    amount = f"${saved.value:,.2f} a month (95% interval ${saved.low:,.2f} to ${saved.high:,.2f}) {how}"
    if saved.high <= 0:
        return (
            False,
            f"not worth it: routing saves {amount}, the cost of the router counted",
        )
    if saved.low <= 0:
        return None, f"not shown to be worth it: {amount}; the interval holds zero, so log more calls"
    if saved.high < worth_usd:
        return False, f"hardly worth it: {amount}, less than ${worth_usd:,.2f}; the volume is too small"
    if saved.low < worth_usd:
        return None, f"perhaps worth it: {amount}, around ${worth_usd:,.2f}; log more calls"
    return True, f"worth it: saves {amount}, if the cheaper answers are good enough, which no log can tell"


def _log_warnings(
    records: DecisionRecords | Sequence[LoggedDecision],
    span: float | None,
    shown: Sequence[ThresholdCost],
    router: RouterCost | None,
) -> list[str]:
    warnings = []
    if span is not None and span < 1:
        warnings.append("the log covers less than a day and is taken for one: say how many days such traffic takes")
    elif span is not None and span < 7:
        warnings.append(f"the log covers {span:.1f} days: traffic differs between the days of a week")
    if isinstance(records, DecisionRecords) and (records.dropped or records.broken):
        warnings.append(f"the log has lost {records.dropped} calls and has {records.broken} broken lines")
    failed = sum(row.error is not None for row in records)
    if failed:
        warnings.append(f"{failed} failed calls are left out")
    if router is None:
        warnings.append("the router's own cost is taken for nothing: it ran inside the application")
    if any(one.usd.high - one.usd.low > one.usd.value for one in shown):  # False for NaN
        warnings.append("the intervals are wide: few calls, or a few very long ones, make up the cost")
    return warnings
