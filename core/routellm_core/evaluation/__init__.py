"""Evaluation of routers: the cost-quality curve and what is read off it."""

from routellm_core.evaluation.aiq import average_improvement_in_quality, quality_hull
from routellm_core.evaluation.bootstrap import PairBootstrap, bootstrap_interval, bootstrap_pair
from routellm_core.evaluation.curve import CostQualityCurve
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.metrics import (
    CallsSaved,
    average_performance_gap_recovered,
    call_performance_threshold,
    calls_saved,
    cost_saving_ratio,
    performance_gap_recovered,
)

__all__ = [
    "CallsSaved",
    "CostQualityCurve",
    "Interval",
    "PairBootstrap",
    "average_improvement_in_quality",
    "average_performance_gap_recovered",
    "bootstrap_interval",
    "bootstrap_pair",
    "call_performance_threshold",
    "calls_saved",
    "cost_saving_ratio",
    "performance_gap_recovered",
    "quality_hull",
]
