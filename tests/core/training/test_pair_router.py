"""The battles of a pair, as bert and causal_llm see them; no transformer is needed."""

import numpy as np
import pytest

from routellm_core.errors import ConfigurationError
from routellm_core.preferences.battles import PreferenceDataset
from routellm_core.training.held_out import BattleSplit
from routellm_core.training.pair_router import PairBattles, pair_held_out


def battles(weight=None):
    return PreferenceDataset.from_columns(
        prompt=["p", "q", "q", "r", "s", "t"],
        model_a=["strong", "weak", "strong", "strong", "weak", "weak"],
        model_b=["weak", "strong", "other", "weak", "strong", "strong"],
        winner=["model_a", "model_a", "model_a", "tie", "model_b", "model_b"],
        weight=weight,
    )


def test_outcomes_are_the_strong_models_whichever_side_it_was_on():
    pair = PairBattles.of(battles(), "strong", "weak")
    assert pair.prompts == ("p", "q", "r", "s", "t")
    assert pair.outcome.tolist() == [1.0, 0.0, 0.5, 1.0, 1.0]
    assert pair.weight.tolist() == [1.0] * 5
    swapped = PairBattles.of(battles([1, 2, 3, 4, 5, 6]), "weak", "strong")
    assert swapped.outcome.tolist() == [0.0, 1.0, 0.5, 0.0, 0.0]
    assert swapped.weight.tolist() == [1.0, 2.0, 4.0, 5.0, 6.0]


def test_a_pair_that_never_met_is_named():
    with pytest.raises(ConfigurationError, match="no battle between 'weak' and 'other'"):
        PairBattles.of(battles(), "weak", "other")
    with pytest.raises(ConfigurationError, match="no battle between 'strong' and 'weak'"):
        PairBattles.of(battles([0, 0, 1, 0, 0, 0]), "strong", "weak")
    with pytest.raises(ConfigurationError, match="no battle between 'weak' and 'absent'"):
        PairBattles.of(battles(), "weak", "absent")


def test_balanced_labels_count_the_same_in_total_and_the_sum_stays():
    pair = PairBattles.of(battles([1, 2, 9, 4, 5, 6]), "strong", "weak")
    assert pair.label_weights(balanced=False).tolist() == pair.weight.tolist()
    balanced = pair.label_weights(balanced=True)
    totals = [balanced[pair.outcome == label].sum() for label in (0.0, 0.5, 1.0)]
    assert totals == pytest.approx([18 / 3] * 3)
    wins = balanced[pair.outcome == 1.0]
    assert wins / wins[0] == pytest.approx([1.0, 5.0, 6.0])  # within a label, weights keep their ratios


@pytest.mark.parametrize(("ties_win_half", "mean"), [(True, (1 + 4 * 0.5 + 5 + 6) / 18), (False, 12 / 18)])
def test_the_baseline_is_the_weighted_mean_of_what_the_win_rate_stands_for(ties_win_half, mean):
    training = battles([1, 2, 9, 4, 5, 6])
    validation = PreferenceDataset.from_columns(
        prompt=["v", "w", "v"], model_a=["weak"] * 3, model_b=["strong"] * 3, winner=["tie", "model_a", "model_b"],
        weight=[1, 2, 3],
    )  # fmt: skip
    split = BattleSplit(training, validation, ("other", "strong", "weak"), "strong", "weak")
    parts = [PairBattles.of(part, "strong", "weak") for part in (training, validation)]
    held_out = pair_held_out(
        split, *parts, lambda outcome: outcome if ties_win_half else (outcome == 1.0).astype(float)
    )
    assert held_out.baseline == pytest.approx(np.full(3, mean))
    assert held_out.outcome.tolist() == [0.5 if ties_win_half else 0.0, 0.0, 1.0]
    assert held_out.weight.tolist() == [1.0, 2.0, 3.0]
    assert held_out.prompt_index.tolist() == [0, 1, 0]
    assert held_out.pair.column("strong").tolist() == [0.875, 0.0]  # on v a tie of weight 1 and a win of weight 3
    assert held_out.blind_rate == pytest.approx((1 + 4 * 0.5 + 5 + 6) / 18)
