"""The part of the page on what noise in labels does to rankings of routers."""

from benchmarks.replication.writing import HOLDS, OPEN, Claim, Stored, interval, number, percent, table


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
        + ", ".join(f"{name} {value:.3f}" for name, value in sorted(found["apgr"].items(), key=lambda item: -item[1]))
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
            f"{float(share):.0%} of {found['training']:,} training questions' labels turned round, {len(row['apgr'])} routers",
            number(row["tau"], 2),
            "-",
        ]
        for share, row in found["training labels flipped"].items()
    ]
    lines += table(
        ["what is changed", "Kendall's tau with the ranking as it is: mean and 95% of the draws", "same best router"],
        rows,
    )
    ten = found["evaluation labels flipped"]["0.1"]["tau"]
    sample = found["one bootstrap sample"]
    return lines, [
        (
            "Perturbations reorder leaderboards (tau .455 to .855 between rankings of models; here: between rankings of routers)",
            HOLDS if ten[0] < 0.9 else OPEN,
            f"10% of labels turned round: tau {interval(ten, 2)}; another sample, unperturbed: {interval(sample, 2)}",
        )
    ]
