"""The parts of docs/results.md on the shipped router: beside RouteLLM, elsewhere, outside its training data, its cost."""

from typing import Any

from benchmarks.default_study.prose import prose
from benchmarks.replication.writing import Stored, interval, number, percent, table

PUBLISHED = {  # arXiv 2406.18665v4, tables 1 to 3: name, trained on, APGR, CPT50, CPT80
    "MMLU": (
        ("RouteLLM, matrix factorization", "Arena votes", "0.524", "45.0%", "76.9%"),
        ("RouteLLM, causal LLM", "Arena votes and 1,500 labels of MMLU", "0.600", "35.5%", "70.3%"),
        ("RouteLLM, similarity-weighted (its best)", "Arena votes and 1,500 labels of MMLU", "0.603", "35.4%", "71.6%"),
    ),
    "GSM8K": (
        ("RouteLLM, similarity-weighted", "Arena votes", "0.475", "54.4%", "82.1%"),
        ("RouteLLM, similarity-weighted", "Arena votes and a judge's", "0.568", "41.2%", "72.2%"),
        ("RouteLLM, causal LLM (its best)", "Arena votes and a judge's", "0.622", "33.6%", "63.3%"),
    ),
    "MT-Bench": (
        ("RouteLLM, similarity-weighted", "Arena votes", "0.610", "37.9%", "59.0%"),
        ("RouteLLM, BERT", "Arena votes and a judge's", "0.751", "19.6%", "34.0%"),
        ("RouteLLM, matrix factorization (its best)", "Arena votes and a judge's", "0.802", "13.4%", "31.3%"),
    ),
}
TRAINED = {
    "MMLU": "7,485 labels of other MMLU questions, same pair",
    "GSM8K": "no label of GSM8K",
    "MT-Bench": "no label of MT-Bench, no preference",
}
LIMIT = 0.15
OVERHEAD = (  # arXiv 2406.18665v4, table 7: name, machine, requests/s, dollars a million
    ("RouteLLM, similarity-weighted", "n2-standard-8, CPU", "2.9", "39.26"),
    ("RouteLLM, matrix factorization", "g2-standard-4, L4 GPU", "155.2", "3.32"),
    ("RouteLLM, BERT", "g2-standard-4, L4 GPU", "69.6", "3.19"),
    ("RouteLLM, causal LLM", "g2-standard-4, L4 GPU", "42.5", "5.23"),
)


def beside(stored: Stored) -> list[str]:
    """Write the tables beside RouteLLM's published rows."""
    lines = prose("beside")
    for name, found in stored.result("beside-benchmarks").items():
        rows = []
        for router, figures in found["routers"].items():
            title = f"**{router}**" if router == "default" else router
            what = {"default": TRAINED[name], "topic known": "7,485 labels, and the subject given"}.get(router, "-")
            rows.append([title, what, *(interval(figures[key]) for key in ("apgr", "cpt50", "cpt80"))])
        rows.append(["random", "-", interval(found["random"]), "50%", "80%"])
        rows += [list(row) for row in PUBLISHED[name]]
        lines += [f"### {name}, {found['n']:,} prompts", ""]
        lines += table(("router", "trained on", "APGR", "CPT50", "CPT80"), rows)
        sides = f"Weak {interval(found['weak'], 2)}, strong {interval(found['strong'], 2)}."
        lines += [f"{sides} default less length: APGR {difference(found, 'default')}.", ""]
    return lines


def difference(found: Any, router: str) -> str:
    """Write a paired difference."""
    return interval(found["differences"][router], sign=True)


def elsewhere(stored: Stored) -> list[str]:
    """Write other pairs, unseen tasks and answers judged by people."""
    lines = [*prose("transfer"), *_beside_length(stored.result("beside-transfer"))]
    lines += [*prose("unseen"), *_beside_length(stored.result("beside-unseen_sets"))]
    found = stored.result("beside-unseen")
    rows = [
        [
            name,
            f"{one['n']:,}",
            f"{one['gap']:.1f}",
            interval(one["default"], 2, sign=True),
            interval(one["length"], 2, sign=True),
            number(one["p worse, Holm"], 2),
            number(one["p better, Holm"], 3),
        ]
        for name, one in found["sets"].items()
    ]
    lines += prose("worse")
    lines += table(("set", "prompts", "gap", "default gains", "length gains", "p (worse)", "p (better)"), rows)
    worse = [name for name, one in found["sets"].items() if one["p worse, Holm"] < 0.05]
    better = [name for name, one in found["sets"].items() if one["p better, Holm"] < 0.05]
    beyond = f"Worse than random beyond chance: {', '.join(worse) or 'none'}. Better: {', '.join(better) or 'none'}."
    by_set, by_prompt = (interval(found["default less length"][key], 2, sign=True) for key in ("sets", "prompts"))
    less = f"Default less length: {by_set} points as the mean over sets, {by_prompt} as the mean over their prompts."
    lines += [f"{beyond} {less}", "", *prose("human"), *_beside_length(stored.result("beside-human"))]
    return lines


def _beside_length(sets: Any) -> list[str]:
    rows = []
    for name, one in sets.items():
        gap = one["strong"][0] - one["weak"][0]
        figures = one["routers"]
        cells = ["no gap"] * 3
        if gap > 0.01:
            cells = [interval(figures[router]["apgr"]) for router in ("default", "length", "oracle")]
            cells.append(difference(one, "default"))
        else:
            cells.append("-")
        rows.append([name, f"{one['n']:,}", f"{100 * gap:.1f}", *cells])
    return table(("set", "prompts", "gap, points", "default, APGR", "length", "oracle", "default less length"), rows)


def behaviour(stored: Stored) -> list[str]:
    """Write what padding, translations and kinds of prompts do."""
    found = stored.result("behaviour-padding")
    sets = list(found["sets"])
    flips = found["flips"]
    rows = [
        [pad, *(_percents(flips[name]["own"][pad]) for name in sets), _percents(flips[sets[-1]]["stored"][pad])]
        for pad in flips[sets[0]]["own"]
    ]
    rows.append(
        [
            "**mean**",
            *(_percents(flips[name]["mean"]["own"]) for name in sets),
            _percents(flips[sets[-1]]["mean"]["stored"]),
        ]
    )
    above = {pad: [name for name in sets if flips[name]["own"][pad][0] > LIMIT] for pad in flips[sets[0]]["own"]}
    over = [f"{pad} ({', '.join(names)})" for pad, names in above.items() if names]
    head = ("padding", *(f"{name} ({found['sets'][name]})" for name in sets), f"{sets[-1]}, stored threshold")
    lines = [
        *prose("padding"),
        *table(head, rows),
        f"Above 15%: {'; '.join(over) or 'none'}.",
        "",
        *prose("languages"),
    ]
    rows = [
        [
            language,
            str(one["n"]),
            _percents(one["reported"]),
            _percents(one["agree at 0.5"]),
            _percents(one["agree or reported"]),
            *(percent(one["strong at"][fraction]) for fraction in ("0.3", "0.5", "0.7")),
        ]
        for language, one in stored.result("behaviour-translations").items()
    ]
    head = (
        "language",
        "n",
        "reported",
        "decides as in English",
        "decides so or reported",
        "strong at 0.3",
        "at 0.5",
        "at 0.7",
    )
    lines += table(head, rows)
    told = "; ".join(f"{name} {_percents(of)}" for name, of in stored.result("behaviour-false-alarms").items())
    lines += [*prose("false alarms")[:-1], f"{told}.", ""]
    rows = [
        [
            kind,
            str(one["n"]),
            f"{one['characters']:,.0f}",
            f"{one['win rate'][0]:.2f} ({one['win rate'][1]:.2f} to {one['win rate'][2]:.2f})",
            *(_percents(one["strong"][fraction]) for fraction in ("0.3", "0.5", "0.7")),
            percent(one["reported"][0]),
        ]
        for kind, one in stored.result("behaviour-kinds").items()
    ]
    head = (
        "kind",
        "n",
        "characters",
        "win rate (tenth to ninth decile)",
        "strong at 0.3",
        "at 0.5",
        "at 0.7",
        "reported",
    )
    return [*lines, *prose("kinds"), *table(head, rows)]


def _percents(values: list[float]) -> str:
    value, low, high = (100 * one for one in values)
    return f"{value:.0f}% [{low:.0f}, {high:.0f}]"


def cost(stored: Stored) -> list[str]:
    """Write latency and cost beside Table 7."""
    found = stored.result("speed-decisions")
    rows = []
    for name, one in found["rows"].items():
        processor, clock = one["processor ms"], one["clock ms"]
        rows.append(
            [
                name,
                f"{one['characters']:,.0f}",
                f"{processor[0]:.2f} / {processor[1]:.2f}",
                f"{clock[0]:.2f} / {clock[1]:.2f}",
                f"{one['batches']['requests/s']:,.0f}",
            ]
        )
    most = [max(one["processor ms"][i] for one in found["rows"].values()) for i in (0, 1)]
    least = min(one["batches"]["requests/s"] for one in found["rows"].values())
    limits = (
        f"The limits are 0.5 ms, 2 ms and 5,000 prompts/s on two cores; the worst row here has {most[0]:.2f} ms, "
        f"{most[1]:.2f} ms and {least:,.0f} prompts/s."
    )
    priced = [
        [f"**default**, {name}, {how}", "one core", f"{one[how]['requests/s']:,.0f}", f"{one[how]['usd']:.3f}"]
        for name, one in found["rows"].items()
        for how in ("one at a time", "batches")
    ]
    return [
        "## Latency and cost",
        "",
        f"On {found['machine']}; the machine was busy with other work, so processor time is the figure to read.",
        "",
        *table(
            (
                "prompts",
                "characters",
                "processor, p50 / p99 ms",
                "clock, p50 / p99 ms",
                "prompts/s in batches of 5,000",
            ),
            rows,
        ),
        limits,
        "",
        *prose("table7"),
        *table(
            ("router", "hardware", "requests/s", "$ per million decisions"),
            [*priced, *(list(row) for row in OVERHEAD)],
        ),
    ]
