"""Auth modes through the whole service: imported over gRPC, obtained by the engine, stored, shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import jwt
import pytest
from connections.v1 import connection_pb2, connection_service_pb2, integration_pb2, integration_service_pb2
from connections.v1.provider_service_pb2 import GetProviderRequest

from tests.refresh.conftest import World
from tests.support.canaries import Canaries
from tests.support.service import Service, failure_of

PASSWORD = "two-step-password-9f3a"
KEY = "hmac-key-of-at-least-thirty-two-bytes-71c0"


class Provider:
    """A provider with a login in two steps; it hands out sessions and the tokens that go with them."""

    def __init__(self) -> None:
        self.logins: list[dict[str, Any]] = []
        self.tokens = 0
        self.refused = False
        self.url = ""

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return status and body for a POST."""
        sent = json.loads(body)
        if path == "/login":
            self.logins.append(sent)
            if self.refused or sent != {"user": "acme", "password": PASSWORD}:
                return 401, {"message": "wrong password"}
            return 200, {"session": {"id": f"s-{len(self.logins)}"}}
        if path == f"/sessions/s-{len(self.logins)}/token":
            self.tokens += 1
            return 200, {"result": {"token": f"token-{self.tokens}-4be2", "ttl": 3600}}
        return 404, {}


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, fields = made.answer(self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            data = json.dumps(fields).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def two_step(provider: Provider) -> str:
    return f"""
display_name: Two steps
auth_mode: TWO_STEP
token_url: {provider.url}/login
body_format: json
token_params: {{user: '${{credentials.user}}', password: '${{credentials.password}}'}}
additional_steps:
  - token_url: {provider.url}/sessions/${{step1.session.id}}/token
token_response: {{token: result.token, token_expiration: result.ttl}}
credentials:
  user: {{title: User}}
  password: {{title: Password, secret: true, pattern: '.{{8,}}'}}
"""


SIGNED = """
display_name: Signed here
auth_mode: JWT
signature: {protocol: HMAC}
token:
  signing_key: ${credentials.key}
  expires_in_ms: 600000
  header: {alg: HS256}
  payload: {iss: '${credentials.issuer}'}
"""


def integrate(service: Service, name: str) -> None:
    made = integration_pb2.Integration(provider_config_key=name, provider=name)
    service.integrations.CreateIntegration(
        integration_service_pb2.CreateIntegrationRequest(integration=made), timeout=10
    )


def bring(service: Service, name: str, credentials: connection_pb2.Credentials) -> connection_pb2.Connection:
    request = connection_service_pb2.CreateConnectionRequest(
        provider_config_key=name, connection_id="c", credentials=credentials
    )
    response: connection_service_pb2.CreateConnectionResponse = service.connections.CreateConnection(
        request, timeout=10
    )
    return response.connection


def test_a_login_in_two_steps_is_done_by_the_first_read(world: World, provider: Provider, canaries: Canaries) -> None:
    canaries.add(PASSWORD, "the customer's password")
    (world.templates / "two-step.yaml").write_text(two_step(provider))
    server, service = world.start()
    integrate(service, "two-step")
    template = service.providers.GetProvider(GetProviderRequest(provider="two-step"), timeout=10).provider
    assert [field.name for field in template.credential_fields] == ["user", "password"]

    fields = {"user": "acme", "password": PASSWORD}
    bring(service, "two-step", connection_pb2.Credentials(two_step=connection_pb2.TwoStepCredentials(fields=fields)))
    got = service.get("c", key="two-step")
    assert got.credentials.two_step.token == "token-1-4be2"
    assert not got.credentials.two_step.fields
    assert 3500 < got.credentials_expire_time.seconds - got.last_refresh_time.seconds <= 3600
    assert (got.generation, len(provider.logins)) == (2, 1)
    assert service.get("c", key="two-step").credentials.two_step.token == "token-1-4be2"
    assert len(provider.logins) == 1

    forced = service.force("c", key="two-step").connection
    assert forced.credentials.two_step.token == "token-2-4be2"
    whole = service.get("c", key="two-step", include_refresh_token=True)
    assert dict(whole.credentials.two_step.fields) == fields

    provider.refused = True
    failed = service.force_failure("c", key="two-step")
    assert failed.reason == "REAUTHORIZATION_REQUIRED"
    # The token that still works is still returned.
    assert service.get("c", key="two-step").credentials.two_step.token == "token-2-4be2"
    server.kill()


def test_what_a_template_asks_of_credentials_is_checked_at_the_door(world: World, provider: Provider) -> None:
    (world.templates / "two-step.yaml").write_text(two_step(provider))
    _, service = world.start()
    integrate(service, "two-step")
    short = connection_pb2.TwoStepCredentials(fields={"password": "short-1"})
    with pytest.raises(grpc.RpcError) as caught:
        bring(service, "two-step", connection_pb2.Credentials(two_step=short))
    failed = failure_of(caught.value)
    assert failed.code == "INVALID_ARGUMENT"
    assert set(failed.violations) == {
        'credentials.two_step.fields["user"]',
        'credentials.two_step.fields["password"]',
    }
    assert "short-1" not in str(failed)
    assert provider.logins == []


def test_a_token_is_signed_by_the_first_read(world: World, canaries: Canaries) -> None:
    canaries.add(KEY, "the signing key")
    (world.templates / "signed.yaml").write_text(SIGNED)
    _, service = world.start()
    integrate(service, "signed")
    fields = {"key": KEY, "issuer": "acme"}
    bring(service, "signed", connection_pb2.Credentials(jwt=connection_pb2.JwtCredentials(fields=fields)))
    got = service.get("c", key="signed")
    claims = jwt.decode(got.credentials.jwt.token, KEY, algorithms=["HS256"], issuer="acme")
    assert claims["exp"] == got.credentials_expire_time.seconds
    assert not got.credentials.HasField("raw")
    assert not got.credentials.jwt.fields
    assert got.next_refresh_time.seconds < claims["exp"]
