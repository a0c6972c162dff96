"""The part of the page on routing with benchmark datasets, and what becomes of its claims."""

from typing import Any

import numpy as np

from benchmarks.replication.writing import (
    HOLDS,
    NOT,
    OPEN,
    Claim,
    Stored,
    Triple,
    above,
    below,
    bootstrap_mean,
    interval,
    number,
    over,
    percent,
    table,
    turned,
)

NONE: Triple = (None, None, None)
PAPER_TASKS = {
    "S1": "0.662, 40.3B",
    "S2": "0.676, 44.3B",
    "S3": "0.694, 0.898, 49.8B",
    "S3, true p": "0.735",
    "best on average": "0.688, 0.884, 70.0B",
}


def parts(stored: Stored, name: str) -> list[Any]:
    """Return the results of all pools of a part."""
    return [found for i in range(5) if (found := stored.result(f"{name}-{i}")) is not None]


def over_pools(pools: list[Any], read: Any) -> str:
    """Write a figure of every pool."""
    return "; ".join(f"{pool['pool']} {interval(read(pool), sign=True)}" for pool in pools)


def benchmark_datasets(stored: Stored) -> tuple[list[str], list[Claim]]:
    """Write what there is on routing with benchmark datasets."""
    lines: list[str] = []
    claims: list[Claim] = []
    pools = parts(stored, "benchmark_datasets-tasks")
    for pool in pools:
        lines += [f"### {pool['pool']}, {len(pool['tasks'])} tasks, {pool['n']:,} prompts", ""]
        lines += [
            "Intervals of the first two columns over prompts, of the others over tasks, as verdicts on new tasks need them.",
            "",
        ]
        rows = []
        for name, way in pool["ways"].items():
            cells = [name, interval(way["quality"]), interval(way["gain"], sign=True)]
            cells.append(interval(pool["over tasks"][f"{name} - best on average"], sign=True))
            cells += [
                interval(way.get(key) or NONE, digits)
                for key, digits in (("ratio", 3), ("pearson", 2), ("spearman", 2), ("rank", 1))
            ]
            rows.append(
                [
                    *cells,
                    percent(way.get("same as best on average")),
                    number(way.get("billions"), 1),
                    PAPER_TASKS.get(name, "-"),
                ]
            )
        head = [
            "choice",
            "quality",
            "less the best on average",
            "the same, over tasks",
            "ratio",
            "Pearson",
            "Spearman",
            "rank",
            "is best on average",
            "mean B",
        ]
        lines += table([*head, "paper (HELM): quality, ratio, mean B"], rows)
        lines += [
            f"Right votes of the predictors: {interval(pool['right votes, task known'])} on tasks that are half known,",
            f"{interval(pool['right votes, task new'])} on new ones (paper: 0.59).",
            f"Mean error of p: {interval(pool['error of p'])} (paper: 0.116).",
            f"Correlation over tasks of the error of p with the gain of S3: {p_and_gain(pool)}.",
            "",
        ]
    if pools:
        claims += task_claims(pools)
    means = parts(stored, "benchmark_datasets-average")
    if means:
        lines += ["### The best on average, with and without the new task", ""]
        lines += [
            "Where two models are nearly as good, leaving a task out of the average makes the one the best that is worse on it.",
            "The tables above leave it out; the authors' code does not. Intervals over tasks.",
            "",
        ]
        rows = [
            [
                part["pool"],
                interval(part["without the task"]),
                f"{interval(part['with the task'])} ({part['best with the task']})",
                interval(part["S3 less the best with the task"], sign=True),
            ]
            for part in means
        ]
        lines += table(["pool", "without", "with", "S3 less the best with the task"], rows)
        claims.append(
            (
                "S3 is better than the best on average where that counts the new task too, as in the authors' code",
                over([above(part["S3 less the best with the task"]) for part in means]),
                over_pools(means, lambda part: part["S3 less the best with the task"]),
            )
        )
    runs = parts(stored, "benchmark_datasets-labels")
    few = [pool for one in runs for pool in one["pools"]]
    if few:
        counts = list(few[0]["reached"])
        lines += ["### A few labels of the new task", ""]
        lines += [
            f"S1 over the rest of the task; {runs[0]['repeats']} draws a task; intervals over tasks.",
            "Quality of the model picked, and in brackets how often it was the best one.",
            "",
        ]
        rows = [
            [pool["pool"], *(f"{number(pool['reached'][c][0])} ({percent(pool['best picked'][c])})" for c in counts)]
            for pool in few
        ]
        rows += [
            [f"{pool['pool']}, gain over none", *(interval(pool["gain over none"][c], sign=True) for c in counts)]
            for pool in few
        ]
        lines += table(["pool", *counts], rows)
        claims += label_claims(few)
    graded = stored.result("benchmark_datasets-instances")
    if graded:
        lines += ["### One choice a prompt, on graded answers", ""]
        lines += [
            f"{len(graded['models'])} open models on {graded['n']} instructions of AlpacaEval, in place of MixInstruct;",
            "the score is how probably GPT-4 prefers the answer to GPT-4-1106's. Five folds over prompts.",
            "A call takes one answer, where rankers take one of every model.",
            "",
        ]
        lines += table(
            ["choice", "score", "less the best single"],
            [
                [name, interval(way["quality"]), interval(way["gain"], sign=True)]
                for name, way in graded["ways"].items()
            ],
        )
        ways = {name: way["gain"] for name, way in graded["ways"].items() if name.startswith("S1")}
        best = max(ways.values(), key=lambda gain: gain[0])
        claims.append(
            (
                "S1 per instance is a little better than the best single model on open-ended answers (BERTScore 74.75 to 74.68)",
                above(best),
                f"the best of three settings, less the best single: {interval(best, sign=True)}; AlpacaEval, not MixInstruct",
            )
        )
    return lines, claims


def p_and_gain(pool: Any) -> str:
    """Write the correlation over tasks of the error of p with the gain of S3, with its interval over tasks."""
    pairs = np.array([[task["error of p"], task["gain of S3"]] for task in pool["tasks"].values()])
    if pairs.std(axis=0).min() == 0:
        return "none, for S3 takes the best on average for every task"
    draws = np.random.default_rng(0).integers(0, len(pairs), (1000, len(pairs)))
    varied = [pairs[rows] for rows in draws if pairs[rows].std(axis=0).min() > 0]
    found = [np.corrcoef(one.T)[0, 1] for one in varied]
    return interval([np.corrcoef(pairs.T)[0, 1], *np.quantile(found, [0.025, 0.975])], 2)


def task_claims(pools: list[Any]) -> list[Claim]:
    """Return the claims on tasks that are left out, with the verdicts over pools."""

    def on(text: str, read: Any) -> Claim:
        verdict = over([above(read(pool)) for pool in pools])
        return text, verdict, over_pools(pools, read)

    def difference(name: str) -> Any:
        return lambda pool: pool["over tasks"][name]

    found = [
        on(
            "S3 picks a better model for a new task than the best on average without it (0.694 to 0.688)",
            difference("S3 - best on average"),
        ),
        on("S3 is better than S1 (0.694 to 0.662)", difference("S3 - S1")),
        on("S3 is better than S2 (0.694 to 0.676)", difference("S3 - S2")),
        on("With the true p, S3 would be better still (0.735)", difference("S3, true p - S3")),
    ]
    sized = [pool for pool in pools if "billions" in pool["ways"]["S3"]]
    smaller = [pool["ways"]["S3"]["billions less the best on average"] for pool in sized]
    sizes = "; ".join(
        f"{pool['pool']} {interval(less, 1, sign=True)}" for pool, less in zip(sized, smaller, strict=True)
    )
    return [
        *found,
        on(
            "One choice for the task is better than one a prompt, where the task is new",
            lambda pool: turned(pool["over tasks"]["per instance - S3"]),
        ),
        on(
            "Predictors are less often right on a new task than on a known one",
            lambda pool: bootstrap_mean([task["known"] - task["new"] for task in pool["tasks"].values()]),
        ),
        (
            "S3 calls smaller models than the best on average is (49.8B to 70B, 0.71)",
            over([below(less) for less in smaller]),
            f"billions less the best on average: {sizes}",
        ),
    ]


def label_claims(few: list[Any]) -> list[Claim]:
    """Return the claims on a few labels."""

    def written(count: str) -> str:
        return "; ".join(f"{pool['pool']} {interval(pool['gain over none'][count], sign=True)}" for pool in few)

    found = [
        (
            "Labels of the new task, up to 50, improve the pick",
            over([above(pool["gain over none"]["50"]) for pool in few]),
            f"with 50 labels: {written('50')}",
        )
    ]
    by_name = {pool["pool"]: pool for pool in few}
    small, large = by_name.get("the 6 up to 10B"), by_name.get("9 open models")
    if small and large:
        tasks = large["best on average"]
        for count in ("10", "50"):
            gap = bootstrap_mean([small["by task"][count][task] - safe for task, safe in tasks.items()])
            found.append(
                (
                    f"Small models, routed with {count} labels, match the best large model (up to 13B and Llama-2-70B there)",
                    NOT if gap[2] is not None and gap[2] < 0 else HOLDS if above(gap) == HOLDS else OPEN,
                    f"six models up to 10B, less the best on average of nine up to 70B: {interval(gap, sign=True)}",
                )
            )
    return found
