"""A Hugging Face Hub on loopback, real enough for the unmodified `huggingface_hub` client.

It keeps repositories in memory, with branches and commits, private and gated ones, and tokens. Safetensors files are
large files as on the real Hub: they are stored by their SHA-256 and delivered by redirect from another origin, which
must never see a token. A data set is a repository called `datasets/owner/name`. Xet is not offered. `Fault`s make chosen
requests fail; `requests` records every one.

    with HubServer(tokens={"secret": "ada"}) as hub, hub_client(hub.url, home=tmp_path):
        hub.commit("ada/router", {"config.json": b"{}"})
        ...
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

STALL_S = 30.0


@dataclass(frozen=True)
class Request:
    """What the server saw of one request; `line` is such as `GET /ada/router/resolve/main/config.json`."""

    line: str
    token: str | None
    range: str | None


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the requests whose line contains `match`.

    Attributes:
        match: Part of the request line.
        status: Answer with this status instead.
        cut_after: Close the connection after this many bytes of the file.
        shorten_to: Deliver a file of only this many bytes, as though it were whole.
        stall: Answer only when the faults are cleared.
        echo: Let the error answer quote the headers of the request, as a badly configured server may.
    """

    match: str
    status: int | None = None
    cut_after: int | None = None
    shorten_to: int | None = None
    stall: bool = False
    echo: bool = False


@dataclass
class Repository:
    """Commits (hash to files), branches (name to hash), and who may read."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Add files to a branch, which is made if it is new, and return the commit hash."""
        parent = self.branches.get(branch, self.branches.get("main"))
        content = {**(self.commits[parent] if parent else {}), **files}
        listing = sorted((path, hashlib.sha256(data).hexdigest()) for path, data in content.items())
        sha = hashlib.sha1(repr((parent, len(self.commits), listing)).encode()).hexdigest()
        self.commits[sha], self.branches[branch] = content, sha
        return sha

    def resolve(self, revision: str) -> str | None:
        """Return the commit hash of a branch or commit, or None."""
        return revision if revision in self.commits else self.branches.get(revision)


class HubError(Exception):
    """An answer with an error status, the way the Hub words it; `details` join the body."""

    def __init__(
        self, status: int, message: str, code: str | None = None, commit: str | None = None, **details: str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": message, **details}
        headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        self.headers = {name: value for name, value in headers.items() if value is not None}


class HubServer:
    """The server and everything it knows; a context manager that listens on a free port of 127.0.0.1.

    Args:
        tokens: Token to the account that it belongs to. Every account reads everything but gated repositories and
            writes only where the owner is its own name.
    """

    def __init__(self, tokens: Mapping[str, str] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.healed = threading.Event()
        self._faults: list[Fault] = []
        self._port = 0
        self._http: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heal()
        self.stop()

    def start(self) -> None:
        """Listen, after a `stop` on the same port as before."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    @property
    def url(self) -> str:
        """The value for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def large_file_url(self) -> str:
        """Origin of the large files; another name of the same machine, so that a client takes it for another host."""
        return f"http://localhost:{self._port}/large"

    def commit(self, repo_id: str, files: Mapping[str, bytes], branch: str = "main", **access: bool) -> str:
        """Commit files to a repository, made if it is new with `private=` or `gated=`, and return the hash."""
        return self.repositories.setdefault(repo_id, Repository(**access)).commit(files, branch)

    def fail(self, fault: Fault) -> None:
        """Let requests fail from now on."""
        self.healed.clear()
        self._faults.append(fault)

    def heal(self) -> None:
        """Let no request fail any more."""
        self._faults.clear()
        self.healed.set()

    def fault_of(self, line: str) -> Fault | None:
        """Return the first fault that a request line matches."""
        return next((fault for fault in self._faults if fault.match in line), None)

    def transfers(self) -> list[str]:
        """Lines of the requests so far that fetched the content of a file."""
        return [r.line for r in self.requests if re.match(r"GET /(large|[^/]+/[^/]+/resolve)/", r.line)]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def do_GET(self) -> None:
        self._handle()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _handle(self) -> None:
        path = urlsplit(self.path).path
        line = f"{self.command} {unquote(path)}"
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        self.hub.requests.append(Request(line, self.token, self.headers.get("Range")))
        self.fault = self.hub.fault_of(line)
        if self.fault and self.fault.stall:
            self.hub.healed.wait(STALL_S)
        try:
            if self.fault and self.fault.status:
                raise HubError(self.fault.status, repr(self.headers.items()) if self.fault.echo else "planted fault")
            for methods, pattern, action in _ROUTES:
                if self.command in methods and (match := re.fullmatch(pattern, path)):
                    getattr(self, action)(**{name: unquote(part) for name, part in match.groupdict("main").items()})
                    return
            raise HubError(404, "Sorry, we can't find the page you are looking for.")
        except HubError as error:
            self._send(error.status, error.body, error.headers)

    def _send(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        data = data[: self.fault.shorten_to if self.fault else None]
        start = 0
        if status == 200 and (wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            status, start = 206, int(wanted[1])
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[start : self.fault.cut_after if self.fault else None])

    def _repository(self, repo_id: str, revision: str = "main", *, write: bool = False) -> tuple[Repository, str]:
        """Return a repository that the request may use and the hash of a revision of it."""
        if self.token is not None and self.token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        account = self.hub.tokens[self.token] if self.token else None
        repository = self.hub.repositories.get(repo_id)
        if account is None and (repository is None or repository.private or write):
            raise HubError(401, "Invalid username or password.")  # the real Hub sends no code here either
        if repository is None:
            raise HubError(404, "Repository not found", "RepoNotFound")
        owner = repo_id.removeprefix("datasets/").partition("/")[0]
        if write and account != owner:
            raise HubError(403, f"You don't have the rights to write to {repo_id}")
        if repository.gated and account != owner:
            raise HubError(403, f"Access to model {repo_id} is restricted.", "GatedRepo")
        commit = repository.resolve(revision)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return repository, commit

    def _info(self, repo_id: str, revision: str) -> None:
        repository, commit = self._repository(repo_id, revision)
        siblings = [{"rfilename": path} for path in repository.commits[commit]]
        self._send(200, {"id": repo_id, "sha": commit, "private": repository.private, "siblings": siblings, "tags": []})

    def _resolve(self, repo_id: str, revision: str, path: str) -> None:
        repository, commit = self._repository(repo_id, revision)
        data = repository.commits[commit].get(path)
        if data is None:
            raise HubError(404, "Entry not found", "EntryNotFound", commit)
        if not path.endswith(".safetensors"):
            etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            self._send(200, data, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})
            return
        sha = hashlib.sha256(data).hexdigest()
        self.hub.large_files[sha] = data
        linked = {"X-Linked-ETag": f'"{sha}"', "X-Linked-Size": str(len(data))}
        self._send(302, b"", {"X-Repo-Commit": commit, "Location": f"{self.hub.large_file_url}/{sha}", **linked})

    def _large_get(self, sha: str) -> None:
        self._send(200, self.hub.large_files[sha])

    def _large_put(self, sha: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha:
            raise HubError(400, "content does not match its hash")
        self.hub.large_files[sha] = self.body
        self._send(200, {})

    def _large_batch(self, repo_id: str) -> None:
        self._repository(repo_id, write=True)
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.hub.large_file_url}/{entry['oid']}"}}}
            for entry in json.loads(self.body)["objects"]
        ]
        self._send(200, {"transfer": "basic", "objects": objects})

    def _create(self) -> None:
        wanted = json.loads(self.body)
        account = self.hub.tokens.get(self.token or "")
        if account is None:
            raise HubError(401, "Invalid username or password.")
        owner = wanted.get("organization") or account
        if owner != account:
            raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        repo_id = f"{owner}/{wanted['name']}"
        if repo_id in self.hub.repositories:
            raise HubError(409, "You already created this model repo", url=f"{self.hub.url}/{repo_id}")
        private = wanted.get("private", False) or wanted.get("visibility") == "private"
        self.hub.commit(repo_id, {".gitattributes": b""}, private=private)
        self._send(200, {"url": f"{self.hub.url}/{repo_id}"})

    def _branch(self, repo_id: str, branch: str) -> None:
        repository, commit = self._repository(repo_id, write=True)
        if branch in repository.branches:
            raise HubError(409, "Reference already exists")
        repository.branches[branch] = commit
        self._send(200, {})

    def _preupload(self, repo_id: str, revision: str) -> None:
        self._repository(repo_id, revision, write=True)
        modes = {True: "lfs", False: "regular"}
        paths = [entry["path"] for entry in json.loads(self.body)["files"]]
        files = [{"path": p, "uploadMode": modes[p.endswith(".safetensors")], "shouldIgnore": False} for p in paths]
        self._send(200, {"files": files})

    def _commit(self, repo_id: str, revision: str) -> None:
        repository, _ = self._repository(repo_id, revision, write=True)
        files = {}
        for operation in map(json.loads, self.body.splitlines()):
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_files[value["oid"]]
        commit = repository.commit(files, revision)
        self._send(200, {"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}", "commitOid": commit})

    def _validate_card(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def _whoami(self) -> None:
        if self.token not in self.hub.tokens:
            raise HubError(401, "Invalid username or password.")
        self._send(200, {"type": "user", "name": self.hub.tokens[self.token], "orgs": []})


_REPO = r"(?P<repo_id>[^/]+/[^/]+)"
_DATASET = r"(?P<repo_id>datasets/[^/]+/[^/]+)"
_ROUTES = (
    (("GET",), "/api/whoami-v2", "_whoami"),
    (("POST",), "/api/repos/create", "_create"),
    (("POST",), "/api/validate-yaml", "_validate_card"),
    (("GET",), rf"/api/models/{_REPO}(?:/revision/(?P<revision>.+))?", "_info"),
    (("GET",), rf"/api/{_DATASET}(?:/revision/(?P<revision>.+))?", "_info"),
    (("POST",), rf"/api/models/{_REPO}/branch/(?P<branch>.+)", "_branch"),
    (("POST",), rf"/api/models/{_REPO}/preupload/(?P<revision>.+)", "_preupload"),
    (("POST",), rf"/api/models/{_REPO}/commit/(?P<revision>.+)", "_commit"),
    (("POST",), rf"/{_REPO}\.git/info/lfs/objects/batch", "_large_batch"),
    (("GET", "HEAD"), rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "_resolve"),
    (("GET", "HEAD"), rf"/{_DATASET}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "_resolve"),
    (("GET", "HEAD"), r"/large/(?P<sha>[0-9a-f]{64})", "_large_get"),
    (("PUT",), r"/large/(?P<sha>[0-9a-f]{64})", "_large_put"),
)


def hub_environment(url: str, home: Path) -> dict[str, str]:
    """Return the environment of a process whose client uses this server: what a user would set."""
    return {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}


@contextmanager
def hub_client(url: str, home: Path, *, token: str | None = None, offline: bool = False) -> Iterator[None]:
    """Point the client of this process to a server, with a home folder of its own.

    The client reads its environment once, at import, so a process that has imported it needs its constants changed.

    Args:
        url: Endpoint.
        home: Folder for the cache and the stored token.
        token: What `HF_TOKEN` is set to. None means no token.
        offline: What `HF_HUB_OFFLINE` is set to.
    """
    from huggingface_hub import constants

    with ExitStack() as stack:
        stack.enter_context(
            patch.multiple(
                constants,
                ENDPOINT=url,
                HUGGINGFACE_CO_URL_TEMPLATE=url + "/{repo_id}/resolve/{revision}/{filename}",
                HF_HOME=str(home),
                HF_HUB_CACHE=str(home / "hub"),
                HF_TOKEN_PATH=str(home / "token"),
                HF_HUB_OFFLINE=offline,
                HF_HUB_DISABLE_XET=True,
            )
        )
        stack.enter_context(patch.dict(os.environ, {"HF_TOKEN": token or "", "HUGGING_FACE_HUB_TOKEN": ""}))
        yield
