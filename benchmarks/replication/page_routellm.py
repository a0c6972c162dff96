"""The part of the page on RouteLLM: Tables 1 to 4, and what becomes of the claims."""

from typing import Any

from benchmarks.replication.page_routellm_more import (
    label_claim,
    label_lines,
    language_models,
    overhead_part,
    savings_part,
    similarity_part,
)
from benchmarks.replication.writing import (
    HOLDS,
    NOT,
    OPEN,
    Claim,
    Stored,
    above,
    all_of,
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
                    *(interval(row[key]) for key in ("cpt50", "cpt80", "apgr")),
                    number(found["at eleven points"][name]),
                    PAPER.get(benchmark, {}).get(name, "-"),
                ]
                for name, row in found["routers"].items()
            ]
            lines += table(["router, training set", "CPT50", "CPT80", "APGR", "APGR at eleven points", "paper"], rows)
            rows = [
                [name, interval(value, sign=True)] for name, value in shown_differences(found["differences"]).items()
            ]
            lines += table(["paired difference in APGR", "[95%]"], rows)
        claims += table_claims(tables)
    labels = stored.result("routellm-labels")
    if labels:
        lines += label_lines(labels)
        claims.append(label_claim(labels))
    moved = stored.result("routellm-transfer")
    if moved:
        lines += ["### Other pairs, without training anew (Table 4)", ""]
        rows = [
            [
                r["benchmark"],
                f"{r['strong']} / {r['weak']}",
                r["router"],
                str(r["n"]),
                f"{r['weak_quality']:.3f} / {r['strong_quality']:.3f}",
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
    spent = stored.result("routellm-overhead")
    if spent:
        more, claim = overhead_part(spent)
        lines += more
        claims.append(claim)
    more, found_claims = language_models(stored)
    return lines + more, claims + found_claims


def transfer_claim(moved: Any) -> Claim:
    """Return the claim of Table 4."""
    routed = [row for row in moved if row["router"] != "length"]
    verdicts = [above(triple(row["apgr"]), 0.5) for row in routed]
    values = [row["apgr"]["value"] for row in routed]
    pairs = len({(row["strong"], row["weak"]) for row in routed})
    return (
        "Routers keep their worth on other pairs without retraining (APGR .67 to .77 on MT-Bench)",
        f"{over(verdicts, 'cases')}; below chance in {verdicts.count(NOT)}",
        f"APGR from {min(values):.3f} to {max(values):.3f} over {pairs} pairs, four routers each",
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


def table_claims(tables: Any) -> list[Claim]:
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
    chance = [OPEN if None in v else HOLDS if v[1] <= 0.5 <= v[2] else NOT for v in near_chance.values()]
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
    both = {b: tables[b]["differences"]["mf, arena - sw_ranking, arena"] for b in tables}
    return [
        (
            "Preferences alone route MT-Bench better than chance (mf .580, sw_ranking .610)",
            all_of([above(v, 0.5) for v in arena.values()]),
            written(arena) + "; the stand-in's judge is GPT-4, as MT-Bench's is",
        ),
        ("Preferences alone route MMLU and GSM8K about at random (.473 to .524)", all_of(chance), written(near_chance)),
        (
            "Some 1,500 golden labels lift MMLU to about .60",
            all_of([above(v) for v in gold.values()]),
            "gain: " + written(gold, sign=True) + "; APGR: " + written(apgr("MMLU", "arena + gold")),
        ),
        (
            "Judge labels lift MT-Bench (mf .580 to .802, sw_ranking .610 to .759)",
            all_of([above(v) for v in judge.values()]),
            "gain: " + written(judge, sign=True) + "; 580 judge labels here, 120,000 there",
        ),
        (
            "Judge labels lift GSM8K (.475 to .565, .568)",
            all_of([above(v) for v in judge8k.values()]),
            "gain: " + written(judge8k, sign=True) + "; 580 labels",
        ),
        (
            "mf and sw_ranking differ on the same data (MT-Bench .580 and .610)",
            all_of([above(both["MT-Bench"])])
            if above(both["MT-Bench"]) != NOT
            else HOLDS
            if both["MT-Bench"][2] < 0
            else OPEN,
            "mf less sw_ranking: " + written(both, sign=True),
        ),
        (
            "(not in the paper) Trained routers beat the length of the prompt on MMLU and GSM8K",
            NOT if all(v[1] <= 0 for by in best.values() for v in by.values()) else "in part",
            "; ".join(beaten),
        ),
    ]
