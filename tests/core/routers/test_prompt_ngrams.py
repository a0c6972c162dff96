import numpy as np
import pytest

from routellm_core.routers.prompt_ngrams import (
    inverse_frequencies,
    ngram_width,
    ngrams,
    ngrams_of_tokens,
    weighted,
    weighted_products,
)

PROMPTS = ["the cat and the cat", "", "a dog", "the cat and a dog and the cat"]


def test_counts_are_those_of_tokens_and_of_neighbours():
    rows = ngrams_of_tokens([[5, 7, 5, 7], [], [5]])
    assert rows.indptr.tolist() == [0, 4, 4, 5]
    assert rows.columns[:2].tolist() == [5, 7]
    twice = 1 + np.log(2)
    np.testing.assert_allclose(np.sort(rows.values[:4]), [1, twice, twice, twice])  # 5, 7, (5, 7) and once (7, 5)
    assert len(ngrams_of_tokens([])) == 0


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [1], [3], []])
def test_products_in_one_pass_are_those_of_weighted_rows(chosen):
    rows = ngrams([PROMPTS[i] for i in chosen])
    rng = np.random.default_rng(0)
    frequencies = inverse_frequencies(ngrams(PROMPTS))
    heads = rng.normal(size=(2, ngram_width()))
    found = weighted_products(rows, np.column_stack([frequencies, *heads]))
    apart = weighted(rows, frequencies)
    expected = np.stack([apart.times(head) for head in heads], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_batch_equals_its_single_rows():
    table = np.random.default_rng(1).random((ngram_width(), 3))
    whole = weighted_products(ngrams(PROMPTS), table)
    single = np.concatenate([weighted_products(ngrams([prompt]), table) for prompt in PROMPTS])
    np.testing.assert_array_equal(whole, single)
