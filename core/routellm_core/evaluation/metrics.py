"""Metrics of RouteLLM (arXiv 2406.18665, section 3.2) on the exact cost-quality curve. Pure functions of arrays."""

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.curve import Array, CostQualityCurve, decile_points, first_crossing, quality_at

APGRMethod = Literal["exact", "deciles", "mean10"]

HIGHEST_LEVEL = (
    2.0  # the best mix of two models may beat the strong one; a level of 80 is a percentage given by mistake
)


def performance_gap_recovered(quality: float, weak_quality: float, strong_quality: float) -> float:
    """Return PGR = (quality - weak) / (strong - weak), which is 0 at the weak and 1 at the strong model's quality.

    Args:
        quality: What is reached.
        weak_quality: The weak model's.
        strong_quality: The strong model's.

    Returns:
        Below 0 and above 1 are possible; NaN if the two models are equally good, for then there is no gap.
    """
    if math.isclose(strong_quality, weak_quality, rel_tol=1e-12):  # a gap that rounding has made is none
        return math.nan
    return (quality - weak_quality) / (strong_quality - weak_quality)


def recovered(q: Array) -> Array:
    """Return PGR at every point of curves.

    Args:
        q: Qualities, shape (..., k): the weak model's first, the strong model's last.

    Returns:
        Shape (..., k); NaN along a curve whose ends are equal.
    """
    weak, strong = q[..., :1], q[..., -1:]
    gap = strong - weak
    none = np.abs(gap) <= 1e-12 * np.maximum(np.abs(weak), np.abs(strong))
    return np.where(none, np.nan, (q - weak) / np.where(none, 1.0, gap))


def mean_recovered(x: Array, q: Array, n: int, method: APGRMethod = "exact") -> Array:
    """Return APGR of curves given by the points where a threshold can stand, shape (...); see the scalar form.

    Args:
        x: Shares of strong calls, shape (..., k), from 0 to 1.
        q: Qualities, shape (..., k).
        n: The number of prompts.
        method: See `average_performance_gap_recovered`.
    """
    if method == "deciles":
        x, q = decile_points(x, q, n)
    r = recovered(q)
    if method == "mean10":
        return np.asarray(np.mean([quality_at(x, r, tenth / 10) for tenth in range(1, 11)], axis=0))
    return np.asarray(np.trapezoid(r, x, axis=-1))


def average_performance_gap_recovered(curve: CostQualityCurve, method: APGRMethod = "exact") -> float:
    """Return APGR, the mean of PGR over all shares of strong calls: 0.5 for a random router.

    Args:
        curve: The router's curve.
        method: "exact" integrates over all points of the curve. "deciles" takes the eleven points that the RouteLLM
            repository takes, thresholds at the deciles of the win rates, and the trapezoid rule; the published tables are
            made so. "mean10" is the mean at 10%, 20%, ..., 100% of strong calls, the paper's formula to the letter, at
            which a random router has 0.55.

    Returns:
        NaN if the two models are equally good.

    Raises:
        ConfigurationError: If there is no such method.
    """
    if method not in ("exact", "deciles", "mean10"):
        raise ConfigurationError(f"method must be 'exact', 'deciles' or 'mean10', not {method!r}")
    x, q = curve.points()
    return float(mean_recovered(x, q, len(curve.quality) - 1, method))


def call_performance_threshold(curve: CostQualityCurve, gap: float = 0.5) -> float | None:
    """Return CPT, the smallest share of strong calls that recovers a part of the performance gap.

    Args:
        curve: The router's curve.
        gap: The part to recover, in [0, 2]; 0.8 is CPT(80%). At all strong calls it is 1, so every router recovers a part up
            to 1; more than the strong model alone is reached by a router that knows where the weak one is better.

    Returns:
        A share in [0, 1], linear between the points of the curve, where it is first reached (the curve need not rise
        everywhere); None if it never is; NaN if the two models are equally good.

    Raises:
        ConfigurationError: If the gap is out of range.
    """
    check_level(gap)
    x, q = curve.points()
    r = recovered(q)
    if np.isnan(r[0]):
        return math.nan
    share = float(first_crossing(x, r, gap))
    return None if math.isnan(share) else share


def check_level(gap: float) -> None:
    """Check a part of the performance gap.

    Raises:
        ConfigurationError: If it is out of range.
    """
    if not 0.0 <= gap <= HIGHEST_LEVEL:
        raise ConfigurationError(f"gap must be in [0, 1] (0.8 is 80%), or up to 2 for beyond strong, not {gap!r}")


class CallsSaved(NamedTuple):
    """Strong calls saved against a random router that recovers as much of the gap."""

    points: float
    """As a share of all calls: 0.16 is 16 percentage points."""

    relative: float
    """As a share of the random router's strong calls: 0.33 is a third of them."""


def calls_saved(curve: CostQualityCurve, gap: float = 0.5) -> CallsSaved:
    """Return the strong calls a router saves against a random one at a part of the gap.

    A random router needs a share of `gap` to recover `gap`.

    Args:
        curve: The router's curve.
        gap: The part to recover, in (0, 1].

    Returns:
        Below 0 if the router is worse than random; NaN if the two models are equally good.

    Raises:
        ConfigurationError: If the gap is out of range.
    """
    if not 0.0 < gap <= 1.0:
        raise ConfigurationError(f"gap must be in (0, 1] (0.8 is 80%), not {gap!r}: random recovers no more")
    share = call_performance_threshold(curve, gap)
    share = math.nan if share is None else share
    return CallsSaved(gap - share, 1.0 - share / gap)


def cost_saving_ratio(random_share: float, router_shares: Iterable[float]) -> float:
    """Return the cost-saving ratio of RouteLLM (section 5.4): the random router's CPT over the best router's.

    It counts strong calls alone: neither the weak model's price nor the router's own cost is in it.

    Args:
        random_share: The random router's CPT, as a share or in percent.
        router_shares: The CPTs of the routers to choose the best from, in the same unit.

    Returns:
        1 for no saving; infinite if the best router needs no strong call; NaN if a number is missing.
    """
    shares = [share for share in router_shares if not math.isnan(share)]
    if not shares or math.isnan(random_share):
        return math.nan
    best = min(shares)
    return random_share / best if best > 0 else math.inf
