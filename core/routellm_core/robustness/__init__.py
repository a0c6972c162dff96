"""Multiple-choice questions put otherwise: how far labels and routers move, and labels that move less (arXiv 2402.01781)."""

from routellm_core.robustness.metrics import flip_rate, kendall_tau, rank_displacement, recall_std

__all__ = ["flip_rate", "kendall_tau", "rank_displacement", "recall_std"]
