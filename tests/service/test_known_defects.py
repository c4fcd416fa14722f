"""Defects found in other services of this kind, as tests: each names what went wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from connections.v1 import connection_pb2, connection_service_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from tests.service.conftest import Service
from tests.service.test_manners import until
from tests.support.client import TIMEOUT, Client, get_request, struct, timestamp
from tests.support.oauth import OAuthServer

_c = connection_service_pb2
KEY = {"provider_config_key": "crm", "connection_id": "a"}


@pytest.fixture
def oauth(client: Client, oauth_server: OAuthServer) -> OAuthServer:
    client.oauth_integration(oauth_server)
    return oauth_server


@pytest.fixture
def database(service: Service) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(service.database_url, autocommit=True) as connection:
        yield connection


def during_an_exchange(client: Client, oauth: OAuthServer, work: Callable[[], object]) -> connection_pb2.Connection:
    """Read a connection that is due while the provider takes a second, and do `work` meanwhile."""
    before = oauth.stats().total
    oauth.fault("delay", seconds=1)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(client.get, "crm", "a")
        until(lambda: oauth.stats().total > before)
        work()
        return read.result()


def test_a_forced_refresh_that_joins_a_read_never_gets_an_unrefreshed_token(client: Client, oauth: OAuthServer) -> None:
    pair = oauth.issue()
    client.oauth_connection("crm", "a", pair, expires_in=30)
    forced: list[Any] = []
    read = during_an_exchange(client, oauth, lambda: forced.append(client.force("crm", "a")))
    (answer,) = forced
    token = answer.connection.credentials.oauth2.access_token
    assert token != pair.access_token
    assert answer.connection.generation > answer.previous_generation
    assert oauth.is_active(token)
    assert read.credentials.oauth2.access_token != pair.access_token


def test_a_forced_refresh_does_not_share_a_read_that_failed(client: Client, oauth: OAuthServer) -> None:
    # The read's exchange brings nothing; the forced one is owed an exchange of its own.
    pair = oauth.issue()
    client.oauth_connection("crm", "a", pair, expires_in=30)
    oauth.fault("http500")
    assert client.get("crm", "a").credentials.oauth2.access_token == pair.access_token
    assert client.force("crm", "a").connection.credentials.oauth2.access_token != pair.access_token


def test_edits_during_the_provider_s_call_survive_it(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-5, metadata={"old": 1}, tags={"old": "1"})

    def edit() -> None:
        calls = client.connections
        client.call(calls.UpdateMetadata, _c.UpdateMetadataRequest(**KEY, metadata=struct({"new": 2})))
        client.call(calls.UpdateTags, _c.UpdateTagsRequest(**KEY, tags={"new": "2"}))
        connection = connection_pb2.Connection(display_name="Acme", connection_config=struct({"region": "eu"}))
        mask = FieldMask(paths=["display_name", "connection_config"])
        client.call(calls.UpdateConnection, _c.UpdateConnectionRequest(**KEY, connection=connection, update_mask=mask))

    found = during_an_exchange(client, oauth, edit)
    for shown in (found, client.get("crm", "a")):
        assert dict(shown.metadata.items()) == {"old": 1, "new": 2}
        assert dict(shown.tags) == {"new": "2"}
        assert (shown.display_name, shown.connection_config["region"]) == ("Acme", "eu")
        assert shown.etag == '"4"'
        assert shown.generation == 2


def test_a_read_writes_nothing(client: Client, oauth: OAuthServer, database: psycopg.Connection[Any]) -> None:
    client.oauth_connection("crm", "a", oauth.issue())
    client.get("crm", "a")

    def row() -> Any:
        return database.execute(
            "SELECT c.xmin, c.ctid FROM connections c JOIN environments e USING (environment_id) WHERE e.name = %s",
            (client.environment,),
        ).fetchall()

    def locks_and_writes() -> Any:
        database.execute("SELECT pg_stat_force_next_flush()")
        return database.execute(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables ORDER BY relname"
        ).fetchall()

    before = row(), locks_and_writes()
    batch = _c.BatchGetConnectionsRequest(keys=[_c.ConnectionKey(**KEY)])
    for _ in range(20):
        client.get("crm", "a")
        client.get("crm", "a", include_refresh_token=True)
        client.call(client.connections.BatchGetConnections, batch)
        client.ids()
    assert (row(), locks_and_writes()) == before


def test_paging_neither_skips_nor_repeats_while_others_insert(client: Client) -> None:
    client.integration("mail", "api-key-generic")
    present = [f"old-{number}" for number in range(30)]
    for number, name in enumerate(present):
        client.api_key_connection("mail", name, create_time=timestamp(1_600_000_000 + number // 3))
    seen: list[str] = []
    token, step = "", 0
    while True:
        request = _c.ListConnectionsRequest(page_size=4, page_token=token)
        stream = client.connections.ListConnections(request, timeout=TIMEOUT, metadata=client.metadata)
        page = next(stream)
        stream.cancel()
        seen += [found.connection_id for found in page.connections]
        token = page.next_page_token
        if not token:
            break
        # Before, within and after what has been read; and a deletion of what has been.
        for place, instant in (("new", 1_700_000_000), ("mid", 1_600_000_005), ("low", 1_500_000_000)):
            client.api_key_connection("mail", f"{place}-{step}", create_time=timestamp(instant + step))
        if step == 1:
            deletion = _c.DeleteConnectionRequest(provider_config_key="mail", connection_id=seen[0])
            client.call(client.connections.DeleteConnection, deletion)
        step += 1
        assert step < 100
    assert len(seen) == len(set(seen))
    assert [name for name in seen if name.startswith("old")] == sorted(set(seen) & set(present), key=seen.index)
    assert set(present) <= set(seen)


def test_an_unrelated_edit_does_not_lose_the_rotation(
    client: Client, oauth: OAuthServer, database: psycopg.Connection[Any]
) -> None:
    pair = oauth.issue()
    client.oauth_connection("crm", "a", pair, expires_in=-5)

    def disturb() -> None:
        for number in range(10):
            metadata = struct({"step": number})
            client.call(client.connections.SetMetadata, _c.SetMetadataRequest(**KEY, metadata=metadata))

    during_an_exchange(client, oauth, disturb)
    kept = client.get("crm", "a", include_refresh_token=True)
    assert kept.metadata["step"] == 9
    assert oauth.is_active(kept.credentials.oauth2.refresh_token)
    # The rotated token is the one that is used next: nothing spent is presented again.
    client.force("crm", "a")
    assert oauth.stats().reuses == 0
    left = database.execute(
        "SELECT count(*) FROM refresh_attempts a JOIN environments e USING (environment_id) WHERE e.name = %s",
        (client.environment,),
    ).fetchone()
    assert left == (0,)


def test_a_reauthorization_wins_over_an_older_exchange(client: Client, oauth: OAuthServer) -> None:
    client.oauth_connection("crm", "a", oauth.issue(), expires_in=-5)
    fresh = oauth.issue()
    during_an_exchange(client, oauth, lambda: client.oauth_connection("crm", "a", fresh))
    found = client.get("crm", "a")
    assert found.credentials.oauth2.access_token == fresh.access_token
    assert found.status == connection_pb2.CONNECTION_STATUS_ACTIVE
    assert client.fails(client.connections.GetConnection, get_request("crm", "none")).reason == "CONNECTION_NOT_FOUND"
