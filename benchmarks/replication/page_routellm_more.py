"""The part of the page on RouteLLM: labels, Tables 5 to 7, and the routers that are language models."""

from typing import Any

import numpy as np

from benchmarks.replication.writing import HOLDS, NOT, OPEN, Claim, Stored, above, all_of, interval, number, table

PAPER_SIMILARITY = {
    ("MT-Bench", "arena"): 0.6078,
    ("MT-Bench", "arena + judge"): 0.6525,
    ("MMLU", "arena"): 0.4823,
    ("MMLU", "arena + gold"): 0.5678,
    ("GSM8K", "arena"): 0.4926,
    ("GSM8K", "arena + judge"): 0.5335,
}
PAPER_SAVINGS = {"MT-Bench": ("3.66", "2.49"), "MMLU": ("1.41", "1.14"), "GSM8K": ("1.49", "1.27")}
PAPER_OVERHEAD = {"sw_ranking": ("39.26", "2.9"), "mf": ("3.32", "155.16")}
GPT4_USD = (95 * 10 + 264 * 30) / 1e6


def label_lines(labels: Any) -> list[str]:
    """Write APGR against the number of labels."""
    lines = [
        "### APGR against labels of the benchmark's own kind",
        "",
        "Added to arena's preferences, or alone. With few labels two draws: the first with its interval, the second behind it.",
        "",
    ]
    for benchmark, part in labels.items():
        counts = sorted({int(name.rsplit(" ", 2)[1]) for name in part["apgr"] if name.startswith("mf")})
        rows = []
        for router in ("mf", "sw_ranking", "knn, labels alone"):
            cells = []
            for count in counts:
                first, second = (part["apgr"].get(f"{router} {count} {draw}") for draw in (0, 1))
                cells.append("-" if first is None else interval(first) + (f" ({number(second[0])})" if second else ""))
            rows.append([router, *cells])
        rows.append(["length", interval(part["apgr"]["length"]), *["" for _ in counts[1:]]])
        lines += [f"{benchmark}, {part['n']:,} prompts:", "", *table(["router", *map(str, counts)], rows)]
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
    rows, points = [], []
    for data, by in near.items():
        for benchmark, value in by.items():
            scores = {name: tables[benchmark]["routers"][f"{name}, {data}"]["apgr"] for name in ("mf", "sw_ranking")}
            points += [(value[0], one[0]) for one in scores.values()]
            paper = PAPER_SIMILARITY.get((benchmark, data))
            rows.append(
                [benchmark, data, interval(value), number(paper, 4), *(interval(one) for one in scores.values())]
            )
    x, y = np.array(points).T
    draws = np.random.default_rng(0).integers(0, len(x), (1000, len(x)))
    rho = [spearman(x[d], y[d]) for d in draws]
    value = [spearman(x, y), *map(float, np.nanquantile(rho, [0.025, 0.975]))]
    lines = [
        "### Similarity of benchmark and training data (Table 5)",
        "",
        "Cosines of this library's embedding, so only their order can be compared with the paper's, of text-embedding-3-small.",
        "",
    ]
    lines += table(["benchmark", "training set", "similarity", "paper", "APGR of mf", "APGR of sw_ranking"], rows)
    lines += [
        f"Rank correlation of similarity and APGR over the {len(x)} points: {interval(value, 2)}. ",
        "The points share routers and prompts, so the interval is too narrow.",
        "",
    ]
    return lines, (
        "The more similar training data and benchmark are, the better routers do",
        above(value),
        f"rank correlation {interval(value, 2)} over {len(x)} points",
    )


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
            ratios = [interval(row["ratio"], 2), number(row["ratio of length"], 2), number(row["points"], 1)]
            rows.append([benchmark, level, row["router"], *ratios, PAPER_SAVINGS.get(benchmark, ("-", "-"))[at]])
    head = ["benchmark", "level", "best router", "ratio", "ratio of length", "points of calls saved", "paper's ratio"]
    known = {name: levels["cpt50"]["ratio"] for name, levels in saved.items() if name in PAPER_SAVINGS}
    claim = (
        "Half of the gap costs 3.66 (MT-Bench), 1.41 (MMLU), 1.49 (GSM8K) times fewer strong calls than chance",
        all_of([above(ratio, 1.0) for ratio in known.values()]) + " (as: above 1)",
        "; ".join(f"{name} {interval(ratio, 2)}" for name, ratio in known.items()),
    )
    return lines + table(head, rows), claim


def overhead_part(spent: Any) -> tuple[list[str], Claim]:
    """Write Table 7."""
    rows = [
        [
            name,
            f"{row['ms'][label]:.2f}",
            f"{row['requests/s'][label]:,.0f}",
            f"{row['usd per million'][label]:.2f}",
            *(PAPER_OVERHEAD[name] if label == "alone" else ("", "")),
        ]
        for name, row in spent.items()
        for label in row["ms"]
    ]
    rows = [
        [f"{row[0]}, {label}", *row[1:]]
        for row, label in zip(rows, [label for row in spent.values() for label in row["ms"]], strict=True)
    ]
    lines = [
        "### Overhead (Table 7)",
        "",
        "Processor time of one core, embedding included, at the paper's price of a CPU machine ($0.39 an hour).",
        "Measured on a busy machine; the one table that a second run does not repeat.",
        "",
    ]
    lines += table(
        ["router", "ms a prompt", "requests/s", "$ a million", "paper: $ a million", "paper: requests/s"], rows
    )
    share = max(row["usd per million"]["alone"] for row in spent.values()) / 1e6 / GPT4_USD
    return lines, (
        "Routing costs at most 0.4% of a call of GPT-4",
        HOLDS if share <= 0.004 else NOT,
        f"{100 * share:.4f}% at most, for mf and sw_ranking; by Appendix D a call costs ${GPT4_USD:.5f}",
    )


def language_models(stored: Stored) -> tuple[list[str], list[Claim]]:
    """Write what there is on bert and causal_llm."""
    names = [name for name in stored if name.startswith("language_models-")]
    if not names:
        return [], [
            (
                "More data and the 80% level favour the language-model classifier; data close to the benchmark mf and sw_ranking",
                OPEN,
                "bert and causal_llm were not run",
            )
        ]
    lines = [
        "### bert and causal_llm, on small models",
        "",
        "Fine-tuned for the steps given, and compared on the same random part of each benchmark.",
        "",
    ]
    rows, gaps = [], []
    for name in names:
        router, found = name.split("-")[1], stored.result(name)
        for benchmark, part in found["benchmarks"].items():
            for one, figures in part["routers"].items():
                rows.append(
                    [
                        f"{one}" + (f" ({found['steps']} steps)" if one == router else ""),
                        found["data"],
                        benchmark,
                        str(part["n"]),
                        *(interval(figures[key]) for key in ("cpt50", "cpt80", "apgr")),
                    ]
                )
            gaps += [(router, found["data"], benchmark, part["differences"][f"{router} - mf"])]
    lines += table(["router", "training set", "benchmark", "n", "CPT50", "CPT80", "APGR"], rows)
    lines += table(
        ["paired difference in APGR", "training set", "benchmark", "[95%]"],
        [[f"{r} - mf", d, b, interval(v, sign=True)] for r, d, b, v in gaps],
    )
    causal = [v for r, _, _, v in gaps if r == "causal_llm"]
    text = "More data and the 80% level favour the language-model classifier; data close to the benchmark mf and sw_ranking"
    apart = (
        "; causal_llm less mf: " + ", ".join(interval(v, sign=True) for v in causal)
        if causal
        else "; causal_llm was not run"
    )
    note = "no run here has much data" + apart
    return lines, [(text, OPEN, note)]
