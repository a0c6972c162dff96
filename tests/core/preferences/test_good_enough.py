"""The rule by which scores of the weak model alone become battles."""

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError, UnknownModelError
from routellm_core.preferences.good_enough import good_enough_battles
from routellm_core.preferences.outcomes import OutcomeTable

TABLE = OutcomeTable(
    prompts=("one", "three", "four", "five", "unread"),
    models=("small",),
    scores=np.array([[1.0], [3.0], [4.0], [5.0], [np.nan]]),
)


def test_the_weak_model_wins_from_four_on():
    battles = good_enough_battles(TABLE, "large", "small")
    winners = {battle.prompt: (battle.model_a, battle.model_b, battle.winner) for battle in battles}
    assert winners == {
        "one": ("large", "small", "model_a"),
        "three": ("large", "small", "model_a"),
        "four": ("large", "small", "model_b"),
        "five": ("large", "small", "model_b"),
    }
    assert {battle.source for battle in battles} == {"judge"}


def test_another_bound():
    battles = good_enough_battles(TABLE, "large", "small", good_enough=5, source="human")
    assert [battle.winner for battle in battles] == ["model_a", "model_a", "model_a", "model_b"]
    assert {battle.source for battle in battles} == {"human"}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("large", "tiny"), {}, UnknownModelError, "tiny"),
        (("small", "small"), {}, ConfigurationError, "two models"),
        (("large", "small"), {"good_enough": float("nan")}, ConfigurationError, "good_enough must be"),
        (("large", "small"), {"source": "me"}, ConfigurationError, "source must be one of"),
    ],
)
def test_wrong_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        good_enough_battles(TABLE, *arguments, **options)
