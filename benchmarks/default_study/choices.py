"""What was tried on MMLU: features, heads, data, ensembles and calibration, chosen by folds of `train`, reported on `dev`.

ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.choices [--only TEXT ...]
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.default_study.candidates import Problem
from benchmarks.default_study.data import (
    FOLDS,
    TUNED_FOLDS,
    WORK,
    Array,
    file_name,
    kept,
    mmlu,
    study_run,
    training_rows,
)
from benchmarks.default_study.features import DesignOf, Features, Reads, logistic
from benchmarks.default_study.measure import Candidate, Fitted, cross_fit, measured, shares
from benchmarks.replication.common import Run
from routellm_core import load_router
from routellm_core.evaluation.curve import CostQualityCurve
from routellm_core.evaluation.metrics import average_performance_gap_recovered
from routellm_core.evaluation.reliability import reliability
from routellm_core.routers.base import sigmoid
from routellm_core.training.measures import log_losses

SHIPPED = "statistics and tokens"
SMALL = (0, 100, 250, 500, 750, 1500, 3000, 5000, 7000)
DRAWS = 3


class Study:
    """The candidates on MMLU.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def other(self) -> pd.DataFrame:
        """The training rows of other sets."""
        rows = training_rows(self.run)
        return rows[rows["table"] != "routellm_mmlu"].reset_index(drop=True)

    @cached_property
    def train(self) -> pd.DataFrame:
        """The training rows of MMLU."""
        rows = training_rows(self.run)
        return rows[rows["table"] == "routellm_mmlu"].reset_index(drop=True)

    @cached_property
    def dev(self) -> pd.DataFrame:
        """The held-out rows of MMLU."""
        return mmlu(self.run, "dev")

    @cached_property
    def problem(self) -> Problem:
        """The problem; rows: MMLU train, MMLU dev, the other sets."""
        every = [*self.train["prompt"], *self.dev["prompt"], *self.other["prompt"]]
        scores = np.concatenate(
            [part[["weak", "strong"]].to_numpy(float) for part in (self.train, self.dev, self.other)]
        )
        return Problem(Features(every, self.difficulty), scores)

    @cached_property
    def difficulty(self) -> Array:
        """How hard each prompt looks to heads of the mean of all 29 models on MMLU-Pro."""
        table = pd.read_parquet(self.run.table("mmlupro_tiger"))
        table = table[table["split"] == "train"]
        mean = table[[name for name in table if name.startswith("score::")]].mean(axis=1).to_numpy()
        every = [*self.train["prompt"], *self.dev["prompt"], *self.other["prompt"]]
        features = Features([*every, *table["prompt"]])
        of = DesignOf(features, Reads(("embedding",)), np.arange(len(every), len(features.texts)), None)
        head = logistic(of.rows(of.train), mean, 1.0)
        return head(of.rows(np.arange(len(every))))

    def candidates(self) -> list[Candidate]:
        """Return all that is tried."""
        p, shipped = self.problem, Reads(("statistics", "tokens"))
        topics = np.array([*self.train["task"], *self.dev["task"], *self.other["task"]], dtype=np.str_)
        found = [
            p.heads(SHIPPED, shipped),
            p.heads("statistics", Reads(("statistics",))),
            p.heads("tokens", Reads(("tokens",))),
            p.heads("embedding", Reads(("embedding",))),
            p.heads("embedding and statistics", Reads(("embedding", "statistics"))),
            p.heads("embedding, statistics and tokens", Reads(("embedding", "statistics", "tokens"))),
            p.single("win rate directly", shipped, "win rate"),
            p.single("strong right and weak wrong, directly", shipped, "needs the strong"),
            p.single("weak head alone", shipped, "weak alone"),
            p.ordinal("ordinal: weak better, tie, strong better", shipped),
            p.of_library("kNN on the embedding", "knn", "embedding"),
            p.of_library("clusters of the embedding", "cluster", "embedding"),
            p.of_library("network on the embedding", "mlp", "embedding"),
            p.guessed_topic("subject guessed from the embedding", "embedding", topics),
            p.heads("difficulty from 29 models as a column", Reads(("statistics", "tokens"), extra=True), "data"),
        ]
        if (WORK / "minilm.npz").is_file():
            found += [
                p.heads("MiniLM", Reads(("minilm",))),
                p.heads("MiniLM and statistics", Reads(("minilm", "statistics"))),
                p.heads("MiniLM, statistics and tokens", Reads(("minilm", "statistics", "tokens"))),
                p.single("MiniLM and statistics, win rate directly", Reads(("minilm", "statistics")), "win rate"),
                p.of_library("kNN on MiniLM", "knn", "minilm"),
                p.guessed_topic("subject guessed from MiniLM", "minilm", topics),
            ]
        if all((WORK / f"tuned-{fold}.npz").is_file() for fold in range(TUNED_FOLDS)):
            found += [
                p.tuned("MiniLM fine-tuned"),
                p.heads("distilled from the fine-tuned", Reads(("distilled",))),
                p.heads("distilled and statistics", Reads(("distilled", "statistics"))),
                p.of_library("kNN on the distilled", "knn", "distilled"),
            ]
        return found

    def with_other_data(self) -> list[Candidate]:
        """Return heads that train on rows of other sets too, or alone; they are told from the rest by the rows they may use."""
        n, m = len(self.train), len(self.dev)
        tables = np.array(["routellm_mmlu"] * n + ["dev"] * m + self.other["table"].tolist(), dtype=np.str_)
        reads = Reads(("statistics", "tokens"))
        sets = {
            "MMLU and MMLU-Pro": ("routellm_mmlu", "mmlupro_tiger"),
            "MMLU and the open tasks": ("routellm_mmlu", "llmrouter_9models"),
            "MMLU, MMLU-Pro and the open tasks": ("routellm_mmlu", "mmlupro_tiger", "llmrouter_9models"),
            "MMLU-Pro alone (other pairs, no label of the pair)": ("mmlupro_tiger",),
            "the open tasks alone (other pairs, no label of the pair)": ("llmrouter_9models",),
        }
        return [
            self.problem.heads(f"{SHIPPED}, {name}", reads, "data", np.isin(tables, tables_of))
            for name, tables_of in sets.items()
        ]

    def fitted(self, candidate: Candidate) -> Fitted:
        """Return the win rates of a candidate, from the run's results or computed."""
        n, m = len(self.train), len(self.dev)
        extended = candidate.about == "data" and candidate.name.startswith(SHIPPED + ",")

        def compute() -> dict[str, Any]:
            # Rows of the other sets are in the training part of every fold, and no figure is computed on them.
            rest = np.arange(n + m, n + m + len(self.other)) if extended else np.arange(0)
            rows = np.concatenate([np.arange(n), rest])
            fold = np.concatenate([self.train["fold"].to_numpy(), np.full(len(rest), FOLDS)])
            outcome = np.concatenate([shares(self.train), shares(self.other)[: len(rest)]])
            found = cross_fit(candidate, rows, np.arange(n, n + m), fold, outcome)
            return {
                "about": candidate.about,
                "inner": found.inner[:n],
                "outer": found.outer,
                "strength": found.strength,
            }

        stored = kept(self.run).part(f"choices-{file_name(candidate.name)}", compute)
        return Fitted(np.array(stored["inner"], dtype=float), np.array(stored["outer"]), stored["strength"])


def ensembles(fitted: Mapping[str, Fitted], study: Study) -> dict[str, Fitted]:
    """Return means of standardised win rates, and a regression on the win rates of the folds."""
    sets = {
        "mean of shipped, kNN and guessed subject": (
            SHIPPED,
            "kNN on the embedding",
            "subject guessed from the embedding",
        ),
        "mean of shipped and MiniLM heads": (SHIPPED, "MiniLM and statistics"),
        "mean of shipped, MiniLM heads and MiniLM fine-tuned": (SHIPPED, "MiniLM and statistics", "MiniLM fine-tuned"),
        "mean of shipped and distilled heads": (SHIPPED, "distilled and statistics"),
        "mean of all heads on features at hand": (
            SHIPPED,
            "embedding and statistics",
            "ordinal: weak better, tie, strong better",
            "kNN on the embedding",
            "clusters of the embedding",
            "subject guessed from the embedding",
        ),
    }
    found = {
        name: Fitted(_mean(fitted, parts, "inner"), _mean(fitted, parts, "outer"), 0.0)
        for name, parts in sets.items()
        if all(part in fitted for part in parts)
    }
    names = [name for name, one in fitted.items() if " alone (" not in name and not np.isnan(one.inner).any()]
    inner, outer = (np.stack([getattr(fitted[name], side) for name in names], axis=1) for side in ("inner", "outer"))
    center, scale = inner.mean(axis=0), inner.std(axis=0)
    inner, outer = (inner - center) / scale, (outer - center) / scale
    fold, won = study.train["fold"].to_numpy(), shares(study.train)
    stacked = np.empty(len(inner))
    for k in range(FOLDS):
        stacked[fold == k] = logistic_on(inner[fold != k], won[fold != k], inner[fold == k])
    return found | {"regression on the win rates of all of them": Fitted(stacked, logistic_on(inner, won, outer), 0.0)}


def logistic_on(train: Array, outcome: Array, rows: Array) -> Array:
    """Fit a regression that holds its weights small, and return its win rates of rows."""
    from routellm_core.training.logistic import fit_logistic

    theta, intercept = fit_logistic(train, outcome, 0.01)
    return sigmoid(rows @ theta + intercept)


def _mean(fitted: Mapping[str, Fitted], parts: Sequence[str], side: str) -> Array:
    columns = []
    for part in parts:
        inner = fitted[part].inner
        columns.append((getattr(fitted[part], side) - np.nanmean(inner)) / np.nanstd(inner))
    return sigmoid(np.mean(columns, axis=0))


def apgr(rates: Array, table: pd.DataFrame) -> float:
    """Return APGR."""
    return average_performance_gap_recovered(CostQualityCurve.from_win_rates(rates, table["weak"], table["strong"]))


def table_of(study: Study, fitted: Mapping[str, Fitted], about: Mapping[str, str]) -> dict[str, Any]:
    """Measure all on `dev` beside the bounds, and say which one the folds pick."""
    gap = (study.train["strong"] - study.train["weak"]).groupby(study.train["task"]).mean()
    known = study.dev["task"].map(gap).to_numpy(float)
    shipped = load_router("default").score(study.dev["prompt"].tolist())[:, 1]
    rates = {name: one.outer for name, one in fitted.items()}
    base = {"topic known": known, "the shipped router": np.asarray(shipped, dtype=np.float64)}
    found = measured({**rates, **base}, study.dev, against="the shipped router")
    inner = {name: inner_apgr(one.inner, fitted[SHIPPED].inner, study.train) for name, one in fitted.items()}
    return {
        **found,
        "inner": inner,
        "about": {name: about.get(name, "ensembles") for name in fitted},
        "strength": {name: one.strength for name, one in fitted.items()},
        "pick": max(inner, key=lambda name: inner[name]),
    }


def inner_apgr(rates: Array, reference: Array, table: pd.DataFrame) -> float:
    """Return APGR over the folds; of what has one fold, that of a reference plus the difference to it on this fold."""
    there = ~np.isnan(rates)
    less = apgr(rates[there], table[there]) - apgr(reference[there], table[there])
    return apgr(reference, table) + less


def learning_curve(study: Study) -> dict[str, Any]:
    """Train the shipped kind of heads on fewer labels of MMLU; with none, on MMLU-Pro, which is of other pairs."""
    n, m = len(study.train), len(study.dev)
    dev = np.arange(n, n + m)
    rows: dict[str, Any] = {}
    kinds = {SHIPPED: Reads(("statistics", "tokens")), "embedding and statistics": Reads(("embedding", "statistics"))}
    if (WORK / "minilm.npz").is_file():
        kinds["MiniLM and statistics"] = Reads(("minilm", "statistics"))
    for name, reads in kinds.items():
        for count in SMALL:
            draws = []
            for draw in range(DRAWS if 0 < count < 5000 else 1):
                drawn = np.random.default_rng(draw).permutation(n)[:count]
                used = drawn if count else n + m + np.flatnonzero(study.other["table"] == "mmlupro_tiger")
                draws.append(study.problem.heads(name, reads).fit(used, None, 1.0)(dev))
            of = {str(draw): rates for draw, rates in enumerate(draws)}
            found = measured(of, study.dev, against="0" if len(of) > 1 else "length")["routers"]
            rows.setdefault(name, {})[count] = [found[draw]["apgr"] for draw in of]
    return rows


def calibration(study: Study, fitted: Mapping[str, Fitted]) -> dict[str, Any]:
    """Measure on `dev` how well win rates agree with outcomes, as they are and after calibration on the folds."""
    one, outcome, won = fitted[SHIPPED], shares(study.dev), shares(study.train)
    inner, outer = (np.log(r / (1 - r))[:, None] for r in (np.clip(x, 1e-4, 1 - 1e-4) for x in (one.inner, one.outer)))
    ways = {
        "two heads as they are": one.outer,
        "two heads, Platt": logistic_on_free(inner, won, outer),
        "two heads, isotonic in ten steps": steps(one.inner, won, one.outer),
        "win rate directly": fitted["win rate directly"].outer,
        "the mean for all": np.full(len(outcome), won.mean()),
    }
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(outcome), (1000, len(outcome)))
    rows: dict[str, Any] = {}
    for name, rates in ways.items():
        losses = log_losses(outcome, rates)
        means = losses[drawn].mean(axis=1)
        error = reliability(rates, study.dev["weak"], study.dev["strong"]).expected_calibration_error
        rows[name] = {
            "log loss": [losses.mean(), *np.quantile(means, [0.025, 0.975])],
            "calibration error": error,
            "apgr": None if name.startswith("the mean") else apgr(rates, study.dev),
        }
    return rows


def logistic_on_free(train: Array, outcome: Array, rows: Array) -> Array:
    """Fit slope and intercept almost without a penalty."""
    from routellm_core.training.logistic import fit_logistic

    theta, intercept = fit_logistic(train, outcome, 1e4)
    return sigmoid(rows @ theta + intercept)


def steps(inner: Array, outcome: Array, outer: Array) -> Array:
    """Return the mean outcome of the tenth a win rate falls into, made monotone."""
    edges = np.quantile(inner, np.linspace(0, 1, 11)[1:-1])
    means = np.array([outcome[np.searchsorted(edges, inner) == i].mean() for i in range(10)])
    return np.maximum.accumulate(means)[np.searchsorted(edges, outer)]


def main() -> None:
    """Run what is missing."""
    run = study_run(__doc__)
    study = Study(run)
    if find_spec("torch") is None:
        print("without torch: what reads MiniLM is taken from stored vectors where there are any", flush=True)
    fitted: dict[str, Fitted] = {}
    about: dict[str, str] = {}
    for candidate in (*study.candidates(), *study.with_other_data()):
        fitted[candidate.name], about[candidate.name] = study.fitted(candidate), candidate.about
    fitted |= ensembles(fitted, study)
    run.part("choices-table", lambda: table_of(study, fitted, about))
    run.part("choices-calibration", lambda: calibration(study, fitted))
    run.part("choices-curve", lambda: learning_curve(study))


if __name__ == "__main__":
    main()
