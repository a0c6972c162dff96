"""The part of the page on multiple minds, and what becomes of its claims."""

from typing import Any

from benchmarks.replication.writing import (
    HOLDS,
    NOT,
    OPEN,
    Claim,
    Stored,
    above,
    below,
    interval,
    number,
    over,
    percent,
    table,
)


def multiple_minds(stored: Stored) -> tuple[list[str], list[Claim]]:
    """Write what there is on multiple minds."""
    lines: list[str] = []
    claims: list[Claim] = []
    found = stored.result("multiple_minds-policies")
    if found:
        found = {**found, "routers": found["routers"] | (stored.result("multiple_minds-encoder") or {})}
        lines += [
            f"Nine open models, {found['n'][0]:,} training prompts, {found['n'][1]:,} held out. The mean size",
            "of the model called, in billions of parameters, stands for latency, which the data do not have: over all calls,",
            "and, as the paper counts, over those answered right alone.",
            "",
        ]
        head = ["router", "policy", "quality", "less the best single", "favourite", "mean B", "mean B, right alone"]
        fixed = [
            ["oracle", "cheapest of the best", *row_of(found["oracle"])],
            [
                "all models",
                "majority",
                interval(found["majority"]["quality"]),
                interval(found["majority"]["gain"], sign=True),
                "-",
                "all",
                "-",
            ],
            [
                "random",
                "-",
                interval(found["random"]["quality"]),
                "-",
                "-",
                number(found["random"]["billions"], 1),
                "-",
            ],
        ]
        rows = [
            [name, label, *row_of(entry)]
            for name, router in found["routers"].items()
            for label, entry in router["policies"].items()
        ]
        lines += table(head, [*fixed, *rows])
        lines += [
            "The paper's upper bound of a classifier: a query counts as right if any model that is scored above one half is.",
            "Where none is, it counts as wrong, so argmax, which always picks one, can be above this bound.",
            "",
        ]
        lines += table(
            ["router", "classifier bound"],
            [[name, interval(router["classifier bound"])] for name, router in found["routers"].items()],
        )
        claims += policy_claims(found)
    lines += latency_lines(stored)
    inside = stored.result("multiple_minds-within")
    if inside:
        lines += within_lines(inside)
        gain = inside["mean over tasks"]["one router a benchmark"]
        claims.append(
            (
                "Within one benchmark, which is what the paper measures, classifiers do not reach the best single model",
                NOT if gain[1] > 0 else HOLDS if gain[2] < 0 else OPEN,
                f"multilabel trained on one task, less its best single; mean over tasks: {interval(gain, sign=True)}",
            )
        )
    size = stored.result("multiple_minds-size")
    if size:
        lines += [
            "### Share of the oracle against training prompts",
            "",
            f"By argmax; the best single model has {interval(size['best single'])}. The first draw of the training prompts with",
            "its interval over held-out prompts; in brackets the mean of all draws (three; of all prompts one).",
            "",
        ]
        counts = list(next(iter(size["routers"].values())))
        lines += table(
            ["router", *counts],
            [
                [name, *(f"{interval(row['first draw'])} ({number(row['share'])})" for row in rows.values())]
                for name, rows in size["routers"].items()
            ],
        )
    each = stored.result("multiple_minds-candidates")
    if each:
        lines += ["### What each candidate adds to the oracle", ""]
        rows = [
            [model, interval(row["alone"]), interval(row["lost without"]), number(row["mean over orders"])]
            for model, row in each.items()
        ]
        lines += table(["model", "alone", "the oracle loses without it", "mean gain over all orders (Shapley)"], rows)
    leak = stored.result("multiple_minds-leak")
    if leak:
        lines += ["### Labels from data that a candidate was trained on", ""]
        lines += [
            f"Simulated on {leak['model']} (right on {leak['accuracy']:.3f} of the held-out prompts): a share of the training",
            "prompts is answered right by heart. None of the pools here is known to have such a model, as MetaMath is there.",
            "",
        ]
        rows = [
            [
                share,
                number(row["training accuracy"]),
                percent(row["sent to it"]),
                interval(row["quality"]),
                interval(row["loss"], sign=True),
                interval(row["against the best single"], sign=True),
            ]
            for share, row in leak["rows"].items()
        ]
        lines += table(
            [
                "known by heart",
                "training accuracy",
                "calls to it",
                "quality",
                "less without the leak",
                "less the best single",
            ],
            rows,
        )
        last = list(leak["rows"].values())[-1]
        claims.append(
            (
                "Labels from data that a candidate was trained on make every query go to it (99.6% to MetaMath, from its code)",
                f"{HOLDS}, simulated" if last["sent to it"] > 0.9 and last["loss"][2] < 0 else OPEN,
                f"simulated: {percent(last['sent to it'])} of the calls, {interval(last['loss'], sign=True)}",
            )
        )
    return lines, claims


def latency_lines(stored: Stored) -> list[str]:
    """Write how long the routers themselves take."""
    own = dict(stored.result("multiple_minds-latency") or {})
    encoder = stored.result("features-latency")
    if encoder:
        own["the encoder alone, all-MiniLM-L6-v2"] = encoder
    if not own:
        return []
    rows = [
        [name, f"{row['n']:,}", interval(row["alone"], 2), number(row["alone, 95% below"], 2), number(row["batch"], 3)]
        for name, row in own.items()
    ]
    return [
        "### Latency of the routers themselves",
        "",
        "Processor time of one core in milliseconds a query, embedding or words included, over all held-out queries; of the",
        "encoder over a part of them. A router on the encoder's vectors takes the encoder's time and its own.",
        "Varies between runs.",
        "",
        *table(["router", "queries", "one by one", "95% are below", "in batches of up to 64"], rows),
    ]


def within_lines(inside: Any) -> list[str]:
    """Write what routers gain within benchmarks."""
    ways = list(inside["mean over tasks"])
    rows = [
        [
            task,
            f"{row['n'][0]} / {row['n'][1]}",
            f"{row['single']} {number(row['best single'])}",
            number(row["oracle"]),
            *(interval(row["gains"][way], sign=True) for way in ways),
        ]
        for task, row in inside["tasks"].items()
    ]
    rows.append(["mean", "", "", "", *(interval(inside["mean over tasks"][way], sign=True) for way in ways)])
    return [
        "### Within one benchmark",
        "",
        "All against the best single model of the task, by its training prompts. Routers are multilabel, by argmax.",
        "",
        *table(["task", "train / held out", "best single of the task", "oracle", *ways], rows),
    ]


def row_of(entry: Any) -> list[str]:
    """Write the cells of one way to choose."""
    return [
        interval(entry["quality"]),
        interval(entry["gain"], sign=True),
        f"{entry['favourite']} {percent(entry['favourite share'])}",
        number(entry["billions"], 1),
        number(entry["billions, right calls alone"], 1),
    ]


def policy_claims(found: Any) -> list[Claim]:
    """Return the claims on classifiers, clusters and policies."""
    routers = found["routers"]
    argmax = {name: router["policies"]["argmax"] for name, router in routers.items()}
    classifiers = {name: entry for name, entry in argmax.items() if name.split(",")[0] in ("multilabel", "separate")}
    clusters = {name: entry for name, entry in argmax.items() if name.startswith("clusters")}
    gains = [entry["gain"] for entry in classifiers.values()]
    worse = [NOT if gain[1] > 0 else OPEN if gain[2] >= 0 else HOLDS for gain in gains]
    written = "; ".join(f"{name} {interval(entry['gain'], sign=True)}" for name, entry in classifiers.items())
    single, oracle = found["single"], found["oracle"]
    size = found["singles"][single]["billions"]
    random = {name: routers[name]["random less argmax"] for name in classifiers}
    return [
        (
            "An oracle over the pool is far above every single model (87.2 to 71.1 on GSM8K, 89.2 to 63.9 on MMLU)",
            above(oracle["gain"]),
            f"{interval(oracle['gain'], sign=True)} over {single}",
        ),
        (
            "Trained classifiers do not reach the best single model (67.6 to 71.1; 62.3 to 63.9)",
            over(worse, "routers"),
            written,
        ),
        (
            "Clusters do not reach it either",
            over(
                [NOT if e["gain"][1] > 0 else OPEN if e["gain"][2] >= 0 else HOLDS for e in clusters.values()],
                "routers",
            ),
            "; ".join(f"{name} {interval(e['gain'], sign=True)}" for name, e in clusters.items()),
        ),
        (
            "The random policy is no better than argmax (67.5 to 67.6; 58.2 to 62.3)",
            over([below(value) for value in random.values()], "routers"),
            "random less argmax: "
            + "; ".join(f"{name} {interval(value, sign=True)}" for name, value in random.items()),
        ),
        (
            "Routing costs less time than the best single model (4.8 to 7.1 s on GSM8K)",
            f"{OPEN}: the data have no latencies",
            f"the models called are smaller than the best single one, {size:.0f}B: "
            + ", ".join(f"{name} {e['billions']:.1f}B" for name, e in classifiers.items()),
        ),
        (
            "All models by majority are better than the best single one (74.4 to 71.1 on GSM8K)",
            HOLDS if above(found["majority"]["gain"]) == HOLDS else OPEN,
            f"{interval(found['majority']['gain'], sign=True)}; a lower bound, for the votes of wrong answers are not known",
        ),
    ]
