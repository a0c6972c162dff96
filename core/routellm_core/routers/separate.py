"""Separate classifiers (Srivatsa et al., arXiv 2405.00467): one logistic regression per model, each fitted on its own."""

from routellm_core.routers.linear import LinearOutcomeRouter


class SeparateRouter(LinearOutcomeRouter):
    """A binary classifier per model, with a regularisation of its own; see `LinearOutcomeRouter` for the arguments."""

    name = "separate"
