"""The main job, from end to end: import a token that is about to expire, and read one that works."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from connections.v1 import connection_pb2, connection_service_pb2

from tests.service.conftest import Service
from tests.support.client import Client, timestamp
from tests.support.grpcurl import Grpcurl
from tests.support.oauth import OAuthServer

KEY, ID = "crm", "customer-42"


class Terminal:
    """A person with grpcurl and the command, and one API key."""

    def __init__(self, service: Service, client: Client, program: Grpcurl) -> None:
        self._service = service
        self._client = client
        self._program = program

    def grpcurl(self, method: str, **request: Any) -> Any:
        """Call a method and return the response as JSON."""
        symbol = f"connections.v1.{method}"
        return self._program(self._service.address, symbol, request, api_key=self._client.api_key).message()

    def command(self, *arguments: str) -> Any:
        """Run a command with --json and return what it printed."""
        done = self._service.server.command(*arguments, "--json", CONNECTIONS_API_KEY=self._client.api_key)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def terminal(service: Service, client: Client, grpcurl: Grpcurl) -> Terminal:
    return Terminal(service, client, grpcurl)


def test_a_token_about_to_expire_is_imported_and_a_new_one_is_read(
    terminal: Terminal, oauth_server: OAuthServer, client: Client
) -> None:
    pair = oauth_server.issue(expires_in=30)
    terminal.grpcurl(
        "IntegrationService/CreateIntegration",
        integration={
            "provider_config_key": KEY,
            "provider": "house",
            "client_id": oauth_server.client_id,
            "client_secret": oauth_server.client_secret,
        },
    )
    imported = terminal.grpcurl(
        "ConnectionService/CreateConnection",
        provider_config_key=KEY,
        connection_id=ID,
        credentials={
            "oauth2": {
                "access_token": pair.access_token,
                "refresh_token": pair.refresh_token,
                "expire_time": timestamp(time.time() + 30).ToJsonString(),
            }
        },
        metadata={"plan": "pro", "seats": 5},
        tags={"tags": {"Team": "Blue"}},
    )
    assert imported["created"] is True
    assert "credentials" not in imported["connection"]

    first = terminal.grpcurl("ConnectionService/GetConnection", provider_config_key=KEY, connection_id=ID)["connection"]
    token = first["credentials"]["oauth2"]["access_token"]
    assert token != pair.access_token
    assert oauth_server.is_active(token)
    assert "refresh_token" not in json.dumps(first)
    assert first["generation"] == "2"

    # The other client gets the same one: it is fresh, and nothing more is spent.
    second = terminal.command("get", KEY, ID, "--reveal")
    assert second["credentials"]["oauth2"]["access_token"] == token
    masked = terminal.command("get", KEY, ID)
    assert token not in json.dumps(masked)
    assert oauth_server.stats().total == 1
    assert not oauth_server.is_active(pair.refresh_token)

    tagged = terminal.grpcurl(
        "ConnectionService/UpdateTags", provider_config_key=KEY, connection_id=ID, tags={"organization": "Acme"}
    )["connection"]
    assert tagged["tags"] == {"organization": "Acme"}
    merged = terminal.command("metadata", "merge", KEY, ID, '{"plan": null, "trial": {"days": 14}}')
    assert merged["metadata"] == {"seats": 5, "trial": {"days": 14}}
    (page,) = client.pages(tags={"ORGANIZATION": "Acme"})
    assert [found.connection_id for found in page.connections] == [ID]
    assert not page.connections[0].HasField("credentials")

    forced = terminal.command("refresh", KEY, ID, "--reveal")
    assert forced["outcome"] == "REFRESH_OUTCOME_REFRESHED"
    assert (forced["previous_generation"], forced["connection"]["generation"]) == ("2", "3")
    newest = forced["connection"]["credentials"]["oauth2"]["access_token"]
    assert newest != token
    assert oauth_server.is_active(newest)
    assert forced["connection"]["etag"] == merged["etag"]

    deleted = terminal.grpcurl(
        "ConnectionService/DeleteConnection", provider_config_key=KEY, connection_id=ID, revoke=True
    )
    assert deleted["revocation"] == "REVOCATION_OUTCOME_REVOKED"
    assert not oauth_server.is_active(newest)
    assert client.ids() == []


def test_a_token_about_to_expire_under_the_generic_template(client: Client, oauth_server: OAuthServer) -> None:
    client.oauth_integration(oauth_server, KEY)
    pair = oauth_server.issue(expires_in=30)
    before = client.oauth_connection(KEY, ID, pair)
    after = client.get(KEY, ID, include_refresh_token=True)
    assert after.credentials.oauth2.access_token != pair.access_token
    assert oauth_server.is_active(after.credentials.oauth2.access_token)
    assert oauth_server.is_active(after.credentials.oauth2.refresh_token)
    assert after.credentials.raw["refresh_token"] == after.credentials.oauth2.refresh_token
    assert after.generation == before.generation + 1
    assert after.status == connection_pb2.CONNECTION_STATUS_ACTIVE
    assert after.HasField("last_refresh_time")
    assert after.credentials_expire_time == after.credentials.oauth2.expire_time
    assert list(after.granted_scopes) == ["read"]
    assert after.etag == before.etag


def test_client_credentials_obtain_their_first_token_by_themselves(client: Client, oauth_server: OAuthServer) -> None:
    oauth_server.add_client("tenant-7", "secret-of-tenant-seven")
    client.oauth_integration(oauth_server, KEY, "oauth2-cc-generic", client_id="", client_secret="")
    own = connection_pb2.OAuth2ClientCredentials(client_id="tenant-7", client_secret="secret-of-tenant-seven")
    client.create(provider_config_key=KEY, connection_id=ID, credentials=connection_pb2.Credentials(oauth2_cc=own))
    found = client.get(KEY, ID)
    token = found.credentials.oauth2_cc.access_token
    assert oauth_server.is_active(token)
    assert found.credentials.oauth2_cc.client_secret == ""
    assert client.get(KEY, ID, include_refresh_token=True).credentials.oauth2_cc.client_secret == own.client_secret
    forced = client.force(KEY, ID)
    assert forced.outcome == connection_service_pb2.REFRESH_OUTCOME_REFRESHED
    assert forced.connection.generation == forced.previous_generation + 1
    assert forced.connection.credentials.oauth2_cc.access_token != token
    assert oauth_server.is_active(forced.connection.credentials.oauth2_cc.access_token)
    assert [request["grant_type"] for request in oauth_server.stats().requests] == ["client_credentials"] * 2


def test_keys_and_logins_come_back_as_they_went_in(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    client.integration("files", "basic-generic")
    client.integration("open", "unauthenticated")
    client.api_key_connection(
        "mail",
        ID,
        credentials=connection_pb2.Credentials(api_key=connection_pb2.ApiKeyCredentials(api_key="mail-key-123456")),
    )
    login = connection_pb2.BasicCredentials(username="ann", password="pass:word-of-ann")
    client.create(provider_config_key="files", connection_id=ID, credentials=connection_pb2.Credentials(basic=login))
    client.create(provider_config_key="open", connection_id=ID, metadata={"region": "eu"})
    assert client.get("mail", ID).credentials.api_key.api_key == "mail-key-123456"
    assert client.get("files", ID).credentials.basic == login
    free = client.get("open", ID)
    assert free.credentials.WhichOneof("kind") is None
    assert free.status == connection_pb2.CONNECTION_STATUS_ACTIVE
    assert free.metadata["region"] == "eu"
