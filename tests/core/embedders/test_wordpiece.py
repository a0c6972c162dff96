import pytest

from routellm_core.embedders.base import encodable
from routellm_core.embedders.bundled import _model, bundled_tokens


@pytest.mark.parametrize(
    "text",
    [
        "Explain the difference between unbelievably long-winded words & short ones (e.g. x=3.5)!",
        "It\u2019s a \u201cquoted\u201d word among many that are plain, and caf\u00e9 too, as one would expect here.",
        "x" * 101 + " y",
        "[UNK] a [PAD] b [x]",
        "a\x00b\x0bc\x7f",
        "tabs\tand\r\nlines",
        "zzqxj " * 600,
        "\u6cd5\u56fd\u7684\u9996\u90fd",
        "",
        " ",
    ],
)
def test_the_tokens_are_those_of_the_original(text):
    model, longest = _model()
    assert bundled_tokens([text]) == model.tokenize([encodable(text[:longest])])
