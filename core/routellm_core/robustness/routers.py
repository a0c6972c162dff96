"""How far a router moves when multiple-choice questions are put otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.calibration import calibrate_threshold
from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.bootstrap import bootstrap_interval, bootstrap_pair
from routellm_core.evaluation.interval import Interval
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.items import parse_item, select_items
from routellm_core.robustness.metrics import flips, kendall_tau
from routellm_core.robustness.perturbations import COMMON_SYMBOLS, PERTURBATIONS, perturbation
from routellm_core.routers.base import PairRouter, Router

PLAIN = "as it is"
TOLERANCE = 0.05
"""More flips than this share are worth a remedy."""

Progress = Callable[[int, int], None]
"""Called with how many prompts are scored, and of how many."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one perturbation does to one router.

    Attributes:
        flip_rate: The share of decisions that change at the threshold that was calibrated on the prompts as they are.
        strong_fraction: The share of strong calls at that threshold.
        apgr: APGR on the perturbed prompts.
        change: APGR on the perturbed less APGR on the plain prompts, paired.
        tau: Kendall's tau-b of the win rates before and after; NaN if all are equal.
    """

    flip_rate: Interval
    strong_fraction: float
    apgr: Interval
    change: Interval
    tau: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        intervals = {name: getattr(self, name).to_dict() for name in ("flip_rate", "apgr", "change")}
        return {**intervals, "strong_fraction": self.strong_fraction, "tau": None if np.isnan(self.tau) else self.tau}


@dataclass(frozen=True, slots=True)
class RouterRobustness:
    """How far routers move on the multiple-choice questions of one table.

    Attributes:
        benchmark: The table's name.
        strong: The strong model's column.
        weak: The weak model's.
        n: The number of questions.
        left_out: What was left out, and how often.
        strong_fraction: What the thresholds were calibrated for.
        apgr: Router to APGR on the questions as they are.
        effects: Router to perturbation to effect.
        settings: Seed and number of resamples.
    """

    benchmark: str
    strong: str
    weak: str
    n: int
    left_out: dict[str, int]
    strong_fraction: float
    apgr: dict[str, Interval]
    effects: dict[str, dict[str, Effect]]
    settings: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        routers = {
            name: {
                "apgr": self.apgr[name].to_dict(),
                "perturbations": {key: effect.to_dict() for key, effect in found.items()},
            }
            for name, found in self.effects.items()
        }
        plain = {key: value for key, value in asdict(self).items() if key not in ("apgr", "effects")}
        return {**plain, "routers": routers}


def measure_routers(
    routers: Mapping[str, Router],
    table: OutcomeTable,
    *,
    strong: str,
    weak: str,
    perturbations: Sequence[str] | None = None,
    strong_fraction: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> RouterRobustness:
    """Put the multiple-choice questions of a table otherwise, and see which decisions change and what that costs.

    The outcomes are those of the questions as they are: what changes is the router's view of them, not the models' answers.

    Args:
        routers: Name to pair router.
        table: Outcomes; prompts that are no multiple-choice questions, or that speak of the order of their choices,
            and those with more than ten, are left out.
        strong: The column that is strong.
        weak: The column that is weak.
        perturbations: Names of `PERTURBATIONS`; None takes all that need no gold answer, which outcomes do not have.
        strong_fraction: The share of strong calls that each threshold is calibrated for, on the questions as they are.
        resamples: Of the bootstrap.
        seed: Of the perturbations and of the bootstrap.
        progress: Told how many prompts are scored.

    Raises:
        ConfigurationError: If there is no router, one is no pair router, or no question is left.
        UnknownModelError: If the table does not have a column.
    """
    names = [key for key, p in PERTURBATIONS.items() if not p.needs_gold] if perturbations is None else perturbations
    changes = {name: perturbation(name) for name in names}
    needy = [name for name, change in changes.items() if change.needs_gold]
    if needy:
        raise ConfigurationError(
            f"{needy[0]!r} moves the right answer, and a table of outcomes does not say which it is"
        )
    if not routers:
        raise ConfigurationError("there is no router to measure")
    complete = table.complete([strong, weak])
    ids = complete.prompt_ids or complete.prompts
    parsed = [parse_item(text, item_id=i) for text, i in zip(complete.prompts, ids, strict=True)]
    short = [i for i, item in enumerate(parsed) if item is None or len(item.choices) <= len(COMMON_SYMBOLS)]
    found = select_items(parsed[i] for i in short)
    if not found.items:
        raise ConfigurationError(
            f"table {table.name!r} has no multiple-choice questions whose choices can be reordered"
        )
    rows = complete.select(np.array(short)[list(found.rows)])
    prompts = {name: [change.apply(item, seed).prompt for item in found.items] for name, change in changes.items()}
    prompts[PLAIN] = [item.prompt for item in found.items]  # at the end: differences are of the others less it
    total, done = len(routers) * len(prompts) * len(found), 0
    apgr, effects = {}, {}
    for label, router in routers.items():
        if not isinstance(router, PairRouter):
            raise ConfigurationError(f"{label!r} is no router for a pair of models: it has no strong win rate")
        rates = {}
        for name, texts in prompts.items():
            rates[name] = router.strong_win_rates(texts)
            done += len(texts)
            if progress is not None:
                progress(done, total)
        apgr[label], effects[label] = _effects(
            rates, rows.column(weak), rows.column(strong), strong_fraction, resamples, seed
        )
    left_out = {"no multiple-choice question": found.unreadable, "choices depend on their order": found.order_dependent}
    if len(short) < len(parsed):  # there are no more symbols to call them by
        left_out[f"more than {len(COMMON_SYMBOLS)} choices"] = len(parsed) - len(short)
    settings = {"resamples": resamples, "seed": seed}
    return RouterRobustness(table.name, strong, weak, len(found), left_out, strong_fraction, apgr, effects, settings)


def _effects(
    rates: Mapping[str, NDArray[np.float64]],
    weak: NDArray[np.float64],
    strong: NDArray[np.float64],
    strong_fraction: float,
    resamples: int,
    seed: int,
) -> tuple[Interval, dict[str, Effect]]:
    plain = rates[PLAIN]
    threshold = calibrate_threshold(plain, strong_fraction).threshold
    drawn = bootstrap_pair(rates, weak, strong, figures=["apgr"], resamples=resamples, seed=seed)
    effects = {}
    for name in [name for name in rates if name != PLAIN]:
        flipped = flips(plain, rates[name], threshold)
        effects[name] = Effect(
            flip_rate=bootstrap_interval(
                lambda rows, flipped=flipped: float(flipped[rows].mean()),  # type: ignore[misc]
                len(plain),
                resamples=resamples,
                seed=seed,
            ),
            strong_fraction=float((rates[name] >= threshold).mean()),
            apgr=drawn.figures[name]["apgr"],
            change=drawn.differences[name, PLAIN]["apgr"],
            tau=kendall_tau(plain, rates[name], variant="b"),
        )
    return drawn.figures[PLAIN]["apgr"], effects
