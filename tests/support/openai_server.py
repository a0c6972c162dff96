"""An OpenAI-compatible server on loopback for the unmodified OpenAI clients: chat completions and embeddings.

    with OpenAIServer() as server:
        client = ChatOpenAI(model="big", base_url=server.url, api_key="test")
        client.invoke("Hello").content            # "big says: Hello"
        server.requests[0].body["temperature"]

What a model answers is made from the request: it calls a tool where tools are offered and not yet answered, fills the schema of
`response_format`, and otherwise echoes the last user message behind its own name, one word per streamed chunk. Usage
counts words. A `Behaviour` slows a model down or makes it fail. Connections are closed after each
answer, because a client that outlives an event loop must not be handed a connection of that loop.
"""

import base64
import hashlib
import json
import re
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from support.schema_answers import answer_for, object_with_quoted_keys


@dataclass(frozen=True)
class Request:
    """What the server saw: the path below the base address, and the JSON body."""

    path: str
    body: dict[str, Any]
    key: str | None

    @property
    def model(self) -> str:
        return str(self.body.get("model"))

    @property
    def prompt(self) -> str:
        """The last user message, as text."""
        return _last_user_text(self.body.get("messages", []))


@dataclass
class Behaviour:
    """How a model misbehaves.

    Attributes:
        delay_s: Before it answers.
        chunk_delay_s: Before each streamed chunk.
        status: Answer with this status and an error instead.
        failures: How many requests that concerns; None means all.
        cut_after_chunks: Break a stream off after so many chunks, without its end.
        text: Answer this instead of the echo.
    """

    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    status: int | None = None
    failures: int | None = None
    cut_after_chunks: int | None = None
    text: str | None = None


@dataclass
class OpenAIServer:
    """Serves from `__enter__` to `__exit__`.

    Attributes:
        behaviours: By the model's name; a model without one answers at once.
        requests: Every request, in order.
        embedding_dimension: Of the vectors that `/embeddings` returns, if the request does not ask for `dimensions`.
    """

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    embedding_dimension: int = 8

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The base address, as clients take it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def models_asked(self) -> list[str]:
        """The model of every request, in order."""
        return [request.model for request in self.requests]

    def reset(self) -> None:
        """Forget the requests and the behaviours."""
        self.requests.clear()
        self.behaviours.clear()

    def received(self, request: Request) -> Behaviour:
        with self._lock:
            self.requests.append(request)
            behaviour = self.behaviours.get(request.model, Behaviour())
            failing = behaviour.status is not None and behaviour.failures != 0
            if failing and behaviour.failures is not None:
                behaviour.failures -= 1
            return behaviour if failing or behaviour.status is None else _without_status(behaviour)


def _without_status(behaviour: Behaviour) -> Behaviour:
    return Behaviour(delay_s=behaviour.delay_s, chunk_delay_s=behaviour.chunk_delay_s, text=behaviour.text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    owner: OpenAIServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request per connection
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/models"):
            names = sorted(self.server.owner.behaviours)
            self._json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        else:
            self._error(404, "no such path")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        request = Request(self.path.removeprefix("/v1"), body, key)
        behaviour = self.server.owner.received(request)
        time.sleep(behaviour.delay_s)
        if behaviour.status is not None:
            self._error(behaviour.status, f"model {request.model!r} was told to fail")
        elif request.path == "/embeddings":
            self._json(_embeddings(request, self.server.owner.embedding_dimension))
        elif request.path != "/chat/completions":
            self._error(404, f"this server does not offer {request.path}")
        elif body.get("stream"):
            self._stream(request, behaviour)
        else:
            self._json(_completion(request, behaviour))

    def _json(self, body: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self._send(data)

    def _error(self, status: int, message: str) -> None:
        self._json({"error": {"message": message, "type": "server_error", "code": None, "param": None}}, status)

    def _stream(self, request: Request, behaviour: Behaviour) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for position, chunk in enumerate(_chunks(request, behaviour)):
            if position == behaviour.cut_after_chunks:
                return
            time.sleep(behaviour.chunk_delay_s)
            if not self._send(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()):
                return
        self._send(b"data: [DONE]\n\n")

    def _send(self, data: bytes) -> bool:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):  # the client has gone, as one that stops reading a stream does
            return False
        return True


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            content = message["content"]
            if isinstance(content, str):
                return content
            return " ".join(part["text"] for part in content if part.get("type") == "text")
    return ""


def _message(request: Request, behaviour: Behaviour) -> dict[str, Any]:
    tool = _tool_to_call(request.body)
    if tool is not None:
        arguments = json.dumps(answer_for(tool.get("parameters", {}), request.prompt), ensure_ascii=False)
        digest = hashlib.sha256(json.dumps(request.body, sort_keys=True).encode()).hexdigest()[:12]
        call = {"id": f"call_{digest}", "type": "function", "function": {"name": tool["name"], "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    response_format = request.body.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        content = json.dumps(answer_for(response_format["json_schema"]["schema"], request.prompt), ensure_ascii=False)
    elif response_format.get("type") == "json_object":
        content = json.dumps(object_with_quoted_keys(request.prompt), ensure_ascii=False)
    else:
        content = behaviour.text if behaviour.text is not None else f"{request.model} says: {request.prompt}"
    return {"role": "assistant", "content": content}


def _tool_to_call(body: dict[str, Any]) -> dict[str, Any] | None:
    tools = [tool["function"] for tool in body.get("tools") or []]
    choice = body.get("tool_choice")
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        return next(tool for tool in tools if tool["name"] == choice["function"]["name"])
    if choice in (None, "auto") and body["messages"][-1]["role"] == "tool":
        return None
    return tools[0]


def _usage(request: Request, message: dict[str, Any]) -> dict[str, int]:
    prompt = len(json.dumps(request.body.get("messages", [])).split())
    answer = len(str(message["content"] or message.get("tool_calls")).split())
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _completion(request: Request, behaviour: Behaviour) -> dict[str, Any]:
    message = _message(request, behaviour)
    reason = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": request.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": _usage(request, message),
    }


def _chunks(request: Request, behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    message = _message(request, behaviour)
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": request.model}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]}

    yield chunk({"role": "assistant", "content": None if "tool_calls" in message else ""})
    for position, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        yield chunk({"tool_calls": [{**call, "index": position, "function": {**function, "arguments": ""}}]})
        for start in range(0, len(function["arguments"]), 10):
            part = {"index": position, "function": {"arguments": function["arguments"][start : start + 10]}}
            yield chunk({"tool_calls": [part]})
    for word in re.findall(r"\S+\s*|\s+", message["content"] or ""):
        yield chunk({"content": word})
    yield chunk({}, "tool_calls" if "tool_calls" in message else "stop")
    if (request.body.get("stream_options") or {}).get("include_usage"):
        yield {**frame, "choices": [], "usage": _usage(request, message)}


def _embeddings(request: Request, dimension: int) -> dict[str, Any]:
    texts = request.body["input"]
    texts = [texts] if isinstance(texts, str) else texts
    dimension = request.body.get("dimensions") or dimension
    rows = [_vector(str(text), dimension) for text in texts]
    encoded: list[Any] = list(rows)
    if request.body.get("encoding_format") == "base64":
        encoded = [base64.b64encode(struct.pack(f"<{dimension}f", *row)).decode() for row in rows]
    words = sum(len(str(text).split()) for text in texts)
    return {
        "object": "list",
        "model": request.model,
        "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(encoded)],
        "usage": {"prompt_tokens": words, "total_tokens": words},
    }


def _vector(text: str, dimension: int) -> list[float]:
    """Return a vector of unit length that depends on the text alone."""
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(dimension)
    raw = [byte - 127.5 for byte in digest]
    length = sum(x * x for x in raw) ** 0.5
    return [x / length for x in raw]
