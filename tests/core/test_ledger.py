from concurrent.futures import ThreadPoolExecutor

import pytest

from routellm_core import RoutingEngine, RoutingRequest
from routellm_core.config import load_config
from routellm_core.errors import ConfigurationError
from routellm_core.ledger import Ledger, Usage
from routellm_core.pricing import Price, look_up_price
from routellm_core.testing import ConstantRouter

CHEAP = Price(input=1.0, output=2.0)
DEAR = Price(input=10.0, output=30.0, cached_input=1.0)


def test_adds_up_tokens_and_money():
    ledger = Ledger({"weak": CHEAP, "strong": DEAR}, "strong")
    ledger.record("weak", Usage(input_tokens=1_000_000, output_tokens=500_000))
    ledger.record("strong", Usage(input_tokens=1_000_000, output_tokens=100_000, cached_tokens=400_000))
    ledger.record("strong", failed=True)
    ledger.record("weak")
    assert ledger.totals["weak"].cost == pytest.approx(2.0)
    assert ledger.totals["weak"].strong_only_cost == pytest.approx(25.0)
    assert ledger.totals["strong"].cost == pytest.approx(6.0 + 0.4 + 3.0)
    assert (ledger.totals["strong"].calls, ledger.totals["strong"].failures) == (1, 1)
    assert ledger.totals["weak"].calls_without_usage == 1
    assert ledger.cost == pytest.approx(11.4)
    assert ledger.strong_only_cost == pytest.approx(34.4)
    assert ledger.to_dict()["saved_fraction"] == pytest.approx(1 - 11.4 / 34.4)


def test_without_prices_it_counts_tokens():
    ledger = Ledger({"strong": DEAR}, "strong")
    ledger.record("weak", Usage(input_tokens=10))
    assert ledger.totals["weak"].usage.input_tokens == 10
    assert (ledger.cost, ledger.to_dict()["saved_fraction"]) == (None, None)
    assert ledger.strong_only_cost == pytest.approx(0.0001)


def test_takes_many_threads():
    ledger = Ledger({}, "strong")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: ledger.record("weak", Usage(input_tokens=1)), range(5000)))
    assert ledger.totals["weak"].usage.input_tokens == ledger.totals["weak"].calls == 5000


def test_the_engine_feeds_it():
    engine = RoutingEngine(ConstantRouter(0.1), threshold=0.5, prices={"weak": 1.0, "strong": 10.0})
    decision = engine.decide("x")
    engine.record(decision, Usage(input_tokens=1000, output_tokens=0))
    engine.record(decision, error=TimeoutError())
    assert (engine.ledger.cost, engine.ledger.strong_only_cost) == pytest.approx((0.001, 0.01))
    assert engine.ledger.totals["weak"].failures == 1
    assert engine.with_threshold(0.3).ledger is engine.ledger


def test_a_failed_model_is_followed_by_the_next_alternative():
    engine = RoutingEngine(ConstantRouter(0.1), threshold=0.5)
    first = engine.decide("x")
    second = engine.fall_back(first, TimeoutError("sk-secret"))
    assert (second.choice, second.reason, second.fallback_from) == ("strong", "fallback", "weak")
    assert "TimeoutError" in second.explanation
    assert "secret" not in second.explanation
    assert first.fallback_from is None
    assert engine.fall_back(second, TimeoutError()) is None


@pytest.mark.parametrize("bad", [-1, "cheap", {"input": 1}, {"input": 1, "output": 1, "prise": 2}, True, None])
def test_bad_prices_are_refused(bad):
    with pytest.raises(ConfigurationError, match="price"):
        Price.parse(bad)


def test_list_prices_come_from_the_price_package():
    pytest.importorskip("genai_prices", reason="extra prices is not installed")
    price = look_up_price("gpt-4o", "openai")
    assert price == Price(input=2.5, output=10.0, cached_input=1.25)  # OpenAI's list price since October 2024
    assert look_up_price("no-such-model-anywhere") is None


def test_every_chain_is_compared_with_its_own_strong_model(tmp_path):
    path = tmp_path / "routing.yaml"
    path.write_text(
        "models: {large: {price: 10}, medium: {price: 3}, small: {price: 1}}\n"
        "chains:\n"
        "  a: {strong: large, weak: small, router: random}\n"
        "  b: {strong: medium, weak: small, router: random}\n"
    )
    engine = load_config(path).engine("a")
    million = Usage(input_tokens=1_000_000)
    engine.record(engine.decide(RoutingRequest(text="x", chain="b", route="strong")), million)
    assert engine.ledger.to_dict()["saved_fraction"] == 0
    engine.record(engine.decide(RoutingRequest(text="x", route="weak")), million)
    engine.record(engine.decide(RoutingRequest(text="x", chain="b", route="weak")), million)
    assert (engine.ledger.cost, engine.ledger.strong_only_cost) == pytest.approx((3 + 1 + 1, 3 + 10 + 3))
    assert engine.ledger.totals["small"].calls == 2
