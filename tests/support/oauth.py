"""The tests' handle on the authorization server of `tests/support/oauth_server.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]

FaultKind = Literal[
    "html", "http500", "http429", "close", "lost", "slow", "huge", "error200", "no_access_token", "delay"
]


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What the server issued. `expires_in` is in seconds, None if the answer does not say."""

    access_token: str
    refresh_token: str
    expires_in: int | None
    scope: str


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened at the token endpoint, faulty answers included.

    `requests` describes each one: `grant_type`, `content_type`, `authorization_scheme`, `parameters` (names only).
    `reuses` counts spent refresh tokens that were presented outside the reuse window.
    """

    requests: tuple[dict[str, Any], ...]
    per_refresh_token: dict[str, int]
    reuses: int
    faults_left: int

    @property
    def total(self) -> int:
        """Token requests so far."""
        return len(self.requests)


class OAuthServer:
    """One client's view of the server, and the switches behind it."""

    client_id = "connections-test"
    client_secret = "client-secret-of-connections-test"

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.host = urlsplit(self.url).netloc
        self.token_url = f"{self.url}/token"
        self.authorization_url = f"{self.url}/authorize"
        self.revocation_url = f"{self.url}/revoke"

    def reset(self) -> None:
        """Forget everything, and register the client anew. Requests still running go on with what they know."""
        self._post("reset")
        self.add_client(self.client_id, self.client_secret)

    def add_client(
        self, client_id: str, client_secret: str, *, auth_method: str = "", redirect_uris: tuple[str, ...] = ()
    ) -> None:
        """Register a client. `auth_method` is one of RFC 7591 section 2, empty for basic or post."""
        self._post(
            "clients",
            client_id=client_id,
            client_secret=client_secret,
            auth_method=auth_method,
            redirect_uris=list(redirect_uris),
        )

    def configure(
        self,
        *,
        access_token_lifetime: int | None = None,
        rotate: bool | None = None,
        reuse_window: float | None = None,
    ) -> None:
        """Choose how long tokens live (seconds), whether refresh tokens rotate, how long spent ones are replayed."""
        chosen = {"access_token_lifetime": access_token_lifetime, "rotate": rotate, "reuse_window": reuse_window}
        self._post("settings", **{name: value for name, value in chosen.items() if value is not None})

    def issue(
        self, *, expires_in: int = 3600, scope: str = "read", refreshable: bool = True, client_id: str = ""
    ) -> TokenPair:
        """Issue a pair of tokens, as if an end user had just approved."""
        answer = self._post(
            "issue",
            client_id=client_id or self.client_id,
            expires_in=expires_in,
            scope=scope,
            refreshable=refreshable,
        )
        return TokenPair(
            answer["access_token"], answer.get("refresh_token", ""), answer.get("expires_in"), answer.get("scope", "")
        )

    def is_active(self, token: str) -> bool:
        """Return whether an access token would be accepted by the API, or a refresh token by the token endpoint."""
        return bool(self._post("introspect", token=token)["active"])

    def fault(self, kind: FaultKind, *, count: int = 1, seconds: float = 0.0, retry_after: int = 1) -> None:
        """Answer the next `count` token requests wrongly (0: stop that). The kinds are explained in `oauth_server`."""
        self._post("fault", kind=kind, remaining=count, seconds=seconds, retry_after=retry_after)

    def stats(self) -> Stats:
        """Return what happened at the token endpoint so far."""
        answer = self._call("stats", None)
        return Stats(tuple(answer["requests"]), answer["per_refresh_token"], answer["reuses"], answer["faults_left"])

    def tokens(self) -> list[str]:
        """Return every access and refresh token that exists: secrets that no log may show."""
        return [*self._call("tokens", None), self.client_secret]

    def _post(self, path: str, **body: Any) -> Any:
        return self._call(path, json.dumps(body).encode())

    def _call(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_test/{path}", body, {"Content-Type": "application/json"} if body is not None else {}
        )
        # No proxy: the environment's would be asked for loopback too.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return json.load(response)


@contextmanager
def running_oauth_server(log: Path) -> Iterator[OAuthServer]:
    """Run the server in a process of its own; its log goes to the file."""
    with log.open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.oauth_server", "--port", "0"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the authorization server did not start:\n{log.read_text()}")
        yield OAuthServer(json.loads(line)["port"])
    finally:
        process.kill()
        process.communicate()
