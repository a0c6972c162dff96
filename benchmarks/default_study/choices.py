"""What was tried on MMLU: features, heads, data, ensembles and calibration, chosen by folds of `train`, reported on `dev`.

ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.choices [--only TEXT ...]
"""

from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.default_study.calibration import calibration
from benchmarks.default_study.candidates import Problem
from benchmarks.default_study.data import (
    FOLDS,
    MINILM_LABELS,
    SHIPPED,
    TUNED_FOLDS,
    WORK,
    Array,
    file_name,
    kept,
    mmlu,
    study_run,
    training_rows,
)
from benchmarks.default_study.ensembles import ensembles
from benchmarks.default_study.features import DesignOf, Features, Reads, logistic
from benchmarks.default_study.measure import Candidate, Fitted, apgr, cross_fit, measured, shares
from benchmarks.replication.common import Run
from routellm_core import load_router

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
        mean = table[[name for name in table.columns if name.startswith("score::")]].mean(axis=1).to_numpy()
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
        if all((WORK / f"distilled-{fold}.npz").is_file() for fold in range(TUNED_FOLDS)):
            found += [
                p.heads("distilled from the fine-tuned", Reads(("distilled",))),
                p.heads("distilled and statistics", Reads(("distilled", "statistics"))),
                p.of_library("kNN on the distilled", "knn", "distilled"),
            ]
        if all((WORK / f"tuned-{fold}.npz").is_file() for fold in range(TUNED_FOLDS)):
            found.append(p.tuned("MiniLM fine-tuned"))
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


def learning_curve(study: Study, kinds: Mapping[str, Reads], most: int, draws: int) -> dict[str, Any]:
    """Train heads on fewer labels of MMLU; with none, on MMLU-Pro, which is of other pairs.

    Args:
        study: The study.
        kinds: What they read.
        most: The highest number of labels.
        draws: How often fewer than 5,000 labels are drawn.
    """
    n, m = len(study.train), len(study.dev)
    dev = np.arange(n, n + m)
    rows: dict[str, Any] = {}
    for name, reads in kinds.items():
        for count in (count for count in SMALL if count <= most and (count or "minilm" not in reads.kinds)):
            of: dict[str, Array] = {}
            for draw in range(draws if 0 < count < 5000 else 1):
                drawn = np.random.default_rng(draw).permutation(n)[:count]
                used = drawn if count else n + m + np.flatnonzero(study.other["table"] == "mmlupro_tiger")
                of[str(draw)] = study.problem.heads(name, reads).fit(used, None, 1.0)(dev)
            found = measured(of, study.dev)["routers"]
            rows.setdefault(name, {})[count] = [found[draw]["apgr"] for draw in of]
    return rows


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
    fitted |= ensembles(fitted, study.train)
    run.part("choices-table", lambda: table_of(study, fitted, about))
    run.part("choices-calibration", lambda: calibration(study.train, study.dev, fitted))
    kinds = {SHIPPED: Reads(("statistics", "tokens")), "embedding and statistics": Reads(("embedding", "statistics"))}
    run.part("choices-curve", lambda: learning_curve(study, kinds, max(SMALL), DRAWS))
    if (WORK / "minilm.npz").is_file():
        of_minilm = {"MiniLM": Reads(("minilm",)), "MiniLM and statistics": Reads(("minilm", "statistics"))}
        run.part("choices-curve_minilm", lambda: learning_curve(study, of_minilm, MINILM_LABELS, 1))


if __name__ == "__main__":
    main()
