"""Token endpoints that misbehave: each kind has its own status, nothing is half-written, nothing secret is said."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import pytest
from connections.v1 import connection_pb2

from tests.support.client import Client, Failure, force_request, get_request
from tests.support.oauth import FaultKind, OAuthServer

FAILING = connection_pb2.CONNECTION_STATUS_REFRESH_FAILING
DEAD = connection_pb2.CONNECTION_STATUS_REAUTHORIZATION_REQUIRED
# What a failed refresh may change, and nothing else.
FAILURE_FIELDS = {
    "status",
    "status_reason",
    "last_refresh_failure_time",
    "next_refresh_time",
    "refresh_attempts",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, and what callers are told of it. `at_least` is in seconds."""

    kind: FaultKind
    code: grpc.StatusCode
    reason: str
    status: int = FAILING
    retry: bool = True
    at_least: float = 0.0
    seconds: float = 0.0
    key: str = "crm"


UNAVAILABLE, PRECONDITION = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION
ROWS = [
    Row("html", UNAVAILABLE, "PROVIDER_RESPONSE_INVALID"),
    Row("http500", UNAVAILABLE, "PROVIDER_UNAVAILABLE"),
    Row("no_access_token", UNAVAILABLE, "PROVIDER_RESPONSE_INVALID"),
    Row("http429", grpc.StatusCode.RESOURCE_EXHAUSTED, "PROVIDER_RATE_LIMITED", at_least=120),
    Row("error200", PRECONDITION, "REAUTHORIZATION_REQUIRED", status=DEAD, retry=False),
    # Whether these spent the refresh token nobody knows, and the provider's reuse window is not known to be open.
    Row("close", PRECONDITION, "OUTCOME_UNKNOWN", retry=False),
    Row("lost", PRECONDITION, "OUTCOME_UNKNOWN", retry=False),
    Row("delay", PRECONDITION, "OUTCOME_UNKNOWN", retry=False, seconds=6),
    Row("slow", PRECONDITION, "OUTCOME_UNKNOWN", retry=False, seconds=20),
    Row("huge", PRECONDITION, "OUTCOME_UNKNOWN", retry=False),
    # Where a refresh token may be presented again, trying again is safe.
    Row("close", UNAVAILABLE, "PROVIDER_UNAVAILABLE", key="lasting"),
    Row("delay", UNAVAILABLE, "PROVIDER_UNAVAILABLE", key="lasting", seconds=6),
    Row("huge", UNAVAILABLE, "PROVIDER_RESPONSE_INVALID", key="lasting"),
]


@pytest.fixture
def oauth(client: Client, oauth_server: OAuthServer) -> OAuthServer:
    client.oauth_integration(oauth_server)
    client.oauth_integration(oauth_server, "lasting", "lasting", connection_config={})
    # One answer closes the breaker that the tests before may have opened.
    client.oauth_connection("crm", "first", oauth_server.issue())
    client.force("crm", "first")
    return oauth_server


def fields(connection: connection_pb2.Connection) -> dict[str, object]:
    return {field.name: value for field, value in connection.ListFields()}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.key}")
def test_a_token_endpoint_that_misbehaves(client: Client, oauth: OAuthServer, row: Row) -> None:
    pair = oauth.issue()
    before = client.oauth_connection(row.key, "a", pair, expires_in=-10, metadata={"kept": 1}, tags={"team": "blue"})
    oauth.fault(row.kind, seconds=row.seconds, retry_after=120)
    failure = client.fails(client.connections.GetConnection, get_request(row.key, "a"))
    assert (failure.code, failure.reason) == (row.code, row.reason)
    assert failure.infos == 1
    assert failure.metadata["providerConfigKey"] == row.key
    _check_retry(failure, row)
    after = client.basic(row.key, "a")
    assert after.status == row.status
    assert connection_pb2.ConnectionStatus.Name(after.status) != "CONNECTION_STATUS_ACTIVE"
    assert after.refresh_attempts == 1
    assert after.HasField("last_refresh_failure_time")
    changed = {name for name in fields(before) | fields(after) if fields(before).get(name) != fields(after).get(name)}
    assert changed <= FAILURE_FIELDS
    # The credentials are what they were.
    assert before.generation == after.generation == 1
    # A second read says so without asking the provider again.
    requests = oauth.stats().total
    again = client.fails(client.connections.GetConnection, get_request(row.key, "a"))
    assert again.code in {row.code, UNAVAILABLE}
    assert oauth.stats().total == requests


def _check_retry(failure: Failure, row: Row) -> None:
    if row.retry:
        assert failure.metadata["provider"] in {"oauth2-generic", "lasting"}
        assert failure.retry_after is not None
        assert failure.retry_after >= row.at_least
    else:
        assert failure.preconditions == (row.reason,)


@pytest.mark.parametrize("kind", ["html", "http500", "http429", "error200", "no_access_token", "huge"])
def test_a_token_that_still_works_beats_the_error(client: Client, oauth: OAuthServer, kind: FaultKind) -> None:
    pair = oauth.issue()
    client.oauth_connection("crm", "a", pair, expires_in=120)
    oauth.fault(kind)
    found = client.get("crm", "a")
    assert found.credentials.oauth2.access_token == pair.access_token
    assert found.status in {FAILING, DEAD}
    assert found.status_reason


@pytest.mark.parametrize("kind", ["html", "http500", "http429", "error200", "no_access_token", "close"])
def test_a_forced_refresh_repairs_what_failed(client: Client, oauth: OAuthServer, kind: FaultKind) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-10)
    oauth.fault(kind)
    failed = client.fails(client.connections.ForceRefresh, force_request("crm", "a"))
    assert failed.domain == "connections"
    forced = client.force("crm", "a").connection
    assert oauth.is_active(forced.credentials.oauth2.access_token)
    assert forced.status == connection_pb2.CONNECTION_STATUS_ACTIVE
    assert (forced.refresh_attempts, forced.status_reason) == (0, 0)
    assert not forced.HasField("last_refresh_failure_time")


def test_a_provider_that_nobody_serves(client: Client, oauth: OAuthServer) -> None:
    client.integration(
        "gone",
        "oauth2-generic",
        client_id="id",
        client_secret="secret-of-the-gone",
        connection_config={"token_url": "http://127.0.0.1:9/token"},
    )
    client.oauth_connection("gone", "a", oauth.issue(), expires_in=-10)
    failure = client.fails(client.connections.GetConnection, get_request("gone", "a"))
    assert (failure.code, failure.reason) == (UNAVAILABLE, "PROVIDER_UNAVAILABLE")
    # Nothing was sent, so nothing is unknown: it is simply tried again.
    assert client.basic("gone", "a").HasField("next_refresh_time")


def test_a_private_address_is_not_called(client: Client, oauth: OAuthServer) -> None:
    client.integration(
        "metadata",
        "oauth2-generic",
        client_id="id",
        client_secret="secret-for-169-254",
        connection_config={"token_url": "https://169.254.169.254/token"},
    )
    client.oauth_connection("metadata", "a", oauth.issue(), expires_in=-10)
    failure = client.fails(client.connections.GetConnection, get_request("metadata", "a"))
    assert failure.reason in {"INTEGRATION_MISCONFIGURED", "PROVIDER_UNAVAILABLE"}
    assert failure.domain == "connections"
