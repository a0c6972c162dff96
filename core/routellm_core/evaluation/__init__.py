"""Evaluation of routers: the cost-quality curve and what is read off it."""

from routellm_core.evaluation.metrics import (
    CostQualityCurve,
    Interval,
    average_performance_gap_recovered,
    bootstrap_interval,
    call_performance_threshold,
    performance_gap_recovered,
)

__all__ = [
    "CostQualityCurve",
    "Interval",
    "average_performance_gap_recovered",
    "bootstrap_interval",
    "call_performance_threshold",
    "performance_gap_recovered",
]
