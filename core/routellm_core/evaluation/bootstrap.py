"""The paired bootstrap over prompts."""

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.aiq import average_improvement_in_quality
from routellm_core.evaluation.curve import Array, as_columns, first_crossing, group_ends, quality_at
from routellm_core.evaluation.interval import Interval, interval_from_draws
from routellm_core.evaluation.metrics import check_level, mean_recovered, recovered

T = TypeVar("T")

LEVELS = (0.2, 0.5, 0.8)
GRID = np.linspace(0.0, 1.0, 101)
"""The shares of strong calls at which bands are given and that AIQ takes for its operating points."""

FEWEST_PROMPTS = 10
MOST_GROUPS = 8192
_CHUNK = 1 << 20


def bootstrap_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    n: int,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a percentile bootstrap interval over prompts, for any statistic; `bootstrap_pair` is for curves, and fast.

    A difference between two routers is paired if the statistic computes both from the same indices. Samples on which the
    statistic is NaN are left out.

    Args:
        statistic: From the indices of the prompts, shape (n,), to the figure.
        n: The number of prompts.
        resamples: How many samples with replacement to draw.
        confidence: The coverage, in (0, 1).
        seed: Of the draws.

    Raises:
        ConfigurationError: If a number is out of range.
    """
    _check(n, resamples, confidence)
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, n, n)) for _ in range(resamples)])
    tail = (1.0 - confidence) / 2
    defined = drawn[~np.isnan(drawn)]
    low, high = np.quantile(defined, [tail, 1.0 - tail]) if defined.size else (math.nan, math.nan)
    return Interval(statistic(np.arange(n)), float(low), float(high))


def map_resamples(draw: Callable[[Array], T], n: int, resamples: int, seed: int) -> list[T]:
    """Return what a function makes of resamples, in order; several cores work at once.

    The resamples depend on the numbers alone, so figures computed from the same ones are paired.

    Args:
        draw: Takes how often each prompt was drawn, shape (rows, n), each row summing to n.
        n: The number of prompts.
        resamples: How many, in all.
        seed: Of the draws.
    """
    rows = max(1, min(resamples, _CHUNK // n))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))

    def one(size: int, chunk_seed: np.random.SeedSequence) -> T:
        drawn = np.random.default_rng(chunk_seed).integers(0, n, (size, n))
        if size > 1:
            drawn += np.arange(size)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=size * n)
        return draw(counts.reshape(size, n).astype(np.float64))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the counting and summing of numpy release the interpreter's lock
        return list(pool.map(one, sizes, seeds))


@dataclass(frozen=True, slots=True, eq=False)
class PairBootstrap:
    """The figures of routers between two models, with intervals.

    Attributes:
        figures: Router -> figure -> interval.
        differences: (router, other router) -> figure -> interval of the first's figure less the second's, paired.
        bands: Router -> shape (3, 101): the quality at 0%, 1%, ..., 100% of strong calls, and the ends of its interval.
        strong: The strong model's quality.
        weak: The weak model's quality.
    """

    figures: dict[str, dict[str, Interval]]
    differences: dict[tuple[str, str], dict[str, Interval]]
    bands: dict[str, Array]
    strong: Interval
    weak: Interval


def bootstrap_pair(
    win_rates: Mapping[str, ArrayLike],
    weak_scores: ArrayLike,
    strong_scores: ArrayLike,
    *,
    levels: Sequence[float] = LEVELS,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    figures: Sequence[str] | None = None,
    expectations: Collection[str] = (),
) -> PairBootstrap:
    """Compute every figure of every router, and of every difference between two, with its bootstrap interval.

    Prompts are drawn with replacement; all routers see the same draws. A figure is computed on the exact curve. Resamples of more
    than 8,192 distinct win rates are read at 8,192 points of the curve (straight between them), which is finer than the
    intervals by far.

    Args:
        win_rates: Router -> strong win rates, shape (n,).
        weak_scores: The weak model's score on each prompt, shape (n,).
        strong_scores: The strong model's, shape (n,).
        levels: The parts of the gap to give CPT and the calls saved at, in [0, 1].
        resamples: How many.
        confidence: The coverage, in (0, 1).
        seed: Of the draws.
        figures: The names of the figures to compute; None takes all. See `pair_figures`.
        expectations: Routers whose equal win rates stand for the expectation over random orders. Of other routers with equal
            win rates no figure is given.

    Raises:
        ConfigurationError: If a number is out of range or shapes differ.
    """
    columns = {name: as_columns(rates, weak_scores, strong_scores) for name, rates in win_rates.items()}
    if not columns:
        raise ConfigurationError("there is no router to evaluate: give the win rates of at least one")
    _, weak, strong = next(iter(columns.values()))
    n = weak.size
    _check(n, resamples, confidence)
    for level in levels:
        check_level(level)
    sides = np.stack([weak, strong], axis=1)
    routers = {name: Ranking.of(rates) for name, (rates, _, _) in columns.items()}

    def read(counts: Array, rankings: Mapping[str, Ranking]) -> _Drawn:
        gained, means = counts * (strong - weak), counts @ sides / n
        found, lines = {}, {}
        for name, ranking in rankings.items():
            x, q = ranking.curves(counts, gained, means[:, 0])
            found[name] = pair_figures(x, q, n, levels, figures)
            lines[name] = on_grid(x, q)
        return _Drawn(found, lines, means)

    exact = {name: Ranking.of(rates, most_groups=n) for name, (rates, _, _) in columns.items()}
    value = read(np.ones((1, n)), exact)
    drawn = _Drawn.join(map_resamples(lambda counts: read(counts, routers), n, resamples, seed))
    why = {name: _why_undefined(rates, sides, name in expectations) for name, (rates, _, _) in columns.items()}

    def interval(at: float, draws: Array, reason: str | None = None) -> Interval:
        return Interval.undefined(reason) if reason else interval_from_draws(at, draws, confidence=confidence)

    def of(name: str, key: str) -> tuple[float, Array]:
        return float(value.figures[name][key][0]), drawn.figures[name][key]

    tail = (1 - confidence) / 2
    return PairBootstrap(
        figures={name: {key: interval(*of(name, key), why[name]) for key in value.figures[name]} for name in columns},
        differences={
            (a, b): {
                key: interval(of(a, key)[0] - of(b, key)[0], of(a, key)[1] - of(b, key)[1], why[a] or why[b])
                for key in value.figures[a]
            }
            for a, b in combinations(columns, 2)
        },
        bands={
            name: np.stack([value.lines[name][0], *np.quantile(drawn.lines[name], [tail, 1 - tail], axis=0)])
            for name in columns
        },
        weak=interval(float(weak.mean()), drawn.means[:, 0]),
        strong=interval(float(strong.mean()), drawn.means[:, 1]),
    )


def pair_figures(
    x: Array, q: Array, n: int, levels: Sequence[float], wanted: Sequence[str] | None = None
) -> dict[str, Array]:
    """Compute the figures of curves, each of shape (rows,); see docs/evaluation.md for their definitions.

    Args:
        x: The shares at which a threshold can stand, shape (rows, k).
        q: The qualities there, shape (rows, k).
        n: The number of prompts.
        levels: The parts of the gap to give `cpt`, `saved` and `saved_relative` at.
        wanted: The names of the figures to compute; None takes all.
    """
    r = recovered(q)
    compute: dict[str, Callable[[], Array]] = {
        "apgr": lambda: mean_recovered(x, q, n),
        "apgr_deciles": lambda: mean_recovered(x, q, n, "deciles"),
        "apgr_mean10": lambda: mean_recovered(x, q, n, "mean10"),
        "auc": lambda: np.asarray(np.trapezoid(q, x, axis=-1)),
        "aiq": lambda: _aiq(x, q),
        "pgr50": lambda: quality_at(x, r, 0.5),
    }
    for level in levels:
        percent = f"{100 * level:g}"
        compute[f"cpt{percent}"] = lambda level=level: first_crossing(x, r, level)  # type: ignore[misc]
        compute[f"saved{percent}"] = lambda level=level: level - first_crossing(x, r, level)  # type: ignore[misc]
        if level > 0:
            compute[f"saved{percent}_relative"] = lambda level=level: 1 - first_crossing(x, r, level) / level  # type: ignore[misc]
    names = compute if wanted is None else wanted
    unknown = [name for name in names if name not in compute]
    if unknown:
        raise ConfigurationError(f"there is no figure {unknown[0]!r}; there are: {', '.join(compute)}")
    return {name: compute[name]() for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """What is read off some resamples: figures and curves of every router, and the two models' qualities."""

    figures: dict[str, dict[str, Array]]
    lines: dict[str, Array]
    means: Array

    @classmethod
    def join(cls, parts: Sequence["_Drawn"]) -> "_Drawn":
        first = parts[0]
        return cls(
            {
                name: {key: np.concatenate([part.figures[name][key] for part in parts]) for key in found}
                for name, found in first.figures.items()
            },
            {name: np.concatenate([part.lines[name] for part in parts]) for name in first.lines},
            np.concatenate([part.means for part in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The prompts in the order of one router's win rates, in groups that a threshold does not split.

    Attributes:
        group: The group of each prompt, shape (n,); 0 has the highest win rates.
        n_groups: How many there are.
    """

    group: NDArray[np.intp]
    n_groups: int

    @classmethod
    def of(cls, rates: Array, *, most_groups: int = MOST_GROUPS) -> "Ranking":
        """Rank prompts by win rates, shape (n,); of more groups than `most_groups`, neighbours are put together."""
        order = np.argsort(-rates, kind="stable")
        ends = group_ends(rates[order])
        if ends.size > most_groups:
            wanted = np.linspace(0, rates.size, most_groups + 1)[1:]
            ends = np.unique(ends[np.searchsorted(ends, wanted - 0.5)])
        group = np.empty(rates.size, dtype=np.intp)
        group[order] = np.repeat(np.arange(ends.size), np.diff(ends, prepend=0))
        return cls(group, ends.size)

    def curves(self, counts: Array, gained: Array, weak_quality: Array) -> tuple[Array, Array]:
        """Return the curves of resamples at the ends of groups: shares and qualities, shape (rows, groups + 1).

        Args:
            counts: How often each prompt was drawn, shape (rows, n).
            gained: The same times what strong gains on it.
            weak_quality: The mean over the drawn prompts on weak, shape (rows,).
        """
        rows, n = counts.shape
        into = (self.group + np.arange(rows)[:, None] * self.n_groups).ravel() if rows > 1 else self.group
        x, q = np.zeros((2, rows, self.n_groups + 1))
        for weights, sums in ((counts, x), (gained, q)):
            grouped = np.bincount(into, weights=weights.ravel(), minlength=rows * self.n_groups)
            np.cumsum(grouped.reshape(rows, self.n_groups), axis=1, out=sums[:, 1:])
            sums /= n
        q += weak_quality[:, None]
        return x, q


def on_grid(x: Array, q: Array) -> Array:
    """Return the qualities of curves at 0%, 1%, ..., 100% of strong calls, shape (rows, 101)."""
    return np.array([np.interp(GRID, *curve) for curve in zip(x, q, strict=True)])


def _aiq(x: Array, q: Array) -> Array:
    return np.array([average_improvement_in_quality(GRID, row) for row in on_grid(x, q)])


def _why_undefined(rates: Array, sides: Array, constant_is_meant: bool) -> str | None:
    """Return why the figures of a router on these scores say nothing; None if they do."""
    if len(rates) < FEWEST_PROMPTS:
        return f"{len(rates)} prompts are fewer than {FEWEST_PROMPTS}"
    if math.isclose(*sides.mean(axis=0), rel_tol=1e-12):
        return "no gap: both models are equally good on these prompts"
    if rates.min() == rates.max() and not constant_is_meant:
        return "every prompt has the same win rate: no threshold tells them apart"
    return None


def _check(n: int, resamples: int, confidence: float) -> None:
    if n < 1 or resamples < 1 or not 0.0 < confidence < 1.0:
        raise ConfigurationError(
            f"n and resamples must be 1 or more and confidence in (0, 1), not {n!r}, {resamples!r} and {confidence!r}"
        )
