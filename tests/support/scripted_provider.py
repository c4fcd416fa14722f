"""A token endpoint that answers exactly what a test says: for answers that no well-behaved server gives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


class ScriptedProvider:
    """Answers with `body` and `status`; keeps the forms that it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {}
        self.headers: dict[str, str] = {}
        self.requests: list[dict[str, str]] = []
        self.url = ""

    def answer(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer like this from now on. A `str` body is sent as it is, anything else as JSON."""
        self.body, self.status, self.headers = body, status, headers or {}


@contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    """Yield a running endpoint."""
    provider = ScriptedProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            provider.requests.append(dict(parse_qsl(form.decode())))
            plain = isinstance(provider.body, str)
            data = provider.body.encode() if plain else json.dumps(provider.body).encode()
            self.send_response(provider.status)
            self.send_header("Content-Type", "text/html" if plain else "application/json")
            for name, value in provider.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_address[1]}/token"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
