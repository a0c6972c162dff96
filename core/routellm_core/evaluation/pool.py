"""Evaluate routers among any number of models on a benchmark."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.evaluation.aiq import average_improvement_in_quality
from routellm_core.evaluation.baselines import best_single
from routellm_core.evaluation.bootstrap import FEWEST_PROMPTS, map_resamples
from routellm_core.evaluation.costs import call_costs
from routellm_core.evaluation.curve import Array
from routellm_core.evaluation.evaluate import EXCLUDED_FLAGS, check_columns, share_of, trained_on, usable_rows
from routellm_core.evaluation.interval import Interval, interval_from_draws
from routellm_core.evaluation.pool_bounds import majority_right, reachable_scores
from routellm_core.evaluation.scores import Progress, ScoreCache, Speed, measure_speed, score_prompts
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.routers.base import Router

BASELINES = ("oracle", "best_single", "majority", "random", "cheapest")


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolEvaluation:
    """Routers among several models on one benchmark.

    Attributes:
        benchmark: The name of the table.
        n: How many prompts count.
        models: The columns chosen among.
        qualities: Column -> its mean score.
        excluded: Why rows were left out, and how many.
        routers: Router -> figure -> interval: `quality`; `oracle_share`, the quality as a share of the oracle's;
            `gain`, the quality less the best single model's; for predicted correctness `classifier_bound`, what a policy could
            reach that sends prompts only to models predicted to be right; with costs `mean_cost` (US dollars a call) and `aiq`;
            where they were given `mean_parameters` and `mean_seconds` of the models called, over all prompts.
        calls: Router -> column -> share of calls.
        frontier: Router -> (mean cost, quality) of its operating points, from the cheapest to no regard for cost; empty without
            costs.
        baselines: "oracle", "best_single", "random" (the mean of the models), for scores in [0, 1] "majority" (all are called,
            and more than half are right) and, with costs, "cheapest": the same figures.
        best_single: The model behind that baseline.
        best_single_chosen_on: Which prompts it was chosen on.
        differences: (router, other router) -> interval of the first's quality less the second's, paired.
        speed: Router -> how fast it scores; empty if not measured.
        warnings: What a reader should know before trusting a number.
        provenance: Of the table.
    """

    benchmark: str
    n: int
    models: tuple[str, ...]
    qualities: dict[str, Interval]
    excluded: dict[str, int]
    routers: dict[str, dict[str, Interval]]
    calls: dict[str, dict[str, float]]
    frontier: dict[str, list[tuple[float, float]]]
    baselines: dict[str, dict[str, Interval]]
    best_single: str
    best_single_chosen_on: str
    differences: dict[tuple[str, str], Interval]
    speed: dict[str, Speed] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, as `routellm evaluate --format json` prints it."""
        routers: dict[str, dict[str, Any]] = {}
        for name, figures in self.routers.items():
            routers[name] = {key: figure.to_dict() for key, figure in figures.items()}
            routers[name]["calls"] = self.calls[name]
            if self.frontier:
                routers[name]["frontier"] = [{"mean_cost": c, "quality": q} for c, q in self.frontier[name]]
            if name in self.speed:
                routers[name]["speed"] = self.speed[name].to_dict()
        baselines: dict[str, dict[str, Any]] = {
            name: {key: figure.to_dict() for key, figure in figures.items()} for name, figures in self.baselines.items()
        }
        baselines["best_single"] |= {"model": self.best_single, "chosen_on": self.best_single_chosen_on}
        return {
            "benchmark": self.benchmark,
            "n": self.n,
            "models": {name: quality.to_dict() for name, quality in self.qualities.items()},
            "routers": routers,
            "baselines": baselines,
            "differences": {f"{a} - {b}": {"quality": found.to_dict()} for (a, b), found in self.differences.items()},
            "excluded": self.excluded,
            "warnings": list(self.warnings),
            "provenance": self.provenance,
        }


def evaluate_pool(
    routers: Mapping[str, Router],
    table: OutcomeTable,
    *,
    models: Sequence[str] | None = None,
    references: Mapping[str, str] | None = None,
    selection: OutcomeTable | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    exclude: Collection[str] = EXCLUDED_FLAGS,
    prices: Mapping[str, Any] | None = None,
    parameters: Mapping[str, float] | None = None,
    seconds: Mapping[str, float] | None = None,
    cache: ScoreCache | None = None,
    progress: Progress | None = None,
    speed: bool = True,
) -> PoolEvaluation:
    """Evaluate routers that choose the model with the highest score; of equal ones the cheaper.

    Args:
        routers: Name -> router. One that offers `for_pool(models)` and is no pool yet is asked for the pool.
        table: The benchmark.
        models: The columns to choose among; None takes those that every router knows.
        references: Column -> model of the routers, where the names differ.
        selection: Rows to choose the best single model on; None takes the rows evaluated on, which favours that baseline.
        resamples: Of the bootstrap.
        confidence: Of the intervals, in (0, 1).
        seed: Of the resamples.
        exclude: Rows with any of these flags are left out.
        prices: Column -> price; recorded costs in the table come first.
        parameters: Column -> how many it has, in any unit; None if not known.
        seconds: Column -> how long an answer takes; None if not known.
        cache: Where the routers' scores are kept; None keeps none.
        progress: Told how many prompts are scored, of all routers together.
        speed: Also time the routers, past the cache.

    Raises:
        UnknownModelError: If the table lacks a column, or a router a model.
        ConfigurationError: If there is no router, no row, or fewer than two models.
    """
    if not routers:
        raise ConfigurationError("there is no router to evaluate")
    check_columns(table, prices or {}, "prices")
    check_columns(table, references or {}, "references")
    check_columns(table, parameters or {}, "parameters")
    check_columns(table, seconds or {}, "seconds")
    names = references or {}
    columns = tuple(models) if models is not None else _common_models(routers, table, names)
    if len(columns) < 2:
        raise ConfigurationError(f"a pool is two models or more, not {columns!r}")
    wanted = [names.get(column, column) for column in columns]
    pools = {name: _as_pool(router, wanted) for name, router in routers.items()}
    rows, excluded = usable_rows(table, columns, exclude)
    rows = rows.for_models(columns)
    known = [call_costs(rows, column, prices or {}) for column in columns]
    costs = np.stack([c for c in known if c is not None], axis=1) if all(c is not None for c in known) else None
    by_price = np.argsort(costs.mean(axis=0), kind="stable") if costs is not None else np.arange(len(columns))

    picks: dict[str, Array] = {}
    for i, (name, router) in enumerate(pools.items()):
        scores = score_prompts(router, rows.prompts, cache=cache, progress=share_of(progress, i, len(pools)))
        picks[name] = scores[:, [router.models.index(model) for model in wanted]]
    chosen_on = rows if selection is None else usable_rows(selection, columns, exclude)[0].for_models(columns)
    single = best_single(columns, chosen_on.scores)
    choices = {name: _choose(scores, None, by_price)[0] for name, scores in picks.items()}
    choices["oracle"] = _choose(rows.scores, None, by_price)[0]
    choices["best_single"] = np.full(len(rows), columns.index(single))
    if costs is not None:
        choices["cheapest"] = np.full(len(rows), by_price[0])
    sweeps = (
        {} if costs is None else {name: _sweep(scores, costs.mean(axis=0), by_price) for name, scores in picks.items()}
    )
    facts = {} if costs is None else {"mean_cost": costs}
    for what, given in (("parameters", parameters), ("seconds", seconds)):
        if given:
            facts[f"mean_{what}"] = np.broadcast_to(_of_columns(given, columns, what), rows.scores.shape)
    bounds = {
        name: reachable_scores(scores, rows.scores)
        for name, scores in picks.items()
        if pools[name].score_kind == "correctness"
    }
    value, drawn = _bootstrap(rows.scores, facts, choices, bounds, sweeps, resamples, seed)

    few = f"{len(rows)} prompts are fewer than {FEWEST_PROMPTS}" if len(rows) < FEWEST_PROMPTS else None

    def figure(at: float, draws: Array) -> Interval:
        return Interval.undefined(few) if few else interval_from_draws(at, draws, confidence=confidence)

    def interval(name: str) -> dict[str, Interval]:
        return {key: figure(float(value[name][key][0]), draws) for key, draws in drawn[name].items()}

    return PoolEvaluation(
        benchmark=rows.name,
        n=len(rows),
        models=columns,
        qualities={column: interval(f"model {j}")["quality"] for j, column in enumerate(columns)},
        excluded=excluded,
        routers={name: interval(name) for name in routers},
        calls={
            name: dict(
                zip(columns, (np.bincount(choices[name], minlength=len(columns)) / len(rows)).tolist(), strict=True)
            )
            for name in routers
        },
        frontier={} if costs is None else {name: _points(rows.scores, costs, sweeps[name]) for name in routers},
        baselines={name: interval(name) for name in BASELINES if name in value},
        best_single=single,
        best_single_chosen_on="the prompts evaluated on" if selection is None else f"{len(selection)} other prompts",
        differences={
            (a, b): figure(
                float(value[a]["quality"][0] - value[b]["quality"][0]), drawn[a]["quality"] - drawn[b]["quality"]
            )
            for a, b in combinations(routers, 2)
        },
        speed={name: measure_speed(router, rows.prompts) for name, router in pools.items()} if speed else {},
        warnings=(*trained_on(routers, rows), *(() if few is None else (few,))),
        provenance=dict(rows.provenance),
    )


def _common_models(routers: Mapping[str, Router], table: OutcomeTable, names: Mapping[str, str]) -> tuple[str, ...]:
    pools = [set(router.models) for router in routers.values() if not hasattr(router, "for_pool")]
    found = tuple(column for column in table.models if all(names.get(column, column) in pool for pool in pools))
    if not found:
        known = "; ".join(f"{name}: {', '.join(router.models)}" for name, router in routers.items())
        raise UnknownModelError(
            f"no router knows a column of {table.name}, which has {', '.join(table.models)}. The routers know: {known}. Say "
            "which is which with references, or, for a router between two models, give strong and weak"
        )
    return found


def _as_pool(router: Router, wanted: Sequence[str]) -> Router:
    if not all(model in router.models for model in wanted) and hasattr(router, "for_pool"):
        pool: Router = router.for_pool(list(wanted))
        return pool
    missing = [model for model in wanted if model not in router.models]
    if missing:
        raise UnknownModelError(
            f"router {router.name!r} does not know {missing[0]!r}; it knows: {', '.join(router.models)}"
        )
    return router


def _of_columns(given: Mapping[str, float], columns: Sequence[str], what: str) -> Array:
    missing = [column for column in columns if column not in given]
    if missing:
        raise ConfigurationError(f"{what} has no number for {', '.join(map(repr, missing))}")
    return np.array([given[column] for column in columns], dtype=np.float64)


def _choose(scores: Array, penalty: Array | None, by_price: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the column with the highest score less its penalty for each penalty, shape (penalties, n); of equals the cheaper."""
    penalties = np.zeros((1, scores.shape[1])) if penalty is None else penalty
    ordered = scores[:, by_price]
    return np.stack([by_price[np.argmax(ordered - row[by_price], axis=1)] for row in penalties])


def _sweep(scores: Array, mean_costs: Array, by_price: NDArray[np.intp], steps: int = 24) -> NDArray[np.intp]:
    """Return the choices of a router at rising regard for cost, shape (steps + 2, n): none first, cost alone last."""
    spread = float(np.ptp(mean_costs)) or 1.0
    weights = np.concatenate([[0.0], np.geomspace(1e-3, 10.0, steps)]) / spread
    chosen = _choose(scores, weights[:, None] * mean_costs, by_price)
    return np.concatenate([chosen, np.full((1, len(scores)), by_price[0])])


def _points(scores: Array, costs: Array, chosen: NDArray[np.intp]) -> list[tuple[float, float]]:
    rows = np.arange(len(scores))
    found = {(float(costs[rows, pick].mean()), float(scores[rows, pick].mean())) for pick in chosen}
    return sorted(found)


def _bootstrap(
    scores: Array,
    facts: Mapping[str, Array],
    choices: Mapping[str, NDArray[np.intp]],
    bounds: Mapping[str, Array],
    sweeps: Mapping[str, NDArray[np.intp]],
    resamples: int,
    seed: int,
) -> tuple[dict[str, dict[str, Array]], dict[str, dict[str, Array]]]:
    """Return the figures of every choice on the prompts as they are, and on resamples, shape (resamples,) each."""
    n, m = scores.shape
    rows = np.arange(n)
    qualities = {name: scores[rows, pick] for name, pick in choices.items()} | {"random": scores.mean(axis=1)}
    if ((scores >= 0) & (scores <= 1)).all():
        qualities["majority"] = majority_right(scores)
    compared = tuple(qualities)
    qualities |= {f"model {j}": scores[:, j] for j in range(m)}
    amounts = {(name, "classifier_bound"): reachable for name, reachable in bounds.items()}
    for fact, values in facts.items():
        amounts |= {(name, fact): values[rows, pick] for name, pick in choices.items()}
        amounts["random", fact] = values.mean(axis=1)
        if "majority" in compared:
            amounts["majority", fact] = values.sum(axis=1)
    stacked = np.stack([*qualities.values(), *amounts.values()], axis=1)
    costs = facts.get("mean_cost")
    swept = {
        name: np.stack([*(scores[rows, pick] for pick in chosen), *(costs[rows, pick] for pick in chosen)], axis=1)
        for name, chosen in sweeps.items()
        if costs is not None
    }

    def read(counts: Array) -> dict[str, dict[str, Array]]:
        means = counts @ stacked / n
        quality = dict(zip(qualities, means.T, strict=False))
        found = {name: {"quality": q} for name, q in quality.items()}
        for name in compared:
            oracle = quality["oracle"]
            found[name]["oracle_share"] = np.where(
                oracle != 0, quality[name] / np.where(oracle != 0, oracle, 1), np.nan
            )
            found[name]["gain"] = quality[name] - quality["best_single"]
        for j, (name, figure) in enumerate(amounts):
            found[name][figure] = means[:, len(qualities) + j]
        if costs is not None:
            of_models = counts @ costs / n
            for name, columns in swept.items():
                halves = np.split(counts @ columns / n, 2, axis=1)
                found[name]["aiq"] = np.array(
                    [
                        average_improvement_in_quality(c, q, lowest_cost=max(low, c.min()), highest_cost=high)
                        for q, c, low, high in zip(*halves, of_models.min(axis=1), of_models.max(axis=1), strict=True)
                    ]
                )
        return found

    value = read(np.ones((1, n)))
    parts = map_resamples(read, n, resamples, seed)
    drawn = {
        name: {key: np.concatenate([part[name][key] for part in parts]) for key in figures}
        for name, figures in value.items()
    }
    return value, drawn
