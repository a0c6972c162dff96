import asyncio
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_core.embedders.cache import CachedEmbedder
from routellm_core.errors import ConfigurationError
from support.embedders import AsyncHashEmbedder, HashEmbedder

SUPPORT = Path(__file__).parents[2]


def embedded(embedder: HashEmbedder) -> list[str]:
    return [text for batch in embedder.calls for text in batch]


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "", "\ud800", "日本"]), max_size=6), max_size=8),
    st.integers(0, 4),
)
def test_same_vectors_as_without_a_cache(batches, max_entries):
    cached = CachedEmbedder(HashEmbedder(), max_entries=max_entries)
    for batch in batches:
        np.testing.assert_array_equal(cached.embed(batch), HashEmbedder().embed(batch))


def test_each_text_is_embedded_once():
    inner = HashEmbedder()
    cached = CachedEmbedder(inner)
    cached.embed(["a", "b", "a"])
    cached.embed(["c", "b"])
    cached.embed(["a", "b", "c"])
    assert inner.calls == [["a", "b"], ["c"]]


def test_a_crash_costs_one_piece_of_a_large_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("routellm_core.embedders.cache._PIECE", 10)

    class Dying(HashEmbedder):
        def embed(self, texts):
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().embed(texts)

    texts = [f"text {i}" for i in range(45)]
    with pytest.raises(KeyboardInterrupt):
        CachedEmbedder(Dying(), directory=tmp_path).embed(texts)
    inner = HashEmbedder()
    vectors = CachedEmbedder(inner, directory=tmp_path).embed(texts)
    assert [len(batch) for batch in inner.calls] == [10, 5]
    assert embedded(inner) == texts[30:]
    np.testing.assert_array_equal(vectors, HashEmbedder().embed(texts))


def test_least_recently_used_goes_first():
    inner = HashEmbedder()
    cached = CachedEmbedder(inner, max_entries=2)
    for text in ["a", "b", "a", "c", "a", "b"]:
        cached.embed([text])
    assert embedded(inner) == ["a", "b", "c", "b"]


def test_no_memory_keeps_nothing():
    inner = HashEmbedder()
    cached = CachedEmbedder(inner, max_entries=0)
    cached.embed(["a"])
    cached.embed(["a"])
    assert embedded(inner) == ["a", "a"]


def test_batch_larger_than_the_cache():
    texts = [f"t{i}" for i in range(50)]
    cached = CachedEmbedder(HashEmbedder(), max_entries=3)
    for _ in range(2):
        np.testing.assert_array_equal(cached.embed(texts), HashEmbedder().embed(texts))


def test_caller_may_change_what_it_was_given(tmp_path):
    cached = CachedEmbedder(HashEmbedder(), directory=tmp_path)
    for _ in range(3):
        vectors = cached.embed(["a"])
        np.testing.assert_array_equal(vectors, HashEmbedder().embed(["a"]))
        vectors[:] = 7


def test_stands_for_the_embedder_behind():
    cached = CachedEmbedder(HashEmbedder(5))
    assert (cached.id, cached.dimension, cached.embed([]).shape) == ("hash-5", 5, (0, 5))


async def test_asynchronously():
    inner = AsyncHashEmbedder()
    cached = CachedEmbedder(inner)
    np.testing.assert_array_equal(await cached.aembed(["a", "b", "a"]), HashEmbedder().embed(["a", "b", "a"]))
    await cached.aembed(["b", "c"])
    assert inner.calls == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(cached.embed(["a", "c"]), HashEmbedder().embed(["a", "c"]))


def test_failure_is_not_cached():
    class Fails(HashEmbedder):
        def embed(self, texts):
            if not self.calls:
                self.calls.append([])
                raise ConnectionError
            return super().embed(texts)

    cached = CachedEmbedder(Fails())
    with pytest.raises(ConnectionError):
        cached.embed(["a"])
    np.testing.assert_array_equal(cached.embed(["a"]), HashEmbedder().embed(["a"]))


def test_threads_get_their_own_vectors(tmp_path):
    cached = CachedEmbedder(HashEmbedder(), max_entries=20, directory=tmp_path)
    start = threading.Barrier(8)

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait()
        for _ in range(40):
            texts = [f"t{i}" for i in rng.integers(0, 60, 5)]
            np.testing.assert_array_equal(cached.embed(texts), HashEmbedder().embed(texts))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


async def test_tasks_get_their_own_vectors(tmp_path):
    cached = CachedEmbedder(AsyncHashEmbedder(), max_entries=20, directory=tmp_path)

    async def work(seed):
        texts = [f"t{i}" for i in np.random.default_rng(seed).integers(0, 60, 5)]
        np.testing.assert_array_equal(await cached.aembed(texts), HashEmbedder().embed(texts))

    await asyncio.gather(*(work(seed) for seed in range(60)))


# --- on disk --------------------------------------------------------------------------------------------------------


def test_outlives_the_instance_and_is_shared_by_two(tmp_path):
    first, second = HashEmbedder(), HashEmbedder()
    one = CachedEmbedder(first, directory=tmp_path / "new" / "folder")
    two = CachedEmbedder(second, directory=tmp_path / "new" / "folder")
    texts = ["a", "\ud800", ""]
    np.testing.assert_array_equal(one.embed(texts), two.embed(texts))
    assert (embedded(first), embedded(second)) == (texts, [])
    del one, two
    third = HashEmbedder()
    np.testing.assert_array_equal(
        CachedEmbedder(third, directory=tmp_path / "new" / "folder").embed(texts), HashEmbedder().embed(texts)
    )
    assert not third.calls


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from routellm_core.embedders.cache import CachedEmbedder
from support.embedders import HashEmbedder
inner = HashEmbedder()
cached = CachedEmbedder(inner, directory=sys.argv[2], max_bytes=int(sys.argv[4]))
start, stop = map(int, sys.argv[3].split(":"))
cached.embed([f"t{i}" for i in range(start, stop)])
print(sum(map(len, inner.calls)))
"""


def child(folder: Path, texts: str, max_bytes: int = 1 << 24) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, str(SUPPORT), str(folder), texts, str(max_bytes)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})


def test_processes_share_it_at_the_same_time(tmp_path):
    children = [child(tmp_path, f"{i * 100}:{(i + 2) * 100}") for i in range(3)]
    counts = [int(process.communicate()[0]) for process in children]
    assert [process.returncode for process in children] == [0, 0, 0]
    assert 400 <= sum(counts) <= 600
    inner = HashEmbedder()
    texts = [f"t{i}" for i in range(400)]
    np.testing.assert_array_equal(CachedEmbedder(inner, directory=tmp_path).embed(texts), HashEmbedder().embed(texts))
    assert not inner.calls


def test_embedders_never_mix(tmp_path):
    for embedder in (HashEmbedder(8), HashEmbedder(8, id="other"), HashEmbedder(4, id="hash-8")):
        cached = CachedEmbedder(embedder, directory=tmp_path)
        assert cached.embed(["a"]).shape == (1, embedder.dimension)
        assert embedded(embedder) == ["a"]


def test_no_prompt_is_stored(tmp_path):
    CachedEmbedder(HashEmbedder(), directory=tmp_path).embed(["a very private prompt"])
    assert all(b"private" not in path.read_bytes() for path in tmp_path.iterdir())


def test_damaged_entry_is_embedded_again(tmp_path):
    CachedEmbedder(HashEmbedder(), directory=tmp_path).embed(["a", "b"])
    environment = lmdb.open(str(tmp_path), map_size=1 << 24)
    with environment.begin(write=True) as transaction:
        for key, value in list(transaction.cursor()):
            transaction.put(key, value[:-3])
    environment.close()
    for expected_calls in (["a", "b"], []):  # the second time it is whole again
        inner = HashEmbedder()
        vectors = CachedEmbedder(inner, directory=tmp_path).embed(["a", "b"])
        np.testing.assert_array_equal(vectors, HashEmbedder().embed(["a", "b"]))
        assert embedded(inner) == expected_calls


def test_full_disk_is_read_and_not_written_any_more(tmp_path, caplog):
    cached = CachedEmbedder(HashEmbedder(512), directory=tmp_path, max_entries=0, max_bytes=1 << 17)
    cached.embed(["first"])
    texts = [f"t{i}" for i in range(200)]
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cached.embed(texts), HashEmbedder(512).embed(texts))
        cached.embed([f"u{i}" for i in range(200)])
    assert [record.message for record in caplog.records] == [
        "the embedding cache on disk is full: new vectors stay in memory (raise max_bytes)"
    ]
    inner = HashEmbedder(512)
    CachedEmbedder(inner, directory=tmp_path).embed(["first"])
    assert not inner.calls


class _Breaks:
    """An LMDB environment on a disk that fails."""

    def __init__(self, error: Exception, *, write_only: bool) -> None:
        self.error, self.write_only = error, write_only

    def begin(self, write=False):
        if write or not self.write_only:
            raise self.error
        return _EmptyTransaction()


class _EmptyTransaction:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get(self, key):
        return None


@pytest.mark.parametrize("write_only", [True, False])
@pytest.mark.parametrize("error", [lmdb.DiskError("No space left on device"), lmdb.MapResizedError("grown")])
def test_failing_disk_fails_no_call(tmp_path, caplog, monkeypatch, write_only, error):
    monkeypatch.setattr(lmdb, "open", lambda *_, **__: _Breaks(error, write_only=write_only))
    inner = HashEmbedder()
    cached = CachedEmbedder(inner, directory=tmp_path)
    for _ in range(3):
        np.testing.assert_array_equal(cached.embed(["a", "b"]), HashEmbedder().embed(["a", "b"]))
    assert embedded(inner) == ["a", "b"]
    assert len(caplog.records) == 1
    assert str(error) in caplog.text


def test_folder_that_another_process_has_grown(tmp_path):
    cached = CachedEmbedder(HashEmbedder(), directory=tmp_path, max_bytes=1 << 16, max_entries=0)
    cached.embed(["a"])
    process = child(tmp_path, "0:2000")
    process.communicate()
    assert process.returncode == 0
    np.testing.assert_array_equal(cached.embed(["a", "b"]), HashEmbedder().embed(["a", "b"]))


def test_folder_that_is_no_cache(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"something else" * 1000)
    (tmp_path / "file").write_text("")
    for directory in (tmp_path, tmp_path / "file"):
        with pytest.raises(ConfigurationError, match=f"directory='{directory}' cannot be opened as an embedding cache"):
            CachedEmbedder(HashEmbedder(), directory=directory)


@pytest.mark.parametrize("options", [{"max_entries": -1}, {"max_bytes": 1000}])
def test_numbers_out_of_range(options):
    with pytest.raises(ConfigurationError, match="max_entries must be 0 or more and max_bytes 65536 or more"):
        CachedEmbedder(HashEmbedder(), **options)
