"""An OAuth 2 authorization server that none of us wrote: Authlib's, in a process of its own.

`python -m tests.support.oauth_server --port 0` prints `{"port": ...}` and serves `/authorize`, `/token` and `/revoke`
on loopback. Grants, client authentication and every true answer are Authlib's. What Authlib leaves to its user is
here: storage (in memory), and the policies of refresh token rotation (RFC 9700 section 4.14.2). The paths under
`/_test/` are the tests' side; `tests/support/oauth.py` speaks with them.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, Final
from urllib.parse import parse_qsl

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

USER: Final = "end-user"
AUTH_METHODS: Final = ["client_secret_basic", "client_secret_post", "none"]
HUGE_BYTES: Final = 50_000_000

FAULTS: Final = (
    "html",  # 200 with an HTML page
    "http500",  # 500 with an HTML page
    "http429",  # 429 with Retry-After: `retry_after`
    "close",  # the connection is dropped before anything is done
    "lost",  # the exchange is done, and the connection dropped instead of the answer
    "slow",  # the true answer, byte by byte, over `seconds`
    "huge",  # 200 with 50 MB of JSON
    "error200",  # 200 with the members of an OAuth error: some providers do that
    "no_access_token",  # 200 with a token response that lacks the access token
    "delay",  # silence for `seconds`, then the true answer
)


@dataclass
class Client(ClientMixin):
    client_id: str
    client_secret: str
    auth_method: str = ""  # empty: any
    redirect_uris: list[str] = field(default_factory=list)

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return self.redirect_uris[0] if self.redirect_uris else None

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(self.client_secret, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        del endpoint
        if method == "none":  # only for clients registered as public
            return self.auth_method == "none"
        return self.auth_method in {"", method}

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in {"authorization_code", "refresh_token", "client_credentials"}


DEMO_CLIENT: Final = Client("demo", "demo-secret")


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


@dataclass
class Token(TokenMixin):
    """An access token, with its refresh token if it has one. Tokens that descend from one grant share a family."""

    client_id: str
    family: str
    answer: dict[str, Any]
    expires_at: float
    revoked: bool = False
    spent_at: float | None = None
    successor: Token | None = None

    @property
    def access_token(self) -> str:
        return str(self.answer["access_token"])

    @property
    def refresh_token(self) -> str:
        return str(self.answer.get("refresh_token", ""))

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return str(self.answer.get("scope", ""))

    def get_expires_in(self) -> int:
        return int(self.answer.get("expires_in", 0))

    def is_expired(self) -> bool:
        return time.time() >= self.expires_at

    def is_revoked(self) -> bool:
        return self.revoked

    def get_user(self) -> str:
        return USER


@dataclass
class Settings:
    """What tests may choose. Seconds, as everywhere here."""

    access_token_lifetime: int = 3600
    rotate: bool = True
    reuse_window: float = 0.0


@dataclass
class Fault:
    kind: str
    remaining: int
    seconds: float = 0.0
    retry_after: int = 1


class State:
    """Everything that one test did to the server. Another test gets another one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, Code] = {}
        self.by_access: dict[str, Token] = {}
        self.by_refresh: dict[str, Token] = {}
        self.settings = Settings()
        self.fault: Fault | None = None
        self.requests: list[dict[str, Any]] = []
        self.per_refresh_token: Counter[str] = Counter()
        self.reuses = 0

    def add_token(self, client_id: str, family: str, answer: dict[str, Any]) -> Token:
        token = Token(client_id, family, answer, time.time() + answer.get("expires_in", float("inf")))
        self.by_access[token.access_token] = token
        if token.refresh_token:
            self.by_refresh[token.refresh_token] = token
        return token

    def revoke_family(self, family: str) -> None:
        for token in [*self.by_access.values(), *self.by_refresh.values()]:
            if token.family == family:
                token.revoked = True

    def take_fault(self) -> Fault | None:
        with self.lock:
            fault = self.fault
            if fault is None or fault.remaining == 0:
                return None
            fault.remaining -= 1
            return fault


def make_app(*clients: Client) -> Flask:
    """Build the server, with these clients. Each request works on the state that was current when it came."""
    app = Flask(__name__)
    current = [State()]
    current[0].clients.update({client.client_id: client for client in clients})

    def state() -> State:
        found: State = request.environ.setdefault("tests.state", current[0])
        return found

    def save_token(answer: dict[str, Any], oauth_request: Any) -> None:
        predecessor: Token | None = getattr(oauth_request, "refresh_token", None)
        family = predecessor.family if predecessor is not None else secrets.token_hex(8)
        token = state().add_token(oauth_request.client.client_id, family, dict(answer))
        if predecessor is not None:
            predecessor.successor = token

    def query_client(client_id: str) -> Client | None:
        return state().clients.get(client_id)

    server = AuthorizationServer(app, query_client, save_token)
    server.register_token_generator(
        "default",
        BearerTokenGenerator(
            lambda **_: f"at-{secrets.token_urlsafe(32)}",
            lambda **_: f"rt-{secrets.token_urlsafe(32)}",
            lambda *_: state().settings.access_token_lifetime,
        ),
    )

    class AuthorizationCodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

        def save_authorization_code(self, code: str, request: Any) -> None:
            data = request.payload.data
            state().codes[code] = Code(
                code,
                request.client.client_id,
                request.payload.redirect_uri or "",
                request.scope or "",
                data.get("code_challenge", ""),
                data.get("code_challenge_method", ""),
            )

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            found = state().codes.get(code)
            return found if found is not None and found.client_id == client.client_id else None

        def delete_authorization_code(self, authorization_code: Code) -> None:
            del state().codes[authorization_code.code]

        def authenticate_user(self, authorization_code: Code) -> str:
            del authorization_code
            return USER

    class RefreshTokenGrant(grants.RefreshTokenGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

        def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
            token = state().by_refresh.get(refresh_token)
            if token is None or token.revoked:
                return None
            if token.spent_at is not None and not self._in_reuse_window(token):
                state().reuses += 1
                state().revoke_family(token.family)
                return None
            return token

        def authenticate_user(self, refresh_token: Token) -> str:
            return refresh_token.get_user()

        def issue_token(self, user: str, refresh_token: Token) -> dict[str, Any]:
            self.INCLUDE_NEW_REFRESH_TOKEN = state().settings.rotate
            issued: dict[str, Any] = super().issue_token(user, refresh_token)
            return issued

        def revoke_old_credential(self, refresh_token: Token) -> None:
            if state().settings.rotate:
                refresh_token.spent_at = time.monotonic()

        def create_token_response(self) -> Any:
            token: Token = self.request.refresh_token
            if token.spent_at is not None and token.successor is not None:
                return 200, token.successor.answer, self.TOKEN_RESPONSE_HEADER
            return super().create_token_response()

        def _in_reuse_window(self, token: Token) -> bool:
            assert token.spent_at is not None
            return time.monotonic() - token.spent_at < state().settings.reuse_window

    class ClientCredentialsGrant(grants.ClientCredentialsGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    class Revocation(RevocationEndpoint):
        CLIENT_AUTH_METHODS = AUTH_METHODS

        def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
            del token_type_hint
            return state().by_refresh.get(token_string) or state().by_access.get(token_string)

        def revoke_token(self, token: Token, request: Any) -> None:
            if request.form["token"] == token.refresh_token:
                state().revoke_family(token.family)
            else:
                token.revoked = True

    server.register_grant(AuthorizationCodeGrant, [CodeChallenge(required=False)])
    server.register_grant(RefreshTokenGrant)
    server.register_grant(ClientCredentialsGrant)
    server.register_endpoint(Revocation)

    @app.get("/authorize")
    def authorize() -> Any:
        """Approve at once, as an end user who always clicks yes."""
        try:
            grant = server.get_consent_grant(end_user=USER)
        except OAuth2Error as error:
            return server.handle_error_response(None, error)
        with state().lock:
            return server.create_authorization_response(grant_user=USER, grant=grant)

    def true_answer() -> Response:
        # One at a time: in memory, the lock is what a database's row lock would be.
        with state().lock:
            answer: Response = server.create_token_response()
            return answer

    @app.post("/token")
    def token() -> Any:
        with state().lock:
            state().requests.append(_description())
            if presented := request.form.get("refresh_token"):
                state().per_refresh_token[presented] += 1
        fault = state().take_fault()
        return true_answer() if fault is None else _faulty(fault, true_answer)

    @app.post("/revoke")
    def revoke() -> Any:
        with state().lock:
            return server.create_endpoint_response("revocation")

    @app.post("/_test/reset")
    def reset() -> Any:
        current[0] = State()
        return jsonify({})

    @app.post("/_test/clients")
    def add_client() -> Any:
        client = Client(**request.get_json())
        state().clients[client.client_id] = client
        return jsonify({})

    @app.post("/_test/settings")
    def settings() -> Any:
        for name, value in request.get_json().items():
            if name not in {known.name for known in fields(Settings)}:
                return jsonify({"error": f"there is no setting {name!r}"}), 400
            setattr(state().settings, name, value)
        return jsonify({})

    @app.post("/_test/issue")
    def issue() -> Any:
        wanted = request.get_json()
        client = state().clients[wanted["client_id"]]
        answer = server.generate_token(
            "authorization_code",
            client,
            user=USER,
            scope=wanted["scope"],
            expires_in=wanted["expires_in"],
            include_refresh_token=wanted["refreshable"],
        )
        with state().lock:
            state().add_token(client.client_id, secrets.token_hex(8), answer)
        return jsonify(answer)

    @app.post("/_test/introspect")
    def introspect() -> Any:
        text = request.get_json()["token"]
        with state().lock:
            as_access, as_refresh = state().by_access.get(text), state().by_refresh.get(text)
        active = (as_access is not None and not as_access.revoked and not as_access.is_expired()) or (
            as_refresh is not None and not as_refresh.revoked and as_refresh.spent_at is None
        )
        return jsonify({"active": active, "known": as_access is not None or as_refresh is not None})

    @app.post("/_test/fault")
    def fault() -> Any:
        wanted = Fault(**request.get_json())
        if wanted.kind not in FAULTS:
            return jsonify({"error": f"there is no fault {wanted.kind!r}"}), 400
        state().fault = wanted if wanted.remaining else None
        return jsonify({})

    @app.get("/_test/stats")
    def stats() -> Any:
        with state().lock:
            return jsonify(
                requests=state().requests,
                per_refresh_token=state().per_refresh_token,
                reuses=state().reuses,
                faults_left=state().fault.remaining if state().fault else 0,  # type: ignore[union-attr]
            )

    @app.get("/_test/tokens")
    def tokens() -> Any:
        with state().lock:
            return jsonify([*state().by_access, *state().by_refresh])

    return app


def _description() -> dict[str, Any]:
    """Describe how a token request was made, without its secrets."""
    body = request.get_data(as_text=True, cache=True)
    return {
        "grant_type": request.form.get("grant_type", ""),
        "content_type": request.mimetype,
        "authorization_scheme": request.headers.get("Authorization", "").partition(" ")[0],
        "parameters": sorted({name for name, _ in parse_qsl(body, keep_blank_values=True)}),
        "user_agent": request.headers.get("User-Agent", ""),
    }


def _faulty(fault: Fault, true_answer: Any) -> Any:
    match fault.kind:
        case "html":
            return Response("<!doctype html><title>Sign in</title><p>Please sign in.", mimetype="text/html")
        case "http500":
            return Response("<!doctype html><title>Oops</title>", status=500, mimetype="text/html")
        case "http429":
            headers = {"Retry-After": str(fault.retry_after)}
            return Response('{"error":"rate_limited"}', 429, headers, mimetype="application/json")
        case "close":
            return _hang_up()
        case "lost":
            true_answer()
            return _hang_up()
        case "slow":
            body = true_answer().get_data()
            return Response(_drip(body, fault.seconds), mimetype="application/json")
        case "huge":
            return Response(_huge(), mimetype="application/json")
        case "error200":
            return jsonify({"error": "bad_refresh_token", "error_description": "The refresh token is not known."})
        case "no_access_token":
            return jsonify({"token_type": "Bearer", "expires_in": 3600})
        case _:
            time.sleep(fault.seconds)
            return true_answer()


def _hang_up() -> Response:
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    return Response()


def _drip(body: bytes, seconds: float) -> Iterator[bytes]:
    for byte in body:
        yield bytes([byte])
        time.sleep(seconds / len(body))


def _huge() -> Iterator[bytes]:
    chunk = b" " * 65536
    yield b'{"access_token":"'
    for _ in range(HUGE_BYTES // len(chunk)):
        yield chunk
    yield b'","token_type":"Bearer"}'


def _exit_with_parent() -> None:
    """End when standard input does: a test process that is killed leaves no server behind."""
    sys.stdin.buffer.read()
    os._exit(0)


def _serve_demo(port: int) -> None:
    server = make_server("127.0.0.1", port, make_app(DEMO_CLIENT), threaded=True)
    print(  # noqa: T201 - for the person who started it
        f"An OAuth 2.0 authorization server (Authlib's, in memory) at http://127.0.0.1:{server.server_port}\n\n"
        f"    token URL  http://127.0.0.1:{server.server_port}/token\n"
        f"    client     {DEMO_CLIENT.client_id}, secret {DEMO_CLIENT.client_secret}\n\n"
        "The tour in README.md goes on from here. Ctrl-C stops it.\n",
        flush=True,
    )
    with suppress(KeyboardInterrupt):
        server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--demo", action="store_true", help="for people: with a client, and until it is stopped")
    arguments = parser.parse_args()
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, on loopback
    if arguments.demo:
        _serve_demo(arguments.port)
        return
    server = make_server("127.0.0.1", arguments.port, make_app(), threaded=True)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    print(json.dumps({"port": server.server_port}), flush=True)  # noqa: T201 - this is the answer
    server.serve_forever()


if __name__ == "__main__":
    main()
