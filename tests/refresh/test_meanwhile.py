"""Promise 5: no lost updates. What callers do while an exchange runs survives it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from connections.v1 import connection_pb2, connection_service_pb2
from google.protobuf import struct_pb2

from tests.refresh.conftest import World
from tests.refresh.test_crashes import wait_until
from tests.support.service import CONNECTION, INTEGRATION, Service, failure_of

KEY: dict[str, Any] = {"provider_config_key": INTEGRATION, "connection_id": CONNECTION}


def struct(**fields: Any) -> struct_pb2.Struct:
    value = struct_pb2.Struct()
    value.update(fields)
    return value


def begin_slow_read(world: World, service: Service, pool: ThreadPoolExecutor, seconds: float = 2) -> Future[Any]:
    """Import an expired pair and read it; the provider has the request and takes its time when this returns."""
    pair = world.oauth.issue(expires_in=1)
    service.import_pair(pair, expires_in=-1)
    world.oauth.fault("delay", seconds=seconds)
    before = world.oauth.stats().total
    reading = pool.submit(service.get, timeout=20)
    wait_until(lambda: world.oauth.stats().total == before + 1)
    return reading


def test_promise_5_edits_during_an_exchange_survive(world: World) -> None:
    _, service = world.start()
    with ThreadPoolExecutor(1) as pool:
        reading = begin_slow_read(world, service, pool)
        stub = service.connections
        stub.SetMetadata(connection_service_pb2.SetMetadataRequest(**KEY, metadata=struct(plan="gold")))
        stub.UpdateTags(connection_service_pb2.UpdateTagsRequest(**KEY, tags={"team": "core"}))
        edited = stub.UpdateConnection(
            connection_service_pb2.UpdateConnectionRequest(
                **KEY, connection=connection_pb2.Connection(connection_config=struct(region="eu"), display_name="Ada")
            )
        ).connection
        after = reading.result()

    assert world.oauth.is_active(after.credentials.oauth2.access_token)
    assert dict(after.metadata.items()) == {"plan": "gold"}
    assert dict(after.tags) == {"team": "core"}
    assert dict(after.connection_config.items()) == {"region": "eu"}
    assert after.display_name == "Ada"
    # A refresh never changes the etag.
    assert after.etag == edited.etag
    assert after.generation == 2


def test_promise_5_a_deletion_during_an_exchange_stays_and_the_fresh_token_is_revoked(world: World) -> None:
    server, service = world.start()
    with ThreadPoolExecutor(1) as pool:
        reading = begin_slow_read(world, service, pool)
        service.connections.DeleteConnection(connection_service_pb2.DeleteConnectionRequest(**KEY))
        with pytest.raises(grpc.RpcError) as caught:
            reading.result()

    assert failure_of(caught.value).reason == "CONNECTION_NOT_FOUND"
    assert service.get_failure().reason == "CONNECTION_NOT_FOUND"
    assert "answer_for_deleted_connection" in server.logs()
    issued = [token for token in world.oauth.tokens() if token != world.oauth.client_secret]
    assert not any(world.oauth.is_active(token) for token in issued)


def test_promise_5_a_reauthorization_during_an_exchange_wins(world: World) -> None:
    _, service = world.start()
    with ThreadPoolExecutor(1) as pool:
        reading = begin_slow_read(world, service, pool)
        fresh = world.oauth.issue()
        service.import_pair(fresh, expires_in=3600)
        after = reading.result()

    assert after.credentials.oauth2.access_token == fresh.access_token
    assert service.get().credentials.oauth2.access_token == fresh.access_token
    assert after.generation == 2


def test_promise_3_a_caller_that_leaves_changes_nothing_for_the_others(world: World) -> None:
    _, service = world.start()
    with ThreadPoolExecutor(2) as pool:
        reading = begin_slow_read(world, service, pool)
        leaving = service.connections.GetConnection.future(
            connection_service_pb2.GetConnectionRequest(**KEY), timeout=20
        )
        impatient = service.get_failure(timeout=0.6)
        leaving.cancel()
        after = reading.result()

    assert (impatient.code, impatient.reason) == ("DEADLINE_EXCEEDED", "REFRESH_CONTINUES")
    assert world.oauth.is_active(after.credentials.oauth2.access_token)
    assert world.oauth.stats().total == 1


def test_promise_3_the_exchange_goes_on_when_every_caller_has_left(world: World) -> None:
    _, service = world.start()
    pair = world.oauth.issue(expires_in=1)
    service.import_pair(pair, expires_in=-1)
    world.oauth.fault("delay", seconds=1.5)

    assert service.get_failure(timeout=0.5).reason == "REFRESH_CONTINUES"

    wait_until(lambda: service.basic().generation == 2)
    assert world.oauth.is_active(service.get().credentials.oauth2.access_token)
    assert world.oauth.stats().total == 1
