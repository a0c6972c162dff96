"""The parts of docs/results.md on the study: what was tried, learning curves, and approaches that fell short of a target."""

from typing import Any

from benchmarks.replication.writing import Stored, interval, number, table

TARGETS = {"MT-Bench": 0.80, "GSM8K": 0.622}
SHOWN_LABELS = ("0", "250", "750", "1500", "3000", "7000")


def tried(stored: Stored) -> list[str]:
    """Write what was tried on MMLU."""
    found = stored.result("choices-table")
    inner, routers = found["inner"], found["routers"]
    lines = [
        "## What was tried on MMLU",
        "",
        "Trained on `train` (7,485 labels of the pair), by three folds. *Folds* is APGR of predictions from models that did not see a",
        "prompt; the highest is the study's pick, and what was picked is reported on `dev`, which chose nothing. Regularisation is chosen",
        "by log loss in the folds where nothing is said of tokens, and is that of the shipped router where they are read. The last column is",
        "paired by prompt.",
        "",
    ]
    for about in ("features", "heads", "data", "ensembles"):
        names = sorted((n for n in inner if found["about"][n] == about), key=lambda n: -inner[n])
        rows = [
            [
                f"**{name}** (the pick)" if name == found["pick"] else name,
                number(inner[name]),
                *(interval(routers[name][key]) for key in ("apgr", "cpt50", "cpt80")),
                interval(found["differences"][name], sign=True),
            ]
            for name in names
        ]
        head = (about, "folds", "dev: APGR", "CPT50", "CPT80", "less the shipped router")
        lines += table(head, rows)
    rows = [
        [name, *(interval(routers[name][key]) for key in ("apgr", "cpt50", "cpt80"))]
        for name in ("the shipped router", "topic known", "length", "oracle")
    ]
    rows.append(["random", interval(found["random"]), "50%", "80%"])
    lines += table(("beside", "dev: APGR", "CPT50", "CPT80"), rows)
    return [*lines, *_verdict(found)]


def _verdict(found: Any) -> list[str]:
    pick, differences = found["pick"], found["differences"]
    better = [name for name, of in differences.items() if name in found["inner"] and of[1] is not None and of[1] > 0]
    worse = [name for name, of in differences.items() if name in found["inner"] and of[2] is not None and of[2] < 0]
    return [
        f"The folds pick *{pick}*: {interval(found['routers'][pick]['apgr'])} on `dev`, "
        f"{interval(differences[pick], sign=True)} beside the shipped router. Better than the shipped one beyond its interval: "
        f"{', '.join(better) or 'none'}. Worse beyond it: {', '.join(worse) or 'none'}. The rest is within noise.",
        "",
    ]


def calibrated(stored: Stored) -> list[str]:
    """Write what calibration did."""
    found = stored.result("choices-calibration")
    rows = [
        [name, interval(one["log loss"], 4), number(one["calibration error"]), number(one["apgr"])]
        for name, one in found.items()
    ]
    return [
        "### Calibration",
        "",
        "Win rates on `dev`, a tie counted half; what is fitted is fitted to the folds of `train`. A monotone map leaves the ranking as it",
        "is, so it changes what a win rate says and not what routing reaches.",
        "",
        *table(("win rate", "log loss", "calibration error", "APGR"), rows),
    ]


def learning(stored: Stored) -> list[str]:
    """Write the learning curves."""
    found = stored.result("choices-curve")
    rows = []
    for name, of in found.items():
        cells = []
        for count in SHOWN_LABELS:
            draws = of[count]
            mean = sum(draw[0] for draw in draws) / len(draws)
            cells.append(interval(draws[0]) + (f" (mean of {len(draws)}: {mean:.3f})" if len(draws) > 1 else ""))
        rows.append([name, *cells])
    head = ("heads that read", *(f"{int(count):,}" for count in SHOWN_LABELS))
    return [
        "## Learning curve on MMLU",
        "",
        "APGR on `dev` against labels of MMLU of this pair; with none, the heads are trained on MMLU-Pro, whose labels are of other pairs.",
        "RouteLLM's best has 0.603 with 1,500 labels and Arena votes.",
        "",
        *table(head, rows),
    ]


def short(stored: Stored) -> list[str]:
    """Write what was tried on open questions, and what fell short of each target."""
    found = stored.result("open_questions-table")
    sets = found["sets"]
    names = sorted((n for n in found["inner mean"] if n != "length"), key=lambda n: -found["inner mean"][n])
    seen_all = "has seen the tasks left out"
    rows = [
        [
            f"**{name}** (the pick)" if name == found["pick"] else name,
            "-" if seen_all in name else f"{found['inner mean'][name]:+.2f}",
            *(interval(sets[one]["routers"][name]["apgr"]) for one in ("GSM8K", "MT-Bench")),
            *(interval(sets[one]["differences"][name], sign=True) for one in ("GSM8K", "MT-Bench")),
        ]
        for name in names
    ]
    for name in ("the shipped router", "length", "oracle"):
        inner = f"{found['inner mean']['length']:+.2f}" if name == "length" else "-"
        rows.append([name, inner, *(interval(sets[one]["routers"][name]["apgr"]) for one in ("GSM8K", "MT-Bench")), "", ""])
    rows.append(["random", "0", *(interval(sets[one]["random"]) for one in ("GSM8K", "MT-Bench")), "", ""])
    lines = [
        "## What was tried on open questions",
        "",
        "One pair of heads, no form, so that each row says what its features, heads or data can do. *Tasks left out* is what a candidate",
        "gains over random, in points of quality, on each task when nothing of that task is trained on, mean over eight tasks of the rows of",
        "`train`; the highest that may be shipped is the pick. No label of GSM8K or MT-Bench trains or chooses. Preferences of AlpacaEval",
        "may not be shipped; they are there as a bound. The last two columns are paired by prompt.",
        "",
        *table(
            ("candidate", "tasks left out", "GSM8K", "MT-Bench", "GSM8K, less shipped", "MT-Bench, less shipped"),
            rows,
        ),
        "### Targets",
        "",
    ]
    for name, target in TARGETS.items():
        routers = sets[name]["routers"]
        missed = [one for one in names if routers[one]["apgr"][0] < target]
        reached = [one for one in names if one not in missed]
        surely = [one for one in missed if routers[one]["apgr"][2] < target]
        ours = routers["the shipped router"]["apgr"]
        lines += [
            f"- {name}, {target:g}: the shipped router has {interval(ours)}"
            f"{', whose interval holds the target' if ours[2] >= target else ''}. Of {len(names)} approaches {len(missed)} have less, "
            f"{len(surely)} of them with the whole interval; at or above it: {', '.join(reached) or 'none'}. The oracle has "
            f"{interval(routers['oracle']['apgr'])}, length {interval(routers['length']['apgr'])}.",
        ]
    return [*lines, ""]
