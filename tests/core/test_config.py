import threading

import numpy as np
import pytest

from routellm_core import RoutingEngine, RoutingRequest, ThresholdTable, load_router, routing
from routellm_core.config import load_config
from routellm_core.constraints import Capabilities
from routellm_core.embedders.bundled import BundledEmbedder
from routellm_core.errors import ConfigurationError, UnknownTargetError
from routellm_core.pricing import Price
from routellm_core.routers.matrix_factorization import MatrixFactorizationRouter

TEXT = """\
models:
  large: {provider: openai, model: big-one, price: {input: 2.5, output: 10, cached_input: 1.25}}
  medium: {price: 1.0}
  small:
    price: 0.1
    capabilities: {images: false, context_window: 1000}
routers:
  chance: {load: random, options: {seed: 3}}
chains:
  support: {strong: large, weak: small, router: chance, strong_fraction: 0.3}
  summarise:
    strong: large
    weak: small
    router: length
    threshold: 0.01
    tools_route: strong
    sticky: true
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str = TEXT):
        path = tmp_path / "routing.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_reads_models_routers_and_chains(write):
    engine = load_config(write()).engine("support")
    assert engine.candidates == ("small", "large")
    assert engine.threshold == pytest.approx(0.7)  # the random router's for 30% strong
    assert engine.chains == ("support", "summarise")
    assert engine.plan.prices["large"] == Price(input=2.5, output=10.0, cached_input=1.25)
    expected = load_router("random", seed=3).strong_win_rate("x")
    assert engine.decide("x").strong_win_rate == expected
    other = engine.decide(RoutingRequest(text="y" * 400, chain="summarise"))
    assert (other.choice, other.router, other.threshold) == ("large", "length", 0.01)


def test_says_which_models_the_calls_of_a_chain_are_routed_among(write):
    text = TEXT.replace("weak: small\n    router: length", "weak: medium\n    router: length")
    engine = load_config(write(text)).engine("support")
    assert engine.candidates_of() == engine.candidates == ("small", "large")
    assert engine.candidates_of("summarise") == ("medium", "large")
    with routing(chain="summarise"):
        assert engine.candidates_of() == ("medium", "large")
        assert engine.candidates_of("support") == ("small", "large")
    with pytest.raises(UnknownTargetError, match=r"'sumarise'.*support, summarise"):
        engine.candidates_of("sumarise")


def test_a_block_chooses_the_chain_and_the_call_wins_over_it(write):
    engine = load_config(write()).engine("support")
    with routing(chain="summarise"):
        assert engine.decide("x").router == "length"
        assert engine.decide(RoutingRequest(text="x", chain="support")).router == "random"
        assert [decision.router for decision in engine.decide_batch(["x", "y"])] == ["length", "length"]
    assert engine.decide("x").router == "random"
    with routing(chain="sumarise"), pytest.raises(UnknownTargetError, match=r"chain='sumarise'.*support, summarise"):
        engine.decide("x")


def test_the_engine_knows_the_models_of_every_chain(write):
    engine = load_config(write()).engine("support")
    assert engine.models == ("small", "large")
    assert engine.capabilities["small"] == Capabilities(images=False, context_window=1000)
    assert engine.sticky
    assert not RoutingEngine("random").sticky


def test_strong_and_weak_name_the_models_of_a_pair(write):
    engine = load_config(write()).engine("support")
    assert engine.decide(RoutingRequest(text="x", route="strong")).choice == "large"
    assert engine.decide(RoutingRequest(text="x", route="weak")).choice == "small"
    assert engine.decide(RoutingRequest(text="x", chain="summarise", tools=True)).choice == "large"


def test_constraints_come_from_the_file_and_from_the_models(write):
    config = load_config(write()).with_capabilities(
        {"small": Capabilities(images=True, tools=False), "large": Capabilities(tools=True)}
    )
    engine = config.engine("support")
    for needs in ({"images": True}, {"tokens": 1001}, {"tools": True}):
        assert engine.decide(RoutingRequest(text="x", **needs)).ruled_out.keys() == {"small"}


def test_an_unknown_chain_is_refused_with_those_there_are(write):
    config = load_config(write())
    with pytest.raises(ConfigurationError, match=r"'sumarise'.*support, summarise"):
        config.engine("sumarise")
    with pytest.raises(UnknownTargetError, match="'sumarise'"):
        config.engine("support").decide(RoutingRequest(text="x", chain="sumarise"))


def test_a_pool(write):
    pool = "  pool: {candidates: [small, medium, large], policy: argmax, router: length}\n"
    with pytest.raises(ConfigurationError, match=r"line 18, chains.pool: router 'length' compares two models"):
        load_config(write(TEXT + pool)).engine("pool")


@pytest.fixture
def any_pair(tmp_path):
    """A stored router that compares any two of three models."""
    rng, embedder = np.random.default_rng(0), BundledEmbedder()
    router = MatrixFactorizationRouter(
        rng.normal(size=(3, embedder.dimension)),
        rng.normal(size=embedder.dimension),
        models=["a", "b", "c"],
        reference_strong="a",
        reference_weak="b",
        tiers={"a": 0, "b": 1, "c": 1},
        embedder=embedder,
        thresholds=ThresholdTable.uniform(source="a test"),
    )
    router.save_pretrained(tmp_path / "any-pair")
    return router


def test_references_say_which_models_of_the_router_a_chain_compares(write, any_pair):
    chains = """\
  own: {strong: large, weak: small, router: any, threshold: 0.5}
  other: {strong: large, weak: small, router: any, threshold: 0.5, references: {large: c, small: tier 0}}
  half: {strong: large, weak: medium, router: any, threshold: 0.5, references: {medium: c}}
"""
    text = TEXT.replace("routers:\n", "routers:\n  any: {load: ./any-pair}\n") + chains
    engine = load_config(write(text)).engine("own")
    for chain, pair in {"own": ("a", "b"), "other": ("c", "tier 0"), "half": ("a", "c")}.items():
        decision = engine.decide(RoutingRequest(text="Prove it.", chain=chain))
        assert decision.strong_win_rate == any_pair.for_pair(*pair).strong_win_rate("Prove it."), chain
    with pytest.raises(ConfigurationError, match=r"line 20, chains.other: reference_strong='d' .* it knows: a, b, c"):
        load_config(write(text.replace("large: c", "large: d"))).engine("own")
    shares = text.replace("threshold: 0.5", "strong_fraction: 0.5")  # calibrated for the pair a, b alone
    with pytest.raises(ConfigurationError, match=r"line 20, chains.other: strong_fraction needs a calibrated router"):
        load_config(write(shares)).engine("own")


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("price: 1.0", "prise: 1.0", r"line 3, models.medium.prise: unknown key; did you mean 'price'\? allowed are: "),
        ("price: 1.0", "price: -1", r"line 3, models.medium.price: .*greater than or equal to 0"),
        ("price: 1.0", "price: lst", r"line 3, models.medium.price: .*'list'"),
        ("input: 2.5", "inptu: 2.5", r"line 2, models.large.price.inptu: unknown key; did you mean 'input'"),
        ("images: false", "images: perhaps", r"line 6, models.small.capabilities.images: .*boolean"),
        ("load: random", "laod: random", r"line 8, routers.chance.laod: unknown key; did you mean 'load'"),
        ("load: random", "load: rndom", r"line 10, chains.support: .*'rndom' is no registered name \(.*random"),
        ("seed: 3", "sede: 3", r"line 10, chains.support: .*options"),
        ("router: chance", "router: chanse", r"line 10, chains.support: .*'chanse'"),
        (
            "strong_fraction: 0.3",
            "strong_fraction: 30",
            r"line 10, chains.support.strong_fraction: .*less than or equal to 1",
        ),
        ("strong_fraction: 0.3", "strong_fraction: 0.3, threshold: 0.2", r"line 10, chains.support: .*not both"),
        (
            "strong: large, weak: small",
            "strong: large",
            r"line 10, chains.support: give strong and weak, or candidates",
        ),
        (
            "strong: large, weak",
            "strong: lrge, weak",
            r"line 10, chains.support.strong: no model 'lrge'; there are: large, medium",
        ),
        ("threshold: 0.01", "threshold: high", r"line 15, chains.summarise.threshold: .*number"),
        ("tools_route: strong", "tools_route: gpt", r"line 11, chains.summarise: tools_route='gpt' is not a candidate"),
        ("sticky: true", "sticky: maybe", r"line 17, chains.summarise.sticky"),
        ("chains:", "chain:", r"chains: Field required"),
        ("models:", "models: [", r"not valid YAML"),
        ("  summarise:", "  support:", r"line 11: 'support' stands here a second time, first in line 10"),
        ("provider: openai", "provider: \x07", r"not valid YAML"),
        ("threshold: 0.01", "threshold: true", r"line 15, chains.summarise.threshold: .*number"),
        ("threshold: 0.01", "threshold: '0.01'", r"line 15, chains.summarise.threshold: .*number"),
        ("price: 1.0", "price: true", r"line 3, models.medium.price: .*number"),
        ("    price: 0.1\n", "", r"line 9, chains.support: some models .* and small has none"),
        (TEXT, "- a\n- b\n", r"must hold models, routers and chains"),
        (TEXT, "", r"must hold models, routers and chains"),
    ],
)
def test_every_mistake_names_its_place_and_what_is_allowed(write, right, wrong, message):
    assert right in TEXT
    with pytest.raises(ConfigurationError, match=message):
        load_config(write(TEXT.replace(right, wrong, 1))).engine("support")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere.yaml: cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


def test_no_code_runs_from_a_file(write):
    with pytest.raises(ConfigurationError, match=r"not valid YAML|could not determine"):
        load_config(write("models: !!python/object/apply:os.system ['echo hacked']\n"))


def test_arguments_of_models_are_not_shown(write):
    config = load_config(write(TEXT.replace("model: big-one", "model: big-one, arguments: {api_key: sk-secret}")))
    assert config.models["large"].arguments == {"api_key": "sk-secret"}
    assert "sk-secret" not in repr(config.models)


class TestReload:
    def test_takes_over_every_chain(self, write):
        engine = load_config(write()).engine("support")
        engine.reload(load_config(write(TEXT.replace("0.3", "0.9").replace("0.01", "0.02"))))
        assert engine.threshold == pytest.approx(0.1)
        assert engine.decide(RoutingRequest(text="y", chain="summarise")).threshold == 0.02

    @pytest.mark.parametrize(
        ("right", "wrong", "message"),
        [
            ("seed: 3", "sede: 3", "options"),
            ("  support:", "  other:", "'support' is not in the configuration"),
            ("strong: large, weak: small", "strong: large, weak: medium", r"cannot add models \(medium\)"),
        ],
    )
    def test_a_bad_configuration_changes_nothing(self, write, right, wrong, message):
        engine = load_config(write()).engine("support")
        before = engine.plan
        with pytest.raises(ConfigurationError, match=message):
            engine.reload(load_config(write(TEXT.replace(right, wrong, 1))))
        assert engine.plan is before

    def test_can_be_taken_back(self, write):
        one_chain = TEXT.replace(
            "summarise:\n    strong: large\n    weak: small", "summarise:\n    strong: large\n    weak: medium"
        )
        engine = load_config(write(one_chain)).engine("support")
        engine.reload(load_config(write(TEXT)))  # nobody routes to medium now
        engine.reload(load_config(write(one_chain)))
        assert "medium" in engine.models

    def test_conversations_and_the_ledger_go_on(self, write):
        engine = load_config(write()).engine("summarise")
        engine.record(engine.decide(RoutingRequest(text="y" * 400, session="s", tokens=None)))
        engine.reload(load_config(write(TEXT.replace("threshold: 0.01", "threshold: 0.9"))))
        assert engine.decide(RoutingRequest(text="y", session="s")).reason == "session"
        assert engine.ledger.totals["large"].calls == 1

    def test_is_atomic_under_load(self, write):
        """Threshold and tools_route change together; no batch may see one of them new and the other old."""
        old = load_config(write())
        text = TEXT.replace("threshold: 0.01", "threshold: 0.02").replace("tools_route: strong", "tools_route: weak")
        new = load_config(write(text))
        engine = old.engine("summarise")
        seen = set()
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                pinned, scored = engine.decide_batch([RoutingRequest(text="y", tools=True), RoutingRequest(text="y")])
                seen.add((pinned.choice, scored.threshold))

        asking = threading.Thread(target=ask)
        asking.start()
        for _ in range(15):
            engine.reload(new)
            engine.reload(old)
        over.set()
        asking.join()
        assert seen == {("large", 0.01), ("small", 0.02)}


def test_the_engine_needs_no_file():
    assert RoutingEngine("random").chains == ("default",)
