"""The real client of OpenAI against an endpoint on loopback."""

import asyncio
import gc

import numpy as np
import openai
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_core.embedders.openai import OpenAIEmbedder
from routellm_core.errors import ConfigurationError, EmbeddingError
from support.embedders import vector_of
from support.embeddings_server import EmbeddingsServer

KEY = "sk-very-secret"


def encoding() -> tiktoken.Encoding:
    """Bytes and a few longer tokens, split at blanks: a real tokenizer without a download."""
    ranks = {bytes([i]): i for i in range(256)}
    for token in (b"ab", b"cd", b"abcd", b" a", b"\xe6\x97", b"12", b"123"):
        ranks[token] = len(ranks)
    return tiktoken.Encoding("tiny", pat_str=r" ?\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": 999})


def expected(texts, dimension=8):
    rows = np.stack([vector_of(text, dimension) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def server():
    with EmbeddingsServer() as running:
        yield running


_opened: list[openai.OpenAI] = []


@pytest.fixture(autouse=True)
def _close():
    yield
    while _opened:
        _opened.pop().close()


def opened(client):
    _opened.append(client)
    return client


def embedder(server, **options) -> OpenAIEmbedder:
    client = opened(openai.OpenAI(api_key=KEY, base_url=server.url, max_retries=0))
    return OpenAIEmbedder("some-model", **{"dimension": 8, "client": client, **options})


def inputs(server) -> list[list[str]]:
    return [request["input"] for request in server.requests]


def test_embeds(server):
    vectors = embedder(server).embed(["a", "b", "c"])
    np.testing.assert_allclose(vectors, expected(["a", "b", "c"]), rtol=1e-5, atol=1e-6)
    assert vectors.dtype == np.float32
    assert [(r["path"], r["model"], r["key"]) for r in server.requests] == [("/v1/embeddings", "some-model", KEY)]


def test_answers_in_any_order_are_put_right():
    with EmbeddingsServer(order=lambda n: reversed(range(n))) as server:
        texts = [f"text {i}" for i in range(20)]
        np.testing.assert_allclose(embedder(server).embed(texts), expected(texts), rtol=1e-5, atol=1e-6)


def test_blank_texts_are_rows_of_zeros_and_never_sent(server):
    vectors = embedder(server).embed(["", "a", " \n\t", "b"])
    np.testing.assert_array_equal(vectors[[0, 2]], 0)
    np.testing.assert_allclose(vectors[[1, 3]], expected(["a", "b"]), rtol=1e-5, atol=1e-6)
    assert inputs(server) == [["a", "b"]]


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_nothing_to_embed_needs_neither_key_nor_request(texts):
    vectors = OpenAIEmbedder("some-model", dimension=8).embed(texts)
    assert vectors.shape == (len(texts), 8)


def test_batches_by_number_of_texts(server):
    texts = [f"text {i}" for i in range(10)]
    vectors = embedder(server, max_request_texts=4).embed(texts)
    assert inputs(server) == [texts[:4], texts[4:8], texts[8:]]
    np.testing.assert_allclose(vectors, expected(texts), rtol=1e-5, atol=1e-6)


def test_batches_by_tokens(server):
    texts = ["x" * 6, "y" * 5, "z" * 4, "w" * 10]
    embedder(server, max_tokens=10, max_request_tokens=11).embed(texts)
    assert inputs(server) == [texts[:2], texts[2:3], texts[3:]]


def test_limits_of_the_api_are_the_defaults(server):
    embedder(server).embed([f"t{i}" for i in range(2050)])
    assert [len(batch) for batch in inputs(server)] == [2048, 2]
    server.requests.clear()
    embedder(server).embed(["x" * 8000] * 40)
    assert [len(batch) for batch in inputs(server)] == [37, 3]


@given(st.lists(st.integers(1, 12), max_size=30), st.integers(4, 12), st.integers(1, 5))
def test_every_text_is_in_one_request_within_the_limits(lengths, max_tokens, max_texts):
    made = OpenAIEmbedder(
        "m",
        dimension=8,
        max_tokens=max_tokens,
        max_request_tokens=15,
        max_request_texts=max_texts,
        tokenizer=encoding(),
    )
    texts = [f"{'abcd'[i % 4]}" * n for i, n in enumerate(lengths)]
    requests = list(made._requests(texts))
    assert [row for rows, _ in requests for row in rows] == list(range(len(texts)))
    for _, batch in requests:
        assert len(batch) <= max_texts
        assert sum(len(encoding().encode(text)) for text in batch) <= 15


# --- long texts -----------------------------------------------------------------------------------------------------


def sent(server) -> str:
    [[text]] = inputs(server)
    return text


def test_long_text_keeps_beginning_and_end_by_tokens(server):
    text = "abcd " * 50 + "END"
    embedder(server, max_tokens=40, tokenizer=encoding()).embed([text])
    cut = sent(server)
    assert 30 <= len(encoding().encode(cut)) <= 40
    assert cut.startswith("abcd abcd")
    assert cut.endswith("abcd END")
    assert len(cut) > 40  # tokens, not bytes


def test_text_of_many_bytes_and_few_tokens_stays_whole(server):
    text = "abcd" * 10
    embedder(server, max_tokens=12, tokenizer=encoding()).embed([text])
    assert sent(server) == text


def test_special_tokens_are_text(server):
    embedder(server, max_tokens=8, tokenizer=encoding()).embed(["<|end|>" * 3])
    assert len(encoding().encode(sent(server), disallowed_special=())) <= 8


@settings(max_examples=300)
@given(st.text(alphabet="abcd 1日本é😀\ufffd", min_size=1, max_size=120), st.integers(8, 40))
def test_cut_text_never_exceeds_the_limit(text, max_tokens):
    made = OpenAIEmbedder("m", dimension=8, max_tokens=max_tokens, max_request_tokens=1000, tokenizer=encoding())
    cut, tokens = made._cut(text)
    actual = len(encoding().encode(cut, disallowed_special=()))
    assert actual <= tokens <= max_tokens
    assert cut or not text.strip()
    if len(encoding().encode(text)) <= max_tokens:
        assert cut == text


def test_without_a_tokenizer_bytes_bound_the_tokens(server, monkeypatch):
    def unreachable(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr("tiktoken.encoding_for_model", unreachable)
    embedder(server, max_tokens=11).embed(["日本語" * 20])
    cut = sent(server)
    assert len(cut.encode()) <= 11
    assert cut
    assert set(cut) <= set("日本語")


def test_tokenizer_of_the_model_is_not_needed_for_short_texts(server, monkeypatch):
    monkeypatch.setattr("tiktoken.encoding_for_model", lambda _: pytest.fail("fetched for nothing"))
    embedder(server).embed(["x" * 8191])


def test_lone_surrogates_are_sent_as_question_marks(server):
    embedder(server).embed(["\ud800 x"])
    assert sent(server) == "? x"


# --- dimensions -----------------------------------------------------------------------------------------------------


def test_unexpected_dimension_is_an_error():
    with EmbeddingsServer(dimension=5) as server, pytest.raises(EmbeddingError) as caught:
        embedder(server).embed(["a secret prompt"])
    assert str(caught.value) == "embedder 'openai:some-model' returned vectors of shape (1, 5), expected (1, 8)"


def test_too_few_vectors_are_an_error():
    with (
        EmbeddingsServer(order=lambda n: range(n - 1)) as server,
        pytest.raises(EmbeddingError, match=r"expected \(3, 8\)"),
    ):
        embedder(server).embed(["a", "b", "c"])


def test_shortened_vectors_are_asked_for_and_have_an_id_of_their_own(server):
    client = opened(openai.OpenAI(api_key=KEY, base_url=server.url))
    short = OpenAIEmbedder("text-embedding-3-large", dimension=8, client=client)
    assert short.embed(["a"]).shape == (1, 8)
    assert server.requests[0]["dimensions"] == 8
    assert short.id == "openai:text-embedding-3-large@8"
    assert OpenAIEmbedder("text-embedding-3-large").id == "openai:text-embedding-3-large"
    assert OpenAIEmbedder("text-embedding-3-large").dimension == 3072


def test_dimension_of_an_unknown_model_must_be_given():
    with pytest.raises(ConfigurationError, match="'nomic' is not known: give dimension"):
        OpenAIEmbedder("nomic")


@pytest.mark.parametrize(
    "limits", [{"max_tokens": 0}, {"max_request_texts": 0}, {"max_tokens": 100, "max_request_tokens": 99}]
)
def test_limits_are_checked(limits):
    with pytest.raises(ConfigurationError, match="max_tokens"):
        OpenAIEmbedder(**limits)


# --- clients --------------------------------------------------------------------------------------------------------


async def test_asynchronous_client(server):
    client = openai.AsyncOpenAI(api_key=KEY, base_url=server.url, max_retries=0)
    made = OpenAIEmbedder("m", dimension=8, async_client=client, max_request_texts=2)
    texts = ["a", "", "b", "c"]
    vectors = await made.aembed(texts)
    np.testing.assert_array_equal(vectors[1], 0)
    np.testing.assert_allclose(vectors[[0, 2, 3]], expected(["a", "b", "c"]), rtol=1e-5, atol=1e-6)
    assert inputs(server) == [["a", "b"], ["c"]]
    await client.close()


async def test_concurrent_calls_keep_their_own_vectors(server):
    made = OpenAIEmbedder("m", dimension=8, async_client=openai.AsyncOpenAI(api_key=KEY, base_url=server.url))
    answers = await asyncio.gather(*(made.aembed([f"t{i}", f"u{i}"]) for i in range(30)))
    for i, vectors in enumerate(answers):
        np.testing.assert_allclose(vectors, expected([f"t{i}", f"u{i}"]), rtol=1e-5, atol=1e-6)
    await made._async_client.close()


def test_clients_are_made_from_the_environment_when_needed(server, monkeypatch):
    made = OpenAIEmbedder("m", dimension=8, base_url=server.url)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        made.embed(["a"])
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        asyncio.run(made.aembed(["a"]))
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        made.check_ready()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made.check_ready()

    async def embed_and_close():
        vectors = await made.aembed(["a"])
        await made._made_async_clients[asyncio.get_running_loop()].close()
        return vectors

    np.testing.assert_array_equal(asyncio.run(embed_and_close()), made.embed(["a"]))
    opened(made._client)
    assert [request["key"] for request in server.requests] == [KEY, KEY]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of connections whose loop is gone
def test_every_event_loop_gets_a_client_of_its_own(server, monkeypatch):
    """A connection that an earlier, closed loop left open must not be used again: a retry would hide it, slowly."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = OpenAIEmbedder("m", dimension=8, base_url=server.url)
    created = []
    make = openai.AsyncOpenAI
    monkeypatch.setattr(openai, "AsyncOpenAI", lambda **k: created.append(make(**k, max_retries=0)) or created[-1])

    async def twice():
        await made.aembed(["a"])
        return await made.aembed(["b"])

    for _ in range(3):
        np.testing.assert_allclose(asyncio.run(twice()), expected(["b"]), rtol=1e-5, atol=1e-6)
    assert len(created) == 3
    created.clear()
    made = None
    gc.collect()


def test_azure(server):
    url = server.url.removesuffix("/v1")
    client = opened(openai.AzureOpenAI(api_key=KEY, azure_endpoint=url, api_version="2024-10-21", max_retries=0))
    made = OpenAIEmbedder("my-deployment", dimension=8, client=client)
    np.testing.assert_allclose(made.embed(["a"]), expected(["a"]), rtol=1e-5, atol=1e-6)
    [request] = server.requests
    assert request["path"] == "/openai/deployments/my-deployment/embeddings?api-version=2024-10-21"
    assert request["key"] == KEY


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_refusal_is_the_clients_exception_and_shows_neither_key_nor_prompt(status):
    with EmbeddingsServer(status=status) as server, pytest.raises(openai.APIStatusError) as caught:
        embedder(server).embed(["a private prompt"])
    assert caught.value.status_code == status
    for text in (str(caught.value), repr(caught.value), repr(embedder(server))):
        assert KEY not in text
        assert "private" not in text


def test_repr_is_short():
    assert repr(OpenAIEmbedder()) == "OpenAIEmbedder('text-embedding-3-small', dimension=1536)"


def test_retries_are_the_clients(server):
    server.status = 500
    client = opened(openai.OpenAI(api_key=KEY, base_url=server.url, max_retries=1))
    client._calculate_retry_timeout = lambda *_: 0
    with pytest.raises(openai.InternalServerError):
        OpenAIEmbedder("m", dimension=8, client=client).embed(["a"])
    assert len(server.requests) == 2
