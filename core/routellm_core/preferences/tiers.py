"""Tiers: models of about equal strength taken together, so that there are enough battles between any two groups.

Ong et al., RouteLLM (arXiv 2406.18665), section 4.1 and appendix A: ten tiers of Chatbot Arena's models by dynamic
programming; the models of tiers 0 and 1 are strong, those of tier 2 weak.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.ratings import assign_tiers, bradley_terry, elo_ratings, pair_statistics


@dataclass(frozen=True)
class ModelTiers:
    """Which models belong together, and what that does to the gaps between the labels.

    Attributes:
        tiers: Model to tier; 0 is the best.
        ratings: Model to its Bradley-Terry rating on the Elo scale.
        model_pairs_covered: The share of all pairs of models that have a battle.
        tier_pairs_covered: The share of all pairs of different tiers that have a battle; 1 for a single tier.
        battles_within_tiers: The share of the battles whose models are in one tier, which say nothing about tiers.
    """

    tiers: Mapping[str, int]
    ratings: Mapping[str, float]
    model_pairs_covered: float
    tier_pairs_covered: float
    battles_within_tiers: float

    def models(self, tiers: Collection[int]) -> tuple[str, ...]:
        """Return the models of some tiers, best first."""
        return tuple(
            sorted((m for m, tier in self.tiers.items() if tier in tiers), key=lambda m: (-self.ratings[m], m))
        )

    @property
    def strong(self) -> tuple[str, ...]:
        """The paper's strong models: those of tiers 0 and 1."""
        return self.models({0, 1})

    @property
    def weak(self) -> tuple[str, ...]:
        """The paper's weak models: those of tier 2."""
        return self.models({2})

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "tiers": {model: self.tiers[model] for model in self.models(set(self.tiers.values()))},
            "ratings": dict(self.ratings),
            "strong": list(self.strong),
            "weak": list(self.weak),
            "model_pairs_covered": self.model_pairs_covered,
            "tier_pairs_covered": self.tier_pairs_covered,
            "battles_within_tiers": self.battles_within_tiers,
        }


def tiers_from_battles(dataset: PreferenceDataset, *, n_tiers: int = 10, weighted: bool = False) -> ModelTiers:
    """Rate the models of a data set by Bradley-Terry and cut the ratings into tiers.

    Args:
        dataset: Battles; ties count half for both.
        n_tiers: How many tiers; from 1 to the number of models.
        weighted: False is the paper's objective, True the squared error; see `assign_tiers`.

    Raises:
        ConfigurationError: If there are no battles, or fewer models than tiers.
    """
    if not len(dataset):
        raise ConfigurationError("tiers need battles, and there are none")
    k = len(dataset.models)
    counts, wins = pair_statistics(dataset.model_a, dataset.model_b, dataset.outcome, k, dataset.weight)
    ratings = elo_ratings(bradley_terry(wins))
    tiers = assign_tiers(ratings, n_tiers, weighted=weighted)
    above = np.triu_indices(k, 1)
    tier_a, tier_b = tiers[dataset.model_a], tiers[dataset.model_b]
    met = {(min(a, b), max(a, b)) for a, b in zip(tier_a.tolist(), tier_b.tolist(), strict=True) if a != b}
    return ModelTiers(
        tiers=dict(zip(dataset.models, tiers.tolist(), strict=True)),
        ratings=dict(zip(dataset.models, ratings.tolist(), strict=True)),
        model_pairs_covered=float((counts[above] > 0).mean()),
        tier_pairs_covered=len(met) / (n_tiers * (n_tiers - 1) / 2) if n_tiers > 1 else 1.0,
        battles_within_tiers=float((tier_a == tier_b).mean()),
    )


def strong_weak_battles(
    dataset: PreferenceDataset, *, strong: Collection[str], weak: Collection[str]
) -> PreferenceDataset:
    """Return the battles of a strong with a weak model, the strong one as model a.

    Args:
        dataset: Battles.
        strong: Models that count as strong, such as `ModelTiers.strong`.
        weak: Models that count as weak.

    Raises:
        UnknownModelError: If a model is not in the data.
        ConfigurationError: If a model is both.
    """
    both = sorted(set(strong) & set(weak))
    if both:
        raise ConfigurationError(f"models cannot be strong and weak at once: {', '.join(both)}")
    unknown = sorted((set(strong) | set(weak)) - set(dataset.models))
    if unknown:
        raise UnknownModelError(
            f"the data has no battles of {', '.join(unknown)}; it has those of: {', '.join(dataset.models)}"
        )
    side = np.array([1 if model in strong else -1 if model in weak else 0 for model in dataset.models], np.int8)
    a, b = side[dataset.model_a], side[dataset.model_b]
    rows = np.flatnonzero(a * b == -1)
    chosen = dataset.select(rows)
    swap = a[rows] == -1
    return PreferenceDataset(
        prompts=chosen.prompts,
        models=chosen.models,
        prompt_index=chosen.prompt_index,
        model_a=np.where(swap, chosen.model_b, chosen.model_a),
        model_b=np.where(swap, chosen.model_a, chosen.model_b),
        outcome=np.where(swap, 1.0 - chosen.outcome, chosen.outcome),
        source=chosen.source,
        weight=chosen.weight,
    )
