"""An OpenAI-compatible embeddings endpoint on loopback, for the real `openai` client."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from support.embedders import vector_of


class EmbeddingsServer:
    """Answers `/v1/embeddings`, and Azure's path, with the vectors of `support.embedders.HashEmbedder`.

    Args:
        dimension: Of the vectors, where the request does not say.
        order: From the number of texts to the order in which they are answered; `index` stays true.
        status: Answer every request with this status instead.

    Attributes:
        requests: The body of every request, with its path under "path" and its authorisation under "key".
    """

    def __init__(self, *, dimension: int = 8, order: Any = range, status: int = 200) -> None:
        self.dimension, self.order, self.status = dimension, order, status
        self.requests: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers.get("api-key") or self.headers.get("Authorization", "").removeprefix("Bearer ")
                server.requests.append({**request, "path": self.path, "key": key})
                body = json.dumps(server.answer(request)).encode()
                self.send_response(server.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.status != 200:
            return {"error": {"message": "refused", "type": "invalid_request_error", "code": None, "param": None}}
        dimension, texts = request.get("dimensions", self.dimension), request["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": vector_of(texts[i], dimension).tolist()}
            for i in self.order(len(texts))
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return {"object": "list", "data": data, "model": request["model"], "usage": usage}

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
