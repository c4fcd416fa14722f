"""One server for all tests that can share it; each test has an environment of its own, and so sees nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from connections.v1 import admin_service_pb2

from tests.support.canaries import Canaries
from tests.support.client import Client
from tests.support.oauth import OAuthServer
from tests.support.postgres import Postgres
from tests.support.server_process import ServerProcess, default_settings


@dataclass(frozen=True, slots=True)
class Service:
    """A running server, its database, and a client with an admin key."""

    server: ServerProcess
    database_url: str
    root: Client

    @property
    def address(self) -> str:
        """Where gRPC is served."""
        return self.server.address


def write_templates(folder: Path, oauth: OAuthServer) -> None:
    """Write an operator's own templates, for the tests' authorization server."""
    folder.mkdir()
    (folder / "house.yaml").write_text(
        "# Our own authorization server: refresh tokens rotate, and can be revoked.\n"
        "display_name: House\n"
        "auth_mode: OAUTH2\n"
        "categories: [internal]\n"
        f"token_url: {oauth.token_url}\n"
        f"revocation_url: {oauth.revocation_url}\n"
        "token_request_auth_method: basic\n"
        "reuse_window: 0\n"
    )

    (folder / "lasting.yaml").write_text(
        "# An authorization server that does not rotate refresh tokens: one may be presented any number of times.\n"
        "display_name: Lasting\n"
        "auth_mode: OAUTH2\n"
        "categories: [internal]\n"
        f"token_url: {oauth.token_url}\n"
        "reuse_window: unlimited\n"
    )


@pytest.fixture(scope="session")
def service(
    postgres: Postgres, _oauth_process: OAuthServer, canaries: Canaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The shared server. At the end its log is searched for every secret that the tests used."""
    folder = tmp_path_factory.mktemp("service")
    write_templates(folder / "providers", _oauth_process)
    with postgres.database() as url:
        settings = default_settings(url, folder / "data") | {
            "CONNECTIONS_PROVIDERS_DIR": str(folder / "providers"),
            "CONNECTIONS_EXCHANGE_TIMEOUT": "3s",
            "CONNECTIONS_LOG_LEVEL": "debug",
        }
        server = ServerProcess(settings, folder / "server.log")
        try:
            server.wait_until_ready()
            key = canaries.add(server.bootstrap("root"), "the admin key")
            with grpc.insecure_channel(server.address) as channel:
                yield Service(server, url, Client(channel, key))
        finally:
            server.kill()
    leaks = canaries.found_in(server.logs())
    assert not leaks, "the server's log shows secrets:\n" + "\n".join(leaks)


def make_environment(root: Client, canaries: Canaries, *, admin: bool = False) -> Client:
    """Create an environment and return a client with a key of it. No status that it gets may show a secret."""
    name = f"t-{uuid4().hex[:20]}"
    root.call(root.admin.CreateEnvironment, admin_service_pb2.CreateEnvironmentRequest(name=name))
    request = admin_service_pb2.CreateApiKeyRequest(environment=name, display_name="test", admin=admin)
    secret = canaries.add(root.call(root.admin.CreateApiKey, request).secret, "an API key")
    return Client(root.channel, secret, environment=name, remember=canaries.add)


@pytest.fixture
def client(service: Service, canaries: Canaries) -> Iterator[Client]:
    """A caller in an environment of its own. No status that it got may show a secret."""
    made = make_environment(service.root, canaries)
    yield made
    leaks = [leak for failure in made.seen for leak in canaries.found_in(failure.text)]
    assert not leaks, "a status shows secrets:\n" + "\n".join(leaks)


@pytest.fixture
def stranger(service: Service, canaries: Canaries) -> Client:
    """A caller in another environment."""
    return make_environment(service.root, canaries)
