"""Costs and savings: the paper's numbers, and the arithmetic of an estimate."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from routellm_core.call_costs import RouterCost
from routellm_core.errors import ConfigurationError
from routellm_core.evaluation.metrics import cost_saving_ratio
from routellm_core.ledger import Usage
from routellm_core.pricing import Price
from routellm_core.savings import estimate_savings
from routellm_core.traffic import DecisionRecords, LoggedDecision

STRONG, WEAK = Price(input=10, output=30), Price(input=1, output=2)
PRICES = {"strong": STRONG, "weak": WEAK}
START = datetime(2026, 1, 1, tzinfo=UTC)


def call(
    position=0, rate=None, choice="weak", *, tokens=(1000, 500), reason="policy", error=None, session=None, **changes
):
    fields = {
        "time": START + timedelta(hours=position),
        "choice": choice,
        "strong": "strong",
        "weak": "weak",
        "strong_win_rate": rate,
        "threshold": 0.5,
        "router": "r",
        "router_fingerprint": "r:1",
        "chain": "default",
        "reason": reason,
        "scoring_ms": 2.0,
        "usage": None if tokens is None else Usage(input_tokens=tokens[0], output_tokens=tokens[1]),
        "error": error,
        "prompt_hash": None,
        "session_hash": session,
        "prompt": None,
    }
    return LoggedDecision(**fields | changes)


def traffic(n=200, seed=0, threshold=0.5, days=30):
    rng = np.random.default_rng(seed)
    step = days * 24 / (n - 1)
    rates = rng.random(n)
    return [
        call(
            i * step,
            float(rate),
            "strong" if rate >= threshold else "weak",
            tokens=tuple(rng.integers(500, 5000, 2).tolist()),
        )
        for i, rate in enumerate(rates)
    ]


# RouteLLM, arXiv 2406.18665 v4: CPTs of tables 1 to 3, ratios of section 5.4.
@pytest.mark.parametrize(
    ("random_cpt", "best_cpt", "ratio"),
    [
        (49.03, 13.40, 3.66),  # MT-Bench, CPT(50%)
        (78.08, 31.31, 2.49),  # MT-Bench, CPT(80%)
        (50.07, 35.40, 1.41),  # MMLU
        (79.93, 70.31, 1.14),
        (50.00, 33.64, 1.49),  # GSM8K
        (80.08, 63.26, 1.27),
    ],
)
def test_the_six_savings_of_the_paper(random_cpt, best_cpt, ratio):
    assert cost_saving_ratio(random_cpt, [best_cpt]) == pytest.approx(ratio, abs=0.005)


def test_the_price_of_gpt_4_in_the_paper():
    assert Price(input=10, output=30).per_token(95, 264) == pytest.approx(24.7075, abs=5e-5)  # appendix D, there 24.7
    assert Price(input=0.24, output=0.24).per_token() == pytest.approx(0.24)


# Table 7: US dollars an hour, requests a second, price of the embeddings; US dollars per million requests.
@pytest.mark.parametrize(
    ("hourly", "rate", "embedding", "per_million"),
    [(0.39, 2.9, 0.02, 39.26), (0.8, 155.16, 0.02, 3.32), (0.8, 69.62, 0.0, 3.19), (0.8, 42.46, 0.0, 5.23)],
)
def test_the_overheads_of_the_paper(hourly, rate, embedding, per_million):
    cost = RouterCost(usd_per_hour=hourly, requests_per_second=rate, usd_per_million_tokens=embedding)
    assert cost.per_call(tokens=95) * 1e6 == pytest.approx(per_million, abs=0.015)


def test_the_time_in_the_log_counts_where_no_rate_is_given():
    assert RouterCost(usd_per_hour=36).per_call(seconds=0.01) == pytest.approx(0.0001)


@pytest.mark.parametrize(
    "bad", [{"usd_per_hour": -1}, {"requests_per_second": 0}, {"usd_per_million_tokens": float("nan")}]
)
def test_bad_router_costs_are_refused(bad):
    with pytest.raises(ConfigurationError):
        RouterCost(**bad)


def test_every_threshold_costs_what_its_calls_cost():
    rows = traffic()
    found = estimate_savings(rows, PRICES)
    on_strong = [STRONG.cost(row.usage.input_tokens, row.usage.output_tokens) for row in rows]
    on_weak = [WEAK.cost(row.usage.input_tokens, row.usage.output_tokens) for row in rows]
    assert found.days == pytest.approx(30)
    assert found.without_routing_usd.value == pytest.approx(sum(on_strong))
    for one in (found.actual, *found.thresholds):
        limit = 0.5 if one.threshold is None else one.threshold
        expected = sum(
            s if row.strong_win_rate >= limit else w for row, s, w in zip(rows, on_strong, on_weak, strict=True)
        )
        assert one.usd.value == pytest.approx(expected)
        assert one.saved_usd.value == pytest.approx(sum(on_strong) - expected)
        assert one.saved_fraction.value == pytest.approx(1 - expected / sum(on_strong))
        assert one.usd.low <= one.usd.value <= one.usd.high
    assert [one.strong_fraction for one in found.thresholds] == pytest.approx([i / 10 for i in range(11)])
    assert set(found.models) == {"strong", "weak"}


def test_a_month_is_made_of_the_log():
    rows = traffic(days=10)
    month = estimate_savings(rows, PRICES)
    assert month.days == pytest.approx(10)
    assert estimate_savings(rows, PRICES, days=30).actual.usd.value * 3 == pytest.approx(month.actual.usd.value)
    short = estimate_savings(traffic(days=0.5), PRICES)
    assert short.days == 1
    assert any("less than a day" in warning for warning in short.warnings)


def test_the_router_costs_at_every_threshold_but_not_without_routing():
    rows = traffic()
    free, paid = (estimate_savings(rows, PRICES, router=cost) for cost in (None, RouterCost(usd_per_hour=3600)))
    router = sum(row.scoring_ms / 1000 for row in rows)
    assert paid.router_usd == pytest.approx(router) == paid.router_seconds
    assert paid.without_routing_usd == free.without_routing_usd
    assert paid.actual.usd.value - free.actual.usd.value == pytest.approx(router)
    assert paid.thresholds[-1].saved_usd.value == pytest.approx(-router)


def test_calls_that_are_not_the_routers_stay_where_they_were():
    forced = [call(i, None, "weak", reason="forced") for i in range(10)]
    tools = [call(i, None, "strong", reason="tools_route") for i in range(10)]
    found = estimate_savings([*traffic(), *forced, *tools], PRICES)
    alone = estimate_savings(traffic(), PRICES)
    for one, other in zip((found.actual, *found.thresholds), (alone.actual, *alone.thresholds), strict=True):
        assert one.saved_usd.value == pytest.approx(other.saved_usd.value)
        assert one.strong_fraction == pytest.approx(other.strong_fraction)
    assert any("20 of 220 calls" in warning for warning in found.warnings)


def test_a_conversation_goes_where_its_last_score_goes():
    rows = [
        call(0, 0.9, "strong", session="a"),
        call(1, None, "strong", reason="session", session="a"),
        call(2, 0.1, "weak", session="b"),
        call(3, None, "weak", reason="session", session="b"),
        call(4, None, "weak", reason="session", session="began before the log"),
    ]
    found = estimate_savings(rows, PRICES, days=30)
    each = {"strong": STRONG.cost(1000, 500), "weak": WEAK.cost(1000, 500)}
    nobody, both = found.thresholds[0], found.thresholds[-1]
    assert nobody.usd.value == pytest.approx(5 * each["weak"])
    assert both.usd.value == pytest.approx(4 * each["strong"] + each["weak"])
    assert found.without_routing_usd.value == pytest.approx(5 * each["strong"])


def test_failures_are_left_out_and_missing_tokens_are_the_mean():
    rows = [call(0, 0.9, "strong"), call(1, 0.1, "weak", tokens=None), call(2, 0.1, "weak", error="TimeoutError")]
    found = estimate_savings(rows, PRICES, days=30)
    assert found.calls == 2
    assert found.actual.usd.value == pytest.approx(STRONG.cost(1000, 500) + WEAK.cost(1000, 500))
    assert any("1 of 2 calls report no tokens" in warning for warning in found.warnings)
    assert any("1 failed calls" in warning for warning in found.warnings)


def test_a_log_of_a_pool_has_no_thresholds():
    rows = [call(i, None, "medium", strong="large", weak="small") for i in range(5)]
    found = estimate_savings(rows, {"large": STRONG, "medium": Price(input=5, output=5), "small": WEAK}, days=30)
    assert found.thresholds == ()
    assert found.actual.saved_usd.value == pytest.approx(5 * (STRONG.cost(1000, 500) - 0.0075))


@pytest.mark.parametrize(
    ("rows", "prices", "options", "why"),
    [
        ([], PRICES, {}, "nothing to price"),
        ([call(tokens=None)], PRICES, {}, "nothing to price"),
        ([call(0, 0.5)], {"weak": WEAK}, {}, "no price of 'strong'"),
        ([call(0, 0.5)], PRICES, {"days": 0}, "days"),
        ([call(0, 0.5)], PRICES, {"worth_usd": -1}, "worth_usd"),
    ],
)
def test_what_cannot_be_priced_is_refused(rows, prices, options, why):
    with pytest.raises(ConfigurationError, match=why):
        estimate_savings(rows, prices, **options)


@pytest.mark.parametrize(
    ("rows", "options", "worth_it", "words"),
    [
        (traffic(2000), {"worth_usd": 5}, True, "worth it: saves"),
        (traffic(2000), {"worth_usd": 1e6}, False, "hardly worth it"),
        (traffic(2000), {"router": RouterCost(usd_per_hour=3600, requests_per_second=0.1)}, False, "not worth it"),
        (
            [call(i, r, c) for i, r, c in ((0, 0.9, "strong"), (1, 0.1, "weak"), (2, 0.8, "strong"))],
            {},
            None,
            "log more calls",
        ),
        (traffic(2000, threshold=0.0), {"worth_usd": 5}, True, "so far all were"),
    ],
    ids=["pays", "small volume", "dear router", "few calls", "all on strong so far"],
)
def test_it_says_whether_routing_pays(rows, options, worth_it, words):
    found = estimate_savings(rows, PRICES, **options)
    assert found.worth_it is worth_it
    assert words in found.verdict


def test_a_loss_that_may_be_chance_is_not_called_one():
    # A dear router: 97 calls lose a little, three save much, and which of them a month has is chance.
    rows = [call(i, 0.9, "strong", tokens=(100, 100)) for i in range(97)]
    rows += [call(97 + i, 0.1, tokens=(30_000, 100)) for i in range(3)]
    found = estimate_savings(rows, PRICES, days=1, router=RouterCost(usd_per_hour=36, requests_per_second=1))
    assert found.actual.saved_usd.value < 0 < found.actual.saved_usd.high
    assert found.worth_it is None
    assert found.verdict.startswith("not shown to be worth it")


def test_prices_that_make_no_sense_are_said():
    found = estimate_savings(traffic(), {"strong": WEAK, "weak": STRONG})
    assert found.worth_it is False
    assert any("no call is cheaper on the weak model" in warning for warning in found.warnings)


def test_longer_answers_of_one_model_are_said():
    rows = [call(i, 0.9, "strong", tokens=(100, 1000)) for i in range(30)]
    rows += [call(i, 0.1, "weak", tokens=(100, 200)) for i in range(30)]
    assert any("5.00 times as long" in warning for warning in estimate_savings(rows, PRICES).warnings)


def test_lost_records_are_said():
    found = estimate_savings(DecisionRecords(traffic(), dropped=3, broken=1), PRICES)
    assert any("lost 3 calls" in warning for warning in found.warnings)


@pytest.mark.slow
def test_the_interval_covers_the_saving_of_such_traffic():
    n, repeats = 300, 500
    truth = np.mean([saved_per_call(traffic(4000, seed)).mean() for seed in range(20)])
    covered = 0
    for seed in range(1000, 1000 + repeats):
        one = estimate_savings(traffic(n, seed), PRICES, resamples=500).actual.saved_usd
        covered += one.low <= truth * n <= one.high
    assert abs(covered / repeats - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / repeats)


def test_calls_of_a_conversation_are_drawn_together():
    alone, together = (
        estimate_savings(
            [
                call(
                    i,
                    *((0.9, "strong") if i // 20 % 2 else (0.1, "weak")),
                    session=f"s{i // 20}" if grouped else None,
                )
                for i in range(800)
            ],
            PRICES,
            resamples=400,
        ).actual.usd
        for grouped in (False, True)
    )
    assert together.value == alone.value
    # Twenty calls that are alike say as much as one: the interval is sqrt(20) times as wide.
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(20**0.5, rel=0.25)


def test_very_many_conversations_are_resampled_in_blocks():
    rows = traffic(9000)
    found = estimate_savings(rows, PRICES, resamples=300).actual.saved_usd
    expected = 2 * 1.96 * saved_per_call(rows).std() * np.sqrt(len(rows))
    assert found.high - found.low == pytest.approx(expected, rel=0.15)


def saved_per_call(rows):
    tokens = [(row.usage.input_tokens, row.usage.output_tokens) for row in rows]
    saved = [STRONG.cost(*one) - WEAK.cost(*one) for one in tokens]
    return np.where([row.choice == "weak" for row in rows], saved, 0.0)
