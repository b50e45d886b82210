"""A judge as an endpoint on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class JudgeServer(HTTPServer):
    """Gives the mark which stands last in an answer, unless told otherwise, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str | None, Any]] = []
        self.mark: Callable[[str, str], str] = lambda answer, asked: answer.split()[-1]
        """(answer, whole request) -> what it says."""

    @property
    def url(self) -> str:
        """Its address, as a person writes it."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: JudgeServer

    def do_GET(self) -> None:
        self._reply({"data": [{"id": "judge-1"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.headers.get("Authorization"), body))
        asked = body["messages"][-1]["content"]
        self._reply({"choices": [{"message": {"content": self.server.mark(asked.split("<answer>")[1].split("</answer>")[0], asked)}}]})

    def _reply(self, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[JudgeServer]:
    """A real endpoint, while the block runs."""
    server = JudgeServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
