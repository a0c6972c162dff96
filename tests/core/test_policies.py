import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.policies import POLICIES, get_policy

scores = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.5000001, 0.9, 1.0]), min_size=2, max_size=6)


@st.composite
def pools(draw):
    values = np.array(draw(scores))
    return values, tuple(draw(st.permutations(range(len(values)))))


@given(pools(), st.floats(0, 1))
def test_argmax_takes_the_best_and_of_equals_the_cheaper(pool, threshold):
    values, by_price = pool
    order = get_policy("argmax").order(values, None, by_price)
    assert sorted(order) == sorted(by_price)
    best = [column for column in by_price if values[column] == values.max()]
    assert order[0] == best[0]
    assert list(values[list(order)]) == sorted(values, reverse=True)


@given(pools(), st.floats(0, 1))
def test_cheapest_above_takes_the_cheapest_that_is_good_enough(pool, threshold):
    values, by_price = pool
    order = get_policy("cheapest_above").order(values, threshold, by_price)
    assert sorted(order) == sorted(by_price)
    good = [column for column in by_price if values[column] >= threshold]
    assert order[0] == (good[0] if good else get_policy("argmax").order(values, None, by_price)[0])


@pytest.mark.parametrize("name", [name for name in POLICIES if POLICIES[name]().uses_threshold])
def test_a_threshold_is_required_where_it_is_used(name):
    with pytest.raises(ConfigurationError, match="threshold"):
        get_policy(name).order(np.array([0.1, 0.2]), None, (0, 1))
