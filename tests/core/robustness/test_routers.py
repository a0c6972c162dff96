"""What perturbations do to routers, on a table made here."""

import json
from dataclasses import replace

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.outcomes import OutcomeTable
from routellm_core.robustness.canonical import CanonicalRouter
from routellm_core.robustness.items import Item
from routellm_core.robustness.routers import measure_routers
from routellm_core.routers.base import PairRouter
from routellm_core.routers.length import LengthRouter

N = 60


class FirstChoice(PairRouter):
    """Looks at nothing but the number in the first line of choices: reordering misleads it."""

    name = "first-choice"

    def strong_win_rates(self, prompts):
        return np.array([int(prompt.split("\n")[1].split()[-1]) / 1000 for prompt in prompts])


class Constant(PairRouter):
    name = "constant"

    def strong_win_rates(self, prompts):
        return np.full(len(prompts), 0.5)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    items = [Item(str(i), f"Q {i}?", tuple(f"no {v}" for v in rng.choice(1000, 4, replace=False))) for i in range(N)]
    first = np.array([int(item.choices[0].split()[-1]) for item in items])
    prompts = [*(item.prompt for item in items), "What?", "Q?\nA. one\nB. all of the above"]
    weak = [*(first < 500).astype(float), 1.0, 1.0]
    return OutcomeTable(
        prompts=tuple(prompts), models=("small", "big"), scores=np.array([weak, np.ones(N + 2)]).T, name="made"
    )


def test_flips_change_of_apgr_and_remedy(table):
    routers = {
        "first": FirstChoice(),
        "mended": CanonicalRouter(FirstChoice()),
        "length": LengthRouter(max_characters=99),
    }
    done = []
    found = measure_routers(
        routers, table, strong="big", weak="small", perturbations=["derange", "common-symbols", "spaces"],
        resamples=200, progress=lambda *at: done.append(at),
    )  # fmt: skip
    assert (found.n, found.left_out) == (N, {"no multiple-choice question": 1, "choices depend on their order": 1})
    assert done[-1] == (3 * 4 * N, 3 * 4 * N)
    first = found.effects["first"]
    assert found.apgr["first"].value > 0.7  # it knows which are hard
    assert 0.3 < first["derange"].flip_rate.value < 0.7
    assert first["derange"].flip_rate.low < first["derange"].flip_rate.value < first["derange"].flip_rate.high
    assert first["derange"].change.high < 0
    assert first["derange"].apgr.value == pytest.approx(found.apgr["first"].value + first["derange"].change.value)
    assert abs(first["derange"].tau) < 0.3
    for name in ("common-symbols", "spaces"):
        assert first[name].flip_rate.value == 0
        assert (first[name].change.low, first[name].change.high) == (0, 0)
        assert first[name].tau == pytest.approx(1)
    assert all(effect.flip_rate.value == 0 and effect.tau == 1 for effect in found.effects["mended"].values())
    assert found.effects["length"]["spaces"].strong_fraction > 0.5
    plain = json.loads(json.dumps(found.to_dict()))
    assert (
        plain["routers"]["first"]["perturbations"]["derange"]["flip_rate"]["value"] == first["derange"].flip_rate.value
    )


def test_a_constant_router_never_flips(table):
    found = measure_routers({"c": Constant()}, table, strong="big", weak="small", perturbations=["swap"], resamples=20)
    effect = found.effects["c"]["swap"]
    assert effect.flip_rate.value == 0
    assert np.isnan(effect.tau)
    assert found.to_dict()["routers"]["c"]["perturbations"]["swap"]["tau"] is None


def test_all_perturbations_that_need_no_gold_answer(table):
    found = measure_routers({"l": LengthRouter(max_characters=99)}, table, strong="big", weak="small", resamples=5)
    assert len(found.effects["l"]) == 11
    assert not any(name.startswith("gold") for name in found.effects["l"])


def test_refuses(table):
    pair = {"strong": "big", "weak": "small"}
    with pytest.raises(ConfigurationError, match="'gold-A' moves the right answer"):
        measure_routers({"c": Constant()}, table, perturbations=["gold-A"], **pair)
    with pytest.raises(ConfigurationError, match="no router"):
        measure_routers({}, table, **pair)
    with pytest.raises(ConfigurationError, match="no multiple-choice questions"):
        measure_routers({"c": Constant()}, table.select([N]), **pair)
    with pytest.raises(UnknownModelError, match="'huge'"):
        measure_routers({"c": Constant()}, table, strong="huge", weak="small")


def test_more_choices_than_there_are_symbols_are_left_out(table):
    many = Item("many", "Q?", tuple(f"no {i}" for i in range(11))).prompt
    longer = replace(
        table, prompts=(many, *table.prompts), scores=np.concatenate([[[0.0, 1.0]], table.scores]), name="longer"
    )
    options = {"strong": "big", "weak": "small", "resamples": 20}
    found = measure_routers({"first": FirstChoice()}, longer, **options)
    assert found.left_out["more than 10 choices"] == 1
    expected = measure_routers({"first": FirstChoice()}, table, **options)
    assert found.to_dict()["routers"] == expected.to_dict()["routers"]
