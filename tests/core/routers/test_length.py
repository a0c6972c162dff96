import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core import load_router
from routellm_core.errors import ConfigurationError
from routellm_core.routers.length import LengthRouter


@given(st.lists(st.text(max_size=40)), st.integers(1, 30))
def test_relative_length_up_to_one(prompts, most):
    rates = LengthRouter(most).strong_win_rates(prompts)
    np.testing.assert_array_equal(rates, [min(len(prompt) / most, 1) for prompt in prompts])


def test_characters_are_counted_not_bytes():
    assert LengthRouter(10).strong_win_rate("日本語") == 0.3


def test_the_one_loaded_by_name_is_calibrated():
    router = load_router("length")
    assert router.max_characters == 32_768
    assert 0 < router.thresholds.threshold_for(0.5) < router.thresholds.threshold_for(0.1) < 1
    assert router.thresholds.n_prompts > 100


def test_another_scale_is_not_calibrated():
    assert load_router("length", max_characters=100).thresholds is None


@pytest.mark.parametrize("value", [0, -1, 1.5, "10", None, True])
def test_scale_is_a_whole_number(value):
    with pytest.raises(ConfigurationError, match="max_characters must be a whole number"):
        LengthRouter(value)
