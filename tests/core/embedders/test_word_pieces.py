import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model2vec import StaticModel

from routellm_core.embedders import word_pieces
from routellm_core.embedders.bundled import ASSET
from routellm_core.embedders.word_pieces import WordPieces

MODEL = StaticModel.from_pretrained(ASSET, force_download=False)
ODD = "aZ9\xe9e\u0301 \t\n\r\x00\x0b\x1c\x85\xa0\u200b\u2026\u2013'.,[]{#@\u4e2d\ud55c\u05e2\u03a3\u0130\xdf\ufb03\U0001f600"


def word_pieces_of_the_model() -> WordPieces:
    return WordPieces(MODEL.tokenizer, max_length=MODEL.max_length, unknown_id=MODEL.unk_token_id)


SHARED = word_pieces_of_the_model()


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text(ODD, max_size=40))
def test_gives_what_the_tokenizer_gives(text):
    assert SHARED.ids(text) == MODEL.tokenize([text])[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t ",
        "What's the capital of France? It's Paris -- isn't it?",
        "def f(x):\n\treturn {'a': x[0], \"b\": x**2}  # squared",
        "[PAD] and [UNK], [pad] and [ UNK ], [[PAD]]",
        "Der Fluß überquert, naïve façade, ÅNGSTRÖM, ﬃ, İstanbul",
        "日本語のテキスト and 中文字符 mixed",
        "a" * 99 + " " + "b" * 101 + " " + "c" * 3000,
        "word " * 700,
        "combining: e\u0301 ' \u0301abc .\u0301x",
        "zero\u200bwidth soft\u00adhyphen no\u00a0break line\u2028separator form\x0cfeed",
    ],
)
def test_gives_what_the_tokenizer_gives_for_texts_of_many_kinds(text):
    fresh = word_pieces_of_the_model()
    assert fresh.ids(text) == MODEL.tokenize([text])[0]
    assert fresh.ids(text) == MODEL.tokenize([text])[0]  # now from what is remembered


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(word_pieces, "_MOST_REMEMBERED", 50)
    pieces = word_pieces_of_the_model()
    texts = [f"number{i} of many, and a word of its own: w{i}" for i in range(200)]
    assert [pieces.ids(text) for text in texts] == MODEL.tokenize(texts)
    assert len(pieces._known) <= 50


def test_threads_share_an_instance(monkeypatch):
    monkeypatch.setattr(word_pieces, "_MOST_REMEMBERED", 30)
    pieces = word_pieces_of_the_model()
    texts = [f"thread text {i}, with {i % 7} words and x{i}" for i in range(300)]
    expected, wrong = MODEL.tokenize(texts), []

    def work() -> None:
        wrong.extend(i for i, text in enumerate(texts) if pieces.ids(text) != expected[i])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
