"""GetConnection and BatchGetConnections: views, least life, refresh tokens, mixed outcomes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from connections.v1 import connection_pb2, connection_service_pb2
from google.protobuf.duration_pb2 import Duration

from tests.support.client import Client, failure_of_status, get_request, timestamp
from tests.support.oauth import OAuthServer

BASIC, FULL = connection_service_pb2.CONNECTION_VIEW_BASIC, connection_service_pb2.CONNECTION_VIEW_FULL


@pytest.fixture
def oauth(client: Client, oauth_server: OAuthServer) -> OAuthServer:
    client.oauth_integration(oauth_server)
    return oauth_server


def test_a_basic_view_has_no_credentials_and_never_refreshes(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-60)
    found = client.get("crm", "a", view=BASIC, min_ttl=3600, include_refresh_token=True)
    assert not found.HasField("credentials")
    assert oauth.stats().total == 0
    assert found.generation == 1


@pytest.mark.parametrize("view", [0, FULL])
def test_a_full_view_is_the_default(client: Client, oauth: OAuthServer, view: Any) -> None:
    pair = oauth.issue()
    client.oauth_connection("crm", "a", pair)
    assert client.get("crm", "a", view=view).credentials.oauth2.access_token == pair.access_token
    assert oauth.stats().total == 0


def test_refresh_tokens_come_only_when_asked_for(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=5)
    without = client.get("crm", "a")
    assert without.credentials.oauth2.refresh_token == ""
    assert "refresh_token" not in without.credentials.raw.fields
    assert without.credentials.raw["access_token"] == without.credentials.oauth2.access_token
    whole = client.get("crm", "a", include_refresh_token=True)
    assert oauth.is_active(whole.credentials.oauth2.refresh_token)
    forced = client.force("crm", "a", include_refresh_token=True).connection
    assert oauth.is_active(forced.credentials.oauth2.refresh_token)
    assert client.force("crm", "a", view=BASIC).connection.HasField("credentials") is False


def test_min_ttl_asks_for_a_token_that_lives_long_enough(client: Client, oauth: OAuthServer) -> None:
    pair = oauth.issue(expires_in=3600)
    client.oauth_connection("crm", "a", pair)
    assert client.get("crm", "a", min_ttl=60).credentials.oauth2.access_token == pair.access_token


def test_a_token_too_short_for_min_ttl_is_refreshed_although_it_is_not_due(client: Client, oauth: OAuthServer) -> None:
    # Due 15 minutes before its end, which is 45 minutes away; the caller wants more than is left.
    pair = oauth.issue(expires_in=3600)
    client.oauth_connection("crm", "a", pair)
    oauth.configure(access_token_lifetime=7200)
    found = client.get("crm", "a", min_ttl=3660)
    assert found.credentials.oauth2.access_token != pair.access_token
    assert found.credentials_expire_time.seconds > time.time() + 3660


def test_a_refreshed_token_that_still_is_too_short_is_returned_all_the_same(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=30)
    oauth.configure(access_token_lifetime=120)
    found = client.get("crm", "a", min_ttl=3600)
    assert oauth.is_active(found.credentials.oauth2.access_token)
    assert found.generation == 2


def test_a_batch_answers_each_key_by_itself_in_order(client: Client, stranger: Client, oauth: OAuthServer) -> None:
    client.integration("mail", "api-key-generic")
    stranger.integration("mail", "api-key-generic")
    stranger.api_key_connection("mail", "theirs")
    client.api_key_connection("mail", "ours")
    client.oauth_connection("crm", "due", oauth.issue(), expires_in=10)
    client.oauth_connection("crm", "dead", oauth.issue(refreshable=False), expires_in=-10)
    keys = [("crm", "dead"), ("mail", "ours"), ("crm", "none"), ("crm", "due"), ("mail", "theirs")]
    request = connection_service_pb2.BatchGetConnectionsRequest(
        keys=[connection_service_pb2.ConnectionKey(provider_config_key=key, connection_id=name) for key, name in keys]
    )
    results = client.call(client.connections.BatchGetConnections, request).results
    assert [(result.key.provider_config_key, result.key.connection_id) for result in results] == keys
    dead, ours, none, due, theirs = results
    assert failure_of_status(dead.status).reason == "CREDENTIALS_EXPIRED"
    assert ours.connection == client.get("mail", "ours")
    assert oauth.is_active(due.connection.credentials.oauth2.access_token)
    # The same status that GetConnection has, with the same details.
    for result, name in ((none, ("crm", "none")), (theirs, ("mail", "theirs")), (dead, ("crm", "dead"))):
        single = client.fails(client.connections.GetConnection, get_request(*name))
        assert failure_of_status(result.status) == single
    assert oauth.stats().total == 1


def test_a_batch_of_basic_views_refreshes_nothing(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-60)
    request = connection_service_pb2.BatchGetConnectionsRequest(view=BASIC, min_ttl=Duration(seconds=60))
    request.keys.add(provider_config_key="crm", connection_id="a")
    (result,) = client.call(client.connections.BatchGetConnections, request).results
    assert not result.connection.HasField("credentials")
    assert oauth.stats().total == 0


def test_the_same_id_may_stand_under_two_integrations(client: Client) -> None:
    client.integration("one", "api-key-generic")
    client.integration("two", "api-key-generic")
    client.api_key_connection("one", "same", metadata={"at": "one"})
    client.api_key_connection("two", "same", metadata={"at": "two"})
    assert client.get("one", "same").metadata["at"] == "one"
    assert client.get("two", "same").metadata["at"] == "two"
    assert client.get("one", "same").uid != client.get("two", "same").uid


def test_an_upsert_keeps_what_it_leaves_out(client: Client, oauth: OAuthServer) -> None:
    pair = oauth.issue()
    first = client.oauth_connection(
        "crm", "a", pair, metadata={"plan": "pro"}, tags={"team": "blue"}, display_name="Acme"
    )
    response = client.create(provider_config_key="crm", connection_id="a", metadata={"plan": "free"})
    assert not response.created
    found = client.get("crm", "a")
    assert found.metadata["plan"] == "free"
    assert dict(found.tags) == {"team": "blue"}
    assert found.display_name == "Acme"
    assert found.credentials.oauth2.access_token == pair.access_token
    assert (found.uid, found.create_time) == (first.uid, first.create_time)
    assert (first.generation, found.generation) == (1, 1)
    # What is given replaces, also by what is empty.
    cleared = client.create(provider_config_key="crm", connection_id="a", tags={}, metadata={}, display_name="")
    assert not cleared.connection.tags
    assert not cleared.connection.metadata.fields
    assert cleared.connection.display_name == ""


def test_new_credentials_count_as_a_reauthorization(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-10)
    oauth.fault("error200")
    client.fails(client.connections.GetConnection, get_request("crm", "a"))
    assert client.basic("crm", "a").status == connection_pb2.CONNECTION_STATUS_REAUTHORIZATION_REQUIRED
    again = client.oauth_connection("crm", "a", oauth.issue())
    assert again.status == connection_pb2.CONNECTION_STATUS_ACTIVE
    assert again.status_reason == 0
    assert not again.HasField("last_refresh_failure_time")
    assert (again.refresh_attempts, again.generation) == (0, 2)


def test_a_connection_without_an_id_gets_a_uuid(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    made = client.api_key_connection("mail", "")
    assert len(made.connection_id) == 36
    assert client.get("mail", made.connection_id).uid == made.uid


def test_a_time_of_creation_may_be_brought_along(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    made = client.api_key_connection("mail", "old", create_time=timestamp(1_500_000_000.25))
    assert made.create_time == timestamp(1_500_000_000.25)
    client.api_key_connection("mail", "new")
    assert client.ids() == ["new", "old"]


def test_a_deleted_and_created_connection_is_another(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    first = client.api_key_connection("mail", "a", metadata={"secret": "plan"})
    request = connection_service_pb2.DeleteConnectionRequest(provider_config_key="mail", connection_id="a")
    response = client.call(client.connections.DeleteConnection, request)
    assert response.revocation == connection_service_pb2.REVOCATION_OUTCOME_NOT_REQUESTED
    assert client.fails(client.connections.DeleteConnection, request).reason == "CONNECTION_NOT_FOUND"
    second = client.api_key_connection("mail", "a")
    assert second.uid != first.uid
    assert not second.metadata.fields
