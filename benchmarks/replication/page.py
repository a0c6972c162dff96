"""Write docs/replication.md from the stored results, and compare two folders of results.

    python -m benchmarks.replication.page [--results FOLDER] [--out docs/replication.md] [--compare FOLDER [--record]]

Nothing is computed but verdicts, correlations of stored numbers and their intervals; so the page is the same whenever the results
are. `--compare` and `--record` are in `comparison.py`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.replication.comparison import RECORD, compare, compared_lines
from benchmarks.replication.page_datasets import benchmark_datasets
from benchmarks.replication.page_language import LANGUAGE_ROUTERS, SETS, battles_seen, judge_gain
from benchmarks.replication.page_minds import multiple_minds
from benchmarks.replication.page_routellm import routellm
from benchmarks.replication.page_targets import targets
from benchmarks.replication.writing import HOLDS, NOT, OPEN, RESULTS, Claim, Stored, above, interval, table

FIGURES = {  # paper -> figure -> the part it needs, and what it shows
    "RouteLLM": {
        "curves": (
            "routellm-tables",
            "Quality at every share of strong calls; the dotted line is chance, bands are 95% intervals",
        ),
        "labels": (
            "routellm-labels",
            "APGR against labels of the benchmark's own kind; bars are 95% intervals, open circles a second draw",
        ),
        "similarity": (
            "routellm-similarity",
            "APGR against the similarity of benchmark and training prompts",
        ),
    },
    "Routing with benchmark datasets": {
        "few-labels": (
            "benchmark_datasets-labels-0",
            "What labelled prompts of the new task gain; bands are 95% intervals over tasks",
        ),
        "error-of-p": ("benchmark_datasets-tasks-0", "The gain of S3 against the error of p, a point a task"),
    },
    "Multiple minds": {
        "training-size": (
            "multiple_minds-size",
            "Share of the oracle against training prompts; open circles are single draws",
        ),
        "leak": ("multiple_minds-leak", "One candidate knows a share of the training prompts by heart"),
    },
    "When benchmarks are targets": {},
}
PAPERS = {
    "RouteLLM": ("[arXiv 2406.18665](https://arxiv.org/abs/2406.18665)", routellm),
    "Routing with benchmark datasets": ("[arXiv 2309.15789](https://arxiv.org/abs/2309.15789)", benchmark_datasets),
    "Multiple minds": ("[arXiv 2405.00467](https://arxiv.org/abs/2405.00467)", multiple_minds),
    "When benchmarks are targets": ("[arXiv 2402.01781](https://arxiv.org/abs/2402.01781)", targets),
}
PARTS = {
    "benchmark_datasets-tasks-0": "one model for a new task, nine open models",
    "benchmark_datasets-tasks-1": "one model for a new task, six models up to 10B",
    "benchmark_datasets-tasks-2": "one model for a new task, MMLU-Pro with 29 models",
    "benchmark_datasets-tasks-3": "one model for a new task, MMLU-Pro with models up to 14B",
    "benchmark_datasets-average-0": "the best on average with the new task, nine open models",
    "benchmark_datasets-average-1": "the best on average with the new task, six models up to 10B",
    "benchmark_datasets-average-2": "the best on average with the new task, MMLU-Pro with 29 models",
    "benchmark_datasets-average-3": "the best on average with the new task, MMLU-Pro with models up to 14B",
    "benchmark_datasets-labels-0": "a few labels of a new task, nine and six models",
    "benchmark_datasets-labels-1": "a few labels of a new task, MMLU-Pro",
    "benchmark_datasets-instances": "one choice a prompt on graded answers",
    "multiple_minds-policies": "classifiers and clusters by policy",
    "multiple_minds-encoder": "classifiers and clusters by policy, on the vectors of an encoder",
    "multiple_minds-latency": "how long the routers themselves take",
    "features-latency": "how long the encoder takes",
    "multiple_minds-within": "routing within one benchmark",
    "multiple_minds-size": "share of the oracle against training size",
    "multiple_minds-candidates": "what each candidate adds",
    "multiple_minds-leak": "labels from a candidate's training data",
    "routellm-data": "how much data RouteLLM's part has",
    "routellm-tables": "Tables 1 to 3 of RouteLLM, mf and sw_ranking",
    "routellm-labels": "APGR against labels of the benchmark's own kind",
    "routellm-transfer": "Table 4 of RouteLLM, other pairs",
    "routellm-similarity": "Table 5 of RouteLLM, similarity",
    "routellm-savings": "Table 6 of RouteLLM, cost saving",
    "routellm-overhead": "Table 7 of RouteLLM, overhead, mf and sw_ranking",
    "targets-rankings": "rankings of routers under perturbed labels",
}
PARTS |= {
    f"{module}-{router}-{data}": f"{router} trained on {data.replace('-', ' + ')}: {what}"
    for router in LANGUAGE_ROUTERS
    for data in SETS
    for module, what in (("language_models", "training and win rates"), ("language_tables", "tables"))
}
"""Every part that there is."""

VERDICTS = """Verdicts are set by rules: a claim that something is better holds if the 95% interval of the difference is above 0,
does not hold if it is at or below, and cannot be told otherwise. A claim of several parts holds if all do, and does not if one
does not. There are many claims, and no interval is corrected for that: of forty differences that are not there, one or two will
seem to be. A verdict says what these data show, with their stand-ins; what is known of the reasons is at the end."""

TEXT = Path(__file__).parent / "text"
"""What a person wrote: the stand-ins, the tracing of differences, and the questions that stay open. No number of a result."""


def inputs(stored: Stored) -> list[str]:
    """Write which tables were read, with their hashes."""
    found = {name: digest for part in stored.values() for name, digest in part["inputs"].items()}
    source = json.loads((TEXT / "sources.json").read_text(encoding="utf-8"))
    rows = [[f"`{name}`", source[name], f"`{digest[:12]}`"] for name, digest in sorted(found.items())]
    return table(["table", "public source", "SHA-256"], rows)


def filled(head: str, stored: Stored, seconds: float) -> str:
    """Put the numbers of the data into the text at the head."""
    data = stored.result("routellm-data")
    numbers = {
        "minutes": f"{seconds / 60:.0f}",
        "arena": "{battles:,} battles of {models} models on {prompts} instructions".format(**data["arena"]),
        "judge": "{battles} preferences between GPT-4-1106 and Mixtral on {prompts} other instructions".format(
            **data["judge"]
        ),
        "gold": f"{data['gold']['battles']:,} questions",
    }
    return put(head, numbers)


def traced(tail: str, stored: Stored) -> str:
    """Put the numbers of the data, and the results that explain a difference, into the text at the end."""
    data, labels = stored.result("routellm-data"), stored.result("routellm-labels")
    mmlu = labels["MMLU"]
    most = max(int(name.split()[-2]) for name in mmlu["apgr"] if name.startswith("mf "))
    gap = mmlu["labels alone less with arena"][f"mf, labels alone {most} 0"]
    verdicts = {
        HOLDS: "There is signal, and arena's battles drown it.",
        NOT: "They do not even help alone, so arena's battles are not the reason.",
        OPEN: "Whether arena's battles drown a signal, or there is none for mf to learn, cannot be told.",
    }
    gsm8k = max(int(name.split()[-2]) for name in labels["GSM8K"]["apgr"] if name.startswith("mf "))
    pools = [found for i in (0, 2) if (found := stored.result(f"benchmark_datasets-tasks-{i}"))]
    return put(
        tail,
        {
            "gold_count": f"{most:,}",
            "gold_alone": interval(mmlu["apgr"][f"mf, labels alone {most} 0"]),
            "gold_mixed": interval(mmlu["apgr"][f"mf {most} 0"]),
            "gold_gap": interval(gap, sign=True),
            "gold_verdict": verdicts[above(gap)],
            "arena_prompts": str(data["arena"]["prompts"]),
            "judge_battles": str(data["judge"]["battles"]),
            **{f"{router}_battles": battles_seen(router, stored) for router in LANGUAGE_ROUTERS},
            "bert_judge_gsm8k": judge_gain("bert", "GSM8K", stored),
            "gsm8k": str(data["benchmarks"]["GSM8K"]),
            "gsm8k_labels": str(gsm8k),
            "tasks": " and ".join(str(len(pool["tasks"])) for pool in pools),
        },
    )


def put(text: str, numbers: Mapping[str, str]) -> str:
    """Put numbers into a text, in the place of their names in braces."""
    for name, written in numbers.items():
        text = text.replace(f"{{{name}}}", written)
    return text


def left_out(stored: Stored) -> list[str]:
    """Write which parts have no result."""
    missing = [
        f"- {what} (`{name}`)"
        for name, what in PARTS.items()
        if name not in stored and not name.startswith("language_tables")  # what they are made from is named
    ]
    lines = ["## What was left out", ""]
    if not missing:
        return [*lines, "Nothing: every part has its result."]
    return [
        *lines,
        "These parts have scripts and were not run to the end for this page, for want of time:",
        "",
        *missing,
    ]


def claims_table(claims: dict[str, Sequence[Claim]]) -> list[str]:
    """Write all claims with their verdicts."""
    lines = []
    for paper, found in claims.items():
        lines += [f"**{paper}**", "", *table(["the paper says", "verdict", "measured here"], found)]
    return lines


def page(stored: Stored, folder: str) -> str:
    """Return the page."""
    seconds = sum(part["cpu_seconds"] for part in stored.values())
    sections: list[str] = []
    claims: dict[str, Sequence[Claim]] = {}
    for paper, (link, write) in PAPERS.items():
        lines, claims[paper] = write(stored)
        sections += [f"## {paper}", "", f"{link}.", ""]
        for name, (needed, caption) in FIGURES[paper].items():
            if needed in stored:
                sections += [f"![{caption}]({folder}/{name}.svg)", "", f"*{caption}.*", ""]
        sections += lines
    head = (TEXT / "head.md").read_text(encoding="utf-8")
    tail = (TEXT / "tail.md").read_text(encoding="utf-8")
    return "\n".join(
        [
            filled(head, stored, seconds),
            *inputs(stored),
            *compared_lines(stored, list(PARTS)),
            "## What holds",
            "",
            VERDICTS,
            "",
            *claims_table(claims),
            *sections,
            traced(tail, stored),
            *left_out(stored),
        ]
    )


def main() -> int:
    """Write the page, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--out", type=Path, default=Path("docs/replication.md"))
    parser.add_argument("--compare", type=Path, help="another folder of results")
    parser.add_argument("--record", action="store_true", help="note what was compared, for the page")
    parser.add_argument("--text-only", action="store_true", help="draw no figures")
    options = parser.parse_args()
    if options.compare:
        return compare(options.results, options.compare, RECORD if options.record else None)
    stored = Stored.read(options.results)
    folder = options.out.with_suffix("")
    if not options.text_only:
        from benchmarks.replication.plots import draw  # matplotlib takes seconds to import

        names = [name for figures in FIGURES.values() for name, (needed, _) in figures.items() if needed in stored]
        draw(names, stored, folder)
    options.out.write_text(page(stored, folder.name).rstrip() + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
