import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from routellm_core import RoutingEngine, load_router
from routellm_core.errors import ConfigurationError, UnknownRouterError
from routellm_core.registry import ENTRY_POINT_GROUP, router_class, router_names
from routellm_core.routers.random import RandomRouter

PLUGIN = """
import numpy as np
from routellm_core import PairRouter
from routellm_core.checkpoints import Checkpoint, CheckpointConfig
from routellm_core.routers.pretrained import PretrainedRouter

class VowelRouter(PairRouter):
    def __init__(self, vowels="aeiou"):
        self.vowels = vowels
    def strong_win_rates(self, prompts):
        return np.array([sum(c in self.vowels for c in p) / max(len(p), 1) for p in prompts], dtype=float)

class StoredRouter(PretrainedRouter, VowelRouter):
    name = "stored"
    def to_checkpoint(self):
        return Checkpoint(config=CheckpointConfig(router="stored", parameters={"vowels": self.vowels}))
    @classmethod
    def from_checkpoint(cls, checkpoint, *, embedder=None):
        return cls(checkpoint.config.parameters["vowels"])

def not_a_class():
    raise RuntimeError
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Path:
    """A distribution of somebody else, as pip installs it."""
    site = tmp_path / "site"
    info = site / "vowels-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vowels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{ENTRY_POINT_GROUP}]\nvowels = vowels_plugin:VowelRouter\nstored = vowels_plugin:StoredRouter\n"
        "function = vowels_plugin:not_a_class\nbroken = no_such_module:Router\nrandom = vowels_plugin:VowelRouter\n"
    )
    (site / "vowels_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(site)
    yield site
    sys.modules.pop("vowels_plugin", None)


def test_names():
    assert {"default", "random", "length", "mf"} <= set(router_names())
    assert router_names() == tuple(sorted(router_names()))


@pytest.mark.parametrize("name", ["default", "random", "length"])
def test_every_name_gives_a_router_of_that_name(name):
    assert load_router(name).name == name


def test_third_party_router_is_found_by_name(plugin):
    assert {"vowels", "stored", "default"} <= set(router_names())
    router = load_router("vowels", vowels="xyz")
    assert router.strong_win_rate("xx--") == 0.5
    assert router.name == "vowels"
    decision = RoutingEngine("vowels", threshold=0.5).decide("aaa")
    assert (decision.choice, decision.router) == ("strong", "vowels")


def test_third_party_router_can_be_stored(plugin, tmp_path):
    folder = load_router("stored", vowels="q").save_pretrained(tmp_path / "stored")
    assert load_router(folder).strong_win_rate("qq") == 1.0


def test_third_party_router_that_cannot_be_stored(plugin, tmp_path):
    folder = RandomRouter().save_pretrained(tmp_path / "folder")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"random"', '"vowels"'))
    with pytest.raises(ValueError, match="router 'vowels' cannot be stored"):
        load_router(folder)


def test_our_names_cannot_be_taken(plugin):
    assert router_class("random") is RandomRouter


def test_entry_point_that_is_no_router(plugin):
    with pytest.raises(ConfigurationError, match=r"'function' \(vowels_plugin:not_a_class\) is no subclass"):
        load_router("function")


def test_one_broken_plugin_does_not_break_the_others(plugin):
    assert load_router("vowels").strong_win_rate("a") == 1.0
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load_router("broken")


def test_unknown_name_lists_the_known_ones(plugin):
    with pytest.raises(UnknownRouterError, match=r"'defualt' is no registered name \(.*default.*vowels.*\), no folder"):
        load_router("defualt")
    with pytest.raises(UnknownRouterError, match=r"'defualt'; there are: .*default"):
        router_class("defualt")


@pytest.mark.parametrize("name", ["", " ", "a/b/c", "../x", "x" * 200, "Default", "\0"])
def test_odd_names_are_unknown(name):
    with pytest.raises(UnknownRouterError):
        load_router(name)


def test_registered_name_wins_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RandomRouter(7).save_pretrained("random")
    assert load_router("random").seed == 0
    for folder in ("./random", Path("random"), tmp_path / "random", str(tmp_path / "random")):
        assert load_router(folder).seed == 7


def test_path_is_never_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownRouterError, match="no folder that exists"):
        load_router(Path("org/name"))


def test_folder_wins_over_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RandomRouter(7).save_pretrained("org/name")
    assert load_router("org/name").seed == 7


def test_options_reach_the_constructor():
    np.testing.assert_array_equal(
        load_router("random", seed=3).strong_win_rates(["a"]), RandomRouter(3).strong_win_rates(["a"])
    )
    assert load_router("length", max_characters=10).strong_win_rate("12345") == 0.5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("random", {"sead": 1}),
        ("default", {"seed": 1}),
        ("length", {"seed": 1}),
        ("random", {"revision": "main"}),
        ("mf", {"seed": 1}),
    ],
)
def test_option_that_a_router_does_not_take(name, options):
    with pytest.raises(ConfigurationError, match=f"router '{name}' does not take these options.*{next(iter(options))}"):
        load_router(name, **options)


def test_value_that_a_router_does_not_take():
    with pytest.raises(ConfigurationError, match="seed must be an integer, not 'x'"):
        load_router("random", seed="x")


def test_only_the_module_of_the_router_is_imported():
    code = """
import sys
from routellm_core import load_router
load_router("random")
loaded = [name for name in sys.modules if name.startswith("routellm_core.routers.")]
print(*sorted(name.rpartition(".")[2] for name in loaded))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["base", "pretrained", "random"]
