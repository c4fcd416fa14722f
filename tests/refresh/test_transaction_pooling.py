"""Everything that correctness rests on is rows: it works through a pooler that gives each transaction another session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from connections.v1 import connection_service_pb2

from tests.refresh.conftest import World
from tests.support import pgbouncer as pgbouncer_support
from tests.support import strict


def test_two_servers_behind_pgbouncer_in_transaction_mode(world: World, database_url: str) -> None:
    program = pgbouncer_support.find()
    if program is None:
        pytest.skip(strict.NO_PGBOUNCER)
    with pgbouncer_support.pgbouncer(program, database_url) as pooled:
        settings: dict[str, Any] = {"database": pooled, "database_transaction_pooling": "true", "lease_ttl": "1s"}
        servers, services = zip(*(world.start(**settings) for _ in range(2)), strict=True)
        pair = world.oauth.issue(expires_in=1)
        services[0].import_pair(pair, expires_in=-1)
        world.oauth.fault("delay", seconds=3)

        def read(number: int) -> str:
            return str(services[number % 2].get(timeout=30).credentials.oauth2.access_token)

        with ThreadPoolExecutor(40) as pool:
            tokens = set(pool.map(read, range(40)))
        assert len(tokens) == 1
        assert world.oauth.stats().total == 1

        for _ in range(20):
            services[0].force()
            listed = list(services[1].connections.ListConnections(connection_service_pb2.ListConnectionsRequest()))
            assert [connection.generation for page in listed for connection in page.connections]
        assert services[1].basic().generation == 22
        assert world.oauth.stats().reuses == 0
        for server in servers:
            server.kill()
