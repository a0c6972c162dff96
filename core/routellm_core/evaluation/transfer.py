"""The same routers on other pairs of models, without training them anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.baselines import length_win_rates
from routellm_core.evaluation.bootstrap import bootstrap_pair
from routellm_core.evaluation.evaluate import EXCLUDED_FLAGS, LENGTH, usable_rows, win_rates_between
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.scores import ScoreCache, score_prompts
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import Router

FIGURES = ("apgr", "cpt50", "cpt80")


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferRow:
    """One router on one pair.

    Attributes:
        strong: The column that is strong.
        weak: The column that is weak.
        router: The router's name, or `LENGTH` for the baseline.
        n: How many prompts both models have a score on.
        strong_quality: The strong model's mean score.
        weak_quality: The weak model's.
        figures: `apgr`, `cpt50` and `cpt80`.
    """

    strong: str
    weak: str
    router: str
    n: int
    strong_quality: float
    weak_quality: float
    figures: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "strong": self.strong,
            "weak": self.weak,
            "router": self.router,
            "n": self.n,
            "strong_quality": self.strong_quality,
            "weak_quality": self.weak_quality,
            **{key: figure.to_dict() for key, figure in self.figures.items()},
        }


def transfer(
    routers: Mapping[str, Router],
    table: OutcomeTable,
    pairs: Sequence[tuple[str, str]] | None = None,
    *,
    least_gap: float = 0.02,
    references: Mapping[str, str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    cache: ScoreCache | None = None,
) -> list[TransferRow]:
    """Evaluate routers on many pairs of columns; each prompt is scored once a router, however many pairs there are.

    Args:
        routers: Name -> router.
        table: The benchmark.
        pairs: (strong, weak) columns; None takes every two columns whose mean scores differ by `least_gap`; the better
            one is strong.
        least_gap: In units of the scores; with explicit pairs it is not looked at.
        references: Column -> model of a router over many models, where the names differ.
        resamples: Of the bootstrap.
        seed: Of the resamples.
        cache: Where the routers' scores are kept; None keeps them for this call alone.

    Returns:
        A row a pair and router, and one a pair for the length baseline.

    Raises:
        UnknownModelError: If the table lacks a column, or a router over many models a model.
        ConfigurationError: If no pair is left.
    """
    if pairs is None:
        rows, _ = usable_rows(table, (), EXCLUDED_FLAGS)
        pairs = [
            (a, b)
            for a, b in permutations(table.models, 2)
            if (both := rows.complete([a, b])) and (both.column(a) - both.column(b)).mean() >= least_gap
        ]
    if not pairs:
        raise ConfigurationError(f"{table.name} has no pair of models whose mean scores differ by {least_gap!r}")
    position = {prompt: i for i, prompt in enumerate(dict.fromkeys(table.prompts))}
    scores = {name: score_prompts(router, list(position), cache=cache) for name, router in routers.items()}
    found = []
    for strong, weak in pairs:
        rows, _ = usable_rows(table, (weak, strong), EXCLUDED_FLAGS)
        at = [position[prompt] for prompt in rows.prompts]
        rates = {
            name: win_rates_between(router, scores[name][at], strong=strong, weak=weak, references=references)
            for name, router in routers.items()
        } | {LENGTH: length_win_rates(rows.prompts)}
        part = bootstrap_pair(
            rates,
            rows.column(weak),
            rows.column(strong),
            levels=(0.5, 0.8),
            resamples=resamples,
            seed=seed,
            figures=FIGURES,
        )
        found += [
            TransferRow(
                strong=strong,
                weak=weak,
                router=name,
                n=len(rows),
                strong_quality=part.strong.value,
                weak_quality=part.weak.value,
                figures=figures,
            )
            for name, figures in part.figures.items()
        ]
    return found
