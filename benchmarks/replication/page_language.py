"""The part of the page on the routers that are language models, and on the overhead of all four."""

from typing import Any

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
    table,
)

SETS = ("arena", "arena-gold", "arena-judge", "arena-judge-gold")
LANGUAGE_ROUTERS = ("bert", "causal_llm")
BATCHES = {"bert": 16, "causal_llm": 8}
"""Battles a step: what the configurations of the two trainers take."""

PAPER = {  # benchmark -> router, training set -> CPT50, CPT80, APGR (Tables 1 to 3)
    "MMLU": {
        "bert, arena": "49.43 / 77.80 / .502",
        "causal_llm, arena": "48.88 / 77.93 / .499",
        "bert, arena + gold": "41.30 / 72.20 / .572",
        "causal_llm, arena + gold": "35.49 / 70.31 / .600",
    },
    "GSM8K": {
        "bert, arena": "58.78 / 83.84 / .438",
        "causal_llm, arena": "56.09 / 83.56 / .461",
        "bert, arena + judge": "44.76 / 79.09 / .531",
        "causal_llm, arena + judge": "33.64 / 63.26 / .622",
    },
    "MT-Bench": {
        "bert, arena": "78.09 / 87.64 / .391",
        "causal_llm, arena": "28.82 / 77.53 / .573",
        "bert, arena + judge": "19.58 / 34.02 / .751",
        "causal_llm, arena + judge": "31.50 / 48.75 / .679",
    },
}
PAPER_OVERHEAD = {
    "sw_ranking": ("39.26", "2.9"),
    "mf": ("3.32", "155.16"),
    "bert": ("3.19", "69.62"),
    "causal_llm": ("5.23", "42.46"),
}
USD_PER_HOUR = 0.39
"""What the paper paid for the CPU machine that ran similarity-weighted ranking (Table 7)."""

GPT4_USD = (95 * 10 + 264 * 30) / 1e6
"""A call by Appendix D: 95 tokens in and 264 out, at $10 and $30 a million."""


def language_models(stored: Stored) -> tuple[list[str], list[Claim]]:
    """Write what there is on bert and causal_llm."""
    lines: list[str] = []
    for router in LANGUAGE_ROUTERS:
        found = [part for data in SETS if (part := stored.result(f"language_tables-{router}-{data}"))]
        if found:
            lines += router_lines(router, found, stored)
    return lines, claims_of(stored)


def router_lines(router: str, found: list[Any], stored: Stored) -> list[str]:
    """Write the tables of one router."""
    trained = stored.result(f"language_models-{router}-arena") or {}
    base = "all-MiniLM-L6-v2 (22 million weights)" if router == "bert" else "SmolLM2-135M-Instruct by LoRA"
    lines = [
        f"### {router}, on a small model",
        "",
        f"{base}, {trained.get('steps')} steps of {BATCHES[router]} battles, the first 96 tokens of a prompt; the paper takes",
        "about 2,000 steps. Learning rate and steps were set before anything was measured, and not tuned; how many prompts are",
        "measured was raised once, for a first run on fewer left all intervals wide. mf, sw_ranking and length are measured on",
        "the same prompts, drawn at random where they are not all of a benchmark, so they stand here once more.",
        "",
    ]
    for benchmark in found[0]["benchmarks"]:
        rows, gaps = [], []
        for part in found:
            here = part["benchmarks"][benchmark]
            for name, figures in here["routers"].items():
                label = name if name == "length" else f"{name}, {part['data']}"
                if name == "length" and part is not found[-1]:
                    continue
                cells = [interval(figures[key]) for key in ("cpt50", "cpt80", "apgr")]
                rows.append([label, *cells, PAPER.get(benchmark, {}).get(label, "-")])
            gaps += [
                [
                    f"{router}, {part['data']} - {name if ',' in name or name == 'length' else name + ', ' + part['data']}",
                    interval(value["apgr"], sign=True),
                    interval(value["cpt80"], sign=True),
                ]
                for name, value in here["less"].items()
            ]
        lines += [f"{benchmark}, {found[0]['benchmarks'][benchmark]['n']:,} prompts:", ""]
        lines += table(["router, training set", "CPT50", "CPT80", "APGR", "paper"], rows)
        lines += table(["paired difference", "APGR [95%]", "CPT80 [95%]"], gaps)
    return lines


def battles_seen(router: str, stored: Stored) -> str:
    """Write how many battles one of the two is trained on, with repeats."""
    trained = stored.result(f"language_models-{router}-arena")
    return "-" if trained is None else f"{trained['steps'] * BATCHES[router]:,}"


def judge_gain(router: str, benchmark: str, stored: Stored) -> str:
    """Write what judge labels add to the APGR of one of the two."""
    part = stored.result(f"language_tables-{router}-arena-judge")
    return (
        "-" if part is None else interval(part["benchmarks"][benchmark]["less"][f"{router}, arena"]["apgr"], sign=True)
    )


def claims_of(stored: Stored) -> list[Claim]:
    """Return the claims on bert and causal_llm; what was not run cannot be told."""

    def less(router: str, data: str, benchmark: str, other: str, key: str = "apgr") -> Triple | None:
        part = stored.result(f"language_tables-{router}-{data}")
        return None if part is None else part["benchmarks"][benchmark]["less"][other][key]

    def apgr(router: str, benchmark: str) -> Triple | None:
        part = stored.result(f"language_tables-{router}-arena")
        return None if part is None else part["benchmarks"][benchmark]["routers"][router]["apgr"]

    def claim(text: str, read: Any, values: dict[str, Triple | None], what: str) -> Claim:
        verdict = all_of([OPEN if value is None else read(value) for value in values.values()])
        written = [
            f"{name} {'was not run' if value is None else interval(value, sign=not what.startswith('APGR'))}"
            for name, value in values.items()
        ]
        return text, verdict, f"{what}: " + "; ".join(written)

    both = LANGUAGE_ROUTERS
    rivals = ("mf", "sw_ranking")
    return [
        claim(
            "With preferences alone bert is worse than chance on MT-Bench (.391)",
            lambda value: below(value, 0.5),
            {"bert": apgr("bert", "MT-Bench")},
            "APGR",
        ),
        claim(
            "Judge labels lift bert and causal_llm on MT-Bench (.391 to .751, .573 to .679)",
            above,
            {router: less(router, "arena-judge", "MT-Bench", f"{router}, arena") for router in both},
            "gain",
        ),
        claim(
            "Judge labels lift bert and causal_llm on GSM8K (.438 to .531, .461 to .622)",
            above,
            {router: less(router, "arena-judge", "GSM8K", f"{router}, arena") for router in both},
            "gain",
        ),
        claim(
            "Golden labels lift bert and causal_llm on MMLU (.502 to .572, .499 to .600)",
            above,
            {router: less(router, "arena-gold", "MMLU", f"{router}, arena") for router in both},
            "gain",
        ),
        claim(
            "With judge labels causal_llm is the best router on GSM8K (.622 to .565 and .568)",
            above,
            {f"less {other}": less("causal_llm", "arena-judge", "GSM8K", other) for other in rivals},
            "causal_llm",
        ),
        claim(
            "The 80% level favours causal_llm (CPT80: GSM8K 63.26 to 72.62 and 72.20, MMLU 70.31 to 71.40 and 71.55)",
            below,
            {
                f"{benchmark} less {other}": less("causal_llm", data, benchmark, other, "cpt80")
                for benchmark, data in (("GSM8K", "arena-judge"), ("MMLU", "arena-gold"))
                for other in rivals
            },
            "CPT80 of causal_llm",
        ),
        claim(
            "Data close to the benchmark favour mf and sw_ranking over causal_llm (MT-Bench .802 and .759 to .679)",
            below,
            {f"less {other}": less("causal_llm", "arena-judge", "MT-Bench", other) for other in rivals},
            "causal_llm",
        ),
        (
            "More data favour causal_llm",
            OPEN,
            "no training set here is large: what 120,000 labels or more would do was not measured",
        ),
    ]


def overhead_part(stored: Stored) -> tuple[list[str], Claim]:
    """Write Table 7."""
    spent = dict(stored.result("routellm-overhead"))
    for router in LANGUAGE_ROUTERS:
        for data in reversed(SETS):
            trained = stored.result(f"language_models-{router}-{data}")
            if trained:
                spent[router] = trained["time"]["decisions"]
    rows = []
    for name, row in spent.items():
        for label, ms in (("alone", row["alone"]), ("batches of up to 64", [row["batch"], None, None])):
            usd = [None if one is None else one / 1000 * USD_PER_HOUR / 3600 * 1e6 for one in ms]
            cells = [
                interval(ms, 2),
                number(row["alone, 95% below"], 2) if label == "alone" else "",
                f"{1000 / ms[0]:,.0f}",
            ]
            paper = PAPER_OVERHEAD[name] if label == "alone" else ("", "")
            rows.append([f"{name}, {label}", f"{row['n']:,}", *cells, interval(usd, 2), *paper])
    lines = [
        "### Overhead (Table 7)",
        "",
        "Processor time of one core, embedding included, over prompts of GSM8K, at the paper's price of a CPU machine with",
        f"eight (${USD_PER_HOUR} an hour). bert and causal_llm are the small models of this page; the paper's mf, bert and",
        "causal_llm ran on a GPU, and its prices of mf and sw_ranking have $1.90 for a remote embedding in them.",
        "Varies between runs.",
        "",
    ]
    head = ["router", "prompts", "ms a prompt", "95% are below", "requests/s", "$ a million"]
    lines += table([*head, "paper: $ a million", "paper: requests/s"], rows)
    dearest = max(spent, key=lambda name: spent[name]["alone"][0])
    share = [one / 1000 * USD_PER_HOUR / 3600 / GPT4_USD for one in spent[dearest]["alone"]]
    return lines, (
        "Routing costs at most 0.4% of a call of GPT-4",
        HOLDS if share[2] <= 0.004 else NOT if share[1] > 0.004 else OPEN,
        f"{interval([100 * one for one in share], 4)}% for {dearest}, the dearest of {len(spent)}; a call costs ${GPT4_USD:.5f}",
    )
