"""The measurements run, and measure what they say: seeded rows are real ones, and tiny runs of everything work."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import grpc
import pytest
from connections.v1 import connection_pb2, connection_service_pb2, connection_service_pb2_grpc
from google.protobuf.timestamp_pb2 import Timestamp

from bench import load, seed
from server import wire
from server.domain.model import OAuth2Credentials
from tests.conftest import StartServer
from tests.support import strict
from tests.support.server_process import KEYRING, ROOT, environment

COUNT = 25
_OWN = ("connection_id", "uid", "create_time", "update_time", "credentials_expire_time", "next_refresh_time")


def test_seeded_connections_are_what_create_connection_writes(
    connections_server: StartServer, database_url: str
) -> None:
    server = connections_server()
    metadata = (("authorization", f"Bearer {server.bootstrap('bench')}"),)
    asyncio.run(seed.seed(database_url, KEYRING, "bench", COUNT))
    with grpc.insecure_channel(server.address) as channel:
        stub = connection_service_pb2_grpc.ConnectionServiceStub(channel)
        for number in (0, 1, COUNT - 1):
            seeded = stub.GetConnection(_get(seed.connection_id(number)), metadata=metadata).connection
            stub.CreateConnection(_create(number, seeded), metadata=metadata)
            created = stub.GetConnection(_get(f"created-{number}"), metadata=metadata).connection
            assert seeded.credentials.oauth2.access_token
            assert seeded.credentials.raw.fields
            assert _comparable(seeded) == _comparable(created)
            # Field order is part of the stored form.
            assert [field.name for field, _ in seeded.ListFields()] == [field.name for field, _ in created.ListFields()]
        with_refresh = stub.GetConnection(_get(seed.connection_id(0), include_refresh_token=True), metadata=metadata)
        assert with_refresh.connection.credentials.oauth2.refresh_token
        pages = stub.ListConnections(connection_service_pb2.ListConnectionsRequest(), metadata=metadata)
        assert sum(len(page.connections) for page in pages) == COUNT + 3


def _get(connection_id: str, *, include_refresh_token: bool = False) -> connection_service_pb2.GetConnectionRequest:
    return connection_service_pb2.GetConnectionRequest(
        provider_config_key=seed.INTEGRATION, connection_id=connection_id, include_refresh_token=include_refresh_token
    )


def _create(number: int, seeded: connection_pb2.Connection) -> connection_service_pb2.CreateConnectionRequest:
    """The request that would have made the seeded connection, under another name."""
    given = seed.connection(UUID(int=0), number, now=0.0)
    credentials = given.credentials
    assert isinstance(credentials, OAuth2Credentials)
    message = wire.credentials_to_wire(credentials, include_refresh_token=True)
    message.oauth2.expire_time.CopyFrom(seeded.credentials.oauth2.expire_time)
    assert given.raw is not None
    message.raw.CopyFrom(wire.to_struct(given.raw.value))
    return connection_service_pb2.CreateConnectionRequest(
        provider_config_key=seed.INTEGRATION,
        connection_id=f"created-{number}",
        credentials=message,
        connection_config=wire.to_struct(given.connection_config or {}),
        metadata=wire.to_struct(given.metadata or {}),
        tags=connection_service_pb2.Tags(tags=given.tags),
        display_name=given.display_name or "",
    )


def _comparable(connection: connection_pb2.Connection) -> connection_pb2.Connection:
    copy = connection_pb2.Connection()
    copy.CopyFrom(connection)
    for name in _OWN:
        assert copy.HasField(name) if isinstance(getattr(copy, name), Timestamp) else getattr(copy, name)
        copy.ClearField(name)
    return copy


def _bench(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def test_a_tiny_run_measures_everything(database_url: str, tmp_path: Path) -> None:
    if shutil.which("h2load") is None:
        pytest.skip(strict.NO_H2LOAD)
    common = ("--seconds", "0.3", "--rounds", "1", "--rows", "2000", "--lines", "50", "--json")
    done = _bench(
        *common, "--only", "get", "--only", "list", "--only", "import",
        "--database-url", database_url, "--directory", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    shapes = {(each["in_flight"], each["workers"]) for each in found["get"]}
    assert shapes == {(n, w) for n in load.SHAPES for w in (1, 2)}
    for each in found["get"]:
        for side in ("service", "echo"):
            assert each[side]["rate"] > 0
            assert 0 < each[side]["p50"] <= each[side]["p99"]
    assert found["list"]["rows"] == 2000
    assert found["list"]["memory"]["peak"] >= found["list"]["memory"]["before"] > 0
    assert found["list"]["filter_uses_index"], found["list"]["filter_plan"]
    assert found["import"]["lines"] == 50


def test_without_h2load_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = _bench("--only", "get", "--directory", str(tmp_path), PATH="/nonexistent")
    assert done.returncode == 2
    assert "nghttp2-client" in done.stderr
