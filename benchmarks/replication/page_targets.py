"""The part of the page on what noise in labels does to rankings of routers."""

from benchmarks.replication.writing import HOLDS, OPEN, Claim, Stored, interval, percent, table


def targets(stored: Stored) -> tuple[list[str], list[Claim]]:
    """Write what there is on perturbed labels."""
    lines = [
        "What other ways of putting a question do to labels and to routers' decisions: [robustness](robustness.md).",
        "Here: what noise in labels does to the ranking of routers.",
        "",
    ]
    found = stored.result("targets-rankings")
    if not found:
        return lines, [
            ("Perturbations reorder leaderboards (tau .455 to .855 between rankings of models)", OPEN, "not run")
        ]
    lines += [
        f"{len(found['apgr'])} routers on the {found['n']:,} held-out questions of MMLU, by APGR: "
        + "; ".join(
            f"{name} {interval(value)}" for name, value in sorted(found["apgr"].items(), key=lambda item: -item[1][0])
        )
        + ".",
        "",
    ]
    rows = [
        [
            f"{float(share):.0%} of the benchmark's labels turned round",
            interval(row["tau"], 2),
            percent(row["same best"]),
        ]
        for share, row in found["evaluation labels flipped"].items()
    ]
    rows += [
        [
            "another sample of as many questions, no label changed",
            interval(found["one bootstrap sample"], 2),
            percent(found["two bootstrap samples"]["same best"]),
        ],
        ["two such samples with each other", interval(found["two bootstrap samples"]["tau"], 2), "-"],
    ]
    rows += [
        [
            f"{float(share):.0%} of the labels of {row['routers']} routers' training turned round, {row['draws']} draws",
            interval(row["tau"], 2),
            "-",
        ]
        for share, row in found["training labels flipped"].items()
    ]
    rows.append(
        [
            "another sample, these routers alone",
            interval(found["one bootstrap sample, trained on gold"], 2),
            "-",
        ]
    )
    lines += table(
        ["what is changed", "Kendall's tau with the ranking as it is: mean and 95% of the draws", "same best router"],
        rows,
    )
    sample = found["one bootstrap sample"]
    noisy = {share: row["tau"] for share, row in found["evaluation labels flipped"].items()}
    beyond = [share for share, tau in noisy.items() if tau[2] < sample[0]]
    lines += [
        f"The routers are so close that {found['n']:,} questions do not settle their order: another sample alone changes it.",
        "Noise in labels says something only where it moves the ranking further than that. Routers whose training labels are",
        f"turned round are those that learn from {found['training']:,} questions of MMLU alone; of few draws the range is given.",
        "",
    ]
    written = ", ".join(f"{float(share):.0%} {interval(tau, 2)}" for share, tau in noisy.items())
    return lines, [
        (
            "Perturbations reorder leaderboards (tau .455 to .855 between rankings of models; here: between rankings of routers)",
            HOLDS if beyond else OPEN,
            f"tau after turning labels round: {written}; after drawing another sample, unperturbed: {interval(sample, 2)}",
        )
    ]
