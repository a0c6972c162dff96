"""The part of the page on RouteLLM: labels, Tables 5 to 7, and the routers that are language models."""

from typing import Any

import numpy as np

from benchmarks.replication.writing import OPEN, Claim, Triple, above, all_of, interval, number, table

PAPER_SIMILARITY = {
    ("MT-Bench", "arena"): 0.6078,
    ("MT-Bench", "arena + judge"): 0.6525,
    ("MMLU", "arena"): 0.4823,
    ("MMLU", "arena + gold"): 0.5678,
    ("GSM8K", "arena"): 0.4926,
    ("GSM8K", "arena + judge"): 0.5335,
}
PAPER_COUNTS = (0, 50, 200, 500, 1500)
"""Of labels, that were asked about."""

PAPER_SAVINGS = {"MT-Bench": ("3.66", "2.49"), "MMLU": ("1.41", "1.14"), "GSM8K": ("1.49", "1.27")}


def label_lines(labels: Any) -> list[str]:
    """Write APGR against the number of labels."""
    lines = [
        "### APGR against labels of the benchmark's own kind",
        "",
        "Added to arena's preferences, or alone. With few labels two draws: the first with its interval, the second behind it.",
        "Where mf with labels alone has one figure at several counts, no epoch lowered its loss on the labels held out: the",
        "weights are those of its random start, and the figure is what that start happens to be worth.",
        "",
    ]
    for benchmark, part in labels.items():
        counts = sorted({int(name.rsplit(" ", 2)[1]) for name in part["apgr"] if name.startswith("mf ")})
        asked = sorted({*counts, *PAPER_COUNTS})
        rows = []
        for router in ("mf", "sw_ranking", "mf, labels alone", "knn, labels alone"):
            cells = []
            for count in asked:
                if count > max(counts):
                    cells.append(OPEN)
                    continue
                first, second = (part["apgr"].get(f"{router} {count} {draw}") for draw in (0, 1))
                cells.append("-" if first is None else interval(first) + (f" ({number(second[0])})" if second else ""))
            rows.append([router, *cells])
        rows.append(["length", interval(part["apgr"]["length"]), *["" for _ in asked[1:]]])
        missing = [f"{count:,}" for count in asked if count > max(counts)]
        why = (
            f" There are {part['n'] + max(counts)} prompts in all, {max(counts)} of them for labels, so what"
            f" {' and '.join(missing)} labels give cannot be told."
        )
        gaps = {
            name.split()[-2]: value
            for name, value in part["labels alone less with arena"].items()
            if name.endswith(" 0")
        }
        alone = ", ".join(f"{count} {interval(value, sign=True)}" for count, value in gaps.items())
        lines += [f"{benchmark}, measured on {part['n']:,} prompts.{why if missing else ''}", ""]
        lines += table(["router", *(f"{count:,}" for count in asked)], rows)
        lines += [f"mf with the labels alone, less mf with arena's battles and the labels: {alone}.", ""]
    return lines


def label_claim(labels: Any) -> Claim:
    """Return the claim on labels of the benchmark's own kind."""
    last = {
        f"{b}, {name}": value
        for b, part in labels.items()
        for name, value in part["gain over none"].items()
        if name.endswith((" 1500 0", " 330 0"))
    }
    return (
        "A small share of labels of the benchmark's kind improves routing a lot",
        all_of([above(value) for value in last.values()]),
        "gain of the most labels over none: "
        + "; ".join(f"{name.removesuffix(' 0')} {interval(value, sign=True)}" for name, value in last.items()),
    )


def similarity_part(near: Any, tables: Any) -> tuple[list[str], Claim]:
    """Write Table 5 and how similarity goes with APGR."""
    rows = []
    points: dict[str, list[tuple[float, float]]] = {}
    for data, by in near.items():
        for benchmark, value in by.items():
            scores = {name: tables[benchmark]["routers"][f"{name}, {data}"]["apgr"] for name in ("mf", "sw_ranking")}
            points.setdefault(benchmark, []).extend((value[0], one[0]) for one in scores.values())
            paper = PAPER_SIMILARITY.get((benchmark, data))
            rows.append(
                [benchmark, data, interval(value), number(paper, 4), *(interval(one) for one in scores.values())]
            )
    of_benchmarks = [np.array(some) for some in points.values()]
    over_all = over_benchmarks(of_benchmarks)
    inside = over_benchmarks([some - some.mean(axis=0) for some in of_benchmarks])
    lines = [
        "### Similarity of benchmark and training data (Table 5)",
        "",
        "Cosines of this library's embedding, so only their order can be compared with the paper's, of text-embedding-3-small.",
        "",
    ]
    lines += table(["benchmark", "training set", "similarity", "paper", "APGR of mf", "APGR of sw_ranking"], rows)
    lines += [
        f"Rank correlation of similarity and APGR over the {sum(map(len, of_benchmarks))} points: {interval(over_all, 2)};",
        f"within benchmarks, each less its own mean: {interval(inside, 2)}. Intervals over the {len(of_benchmarks)} benchmarks,",
        "for the points of one share prompts and routers.",
        "",
    ]
    return lines, (
        "The more similar training data and benchmark are, the better routers do",
        above(over_all),
        f"rank correlation {interval(over_all, 2)}; within benchmarks {interval(inside, 2)}",
    )


def over_benchmarks(points: list[Any]) -> Triple:
    """Return the rank correlation of points, with its interval over benchmarks."""
    draws = np.random.default_rng(0).integers(0, len(points), (1000, len(points)))
    found = [spearman(*np.concatenate([points[i] for i in drawn]).T) for drawn in draws]
    return [spearman(*np.concatenate(points).T), *map(float, np.nanquantile(found, [0.025, 0.975]))]


def spearman(x: Any, y: Any) -> float:
    """Return the rank correlation; ties have their mean rank."""
    ranks = [np.array([((v < one).sum() + (v <= one).sum() - 1) / 2 for one in v]) for v in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if min(r.std() for r in ranks) > 0 else float("nan")


def savings_part(saved: Any) -> tuple[list[str], Claim]:
    """Write Table 6."""
    lines = [
        "### Cost saving against chance (Table 6)",
        "",
        "Chance's CPT over that of the best router, which is chosen on the same prompts, as in the paper; so the ratios flatter.",
        "Ends of intervals are those of the chosen router's CPT.",
        "",
    ]
    rows = []
    for benchmark, levels in saved.items():
        for at, (level, row) in enumerate(levels.items()):
            ratios = [interval(row["ratio"], 2), interval(row["ratio of length"], 2), interval(row["points"], 1)]
            rows.append([benchmark, level, row["router"], *ratios, PAPER_SAVINGS.get(benchmark, ("-", "-"))[at]])
    head = ["benchmark", "level", "best router", "ratio", "ratio of length", "points of calls saved", "paper's ratio"]
    known = {name: levels["cpt50"]["ratio"] for name, levels in saved.items() if name in PAPER_SAVINGS}
    claim = (
        "Half of the gap costs 3.66 (MT-Bench), 1.41 (MMLU), 1.49 (GSM8K) times fewer strong calls than chance",
        all_of([above(ratio, 1.0) for ratio in known.values()]) + " (as: above 1)",
        "; ".join(f"{name} {interval(ratio, 2)}" for name, ratio in known.items()),
    )
    return lines + table(head, rows), claim
