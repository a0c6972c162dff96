"""The part of the page on RouteLLM: Tables 1 to 4, and what becomes of the claims."""

from typing import Any

from benchmarks.replication.page_language import language_models, overhead_part
from benchmarks.replication.page_routellm_more import (
    label_claim,
    label_lines,
    savings_part,
    similarity_part,
)
from benchmarks.replication.writing import (
    HOLDS,
    NOT,
    OPEN,
    Claim,
    Stored,
    Triple,
    above,
    all_of,
    below,
    interval,
    number,
    over,
    table,
    turned,
)

PAPER = {  # benchmark -> router, training set -> CPT50, CPT80, APGR (Tables 1 to 3)
    "MMLU": {
        "mf, arena": "45.00 / 76.86 / .524",
        "sw_ranking, arena": "55.82 / 80.25 / .473",
        "mf, arena + gold": "35.46 / 71.40 / .597",
        "sw_ranking, arena + gold": "35.40 / 71.55 / .603",
    },
    "GSM8K": {
        "mf, arena": "53.59 / 85.24 / .475",
        "sw_ranking, arena": "54.43 / 82.11 / .475",
        "mf, arena + judge": "38.82 / 72.62 / .565",
        "sw_ranking, arena + judge": "41.21 / 72.20 / .568",
    },
    "MT-Bench": {
        "mf, arena": "25.32 / 74.26 / .580",
        "sw_ranking, arena": "37.85 / 58.99 / .610",
        "mf, arena + judge": "13.40 / 31.31 / .802",
        "sw_ranking, arena + judge": "23.21 / 36.04 / .759",
    },
}


def routellm(stored: Stored) -> tuple[list[str], list[Claim]]:
    """Write what there is on RouteLLM."""
    lines: list[str] = []
    claims: list[Claim] = []
    tables = stored.result("routellm-tables")
    if tables:
        for benchmark, found in tables.items():
            lines += [f"### {benchmark}, {found['n']:,} prompts", ""]
            chance = found["random, one run"]
            ends = f"between {number(chance[1])} and {number(chance[2])} in 95% of the runs"
            lines.append(f"Weak {interval(found['weak'])}, strong {interval(found['strong'])}.")
            lines += [f"One random order has 0.500, and {ends}. Oracle {interval(found['oracle'])}.", ""]
            rows = [
                [
                    name,
                    *(interval(row[key]) for key in ("cpt50", "cpt80", "apgr", "apgr_deciles")),
                    PAPER.get(benchmark, {}).get(name, "-"),
                ]
                for name, row in found["routers"].items()
            ]
            lines += table(["router, training set", "CPT50", "CPT80", "APGR", "APGR at eleven points", "paper"], rows)
            rows = [
                [name, interval(value, sign=True)] for name, value in shown_differences(found["differences"]).items()
            ]
            lines += table(["paired difference in APGR", "[95%]"], rows)
        claims += table_claims(tables, stored.result("routellm-data")["judge"]["battles"])
    labels = stored.result("routellm-labels")
    if labels:
        lines += label_lines(labels)
        claims.append(label_claim(labels))
    moved = stored.result("routellm-transfer")
    if moved:
        lines += ["### Other pairs, without training anew (Table 4)", ""]
        lines += [
            "Qualities are those of the two models, in the order of the pair. Where the model that was called strong is the",
            "worse one on these prompts, APGR says how well one gets to the worse model: such rows are left out of the verdict.",
            "",
        ]
        rows = [
            [
                r["benchmark"],
                f"{r['strong']} / {r['weak']}",
                r["router"],
                str(r["n"]),
                f"{r['strong_quality']:.3f} / {r['weak_quality']:.3f}",
                *(interval(triple(r[key])) for key in ("cpt50", "cpt80", "apgr")),
            ]
            for r in moved
        ]
        lines += table(["prompts", "strong / weak", "router", "n", "quality", "CPT50", "CPT80", "APGR"], rows)
        claims.append(transfer_claim(moved))
    near = stored.result("routellm-similarity")
    if near and tables:
        more, claim = similarity_part(near, tables)
        lines += more
        claims.append(claim)
    saved = stored.result("routellm-savings")
    if saved:
        more, claim = savings_part(saved)
        lines += more
        claims.append(claim)
    more, found_claims = language_models(stored)
    lines, claims = lines + more, claims + found_claims
    if stored["routellm-overhead"]:
        more, claim = overhead_part(stored)
        lines += more
        claims.append(claim)
    return lines, claims


def near(apgr: Triple) -> str:
    """Say whether an APGR is about that of chance: not only that it may be, but that it is not far from it."""
    _, low, high = apgr
    if low is None or high is None:
        return OPEN
    return HOLDS if low >= 0.4 and high <= 0.6 else NOT if low > 0.5 or high < 0.5 else OPEN


def transfer_claim(moved: Any) -> Claim:
    """Return the claim of Table 4."""
    routed = [row for row in moved if not row["router"].startswith("length")]
    fair = [triple(row["apgr"]) for row in routed if row["strong_quality"] > row["weak_quality"]]
    pairs = {(row["strong"], row["weak"]): row["strong_quality"] > row["weak_quality"] for row in routed}
    ordered = sorted(fair, key=lambda value: value[0] or 0.0)
    least, most = ordered[0], ordered[-1]
    lengths = [
        triple(row["apgr"])
        for row in moved
        if row["router"].startswith("length") and row["strong_quality"] > row["weak_quality"]
    ]
    routers = len({row["router"] for row in routed})
    better = sum(above(value, 0.5) == HOLDS for value in lengths)
    measured = [
        f"APGR from {interval(least)} to {interval(most)} over {sum(pairs.values())} pairs, {routers} routers each",
        "what does not hold is at or below chance",
        f"length is above chance on {better} of {len(lengths)} pairs",
    ]
    return (
        "Routers keep their worth on other pairs without retraining (APGR .67 to .77 on MT-Bench)",
        over([above(value, 0.5) for value in fair], "cases"),
        "; ".join(measured),
    )


def triple(figure: Any) -> list[float | None]:
    """Return a stored interval as a list."""
    return [figure[key] for key in ("value", "low", "high")] if isinstance(figure, dict) else figure


def shown_differences(differences: Any) -> dict[str, Any]:
    """Return those between two routers of one training set, two sets of one router, and each to length."""
    found = {}
    for name, value in differences.items():
        a, b = name.split(" - ")
        same_set = a.partition(", ")[2] == b.partition(", ")[2]
        same_router = (
            a.partition(", ")[0] == b.partition(", ")[0]
            and ", arena" in f", {a.partition(', ')[2]}"
            and a.endswith(", arena")
        )
        if same_set or same_router or b == "length":
            found[name] = value
    return found


def table_claims(tables: Any, judge_labels: int) -> list[Claim]:
    """Return the claims of Tables 1 to 3."""

    def apgr(benchmark: str, data: str) -> dict[str, Any]:
        return {
            f"{benchmark}, {name}": tables[benchmark]["routers"][f"{name}, {data}"]["apgr"]
            for name in ("mf", "sw_ranking")
        }

    def written(found: dict[str, Any], *, sign: bool = False) -> str:
        return "; ".join(f"{name} {interval(value, sign=sign)}" for name, value in found.items())

    def gain(benchmark: str, data: str) -> dict[str, Any]:
        return {
            f"{benchmark}, {name}": turned(tables[benchmark]["differences"][f"{name}, arena - {name}, {data}"])
            for name in ("mf", "sw_ranking")
        }

    near_chance = apgr("MMLU", "arena") | apgr("GSM8K", "arena")
    chance = [near(v) for v in near_chance.values()]
    arena = apgr("MT-Bench", "arena")
    best = {
        b: {name: tables[b]["differences"][f"{name} - length"] for name in tables[b]["routers"] if name != "length"}
        for b in ("MMLU", "GSM8K")
    }
    beaten = [
        f"{b}: {sum(v[1] > 0 for v in by.values())} of {len(by)} beat it, {sum(v[2] < 0 for v in by.values())} are beaten"
        for b, by in best.items()
    ]
    gold, judge, judge8k = (
        gain("MMLU", "arena + gold"),
        gain("MT-Bench", "arena + judge"),
        gain("GSM8K", "arena + judge"),
    )
    both = {
        data: {b: tables[b]["differences"][f"mf, {data} - sw_ranking, {data}"] for b in tables}
        for data in ("arena", "arena + judge")
    }
    return [
        (
            "Preferences alone route MT-Bench better than chance (mf .580, sw_ranking .610)",
            all_of([above(v, 0.5) for v in arena.values()]),
            written(arena) + "; the stand-in's judge is GPT-4, as MT-Bench's is",
        ),
        (
            "Preferences alone route MMLU and GSM8K about at random (.473 to .524)",
            all_of(chance),
            written(near_chance) + "; about: the interval is within .40 to .60",
        ),
        (
            "Some 1,500 golden labels lift MMLU to about .60",
            all_of([above(v) for v in gold.values()]),
            "gain: " + written(gold, sign=True) + "; APGR: " + written(apgr("MMLU", "arena + gold")),
        ),
        (
            "Judge labels lift MT-Bench (mf .580 to .802, sw_ranking .610 to .759)",
            all_of([above(v) for v in judge.values()]),
            "gain: " + written(judge, sign=True) + f"; {judge_labels} judge labels here, 120,000 there",
        ),
        (
            "Judge labels lift GSM8K (.475 to .565, .568)",
            all_of([above(v) for v in judge8k.values()]),
            "gain: " + written(judge8k, sign=True) + f"; {judge_labels} labels",
        ),
        (
            "With preferences alone sw_ranking is ahead of mf on MT-Bench (.610 to .580)",
            below(both["arena"]["MT-Bench"]),
            "mf less sw_ranking: " + written(both["arena"], sign=True),
        ),
        (
            "With judge labels mf is ahead of sw_ranking on MT-Bench (.802 to .759)",
            above(both["arena + judge"]["MT-Bench"]),
            "mf less sw_ranking: " + written(both["arena + judge"], sign=True),
        ),
        (
            "(not in the paper) Trained routers beat the length of the prompt on MMLU and GSM8K",
            NOT if all(v[1] <= 0 for by in best.values() for v in by.values()) else "in part",
            "; ".join(beaten),
        ),
    ]
