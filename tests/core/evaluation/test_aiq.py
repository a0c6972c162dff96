import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.evaluation import average_improvement_in_quality, quality_hull

points = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def test_by_hand():
    cost, quality = [1, 2, 3, 4, 5], [0.2, 0.3, 0.7, 0.6, 0.8]
    corners = quality_hull(cost, quality)
    np.testing.assert_allclose(corners, [[1, 3, 5], [0.2, 0.7, 0.8]])
    assert average_improvement_in_quality(cost, quality) == pytest.approx((2 * 0.45 + 2 * 0.75) / 4)
    assert average_improvement_in_quality(cost, quality, highest_cost=9) == pytest.approx((0.9 + 1.5 + 4 * 0.8) / 8)
    assert average_improvement_in_quality(cost, quality, lowest_cost=2, highest_cost=3) == pytest.approx(
        (0.45 + 0.7) / 2
    )


def test_one_operating_point_has_no_range():
    assert math.isnan(average_improvement_in_quality([1.0], [0.5]))
    assert average_improvement_in_quality([1.0], [0.5], highest_cost=2.0) == 0.5


@given(points)
def test_hull_is_above_all_points_rises_and_bends_down(pairs):
    cost, quality = map(np.array, zip(*pairs, strict=True))
    x, y = quality_hull(cost, quality)
    assert (np.interp(cost, x, y) >= quality - 1e-9).all()
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()
    slopes = np.diff(y) / np.diff(x)
    assert (np.diff(slopes) < 1e-9).all()
    assert {(a, b) for a, b in zip(x, y, strict=True)} <= set(pairs)


@given(points, st.floats(0.1, 10), st.floats(0, 5))
def test_unit_and_origin_of_cost_do_not_matter(pairs, unit, start):
    cost, quality = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    before = average_improvement_in_quality(cost, quality)
    after = average_improvement_in_quality(start + unit * cost, quality)
    assert after == pytest.approx(before, nan_ok=True)


@given(points, st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_a_further_point_never_lowers_it(pairs, extra):
    cost, quality = map(np.array, zip(*pairs, strict=True))
    low, high = cost.min(), 25
    more = zip(*[*pairs, extra], strict=True)
    before = average_improvement_in_quality(cost, quality, lowest_cost=low, highest_cost=high)
    assert average_improvement_in_quality(*more, lowest_cost=max(low, 0), highest_cost=high) >= before - 1e-9


def test_arguments_are_checked():
    with pytest.raises(ConfigurationError, match="finite and of one length"):
        quality_hull([1, 2], [0.5])
    with pytest.raises(ConfigurationError, match="finite and of one length"):
        quality_hull([1.0], [math.nan])
    with pytest.raises(ConfigurationError, match="below the cheapest operating point"):
        average_improvement_in_quality([1, 2], [0.1, 0.2], lowest_cost=0.5)
