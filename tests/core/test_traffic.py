"""The decision log: what it keeps, and that it never gets in the way."""

import copy
import errno
import json
import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routellm_core import RoutingEngine, RoutingRequest, log_writer
from routellm_core.config import load_config
from routellm_core.errors import ConfigurationError
from routellm_core.ledger import Usage
from routellm_core.testing import ConstantRouter
from routellm_core.traffic import DecisionLog, read_decisions
from support.pools import NamedPoolRouter
from support.routers import KeywordRouter

SECRET = "the patient is called Jane Roe"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "decisions.jsonl"


def engine_with(log, router=None, **options) -> RoutingEngine:
    return RoutingEngine(router or KeywordRouter(), threshold=0.5, log=log, **options)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_where_the_call_went_and_what_it_took(path):
    engine = engine_with(path)
    engine.record(engine.decide("a hard one"), Usage(input_tokens=7, output_tokens=9, cached_tokens=2))
    engine.record(engine.decide("easy"), error=TimeoutError(SECRET))
    assert engine.log.flush()
    first, second = lines(path)
    assert list(first)[:5] == ["time", "chain", "strong", "weak", "choice"]
    assert (first["choice"], first["strong_win_rate"], first["threshold"], first["reason"]) == (
        "strong",
        0.9,
        0.5,
        "policy",
    )
    assert (first["input_tokens"], first["output_tokens"], first["cached_tokens"]) == (7, 9, 2)
    assert (second["choice"], second["input_tokens"], second["error"]) == ("weak", None, "TimeoutError")
    assert SECRET not in path.read_text()
    read = read_decisions(path)
    assert [row.choice for row in read] == ["strong", "weak"]
    assert read[0].usage == Usage(input_tokens=7, output_tokens=9, cached_tokens=2)
    assert read[1].usage is None
    assert read[0].time.utcoffset().total_seconds() == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_reads_it(path):
    engine = engine_with(path)
    engine.record(engine.decide("x"))
    engine.log.flush()
    assert path.stat().st_mode & 0o777 == 0o600


def test_prompts_are_hashed_unless_asked_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_KEY", "key-one")
    seen = {}
    for name, options in {
        "plain": {},
        "keyed": {"hash_key_env": "LOG_KEY"},
        "text": {"prompts": "text"},
        "none": {"prompts": "none"},
    }.items():
        with DecisionLog(tmp_path / f"{name}.jsonl", **options) as log:
            engine = engine_with(log)
            for prompt in (SECRET, SECRET, "another"):
                engine.record(engine.decide(prompt))
        text = (tmp_path / f"{name}.jsonl").read_text()
        assert (SECRET in text) == (name == "text")
        assert "key-one" not in text + repr(log) + repr(log.settings)
        seen[name] = [row.prompt_hash for row in read_decisions(tmp_path / f"{name}.jsonl")]
    for name in ("plain", "keyed", "text"):
        assert seen[name][0] == seen[name][1] != seen[name][2]
    assert seen["plain"] == seen["text"]
    assert seen["plain"][0] != seen["keyed"][0]
    assert seen["none"] == [None] * 3
    assert read_decisions(tmp_path / "text.jsonl")[2].prompt == "another"


def test_what_the_log_keeps_stays_out_of_the_decision(path):
    engine = engine_with(DecisionLog(path, prompts="text"))
    decision = engine.decide(SECRET)
    assert SECRET not in repr(decision) + json.dumps(decision.to_dict())


async def test_every_way_to_decide_is_logged(path):
    engine = engine_with(DecisionLog(path, prompts="text"))
    decisions = [
        engine.decide("a"),
        await engine.adecide("b"),
        *engine.decide_batch(["c", ""]),
        *await engine.adecide_batch(["d"]),
        engine.with_threshold(0.2).decide("e"),
        engine.decide(RoutingRequest(text="f", route="strong")),
    ]
    for decision in decisions:
        engine.record(decision)
    engine.log.flush()
    read = read_decisions(path)
    assert [row.prompt for row in read] == ["a", "b", "c", "", "d", "e", "f"]
    assert [row.reason for row in read][3] == "empty_prompt"
    assert [row.strong_win_rate for row in read][-1] is None


def test_a_fallback_is_a_line_of_its_own(path):
    engine = engine_with(path)
    first = engine.decide("easy")
    engine.record(first, error=TimeoutError())
    engine.record(engine.fall_back(first, TimeoutError()), Usage(input_tokens=1))
    engine.log.flush()
    failed, answered = read_decisions(path)
    assert (failed.choice, failed.error, answered.choice, answered.reason) == (
        "weak",
        "TimeoutError",
        "strong",
        "fallback",
    )
    assert failed.prompt_hash == answered.prompt_hash


def test_conversations_are_digests(path):
    engine = engine_with(path, sticky=True)
    for text in ("hard", "and now?"):
        engine.record(engine.decide(RoutingRequest(text=text, session="user-42")))
    engine.log.flush()
    first, second = read_decisions(path)
    assert first.session_hash == second.session_hash is not None
    assert second.reason == "session"
    assert "user-42" not in path.read_text()


def test_a_conversation_is_hashed_with_the_key_too(tmp_path, monkeypatch):
    hashes = set()
    for key in ("one", "two"):
        monkeypatch.setenv("LOG_KEY", key)
        with DecisionLog(tmp_path / f"{key}.jsonl", hash_key_env="LOG_KEY") as log:
            engine = engine_with(log, sticky=True)
            engine.record(engine.decide(RoutingRequest(text="easy", session="user-42")))
        hashes.add(read_decisions(log.path)[0].session_hash)
    assert len(hashes) == 2
    assert all(one.startswith("hmac-sha256:") for one in hashes)


def test_what_a_router_raised_is_not_kept(path):
    class Quoting(KeywordRouter):
        def strong_win_rates(self, prompts):
            raise RuntimeError(f"cannot read {prompts[0]!r}")

    engine = engine_with(path, Quoting())
    engine.record(engine.decide(SECRET))
    engine.log.flush()
    assert "explanation" not in lines(path)[0]
    assert SECRET not in path.read_text()


def test_a_pool_is_logged_with_its_scores(path):
    router = NamedPoolRouter()
    engine = RoutingEngine(router, candidates=router.models, policy="argmax", log=path)
    engine.record(engine.decide("x"))
    engine.log.flush()
    assert set(lines(path)[0]["scores"]) == set(router.models)
    assert read_decisions(path)[0].strong_win_rate is None


def test_without_a_log_nothing_is_kept():
    assert RoutingEngine(ConstantRouter(0.1), threshold=0.5).decide("x").logged is None


def test_the_configuration_switches_it_on(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_KEY", "secret")
    text = (
        "models: {large: {}, small: {}}\n"
        "chains:\n"
        "  a: {strong: large, weak: small, router: random}\n"
        "  b: {strong: large, weak: small, router: random, threshold: 0.0}\n"
    )
    file = tmp_path / "routing.yaml"
    file.write_text(text + "log: {path: decisions.jsonl, hash_key_env: LOG_KEY}\n")
    engine = load_config(file).engine("a")
    engine.record(engine.decide("x"))
    engine.record(engine.decide(RoutingRequest(text="x", chain="b")))
    kept = engine.log
    engine.reload(load_config(file))
    assert engine.log is kept
    assert kept.flush()
    read = read_decisions(tmp_path / "decisions.jsonl")
    assert [(row.chain, row.strong, row.weak) for row in read] == [("a", "large", "small"), ("b", "large", "small")]
    assert read.of_chain("b")[0].choice == "large"
    with pytest.raises(ConfigurationError, match="no call of chain 'c'; there are: a, b"):
        read.of_chain("c")
    file.write_text(text)
    engine.reload(load_config(file))
    assert engine.log is None
    mistakes = {
        "{path: d, promts: hash}": "did you mean 'prompts'",
        "{path: no/d}": "make",
        "{path: d, hash_key_env: NO_KEY}": "NO_KEY",
    }
    for bad, why in mistakes.items():
        file.write_text(text + f"log: {bad}\n")
        with pytest.raises(ConfigurationError, match=why) as refused:
            load_config(file).engine("a")
        assert "line 5" in str(refused.value)


@pytest.mark.parametrize(
    "options", [{"prompts": "all"}, {"max_bytes": 0}, {"max_bytes": True}, {"backups": -1}, {"queue_size": 0}]
)
def test_bad_options_are_refused(path, options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        DecisionLog(path, **options)


def test_bad_paths_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="make"):
        DecisionLog(tmp_path / "missing" / "d.jsonl")
    with pytest.raises(ConfigurationError, match="is a folder"):
        DecisionLog(tmp_path)


def test_it_rotates_and_reads_all(path):
    with DecisionLog(path, max_bytes=3000) as log:
        engine = engine_with(log)
        for i in range(40):
            engine.record(engine.decide(str(i)), Usage(input_tokens=i))
            log.flush()
    files = sorted(path.parent.iterdir())
    assert len(files) > 3
    assert all(file.stat().st_size <= 3000 for file in files)
    (path.parent / "decisions.old.jsonl").write_text("not ours")
    assert [row.usage.input_tokens for row in read_decisions(path)] == list(range(40))
    assert len(read_decisions(path, renamed=False)) < 40


def test_old_files_go(path):
    with DecisionLog(path, max_bytes=1000, backups=2) as log:
        engine = engine_with(log)
        for i in range(30):
            engine.record(engine.decide(str(i)))
            log.flush()
    assert len(list(path.parent.iterdir())) == 3


def test_a_file_that_was_moved_away_is_begun_anew(path):
    engine = engine_with(path)
    for _ in range(2):
        engine.record(engine.decide("x"))
        engine.log.flush()
        path.rename(path.with_name(f"moved-{time.time_ns()}"))
    assert [len(file.read_text().splitlines()) for file in path.parent.iterdir()] == [1, 1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_loses_records_but_no_call(caplog):
    log = DecisionLog("/dev/full")
    engine = engine_with(log)
    with caplog.at_level(logging.WARNING, "routellm_core.log_writer"):
        for i in range(5):
            engine.record(engine.decide(str(i)), Usage(input_tokens=1))
        log.close()
    assert log.dropped == 5
    assert engine.ledger.totals["weak"].calls == 5
    assert "No space left" in caplog.text
    assert "has lost 5 records" in caplog.text


def test_lost_records_are_told_when_the_disk_is_free_again(path, monkeypatch, caplog):
    monkeypatch.setattr(log_writer, "_RETRY_S", 0.0)
    real, room = os.write, {"bytes": 100}

    def write(descriptor, data):
        if room["bytes"] is None:
            return real(descriptor, data)
        if room["bytes"] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, data[: room["bytes"]])
        room["bytes"] = 0
        return written

    monkeypatch.setattr(log_writer.os, "write", write)
    log = DecisionLog(path)
    engine = engine_with(log)
    for _ in range(3):  # a piece of the first, nothing of the others
        engine.record(engine.decide("x"))
        log.flush()
    room["bytes"] = None
    engine.record(engine.decide("hard"))
    log.close()
    read = read_decisions(path)
    assert [row.choice for row in read] == ["strong"]
    assert (read.dropped, read.broken, log.dropped) == (3, 1, 3)


def test_a_slow_disk_never_holds_up_a_call(path, monkeypatch):
    real = os.write

    def write(descriptor, data):
        time.sleep(0.2)
        return real(descriptor, data)

    monkeypatch.setattr(log_writer.os, "write", write)
    log = DecisionLog(path, queue_size=10)
    engine = engine_with(log)
    decision = engine.decide("x")
    start = time.perf_counter()
    for _ in range(200):
        engine.record(decision)
    assert time.perf_counter() - start < 0.2
    log.close()
    assert log.dropped >= 100
    assert len(read_decisions(path)) + log.dropped == 200


def test_a_record_that_is_no_json_is_counted(path):
    log = DecisionLog(path)
    engine = engine_with(log)
    decision = engine.decide("x")
    object.__setattr__(decision, "threshold", float("nan"))
    engine.record(decision)
    engine.record(engine.decide("y"))
    log.close()
    assert log.dropped == 1
    assert len(read_decisions(path)) == 1


def test_after_closing_records_are_dropped(path, caplog):
    log = DecisionLog(path)
    engine = engine_with(log)
    log.close()
    log.close()
    engine.record(engine.decide("x"))
    assert log.dropped == 1
    assert "it is closed" in caplog.text


def test_copies_share_it_and_pickles_begin_anew(path):
    engine = engine_with(path)
    assert copy.deepcopy(engine.log) is engine.log
    assert engine.with_threshold(0.1).log is engine.log
    again = pickle.loads(pickle.dumps(engine.log))
    assert again.settings == engine.log.settings
    for log in (engine.log, again):
        log.write(engine.decide("x"))
        log.close()
    assert len(read_decisions(path)) == 2


def test_what_waits_is_written_at_exit(path):
    code = (
        "from routellm_core import RoutingEngine\n"
        f"engine = RoutingEngine('length', threshold=0.1, log={str(path)!r})\n"
        "for i in range(500): engine.record(engine.decide(str(i)))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert len(read_decisions(path)) == 500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_write_for_themselves(path):
    log = DecisionLog(path)
    engine = engine_with(log)
    decision = engine.decide("x")
    engine.record(decision)
    log.flush()

    def work():
        for _ in range(50):
            engine.record(decision)

    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    for _ in range(50):
        engine.record(decision)
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    log.close()
    assert len(read_decisions(path)) == 1 + 4 * 50


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("not a log\n", "no line of it is JSON"),
        ('{"time": "2026-01-01T00:00:00+00:00"}\n', "line 1 is no record of a decision log: it has no 'choice'"),
        ("[1]\n", "line 1 is no record"),
    ],
)
def test_other_files_are_no_logs(path, content, why):
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=why):
        read_decisions(path)


def test_wrong_types_name_the_line(path):
    engine = engine_with(path)
    engine.record(engine.decide("x"))
    engine.log.flush()
    row = lines(path)[0]
    path.write_text(json.dumps(row) + "\n\n" + json.dumps(row | {"strong_win_rate": "high"}) + "\n")
    with pytest.raises(ConfigurationError, match=r"line 3.*'strong_win_rate' must be float, not str"):
        read_decisions(path)
    with pytest.raises(ConfigurationError, match="there is no decision log"):
        read_decisions(path.with_name("other.jsonl"))
