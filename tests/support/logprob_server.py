"""An OpenAI-compatible server on loopback whose first token has log-probabilities that a function gives."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LogprobServer:
    """Serves from `__enter__` to `__exit__`.

    Args:
        top: From the last message's text to (token, log-probability) pairs, the likeliest first.
        most: How many log-probabilities a call may ask for; more are refused.
        refused: A parameter that is refused.
    """

    def __init__(
        self, top: Callable[[str], list[tuple[str, float]]], *, most: int = 20, refused: str | None = None
    ) -> None:
        self.bodies: list[dict[str, Any]] = []
        lock, bodies = threading.Lock(), self.bodies

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:  # one model, one call at a time
                    bodies.append(body)
                    pairs = top(body["messages"][-1]["content"])
                if refused in body or body.get("top_logprobs", 0) > most:
                    wrong = refused if refused in body else "top_logprobs"
                    self._reply(400, {"error": {"message": f"Unsupported parameter: {wrong!r}"}})
                    return
                found = [{"token": token, "logprob": value, "bytes": None} for token, value in pairs]
                logprobs = {
                    "content": [{**found[0], "top_logprobs": found[: body.get("top_logprobs", 0)]}],
                    "refusal": None,
                }
                choice = {
                    "index": 0,
                    "message": {"role": "assistant", "content": found[0]["token"]},
                    "finish_reason": "length",
                    "logprobs": logprobs if body.get("logprobs") else None,
                }
                answer = {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": body["model"],
                    "choices": [choice],
                }
                self._reply(200, answer)

            def _reply(self, status: int, answer: dict[str, Any]) -> None:
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
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
