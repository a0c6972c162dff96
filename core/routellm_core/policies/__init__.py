"""Policies: from the scores of one call to the order in which models are to be tried. Pure functions of arrays."""

from routellm_core.errors import ConfigurationError
from routellm_core.policies.base import ContextPolicy, Policy, PolicyContext, ScoreKind, TaskPolicy
from routellm_core.policies.price import CostAwarePolicy, GatedArgmaxPolicy, ModelThresholdsPolicy, tune_thresholds
from routellm_core.policies.published import ClosestPolicy, RandomTopKPolicy, fit_closest
from routellm_core.policies.score import ArgmaxPolicy, CheapestAbovePolicy, ThresholdPolicy
from routellm_core.policies.task import TaskConfidencePolicy, TaskMeanPolicy, TaskVotesPolicy

__all__ = [
    "POLICIES",
    "ArgmaxPolicy",
    "CheapestAbovePolicy",
    "ClosestPolicy",
    "ContextPolicy",
    "CostAwarePolicy",
    "GatedArgmaxPolicy",
    "ModelThresholdsPolicy",
    "Policy",
    "PolicyContext",
    "RandomTopKPolicy",
    "ScoreKind",
    "TaskConfidencePolicy",
    "TaskMeanPolicy",
    "TaskPolicy",
    "TaskVotesPolicy",
    "ThresholdPolicy",
    "fit_closest",
    "get_policy",
    "tune_thresholds",
]

POLICIES: dict[str, type[Policy]] = {
    "threshold": ThresholdPolicy,
    "argmax": ArgmaxPolicy,
    "cheapest_above": CheapestAbovePolicy,
    "cost_aware": CostAwarePolicy,
    "argmax_gated": GatedArgmaxPolicy,
    "model_thresholds": ModelThresholdsPolicy,
    "random_topk": RandomTopKPolicy,
    "closest": ClosestPolicy,
    "s1": TaskMeanPolicy,
    "s2": TaskVotesPolicy,
    "s3": TaskConfidencePolicy,
}
"""Every policy by its name."""


def get_policy(policy: str | Policy) -> Policy:
    """Return the policy of this name, or the policy itself.

    Raises:
        ConfigurationError: If there is no such policy.
    """
    if not isinstance(policy, str):
        if not hasattr(policy, "order"):
            raise ConfigurationError(f"policy must be a Policy or one of {', '.join(POLICIES)}, not {policy!r}")
        return policy
    if policy not in POLICIES:
        raise ConfigurationError(f"policy={policy!r} is unknown; there are: {', '.join(POLICIES)}")
    return POLICIES[policy]()
