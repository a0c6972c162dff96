"""Fetching from a server on loopback that answers as GitHub does."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from routellm_core.errors import CheckpointDownloadError, ConfigurationError
from routellm_core.evaluation.benchmarks import fetch_benchmark, known_benchmarks, load_benchmark
from routellm_core.evaluation.fetch import default_folder, fetch_files, git_blob_id

pytest.importorskip("pooch")
REPOSITORY, COMMIT = "lm-sys/RouteLLM", "0b64fdafe049e596a3f5657c219329f24af24198"
WEAK, STRONG = "mixtral-8x7b-instruct-v0.1", "gpt-4-1106-preview"
FILES = {
    "README.md": b"not asked for",
    "routellm/evals/gsm8k/gsm8k_responses.csv": f"prompt,{WEAK},{STRONG}\nOne?,True,True\nTwo?,False,True\n".encode(),
    "routellm/evals/gsm8k/contaminated_prompts.jsonl": b'{"eval_prompt": "One?"}\n',
}


def blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def github():
    """Serves FILES; `ids` may be made to lie."""
    state = {"served": [], "ids": {path: blob(content) for path, content in FILES.items()}}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            state["served"].append(self.path)
            tree = f"/repos/{REPOSITORY}/git/trees/{COMMIT}?recursive=1"
            raw = f"/{REPOSITORY}/{COMMIT}/"
            if self.path == tree:
                entries = [{"path": p, "type": "blob", "sha": sha} for p, sha in state["ids"].items()]
                body = json.dumps({"tree": [*entries, {"path": "routellm", "type": "tree", "sha": "0"}]}).encode()
            elif self.path.startswith(raw) and self.path.removeprefix(raw) in FILES:
                body = FILES[self.path.removeprefix(raw)]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetched_checked_and_kept(github, tmp_path):
    addresses = {"api": github["url"], "raw": github["url"], "folder": tmp_path}
    table = fetch_benchmark("routellm-gsm8k", **addresses)
    assert table.prompts == ("One?", "Two?")
    assert table.scores.tolist() == [[1, 1], [0, 1]]
    assert table.flags["routellm_contaminated"].tolist() == [True, False]
    assert table.provenance["source"] == "lm-sys/RouteLLM @0b64fda"
    assert table.name == "routellm-gsm8k"
    assert not any("README" in path for path in github["served"])
    before = len(github["served"])
    assert load_benchmark("routellm-gsm8k", **addresses).prompts == table.prompts
    assert len(github["served"]) == before + 1  # the list of files alone


def test_damaged_file_is_fetched_again(github, tmp_path):
    def fetch():
        return fetch_files(REPOSITORY, COMMIT, ["*.jsonl"], tmp_path, api=github["url"], raw=github["url"])

    ((path, file),) = fetch().items()
    file.write_bytes(b"damaged")
    assert fetch()[path].read_bytes() == FILES[path]
    assert git_blob_id(file) == blob(FILES[path])


def test_file_of_another_commit_is_refused(github, tmp_path):
    github["ids"]["routellm/evals/gsm8k/gsm8k_responses.csv"] = "0" * 40
    with pytest.raises(CheckpointDownloadError, match="is not the file of commit 0b64fda"):
        fetch_benchmark("routellm-gsm8k", folder=tmp_path, api=github["url"], raw=github["url"])
    assert not list(tmp_path.rglob("*.csv"))


def test_what_is_not_there(github, tmp_path):
    with pytest.raises(CheckpointDownloadError, match=r"lists no file 'routellm/evals/mmlu/responses/mmlu_\*.csv'"):
        fetch_benchmark("routellm-mmlu", folder=tmp_path, api=github["url"], raw=github["url"])
    with pytest.raises(CheckpointDownloadError, match="cannot be fetched"):
        fetch_files("no/where", COMMIT, ["*"], tmp_path, api=github["url"], raw=github["url"])
    github["ids"]["gone.csv"] = "0" * 40
    with pytest.raises(CheckpointDownloadError, match=r"gone\.csv of lm-sys/RouteLLM cannot be fetched"):
        fetch_files(REPOSITORY, COMMIT, ["gone.csv"], tmp_path, api=github["url"], raw=github["url"])


def test_unknown_name():
    with pytest.raises(ConfigurationError, match="there is no benchmark 'mmlu'; there are: routellm-mmlu, "):
        fetch_benchmark("mmlu")


def test_known_benchmarks_are_pinned():
    for known in known_benchmarks().values():
        assert len(known.commit) == 40
        assert known.licence
        assert known.rows > 0


def test_where_files_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("ROUTELLM_CACHE", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("ROUTELLM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "routellm"
