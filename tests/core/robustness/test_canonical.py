"""The canonical form: one text for every way to put a question."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.errors import ConfigurationError
from routellm_core.robustness.canonical import CanonicalRouter, canonical_prompt
from routellm_core.robustness.items import Item
from routellm_core.robustness.perturbations import PERTURBATIONS
from routellm_core.routers.length import LengthRouter

ITEM = Item("i", "Which of these words is it?", ("pear", "apple", "fig", "plum"), 2)
MMLU = "Which of these words is it?\nA. apple\nB. fig\nC. pear\nD. plum\nAnswer:"


@given(st.sampled_from(sorted(PERTURBATIONS)), st.integers(0, 50))
def test_every_perturbation_has_the_same_canonical_form(name, seed):
    assert canonical_prompt(PERTURBATIONS[name].apply(ITEM, seed).prompt) == MMLU


@given(st.text(max_size=60))
def test_it_is_its_own_canonical_form(text):
    assert canonical_prompt(canonical_prompt(text)) == canonical_prompt(text)


@pytest.mark.parametrize(
    "prompt", ["What is 2 + 2?", "def f(x):\n    return  x", "Q?\nA. this\nB. that\nC. both A and B\nAnswer:", ""]
)
def test_everything_else_is_left_as_it_is(prompt):
    assert canonical_prompt(prompt) == prompt


def test_router():
    inner = LengthRouter(max_characters=100)
    router = CanonicalRouter(inner)
    spaced = PERTURBATIONS["spaces"].apply(ITEM, 0).prompt
    assert inner.strong_win_rate(spaced) != inner.strong_win_rate(MMLU)
    assert router.strong_win_rates([spaced, MMLU, "Hi"]).tolist() == inner.strong_win_rates([MMLU, MMLU, "Hi"]).tolist()
    assert router.name == "length+canonical"
    assert router.fingerprint != inner.fingerprint
    assert router.fingerprint == CanonicalRouter(LengthRouter(max_characters=100)).fingerprint
    assert router.models == inner.models
    with pytest.raises(ConfigurationError, match="only a pair router"):
        CanonicalRouter("length")
