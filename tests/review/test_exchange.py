"""One exchange against what goes wrong around it: neighbours' mistakes, deletions, rows that do not decrypt."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
from connections.v1 import connection_pb2, connection_service_pb2

from tests.refresh.conftest import World
from tests.refresh.test_crashes import wait_until
from tests.support.scripted_provider import scripted_provider
from tests.support.service import CONNECTION, INTEGRATION, Service, timestamp


def put(service: Service, name: str, **config: Any) -> None:
    """Import expired tokens with a connection config."""
    request = connection_service_pb2.CreateConnectionRequest(
        provider_config_key=INTEGRATION,
        connection_id=name,
        credentials=connection_pb2.Credentials(
            oauth2=connection_pb2.OAuth2Credentials(
                access_token="old", refresh_token=f"refresh-{name}", expire_time=timestamp(time.time() - 1)
            )
        ),
    )
    request.connection_config.update(config)
    service.connections.CreateConnection(request, timeout=10)


def test_a_value_that_does_not_fit_stops_its_own_connection_alone(world: World) -> None:
    with scripted_provider() as provider:
        world.oauth.token_url = provider.url
        world.template(
            token_headers='{X-Tenant: "${connectionConfig.tenant}"}',
            connection_config="{tenant: {title: Tenant, description: The tenant, example: acme}}",
        )
        provider.answer({"access_token": "fresh", "expires_in": 3600})
        _, service = world.start()
        # More than it takes to open a breaker.
        for number in range(6):
            put(service, f"bad-{number}", tenant="a\nb")
            assert service.get_failure(f"bad-{number}").reason == "INTEGRATION_MISCONFIGURED"
        put(service, "good", tenant="acme")

        assert service.get("good").credentials.oauth2.access_token == "fresh"
        assert len(provider.requests) == 1


def test_a_forbidden_address_stops_its_own_connection_alone(world: World) -> None:
    with scripted_provider() as provider:
        host = provider.url.removeprefix("http://").removesuffix("/token")
        world.oauth.token_url = "http://${connectionConfig.host}/token"
        world.template(connection_config="{host: {title: Host, description: The host, example: a.example}}")
        provider.answer({"access_token": "fresh", "expires_in": 3600})
        _, service = world.start()
        put(service, "bad", host="10.0.0.1")
        assert service.get_failure("bad").reason == "INTEGRATION_MISCONFIGURED"
        put(service, "good", host=host)

        assert service.get("good").credentials.oauth2.access_token == "fresh"


def test_an_answer_that_meets_the_deletion_is_revoked(world: World, database_url: str) -> None:
    server, service = world.start()
    service.import_pair(world.oauth.issue(expires_in=1), expires_in=-1)
    world.oauth.fault("delay", seconds=1)
    failures: list[Any] = []
    reading = threading.Thread(target=lambda: failures.append(service.get_failure(timeout=20)))
    reading.start()
    wait_until(lambda: world.oauth.stats().total == 1)
    with psycopg.connect(database_url) as deletion:
        deletion.execute("DELETE FROM connections")
        # The answer is to be stored now, and waits for the deletion.
        with psycopg.connect(database_url, autocommit=True) as watch:
            wait_until(
                lambda: (
                    watch.execute(
                        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO refresh%'"
                    ).fetchone()
                    is not None
                )
            )
    reading.join()

    assert failures[0].reason == "CONNECTION_NOT_FOUND"
    wait_until(lambda: "answer_for_deleted_connection" in server.logs())
    issued = [token for token in world.oauth.tokens() if token != world.oauth.client_secret]
    assert not any(world.oauth.is_active(token) for token in issued)


def test_credentials_that_do_not_decrypt_are_told_each_time_at_once(world: World, database_url: str) -> None:
    _, service = world.start()
    service.import_pair(world.oauth.issue(), expires_in=-1)
    with psycopg.connect(database_url, autocommit=True) as database:
        database.execute("UPDATE connections SET sealed_grant = sealed_credentials")

    for _ in range(2):
        assert service.get_failure(CONNECTION, timeout=5).reason == "CREDENTIALS_UNREADABLE"


def test_strange_scopes_and_a_deep_answer_cost_no_token(world: World) -> None:
    with scripted_provider() as provider:
        world.oauth.token_url = provider.url
        world.template(reuse_window=0)
        deep: Any = "bottom"
        for _ in range(600):
            deep = [deep]
        provider.answer({"access_token": "fresh", "expires_in": 3600, "scope": "read wri\x00te", "deep": deep})
        _, service = world.start()
        put(service, CONNECTION)

        got = service.get()

        assert got.credentials.oauth2.access_token == "fresh"
        assert list(got.granted_scopes) == ["read"]
        assert service.get(include_refresh_token=True).credentials.raw["access_token"] == "fresh"
        assert service.force().connection.generation == 3
