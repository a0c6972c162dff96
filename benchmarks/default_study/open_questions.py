"""What was tried on open questions: chosen by tasks left out of training, reported on GSM8K and MT-Bench.

    ROUTELLM_OUTCOME_DATA=folder python -m benchmarks.default_study.open_questions [--only TEXT ...]

No label of either benchmark is trained on, and none chooses: a candidate is chosen by what it gains over random on the open
tasks that nothing of its training rows is of, in points of quality at the mean share of strong calls. Preferences of AlpacaEval,
whose licence forbids shipping what is trained on them, are shown as a bound of what preferences could do.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.default_study.candidates import Problem
from benchmarks.default_study.data import (
    WORK,
    Array,
    benchmarks,
    file_name,
    kept,
    study_run,
    training_rows,
)
from benchmarks.default_study.features import FREE, DesignOf, Features, Reads, logistic
from benchmarks.default_study.measure import Rows
from benchmarks.default_study.open_preferences import PREFERENCES, preference_rows
from benchmarks.default_study.open_table import TASKS, table_of
from benchmarks.replication.common import Run
from benchmarks.replication.routellm import train
from benchmarks.replication.routellm_data import preference_parts
from routellm_core.routers.base import PairRouter, sigmoid
from routellm_core.training.logistic import fit_logistic
from scripts.train_default import ROWS_PER_TASK, open_questions

STRENGTH = 1.0
Predict = Callable[[Rows], Array]


class Study:
    """The candidates on open questions; rows: the training ones, GSM8K, MT-Bench, then the prompts of preferences.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._ranked: Callable[[str], PairRouter] = cache(lambda name: train(name, preference_parts(run).arena))

    @cached_property
    def train(self) -> pd.DataFrame:
        """The open training rows; `middle` is the mean of the strong models, `many` that of all models of the table."""
        rows = training_rows(self.run)
        return open_questions(rows.assign(middle=rows["strong"], many=self._many(rows))).reset_index(drop=True)

    def _many(self, rows: pd.DataFrame) -> pd.Series:
        means: dict[str, float] = {}
        for name in ("mmlupro_tiger", "llmrouter_9models"):
            table = pd.read_parquet(self.run.table(name))
            scores = table[[column for column in table.columns if column.startswith("score::")]].mean(axis=1)
            means |= dict(zip(table["prompt"], scores, strict=True))
        return rows["prompt"].map(means).fillna(0.5)

    @cached_property
    def sets(self) -> dict[str, pd.DataFrame]:
        """GSM8K and MT-Bench."""
        return {name: table for name, table in benchmarks(self.run).items() if name != "MMLU"}

    @cached_property
    def preferences(self) -> pd.DataFrame:
        """Prompts of preferences: which set they are of, and what the better of two models won on average, ties half."""
        return pd.concat([preference_rows(self.run, name) for name in PREFERENCES], ignore_index=True)

    @cached_property
    def tasks(self) -> Any:
        """The task of each training row."""
        return self.train["task"].map(lambda task: task.split("/")[0]).to_numpy()

    @cached_property
    def problem(self) -> Problem:
        """The problem."""
        parts = [self.train["prompt"], *(table["prompt"] for table in self.sets.values()), self.preferences["prompt"]]
        every = [prompt for part in parts for prompt in part]
        counts = pd.Series(self.tasks).map(pd.Series(self.tasks).value_counts()).to_numpy(float)
        weight = np.concatenate([np.minimum(1.0, ROWS_PER_TASK / counts), np.ones(len(every) - len(counts))])
        return Problem(Features(every), np.full((len(every), 2), np.nan), weight)

    def labelled(self, strong: str, weak: str = "weak") -> Array:
        """Return the scores of training rows, weak first, and NaN for all others."""
        scores = np.full((len(self.problem.scores), 2), np.nan)
        scores[: len(self.train)] = self.train[[weak, strong]].to_numpy(float)
        return scores

    def rows_of(self, name: str) -> Rows:
        """Return the rows of GSM8K, MT-Bench or a set of preferences."""
        start = len(self.train)
        for one, table in self.sets.items():
            if one == name:
                return np.arange(start, start + len(table))
            start += len(table)
        return start + np.flatnonzero(self.preferences["set"] == name)

    def outcomes(
        self, reads: Reads, strong: str = "best", weak: str = "weak", mode: str = "both"
    ) -> Callable[[Rows], Predict]:
        """Return what fits heads to outcomes of training rows: both, the weak one alone, or the win rate directly."""
        scores = self.labelled(strong, weak)

        fold = 0 if "distilled" in reads.kinds else None

        def fit(rows: Rows) -> Predict:
            problem = Problem(self.problem.features, scores, self.problem.weight)
            if mode == "both":
                return problem.heads("", reads).fit(rows, fold, STRENGTH)
            return problem.single("", reads, mode).fit(rows, fold, STRENGTH)

        return fit

    def of_numbers(self, statistics: Sequence[str] | None, mode: str = "weak alone") -> Callable[[Rows], Predict]:
        """Return what fits heads to the training rows that are prose with numbers."""
        fit = self.outcomes(Reads(("statistics",), statistics), mode=mode)
        form = np.array([reading.form for reading in self.problem.features.readings])
        return lambda rows: fit(rows[form[rows] == "quantities"])

    def with_levels(self, reads: Reads, *, both: bool = False) -> Callable[[Rows], Predict]:
        """Return what fits heads to prose with numbers beside a level for each task, the mean of which counts for new prompts."""
        scores = self.labelled("best")
        form = np.array([reading.form for reading in self.problem.features.readings])

        def fit(rows: Rows) -> Predict:
            kept = rows[form[rows] == "quantities"]
            of = DesignOf(self.problem.features, reads, kept, None)
            columns = of.rows(kept).dense
            levels = (self.tasks[kept][:, None] == np.unique(self.tasks[kept])).astype(float)
            slopes = []
            for side in (0, 1):
                theta, intercept = fit_logistic(np.concatenate([columns, levels], axis=1), scores[kept, side], STRENGTH)
                slope, level = np.split(theta, [columns.shape[1]])
                slopes.append((slope, intercept + float(level @ levels.mean(axis=0))))

            def predict(asked: Rows) -> Array:
                weak, strong = (sigmoid(of.rows(asked).dense @ slope + level) for slope, level in slopes)
                return np.asarray(0.5 + 0.5 * (strong * both - weak))

            return predict

        return fit

    def neighbours(self, kind: str, vectors: str) -> Callable[[Rows], Predict]:
        """Return a trainer of the library on outcomes."""
        problem = Problem(self.problem.features, self.labelled("best"))
        return lambda rows: problem.of_library("", kind, vectors).fit(rows, None, STRENGTH)

    def preferred(self, reads: Reads, *sets: str) -> Callable[[Rows], Predict]:
        """Return what fits a win rate to preferences; it reads no training row."""
        rows = np.concatenate([self.rows_of(name) for name in sets])
        won = self.preferences["won"].to_numpy()[rows - (len(self.problem.scores) - len(self.preferences))]

        def fit(_: Rows) -> Predict:
            of = DesignOf(self.problem.features, reads, rows, None)
            head = logistic(of.rows(rows), won, STRENGTH)
            return lambda asked: head(of.rows(asked))

        return fit

    def ranked(self, router: str) -> Callable[[Rows], Predict]:
        """Return one of RouteLLM's routers, trained on the preferences of AlpacaEval among all its models."""
        trained = self._ranked(router)
        return lambda _: lambda rows: trained.strong_win_rates([self.problem.features.texts[i] for i in rows])

    def candidates(self) -> dict[str, Callable[[Rows], Predict]]:
        """Return all that is tried."""
        shipped, licensed = Reads(("statistics", "embedding"), FREE), ("PandaLM", "Vicuna")
        length = Reads(("statistics",), ("log length of the stem",))
        all_statistics = Reads(("statistics", "embedding"))
        found = {
            "embedding and five statistics, best of the strong (heads of `free`)": self.outcomes(shipped),
            "embedding and five statistics, mean of the strong": self.outcomes(shipped, "middle"),
            "embedding and five statistics, weak head alone": self.outcomes(shipped, mode="weak alone"),
            "embedding and five statistics, win rate directly": self.outcomes(shipped, mode="win rate"),
            "embedding and five statistics, difficulty from all models alone": self.outcomes(
                shipped, "best", "many", "weak alone"
            ),
            "embedding and all statistics": self.outcomes(all_statistics),
            "statistics": self.outcomes(Reads(("statistics",))),
            "embedding": self.outcomes(Reads(("embedding",))),
            "statistics and tokens": self.outcomes(Reads(("statistics", "tokens"))),
            "prose with numbers: length, weak head alone": self.of_numbers(("log length of the stem",)),
            "prose with numbers and levels: length, weak head alone (heads of `quantities`)": self.with_levels(length),
            "prose with numbers and levels: length, both heads": self.with_levels(length, both=True),
            "prose with numbers and levels: length, numbers and sentences, weak head alone": self.with_levels(
                Reads(("statistics",), ("log length of the stem", "log numbers", "log sentences"))
            ),
            "prose with numbers and levels: all statistics, weak head alone": self.with_levels(Reads(("statistics",))),
            "prose with numbers and levels: embedding, weak head alone": self.with_levels(Reads(("embedding",))),
            "kNN on the embedding": self.neighbours("knn", "embedding"),
            "clusters of the embedding": self.neighbours("cluster", "embedding"),
            "preferences of PandaLM and Vicuna, embedding": self.preferred(Reads(("embedding",)), *licensed),
            "preferences of PandaLM and Vicuna, all statistics": self.preferred(Reads(("statistics",)), *licensed),
            "preferences of AlpacaEval, embedding (cannot be shipped)": self.preferred(
                Reads(("embedding",)), "AlpacaEval"
            ),
            "preferences of AlpacaEval, all statistics and embedding (cannot be shipped)": self.preferred(
                all_statistics, "AlpacaEval"
            ),
        }
        for router, name in (("mf", "matrix factorization"), ("sw_ranking", "similarity-weighted")):
            title = f"preferences of AlpacaEval among many models, {name} (cannot be shipped)"
            found[title] = lambda rows, router=router: self.ranked(router)(rows)  # type: ignore[misc]
        if (WORK / "distilled-0.npz").is_file():
            reads = Reads(("statistics", "distilled"), FREE)
            found["distilled from MiniLM fine-tuned on MMLU, and five statistics"] = self.outcomes(reads)
        return found

    def rates(self, fit: Callable[[Rows], Predict]) -> dict[str, Any]:
        """Return the win rates of GSM8K and MT-Bench, and of the training rows of each task from what did not see the task."""
        every = np.arange(len(self.train))
        predict = fit(every)
        inner = np.full(len(self.train), 0.5)
        for task in TASKS:
            mine = self.tasks == task
            inner[mine] = fit(every[~mine])(every[mine])
        return {"inner": inner, **{name: predict(self.rows_of(name)) for name in self.sets}}


def main() -> None:
    """Run what is missing."""
    run = study_run(__doc__)
    study = Study(run)
    found: dict[str, dict[str, Any]] = {}
    for name, fit in study.candidates().items():
        found[name] = kept(run).part(f"open_questions-{file_name(name)}", lambda fit=fit: study.rates(fit))  # type: ignore[misc]
    run.part("open_questions-table", lambda: table_of(study.train, study.tasks, study.sets, found))


if __name__ == "__main__":
    main()
