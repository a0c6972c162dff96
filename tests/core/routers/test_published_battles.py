"""The router `sw_ranking` by its name alone, from a Hub on loopback that has the published data sets in small."""

import csv
import io
import json
import socket
import sys
import time

import numpy as np
import pytest

from routellm_core import load_router
from routellm_core.errors import ConfigurationError, EmbedderMismatchError, RouterUnavailableError, UnknownModelError
from routellm_core.routers.published_battles import BATTLES, EMBEDDINGS, read_published_battles
from routellm_core.routers.similarity_weighted import SimilarityWeightedRouter
from support.embedders import HashEmbedder
from support.hub_server import HubServer, hub_client

pytest.importorskip("pyarrow")

STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"
MODELS = [STRONG, WEAK, *(f"model-{i}" for i in range(12))]
EMBEDDER = HashEmbedder(1536, id="openai:text-embedding-3-small")


def battles(n: int, seed: int) -> list[dict]:
    """Rows in the published columns; every third prompt is too short to have an embedding."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        a, b = rng.choice(len(MODELS), 2, replace=False)
        winner = rng.choice(3, p=[0.5, 0.3, 0.2] if a < b else [0.3, 0.5, 0.2])
        first = ("  15 characters..  ", f"with {seed}-{i:05}: 16", f"prompt number {seed}-{i}, long enough")[i % 3]
        turns = [first, "and now?"]
        flags = dict(
            zip(("winner_model_a", "winner_model_b", "winner_tie"), np.eye(3, dtype=int)[winner].tolist(), strict=True)
        )
        rows.append({"id": i, "model_a": MODELS[a], "model_b": MODELS[b], "prompt": json.dumps(turns), **flags})
    return rows


def vectors(rows: list[dict]) -> np.ndarray:
    return EMBEDDER.embed([json.loads(row["prompt"])[0] for row in rows if row["id"] % 3])


def as_csv(rows: list[dict]) -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def as_parquet(columns: dict) -> bytes:
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


ARENA, JUDGE = battles(150, 1), battles(90, 2)
ARENA_VECTORS, JUDGE_VECTORS = vectors(ARENA), vectors(JUDGE)


@pytest.fixture
def hub(tmp_path):
    """The four data sets: one as .csv with a test split beside it, one in two shards."""
    half = len(JUDGE_VECTORS) // 2
    judge = {name: [row[name] for row in JUDGE] for name in JUDGE[0]}
    files = {
        BATTLES[0]: {"train.csv": as_csv(ARENA), "test.csv": b"id,prompt\n", "README.md": b"# Battles\n"},
        BATTLES[1]: {"data/train-00000-of-00001.parquet": as_parquet(judge)},
        EMBEDDINGS[0]: {
            "data/train-00000-of-00001.parquet": as_parquet({"embeddings": ARENA_VECTORS.astype(float).tolist()})
        },
        EMBEDDINGS[1]: {
            "data/train-00001-of-00002.parquet": as_parquet(
                {"embeddings": JUDGE_VECTORS[half:].astype(float).tolist()}
            ),
            "data/train-00000-of-00002.parquet": as_parquet(
                {"embeddings": JUDGE_VECTORS[:half].astype(float).tolist()}
            ),
        },
    }
    with HubServer(tokens={"secret": "ada"}) as server, hub_client(server.url, tmp_path / "home"):
        for name, content in files.items():
            server.commit(f"datasets/{name}", content)
        yield server


@pytest.fixture
def expected():
    kept = [row for row in [*ARENA, *JUDGE] if row["id"] % 3]
    winners = ["model_a" if row["winner_model_a"] else "model_b" if row["winner_model_b"] else "tie" for row in kept]
    return SimilarityWeightedRouter(
        [row["model_a"] for row in kept],
        [row["model_b"] for row in kept],
        winners,
        np.concatenate([ARENA_VECTORS, JUDGE_VECTORS]),
        EMBEDDER,
        reference_strong=STRONG,
        reference_weak=WEAK,
    )


PROMPTS = ["Prove that the square root of two is irrational.", "Hi!"]


def test_by_name_from_the_hub(hub, expected, tmp_path):
    router = load_router("sw_ranking", embedder=EMBEDDER)
    assert isinstance(router, SimilarityWeightedRouter)
    assert (router.name, router.models, router.tiers) == ("sw_ranking", (WEAK, STRONG), expected.tiers)
    np.testing.assert_array_equal(router.score(PROMPTS), expected.score(PROMPTS))
    router.save_pretrained(tmp_path / "stored")
    hub.requests.clear()
    loaded = load_router(tmp_path / "stored", embedder=EMBEDDER)
    np.testing.assert_array_equal(loaded.score(PROMPTS), router.score(PROMPTS))
    assert not hub.requests


def test_by_name_takes_the_options_of_the_class(hub, expected):
    router = load_router(
        "sw_ranking",
        embedder=EMBEDDER,
        dtype="float16",
        num_tiers=4,
        normalizer="train_query",
        same_tier="routellm",
        reference_strong=0,
        reference_weak=3,
    )
    assert set(router.tiers.values()) == {0, 1, 2, 3}
    assert router.models == ("tier 3", "tier 0")
    assert router.to_checkpoint().arrays["embeddings"].dtype == np.float16
    with pytest.raises(ConfigurationError, match="does not take these options"):
        load_router("sw_ranking", embedder=EMBEDDER, tiers=4)
    with pytest.raises(UnknownModelError, match="'gpt-5' is not a reference model"):
        load_router("sw_ranking", embedder=EMBEDDER, reference_strong="gpt-5")


def test_by_name_the_data_sets_are_kept(hub):
    load_router("sw_ranking", embedder=EMBEDDER)
    hub.requests.clear()
    assert load_router("sw_ranking", embedder=EMBEDDER, local_files_only=True).models
    assert not hub.requests


def test_by_name_a_revision_can_be_pinned(hub, expected):
    pinned = hub.repositories[f"datasets/{BATTLES[0]}"].branches["main"]
    hub.commit(f"datasets/{BATTLES[0]}", {"train.csv": b"broken"})
    with pytest.raises(RouterUnavailableError, match=r"train\.csv"):
        load_router("sw_ranking", embedder=EMBEDDER)
    router = load_router("sw_ranking", embedder=EMBEDDER, battles=[f"{BATTLES[0]}@{pinned}", BATTLES[1]])
    assert router.fingerprint == expected.fingerprint
    with pytest.raises(RouterUnavailableError, match="has no revision 'v9'"):
        load_router("sw_ranking", embedder=EMBEDDER, revision="v9")


def test_by_name_without_a_key(hub):
    with pytest.raises(RouterUnavailableError, match=r"'sw_ranking'.*OPENAI_API_KEY.*'default' needs no key"):
        load_router("sw_ranking")
    assert not hub.requests  # nothing is downloaded for a router that cannot score


def test_by_name_with_another_embedder_is_a_mismatch(hub):
    with pytest.raises(EmbedderMismatchError, match=r"'openai:text-embedding-3-small'.*'hash-8'"):
        load_router("sw_ranking", embedder=HashEmbedder(8))


def test_by_name_offline(hub):
    with pytest.raises(RouterUnavailableError, match=r"55k.*local_files_only.*'default' needs no key, no network"):
        load_router("sw_ranking", embedder=EMBEDDER, local_files_only=True)


def test_by_name_without_a_network(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    start = time.monotonic()
    with hub_client(url, tmp_path), pytest.raises(RouterUnavailableError, match=r"cannot download.*'default'"):
        load_router("sw_ranking", embedder=EMBEDDER)
    assert time.monotonic() - start < 5


def test_by_name_without_the_extra(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RouterUnavailableError, match=r'routellm-plugins\[eval\]".*\'default\''):
        load_router("sw_ranking", embedder=EMBEDDER)


def test_by_name_a_gated_data_set(hub):
    hub.repositories[f"datasets/{BATTLES[0]}"].gated = True
    with pytest.raises(RouterUnavailableError, match=r"is gated: ask for access.*'default'"):
        load_router("sw_ranking", embedder=EMBEDDER)


def test_by_name_rows_must_fit(hub):
    hub.commit(
        f"datasets/{EMBEDDINGS[0]}",
        {"data/train-00000-of-00001.parquet": as_parquet({"embeddings": ARENA_VECTORS[:-1].tolist()})},
    )
    with pytest.raises(
        RouterUnavailableError, match=r"159 embeddings for 160 battles \(those of 240 with a prompt of 16"
    ):
        load_router("sw_ranking", embedder=EMBEDDER)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vectors": [[1.0]]}, "no column 'embeddings'; it has: vectors"),
        ({"embeddings": [[1.0, 2.0], [1.0]]}, "rows of different lengths"),
    ],
)
def test_embeddings_that_are_none(tmp_path, columns, message):
    (tmp_path / "battles.csv").write_bytes(as_csv(ARENA))
    (tmp_path / "rows.parquet").write_bytes(as_parquet(columns))
    with pytest.raises(ConfigurationError, match=message):
        read_published_battles(tmp_path / "battles.csv", tmp_path / "rows.parquet")


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_from_local_files(tmp_path, kind, expected):
    """No Hub, no key: one's own battles, with vectors of any embedder."""
    (tmp_path / "battles.csv").write_bytes(as_csv(ARENA))
    rows = HashEmbedder(8).embed([str(i) for i in range(len(ARENA_VECTORS))])
    if kind == "npy":
        np.save(tmp_path / "rows.npy", rows)
    else:
        (tmp_path / "rows.parquet").write_bytes(as_parquet({"embeddings": rows.tolist()}))
    options = {"battles": tmp_path / "battles.csv", "embeddings": tmp_path / f"rows.{kind}"}
    without = load_router("sw_ranking", **options)
    router = load_router("sw_ranking", embedder=HashEmbedder(8), **options)
    assert without.embedder is None
    vectors_to_score = HashEmbedder(8).embed(PROMPTS)
    np.testing.assert_array_equal(
        without.strong_win_rates_from_embeddings(vectors_to_score), router.strong_win_rates(PROMPTS)
    )
    assert isinstance(router._index.prompts.rows, np.memmap) == (kind == "npy")


def test_sources_that_are_none(tmp_path):
    with pytest.raises(ConfigurationError, match=r"'missing.csv' is neither a file nor a Hub data set"):
        read_published_battles("missing.csv", tmp_path / "rows.npy")
    with pytest.raises(ConfigurationError, match="dtype='int8'"):
        read_published_battles(dtype="int8")


def test_a_data_set_without_tables(hub):
    hub.commit("datasets/ada/empty", {"README.md": b"# Nothing\n"})
    with pytest.raises(RouterUnavailableError, match=r"'ada/empty'.*has no table"):
        load_router("sw_ranking", embedder=EMBEDDER, battles="ada/empty")
