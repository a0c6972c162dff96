"""Models that nobody has labelled: their scores rest on a model that was, or on what the user says of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.routers.base import PoolRouter, Router, index_of_model, sigmoid
from routellm_core.task_state import TaskConfidence


class AssumedRouter(PoolRouter):
    """A router and further models for which there are no labels. Decisions for these say what their scores rest on.

    A model that is `like` another gets its scores. One with a `capability` gets scores from its accuracy and from how hard the
    labelled models find the prompt: ``logit s(x) = logit capability + mean_m (logit s_m(x) - logit typical_m)``.

    Args:
        router: Scores the labelled models.
        like: Unlabelled model -> labelled model that stands for it.
        capability: Unlabelled model -> the share of prompts it is expected to get right, strictly between 0 and 1.
        typical: The mean score of each labelled model, shape (m,), for `capability`; None takes the accuracies that the
            router learned, or the mean scores in `prompts`.
        prompts: Prompts such as will be routed, to find `typical` from; None if it is given or learned.

    Raises:
        ConfigurationError: If a model is named twice, a capability is out of range, or `typical` is needed and not known.
        UnknownModelError: If a model is to be like one the router does not know.
    """

    def __init__(
        self,
        router: Router,
        *,
        like: Mapping[str, str] | None = None,
        capability: Mapping[str, float] | None = None,
        typical: Sequence[float] | None = None,
        prompts: Sequence[str] | None = None,
    ) -> None:
        like, capability = dict(like or {}), dict(capability or {})
        names = (*router.models, *like, *capability)
        if len(set(names)) != len(names):
            raise ConfigurationError(
                f"every model is labelled, like another or has a capability, once: {', '.join(names)}"
            )
        wrong = {name: value for name, value in capability.items() if not 0 < value < 1}
        if wrong:
            raise ConfigurationError(f"a capability is a share strictly between 0 and 1, not {wrong!r}")
        self._router = router
        self._models = names
        self._like = [index_of_model(model, router.models, role="like") for model in like.values()]
        self._capability = _logit(np.array(list(capability.values()), dtype=np.float64))
        self._typical = _logit(self._find_typical(typical, prompts)) if capability else np.zeros(len(router.models))
        self.confidence = self._completed_confidence()
        if tuned := router.model_thresholds:
            self.model_thresholds = {
                **tuned,
                **{name: tuned[model] for name, model in like.items()},
                **dict.fromkeys(capability, 0.5),
            }
        self.name = router.name
        self.score_kind = router.score_kind  # type: ignore[misc]  # that of the router inside
        self.assumed = {
            **router.assumed,
            **{name: f"those of {model!r} stand for it" for name, model in like.items()},
            **{name: f"a capability of {value:g} was given" for name, value in capability.items()},
        }

    def _find_typical(self, typical: Sequence[float] | None, prompts: Sequence[str] | None) -> NDArray[np.float64]:
        if typical is not None:
            values = np.asarray(typical, dtype=np.float64)
        elif prompts is not None and len(prompts):
            values = self._router.score(prompts).mean(axis=0)
        elif self._router.confidence is not None:
            values = self._router.confidence.accuracies
        else:
            raise ConfigurationError(
                "a capability is compared with what the labelled models typically score: give typical= or prompts="
            )
        if values.shape != (len(self._router.models),):
            raise ConfigurationError(f"typical has one number for each of {len(self._router.models)} models")
        return values

    @cached_property
    def fingerprint(self) -> str:
        """That of the router inside, and a digest of what was assumed."""
        assumed = repr((sorted(self.assumed.items()), self._like, self._capability.tolist(), self._typical.tolist()))
        return f"{self._router.fingerprint}+{hashlib.sha256(assumed.encode()).hexdigest()[:16]}"

    @property
    def models(self) -> tuple[str, ...]:
        """The labelled models, then the others."""
        return self._models

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score every model, shape (n, m)."""
        return self._completed(self._router.score(prompts))

    def score_with_distance(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """Score every model and add each prompt's distance from the training prompts, shape (n, m + 1); needs `confidence`."""
        found = self._router.score_with_distance(prompts)  # type: ignore[attr-defined]  # every router with a confidence has it
        return np.column_stack([self._completed(found[:, :-1]), found[:, -1]])

    def _completed_confidence(self) -> TaskConfidence | None:
        """Add the models: votes are as good as those of the model that stands in, or as the capability itself."""
        learned = self._router.confidence
        if learned is None:
            return None
        shares = sigmoid(self._capability)
        # Who always votes the same is right as often as the model is, or as it is not.
        constant = np.broadcast_to(np.maximum(shares, 1.0 - shares), (len(learned.distances), len(shares)))
        return replace(
            learned,
            agreement=np.column_stack([learned.agreement, learned.agreement[:, self._like], constant]),
            accuracies=np.concatenate([learned.accuracies, learned.accuracies[self._like], shares]),
        )

    def _completed(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        ease = (_logit(scores) - self._typical).mean(axis=1, keepdims=True)
        return np.column_stack([scores, scores[:, self._like], sigmoid(self._capability + ease)])


def _logit(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(
        shares, 1e-3, 1 - 1e-3
    )  # a score of 0 or 1 says a lot about one model, and not all about a prompt
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
