"""Evaluate routers between two models on a benchmark: same prompts, same resamples, baselines beside them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from routellm_core.call_costs import RouterCost
from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.evaluation.baselines import length_win_rates, oracle_win_rates, random_apgr
from routellm_core.evaluation.bootstrap import FEWEST_PROMPTS, LEVELS, PairBootstrap, bootstrap_pair
from routellm_core.evaluation.costs import Savings, bootstrap_savings, call_costs
from routellm_core.evaluation.curve import Array
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.log_loss import blind_rate_of, log_loss_figures
from routellm_core.evaluation.reliability import Reliability, reliability
from routellm_core.evaluation.scores import Progress, ScoreCache, Speed, measure_speed, score_prompts
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import PairRouter, Router

EXCLUDED_FLAGS = ("routellm_contaminated", "improper")
"""Rows with these flags are left out unless asked for: prompts seen in training data, and questions that have no right answer."""

RANDOM, LENGTH, ORACLE = BASELINES = ("random (baseline)", "length (baseline)", "oracle (baseline)")
"""What baselines are called beside routers, of which one may be called "random" or "length" too."""

_GROUP_RESAMPLES = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class PairEvaluation:
    """Routers between two models on one benchmark.

    Attributes:
        benchmark: The name of the table.
        n: How many prompts count.
        strong: The column that is strong.
        weak: The column that is weak.
        excluded: Why rows were left out, and how many.
        bootstrap: The figures of the routers and of the `BASELINES`, all with intervals.
        routers: The names of the routers.
        win_rates: Router or baseline -> strong win rates, shape (n,).
        random_single: The range of APGR of one random order.
        groups: Group -> its size, qualities and the figures of routers on it.
        reliability: Router -> how well its win rates agree with outcomes.
        log_loss: Router -> its log loss beside that of the best that knows no prompt; empty unless the table tells that one, as
            the `held_out.jsonl` of a training does.
        speed: Router -> how fast it scores; empty if not measured.
        savings: Router -> what it saves at parts of the gap; empty without prices.
        warnings: What a reader should know before trusting a number.
        provenance: Of the table.
    """

    benchmark: str
    n: int
    strong: str
    weak: str
    excluded: dict[str, int]
    bootstrap: PairBootstrap
    routers: tuple[str, ...]
    win_rates: dict[str, Array]
    random_single: Interval
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    reliability: dict[str, Reliability] = field(default_factory=dict)
    log_loss: dict[str, dict[str, Interval]] = field(default_factory=dict)
    speed: dict[str, Speed] = field(default_factory=dict)
    savings: dict[str, tuple[Savings, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def best_single(self) -> str:
        """The better of the two models; strong if they are equally good."""
        return self.weak if self.bootstrap.weak.value > self.bootstrap.strong.value else self.strong

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, as `routellm evaluate --format json` prints it."""
        figures = {
            name: {key: figure.to_dict() for key, figure in found.items()}
            for name, found in self.bootstrap.figures.items()
        }
        routers: dict[str, dict[str, Any]] = {name: dict(figures[name]) for name in self.routers}
        for name, found in routers.items():
            found |= {key: figure.to_dict() for key, figure in self.log_loss.get(name, {}).items()}
            found["reliability"] = self.reliability[name].to_dict()
            if name in self.speed:
                found["speed"] = self.speed[name].to_dict()
            if name in self.savings:
                found["savings"] = [saving.to_dict() for saving in self.savings[name]]
        baselines: dict[str, Any] = {name.removesuffix(" (baseline)"): figures[name] for name in BASELINES}
        baselines["random"]["apgr_single_run"] = self.random_single.to_dict()
        best = self.bootstrap.strong if self.best_single == self.strong else self.bootstrap.weak
        baselines["best_single"] = {"model": self.best_single, "quality": best.to_dict()}
        return {
            "benchmark": self.benchmark,
            "n": self.n,
            "strong": self.strong,
            "weak": self.weak,
            "strong_quality": self.bootstrap.strong.to_dict(),
            "weak_quality": self.bootstrap.weak.to_dict(),
            "routers": routers,
            "baselines": baselines,
            "differences": {
                f"{a} - {b}": {key: figure.to_dict() for key, figure in found.items()}
                for (a, b), found in self.bootstrap.differences.items()
                if a in self.routers and b != ORACLE
            },
            "groups": self.groups,
            "excluded": self.excluded,
            "warnings": list(self.warnings),
            "provenance": self.provenance,
        }


def evaluate(
    routers: Mapping[str, Router],
    table: OutcomeTable,
    *,
    strong: str,
    weak: str,
    references: Mapping[str, str] | None = None,
    levels: Sequence[float] = LEVELS,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    exclude: Collection[str] = EXCLUDED_FLAGS,
    prices: Mapping[str, Any] | None = None,
    router_costs: Mapping[str, RouterCost] | None = None,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
    speed: bool = True,
) -> PairEvaluation:
    """Evaluate routers between two models of a benchmark.

    Args:
        routers: Name -> router. A router over many models is asked for the two, see `win_rates_between`.
        table: The benchmark.
        strong: The column that is strong.
        weak: The column that is weak.
        references: Column -> model of a router over many models, where the names differ.
        levels: The parts of the gap for CPT, calls saved and savings, in [0, 1].
        resamples: Of the bootstrap.
        confidence: Of the intervals, in (0, 1).
        seed: Of the resamples.
        exclude: Rows with any of these flags are left out.
        prices: Column -> price, for the savings; recorded costs in the table come first.
        router_costs: Router -> what it costs itself, for the savings; without its own number of requests a second the time of
            one prompt is measured. Routers that are not there are taken to cost nothing.
        cache: Where the routers' scores are kept; None keeps none.
        progress: Told how many prompts are scored, of all routers together.
        speed: Also time the routers, past the cache.

    Raises:
        UnknownModelError: If the table lacks a column, or a router a model.
        ConfigurationError: If there is no router, no row, or a number is out of range.
    """
    _check_routers(routers)
    check_columns(table, prices or {}, "prices")
    check_columns(table, references or {}, "references")
    if strong == weak:
        raise ConfigurationError(f"strong and weak must be two columns, not both {strong!r}")
    rows, excluded = usable_rows(table, (weak, strong), exclude)
    weak_scores, strong_scores = rows.column(weak), rows.column(strong)
    win_rates = {
        name: win_rates_between(
            router,
            score_prompts(router, rows.prompts, cache=cache, progress=share_of(progress, i, len(routers))),
            strong=strong,
            weak=weak,
            references=references,
        )
        for i, (name, router) in enumerate(routers.items())
    }
    everyone = win_rates | {
        RANDOM: np.full(len(rows), 0.5),
        LENGTH: length_win_rates(rows.prompts),
        ORACLE: oracle_win_rates(weak_scores, strong_scores),
    }
    found = bootstrap_pair(
        everyone,
        weak_scores,
        strong_scores,
        levels=levels,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
        expectations=(RANDOM,),
    )
    speeds = {name: measure_speed(router, rows.prompts) for name, router in routers.items()} if speed else {}
    return PairEvaluation(
        benchmark=rows.name,
        n=len(rows),
        strong=strong,
        weak=weak,
        excluded=excluded,
        bootstrap=found,
        routers=tuple(routers),
        win_rates=everyone,
        random_single=random_apgr(weak_scores, strong_scores),
        groups=_by_group(rows, win_rates, weak_scores, strong_scores, min(resamples, _GROUP_RESAMPLES), seed),
        reliability={name: reliability(rates, weak_scores, strong_scores) for name, rates in win_rates.items()},
        log_loss=_log_losses(rows, win_rates, (weak, strong), resamples=resamples, confidence=confidence, seed=seed),
        speed=speeds,
        savings=_savings(
            rows,
            win_rates,
            found,
            (weak, strong),
            _per_call(router_costs or {}, speeds),
            prices or {},
            levels=levels,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        ),
        warnings=(*trained_on(routers, rows), *_warnings(found, len(rows), win_rates)),
        provenance=dict(rows.provenance),
    )


def check_columns(table: OutcomeTable, named: Iterable[str], what: str) -> None:
    """Refuse names that are no columns of the table, rather than take no notice of them.

    Raises:
        UnknownModelError: If one is none.
    """
    for name in named:
        if name not in table.models:
            raise UnknownModelError(
                f"{what}: table {table.name!r} has no model {name!r}; it has: {', '.join(table.models)}"
            )


def usable_rows(
    table: OutcomeTable, models: Sequence[str], exclude: Collection[str]
) -> tuple[OutcomeTable, dict[str, int]]:
    """Return the rows that count, and why the others do not.

    Args:
        table: The benchmark.
        models: Which must have a score.
        exclude: Rows with any of these flags are left out.

    Raises:
        UnknownModelError: If the table lacks a model.
        ConfigurationError: If no row is left.
    """
    excluded = {}
    keep = np.ones(len(table), dtype=np.bool_)
    for flag in exclude:
        if flag in table.flags and (marked := table.flags[flag] & keep).any():
            excluded[flag] = int(marked.sum())
            keep &= ~marked
    rows = table.select(keep)
    complete = rows.complete(models)
    if len(complete) < len(rows):
        excluded["without a score"] = len(rows) - len(complete)
    if not len(complete):
        reasons = ", ".join(f"{count} {why}" for why, count in excluded.items()) or "there is none"
        raise ConfigurationError(f"{table.name}: none of {len(table)} rows counts; left out: {reasons}")
    return complete, excluded


def win_rates_between(
    router: Router, scores: Array, *, strong: str, weak: str, references: Mapping[str, str] | None = None
) -> Array:
    """Return what a router's scores say about two models, shape (n,), in [0, 1].

    A PairRouter says it of the pair it was made for, whatever the two are called: pairs transfer. A router over many models is
    read at the two: half of one more than the difference of their scores.

    Args:
        router: Whose scores they are.
        scores: Shape (n, m) over its models.
        strong: A column of the benchmark.
        weak: Another.
        references: Column -> model of the router, where the names differ.

    Raises:
        UnknownModelError: If a router over many models does not know one of the two.
    """
    if isinstance(router, PairRouter):
        return np.ascontiguousarray(scores[:, 1])
    names = references or {}
    indices = []
    for column in (weak, strong):
        model = names.get(column, column)
        if model not in router.models:
            raise UnknownModelError(
                f"router {router.name!r} does not know {model!r}; it knows: {', '.join(router.models)}. Say which it is with "
                "references"
            )
        indices.append(router.models.index(model))
    return np.asarray((1.0 + scores[:, indices[1]] - scores[:, indices[0]]) / 2.0)


def _per_call(router_costs: Mapping[str, RouterCost], speeds: Mapping[str, Speed]) -> dict[str, float]:
    """Return what each router costs a call, US dollars."""
    return {
        name: cost.per_call(seconds=speeds[name].p50_ms / 1000 if name in speeds else 0.0)
        for name, cost in router_costs.items()
    }


def _check_routers(routers: Mapping[str, Router]) -> None:
    if not routers:
        raise ConfigurationError("there is no router to evaluate")
    for name in routers:
        if name in BASELINES:
            raise ConfigurationError(f"a router cannot be called {name!r} here: a baseline has that name")


def share_of(progress: Progress | None, index: int, n_routers: int) -> Progress | None:
    """Return the progress of one of several routers, as a part of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, n_routers * total)


def _by_group(
    rows: OutcomeTable,
    win_rates: Mapping[str, Array],
    weak_scores: Array,
    strong_scores: Array,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    names = sorted(set(rows.groups or ()))
    if len(names) < 2:
        return {}
    groups = np.array(rows.groups)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        inside = groups == name
        part = bootstrap_pair(
            {router: rates[inside] for router, rates in win_rates.items()},
            weak_scores[inside],
            strong_scores[inside],
            levels=(0.5, 0.8),
            resamples=resamples,
            seed=seed,
            figures=("apgr", "cpt50", "cpt80"),
        )
        found[name] = {
            "n": int(inside.sum()),
            "weak_quality": part.weak.to_dict(),
            "strong_quality": part.strong.to_dict(),
            "routers": {
                router: {key: figure.to_dict() for key, figure in figures.items()}
                for router, figures in part.figures.items()
            },
        }
    return found


def _log_losses(
    rows: OutcomeTable, win_rates: Mapping[str, Array], sides: tuple[str, str], **options: Any
) -> dict[str, dict[str, Interval]]:
    weak, strong = sides
    blind_rate = blind_rate_of(rows.provenance, strong, weak)
    if blind_rate is None:
        return {}
    weak_scores, strong_scores = rows.column(weak), rows.column(strong)
    found = {
        name: log_loss_figures(rates, weak_scores, strong_scores, blind_rate, **options)
        for name, rates in win_rates.items()
    }
    return {name: figures for name, figures in found.items() if figures}


def _savings(
    rows: OutcomeTable,
    win_rates: Mapping[str, Array],
    found: PairBootstrap,
    sides: tuple[str, str],
    router_costs: Mapping[str, float],
    prices: Mapping[str, Any],
    **options: Any,
) -> dict[str, tuple[Savings, ...]]:
    costs = [call_costs(rows, model, prices) for model in sides]
    if costs[0] is None or costs[1] is None:
        return {}
    scores = rows.column(sides[0]), rows.column(sides[1])
    return {
        name: bootstrap_savings(rates, scores, (costs[0], costs[1]), router_cost=router_costs.get(name, 0.0), **options)
        for name, rates in win_rates.items()
        if not math.isnan(found.figures[name]["apgr"].value)
    }


def trained_on(routers: Mapping[str, Router], rows: OutcomeTable) -> list[str]:
    """Say which routers were trained on a table of this name; rows of other splits than "train" are taken for unseen."""
    if rows.split is not None and "train" not in rows.split:
        return []
    said = []
    for name, router in routers.items():
        trained: Mapping[str, Any] = getattr(router, "provenance", {})
        prompts = trained.get("prompts")
        tables = {trained.get("table"), *(prompts if isinstance(prompts, Mapping) else ())}
        if rows.name.replace("-", "_") in {str(table).replace("-", "_") for table in tables}:
            said.append(f"{name} was trained on prompts of {rows.name}: its figures flatter it on those")
    return said


def _warnings(found: PairBootstrap, n: int, win_rates: Mapping[str, Array]) -> tuple[str, ...]:
    said = []
    if n < FEWEST_PROMPTS:
        said.append(f"{n} prompts are too few for any figure")
    elif n < 100:
        said.append(f"only {n} prompts: differences between routers are mostly noise")
    if found.strong.value < found.weak.value:
        said.append("the strong model is the weaker one here: figures count what is recovered of a loss")
    gap_overlaps = found.strong.low <= found.weak.high and found.weak.low <= found.strong.high
    if gap_overlaps:
        said.append("the intervals of the two models overlap: the gap that is to be recovered is itself uncertain")
    for name, rates in win_rates.items():
        distinct = len(np.unique(rates))
        if 1 < distinct < min(20, len(rates) // 5):
            said.append(f"{name} gives only {distinct} different win rates: few shares of strong calls can be had")
    return tuple(said)
