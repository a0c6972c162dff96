"""Results as tables of text: the same ones in the terminal and in the HTML report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from routellm_core.evaluation.evaluate import LENGTH, ORACLE, RANDOM, PairEvaluation
from routellm_core.evaluation.interval import Interval
from routellm_core.evaluation.pool import PoolEvaluation
from routellm_core.evaluation.scores import Speed
from routellm_core.evaluation.transfer import TransferRow

Evaluation = PairEvaluation | PoolEvaluation

NONE = "n/a"


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table whose first column names the row.

    Attributes:
        title: What it shows.
        header: The names of the columns.
        rows: As many cells each.
        note: What a reader must know; "" for nothing.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def result_tables(result: Evaluation) -> list[TextTable]:
    """Return the tables of a result, the one that matters most first."""
    return _pair_tables(result) if isinstance(result, PairEvaluation) else _pool_tables(result)


def transfer_table(rows: Sequence[TransferRow]) -> TextTable:
    """Return routers on other pairs as one table."""
    return TextTable(
        "Transfer: the same routers on other pairs, not trained anew",
        ("strong", "weak", "router", "n", "strong quality", "weak quality", "APGR", "CPT50", "CPT80"),
        tuple(
            (
                row.strong,
                row.weak,
                row.router,
                f"{row.n:,}",
                f"{row.strong_quality:.3f}",
                f"{row.weak_quality:.3f}",
                plain(row.figures["apgr"]),
                percent(row.figures["cpt50"]),
                percent(row.figures["cpt80"]),
            )
            for row in rows
        ),
    )


def plain(figure: Interval | None) -> str:
    """Write a figure with its interval."""
    return NONE if figure is None or math.isnan(figure.value) else str(figure)


def percent(figure: Interval | None) -> str:
    """Write a share and its interval in percent."""
    if figure is None or math.isnan(figure.value):
        return NONE
    if math.isnan(figure.low):
        return f"{100 * figure.value:.1f}%"
    return f"{100 * figure.value:.1f}% [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _pair_tables(result: PairEvaluation) -> list[TextTable]:
    found = result.bootstrap
    names = (*result.routers, LENGTH, RANDOM, ORACLE)
    levels = [key.removeprefix("cpt") for key in found.figures[RANDOM] if key.startswith("cpt")]
    saved = [key for key in ("saved50",) if key in found.figures[RANDOM]]
    tables = [
        TextTable(
            f"{result.benchmark}: {result.strong} or {result.weak}, {result.n:,} prompts",
            ("router", "APGR", *(f"CPT{level}" for level in levels), *saved, "AIQ"),
            tuple(
                (
                    name,
                    plain(found.figures[name]["apgr"]),
                    *(percent(found.figures[name][f"cpt{level}"]) for level in levels),
                    *(percent(found.figures[name][key]) for key in saved),
                    plain(found.figures[name]["aiq"]),
                )
                for name in names
            ),
            f"Quality: {result.strong} {plain(found.strong)}, {result.weak} {plain(found.weak)}. In brackets 95% bootstrap "
            "intervals over prompts. CPT50 is the share of strong calls that recovers half of the gap, saved50 what that saves "
            f"against random, in points. "
            f"One random order has an APGR within {result.random_single.low:.3f} to {result.random_single.high:.3f}.",
        )
    ]
    compared = [(a, b) for a, b in found.differences if a in result.routers and b not in (ORACLE, RANDOM)]
    if compared:
        tables.append(
            TextTable(
                "Differences, on the same prompts",
                ("difference", "APGR", *(f"CPT{level}" for level in levels)),
                tuple(
                    (
                        f"{a} - {b}",
                        plain(found.differences[a, b]["apgr"]),
                        *(percent(found.differences[a, b][f"cpt{level}"]) for level in levels),
                    )
                    for a, b in compared
                ),
                "An interval that holds 0 says that these prompts do not tell the two apart.",
            )
        )
    if result.log_loss:
        tables.append(_log_loss_table(result))
    if result.savings:
        tables.append(_savings_table(result))
    tables += _speed_table(result.speed)
    if result.groups:
        tables.append(
            TextTable(
                "By group",
                ("group", "n", "strong", "weak", *(f"{name} APGR" for name in result.routers)),
                tuple(
                    (
                        name,
                        f"{part['n']:,}",
                        _number(part["strong_quality"]["value"]),
                        _number(part["weak_quality"]["value"]),
                        *(_interval_text(part["routers"][router]["apgr"]) for router in result.routers),
                    )
                    for name, part in result.groups.items()
                ),
                "n/a: too few prompts, or no gap to recover.",
            )
        )
    return tables


def _log_loss_table(result: PairEvaluation) -> TextTable:
    return TextTable(
        "Log loss, in nats",
        ("router", "log loss", "of one win rate for all prompts", "gained over it"),
        tuple(
            (name, *(plain(found[key]) for key in ("log_loss", "prompt_blind_log_loss", "log_loss_gain")))
            for name, found in result.log_loss.items()
        ),
        "The one win rate is that of the battles that were learned from, as the table says. An interval of what is gained that "
        "holds 0 says that the prompts have taught nothing.",
    )


def _savings_table(result: PairEvaluation) -> TextTable:
    return TextTable(
        "Savings, US dollars per 1,000 calls",
        ("router", "gap recovered", "strong calls", "routed", "router", "all strong", "all weak", "saved"),
        tuple(
            (
                name,
                f"{100 * saving.gap:g}%",
                f"{100 * saving.strong_fraction:.1f}%",
                plain(saving.routed),
                f"{saving.router:.4f}",
                f"{saving.all_strong:.3f}",
                f"{saving.all_weak:.3f}",
                percent(saving.saved),
            )
            for name, savings in result.savings.items()
            for saving in savings
        ),
        "Routed counts what the router itself costs, as far as that was said; saved is against all strong.",
    )


def _speed_table(speed: dict[str, Speed]) -> list[TextTable]:
    if not speed:
        return []
    rows = tuple(
        (name, f"{s.p50_ms:.2f}", f"{s.p99_ms:.2f}", f"{s.prompts_per_s:,.0f}", f"{s.n_prompts}")
        for name, s in speed.items()
    )
    header = ("router", "p50 ms", "p99 ms", "prompts/s in a batch", "prompts timed")
    return [TextTable("Latency and throughput, on this machine", header, rows)]


def _pool_tables(result: PoolEvaluation) -> list[TextTable]:
    everyone = {**result.routers, **result.baselines}
    titles = {
        "quality": "quality",
        "oracle_share": "of the oracle",
        "gain": "against best single",
        "classifier_bound": "classifier bound",
        "mean_cost": "US dollars per 1,000 calls",
        "mean_parameters": "mean size",
        "mean_seconds": "seconds a call",
        "aiq": "AIQ",
    }
    keys = [key for key in titles if any(key in figures for figures in everyone.values())]
    tables = [
        TextTable(
            f"{result.benchmark}: {len(result.models)} models, {result.n:,} prompts",
            ("router", *(titles[key] for key in keys)),
            tuple((name, *(_pool_cell(figures, key) for key in keys)) for name, figures in everyone.items()),
            f"Best single model: {result.best_single}, chosen on {result.best_single_chosen_on}. In brackets 95% bootstrap "
            "intervals over prompts.",
        ),
        TextTable(
            "Share of calls",
            ("model", "quality", *result.calls),
            tuple(
                (
                    model,
                    plain(result.qualities[model]),
                    *(f"{100 * calls[model]:.1f}%" for calls in result.calls.values()),
                )
                for model in result.models
            ),
        ),
    ]
    if result.differences:
        tables.append(
            TextTable(
                "Differences, on the same prompts",
                ("difference", "quality"),
                tuple((f"{a} - {b}", plain(found)) for (a, b), found in result.differences.items()),
                "An interval that holds 0 says that these prompts do not tell the two apart.",
            )
        )
    return tables + _speed_table(result.speed)


def _pool_cell(figures: dict[str, Interval], key: str) -> str:
    figure = figures.get(key)
    if figure is None:
        return NONE
    if key == "mean_cost":
        return plain(Interval(1000 * figure.value, 1000 * figure.low, 1000 * figure.high))
    return percent(figure) if key == "oracle_share" else plain(figure)


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _interval_text(figure: dict[str, float | None]) -> str:
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return NONE
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"
