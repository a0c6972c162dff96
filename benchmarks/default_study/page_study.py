"""The parts of docs/results.md on the study: what was tried, learning curves, and approaches that fell short of a target."""

from typing import Any

from benchmarks.default_study.prose import prose
from benchmarks.replication.writing import Stored, interval, number, table

TARGETS = {"MT-Bench": 0.80, "GSM8K": 0.622}
AIM = 0.66
FEW_LABELS = (0.61, 0.63)
WITH_TORCH = ("MiniLM fine-tuned", "distilled from the fine-tuned")
SHOWN_LABELS = ("0", "250", "750", "1500", "3000", "7000")


def tried(stored: Stored) -> list[str]:
    """Write what was tried on MMLU."""
    found = stored.result("choices-table")
    inner, routers = found["inner"], found["routers"]
    lines = prose("tried")
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
    return [*lines, *_verdict(found), *_not_run(stored, inner)]


def _not_run(stored: Stored, inner: Any) -> list[str]:
    missing = [name for name in WITH_TORCH if name not in inner]
    if stored.result("choices-curve_minilm") is None:
        missing.append("MiniLM as it is")
    if not missing:
        return []
    return [f"Written but not run for this page, for want of computing time: {'; '.join(missing)}.", ""]


def _verdict(found: Any) -> list[str]:
    pick, differences = found["pick"], found["differences"]
    better = [name for name, of in differences.items() if name in found["inner"] and of[1] is not None and of[1] > 0]
    worse = [name for name, of in differences.items() if name in found["inner"] and of[2] is not None and of[2] < 0]
    paired = interval(differences[pick], sign=True)
    reaches = f"{interval(found['routers'][pick]['apgr'])} on `dev`, {paired} beside the shipped router"
    beyond = f"Better beyond the interval: {'; '.join(better) or 'none'}. Worse: {'; '.join(worse) or 'none'}."
    figures = {name: found["routers"][name]["apgr"] for name in found["inner"]}
    reached = [name for name, of in figures.items() if of[0] >= AIM]
    aims = (
        f"The aim of {AIM:g} is in the interval of {sum(of[1] <= AIM <= of[2] for of in figures.values())} of {len(figures)} "
        f"candidates; at or above it with the value itself: {'; '.join(reached) or 'none'}."
    )
    return [f"The folds pick *{pick}*: {reaches}. {beyond} The rest is within noise. {aims}", ""]


def calibrated(stored: Stored) -> list[str]:
    """Write what calibration did."""
    found = stored.result("choices-calibration")
    rows = [
        [name, interval(one["log loss"], 4), number(one["calibration error"]), number(one["apgr"])]
        for name, one in found.items()
    ]
    return [*prose("calibration"), *table(("win rate", "log loss", "calibration error", "APGR"), rows)]


def curves_of(stored: Stored) -> dict[str, Any]:
    """Return the learning curves, those on MiniLM too if they were computed."""
    return {**stored.result("choices-curve"), **(stored.result("choices-curve_minilm") or {})}


def learning(stored: Stored) -> list[str]:
    """Write the learning curves."""
    found = curves_of(stored)
    rows = []
    for name, of in found.items():
        cells = []
        for count in SHOWN_LABELS:
            draws = of.get(count, [])
            mean = sum(draw[0] for draw in draws) / max(len(draws), 1)
            several = f" (mean of {len(draws)}: {mean:.3f})" if len(draws) > 1 else ""
            cells.append(interval(draws[0]) + several if draws else "-")
        rows.append([name, *cells])
    head = ("heads that read", *(f"{int(count):,}" for count in SHOWN_LABELS))
    means = {name: sum(draw[0] for draw in of["1500"]) / len(of["1500"]) for name, of in found.items() if "1500" in of}
    aims = (
        f"With 1,500 labels at least {FEW_LABELS[0]:g} is wanted and {FEW_LABELS[1]:g} aimed at. The means of the draws: "
        f"{'; '.join(f'{name} {mean:.3f}' for name, mean in means.items())}. "
        "One draw of 1,500 labels may be luckier than another: the intervals are over prompts alone."
    )
    return [*prose("learning"), *table(head, rows), aims, ""]


def short(stored: Stored) -> list[str]:
    """Write what was tried on open questions, and what fell short of each target."""
    found = stored.result("open_questions-table")
    sets = found["sets"]
    names = sorted((n for n in found["inner mean"] if n != "length"), key=lambda n: -found["inner mean"][n])
    rows = [
        [
            f"**{name}** (the pick)" if name == found["pick"] else name,
            f"{found['inner mean'][name]:+.2f}",
            *(interval(sets[one]["routers"][name]["apgr"]) for one in ("GSM8K", "MT-Bench")),
            *(interval(sets[one]["differences"][name], sign=True) for one in ("GSM8K", "MT-Bench")),
        ]
        for name in names
    ]
    for name in ("the shipped router", "length", "oracle"):
        inner = f"{found['inner mean']['length']:+.2f}" if name == "length" else "-"
        rows.append(
            [name, inner, *(interval(sets[one]["routers"][name]["apgr"]) for one in ("GSM8K", "MT-Bench")), "", ""]
        )
    rows.append(["random", "0", *(interval(sets[one]["random"]) for one in ("GSM8K", "MT-Bench")), "", ""])
    head = ("candidate", "tasks left out", "GSM8K", "MT-Bench", "GSM8K, less shipped", "MT-Bench, less shipped")
    lines = [
        *prose("open"),
        *table(head, rows),
        "### Targets",
        "",
    ]
    pick = [f"{interval(sets[name]['routers'][found['pick']]['apgr'])} on {name}" for name in TARGETS]
    lines += [f"- The pick of the tasks left out, *{found['pick']}*, has {' and '.join(pick)}."]
    for name, target in TARGETS.items():
        routers = sets[name]["routers"]
        missed = [one for one in names if routers[one]["apgr"][0] < target]
        reached = [one for one in names if one not in missed]
        surely = [one for one in missed if routers[one]["apgr"][2] < target]
        ours = routers["the shipped router"]["apgr"]
        holds = ", whose interval holds the target" if ours[2] >= target else ""
        counts = f"Of {len(names)} approaches {len(missed)} have less, {len(surely)} of them with the whole interval"
        bounds = f"The oracle has {interval(routers['oracle']['apgr'])}, length {interval(routers['length']['apgr'])}."
        lines.append(
            f"- {name}, {target:g}: the shipped router has {interval(ours)}{holds}. {counts}; at or above it: "
            f"{'; '.join(reached) or 'none'}. {bounds}"
        )
    return [*lines, ""]
