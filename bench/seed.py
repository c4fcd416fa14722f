"""Fills an environment with connections, fast: the rows are what `CreateConnection` would have written.

Each connection goes through the use case that `CreateConnection` calls, down to the store; there its row is not inserted
but collected for a COPY. So what is measured later was sealed and serialised by the service's own code.
"""

from __future__ import annotations

import datetime as dt
import random
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from server.crypto.data_keys import DataKeys
from server.crypto.keyring import Keyring
from server.domain.connections import Connections, NewConnection
from server.domain.integrations import Integrations, NewIntegration
from server.domain.model import ConnectionKey, Integration, OAuth2Credentials, RawResponse
from server.domain.ports import ConnectionImport, Rendered
from server.domain.secret import Secret
from server.providers.catalogue import Catalogue
from server.providers.exchange import ProviderExchange
from server.providers.outbound import Outbound
from server.storage.clock import DatabaseClock
from server.storage.columns import TABLE, new_columns
from server.storage.engine import DatabaseSettings, create_engine
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.storage.integrations import PostgresIntegrationStore
from server.storage.tables import connections as table

INTEGRATION: Final = "bench-oauth2"
LIFE: Final = 30 * 86400.0
"""Seconds that a seeded token lives: far longer than a run, so that no read refreshes."""
CUSTOMERS: Final = 10
"""Connections that share one value of the tag `organization_id`."""
_CHUNK: Final = 2000

Report = Callable[[int, int, float], None]


def connection_id(number: int) -> str:
    """Return the name of a seeded connection."""
    return f"customer-{number:07d}"


def tags_of(number: int) -> dict[str, str]:
    """Return its tags: `organization_id` is shared by ten connections, `plan` by a third of all."""
    return {
        "end_user_email": f"user{number}@example.com",
        "organization_id": f"org-{number // CUSTOMERS:06d}",
        "plan": ("free", "team", "enterprise")[number % 3],
    }


def connection(environment_id: UUID, number: int, now: float) -> NewConnection:
    """Return a seeded connection as an import gives it: tokens of usual length, metadata, tags, the provider's answer.

    The same number gives the same connection.
    """
    dice = random.Random(number)
    access, refresh = dice.randbytes(128).hex(), dice.randbytes(32).hex()
    return NewConnection(
        key=ConnectionKey(environment_id, INTEGRATION, connection_id(number)),
        credentials=OAuth2Credentials(
            access_token=Secret(access),
            refresh_token=Secret(refresh),
            token_type="bearer",
            expires_at=now + LIFE,
            scopes=("read", "write"),
        ),
        raw=RawResponse(
            {
                "access_token": access,
                "refresh_token": refresh,
                "token_type": "bearer",
                "expires_in": int(LIFE),
                "scope": "read write",
            }
        ),
        connection_config={"token_url": "https://auth.example.com/oauth/token"},
        metadata={
            "account": {"id": number, "region": "eu-central-1", "name": f"Customer {number}"},
            "features": ["sync", "export"],
            "sync_cursor": f"{number:032x}",
            "archived": False,
        },
        tags=tags_of(number),
        display_name=f"Customer {number}",
    )


class _OneIntegration:
    """Stands for the store of integrations, so that a million imports do not read the same one a million times."""

    def __init__(self, integration: Integration) -> None:
        self._integration = integration

    async def get(self, environment_id: UUID, provider_config_key: str) -> Integration:
        del environment_id, provider_config_key
        return self._integration


class _Collector:
    """Stands for the store of connections: keeps rows for a COPY."""

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys
        self.rows: list[dict[str, Any]] = []

    async def put(self, put: ConnectionImport, *, etag: int | None, now: float) -> tuple[Rendered, bool]:
        del etag
        uid = uuid.uuid4()
        data_key = await self._keys.new(put.key.environment_id, TABLE, uid.bytes)
        # A microsecond apart, as connections that were created one by one are.
        self.rows.append(new_columns(put, uid, data_key, now + len(self.rows) / 1e6))
        return Rendered(b""), True


class _Clock:
    def __init__(self, start: float) -> None:
        self.start = start

    def now(self) -> float:
        return self.start


async def seed(url: str, keyring: str, environment: str, count: int, report: Report | None = None) -> None:
    """Fill an existing environment with `count` connections, numbered from 0, of one integration that it makes.

    `report` is told now and then how many there are, of how many, after how many seconds.
    """
    engine = create_engine(DatabaseSettings(url, pool_size=1))
    try:
        keys = DataKeys(Keyring.parse(keyring), PostgresEnvironmentKeyStore(engine))
        environment_id = (await PostgresEnvironmentStore(engine, keys).by_name(environment)).environment_id
        clock = DatabaseClock(engine)
        await clock.set()
        exchange = ProviderExchange(Catalogue.load(None), Outbound())
        store = PostgresIntegrationStore(engine, keys)
        integration = await Integrations(store, exchange, clock).create(
            environment_id,
            NewIntegration(
                provider_config_key=INTEGRATION,
                provider="oauth2-generic",
                client_id="bench",
                client_secret=Secret("bench-client-secret"),
            ),
        )
        collector = _Collector(keys)
        present = _Clock(clock.now())
        use_case: Any = Connections(collector, _OneIntegration(integration), exchange, present)  # type: ignore[arg-type]
        started = time.perf_counter()
        async with await psycopg.AsyncConnection.connect(url) as database:
            for first in range(0, count, _CHUNK):
                collector.rows.clear()
                present.start = clock.now()
                for number in range(first, min(first + _CHUNK, count)):
                    await use_case.import_connection(connection(environment_id, number, present.start))
                await _copy(database, collector.rows)
                await database.commit()
                if report is not None:
                    report(first + len(collector.rows), count, time.perf_counter() - started)
            await database.set_autocommit(True)
            await database.execute(f"VACUUM (ANALYZE) {table.name}")
            await database.execute("CHECKPOINT")
    finally:
        await engine.dispose()


async def _copy(database: psycopg.AsyncConnection[Any], rows: Iterable[dict[str, Any]]) -> None:
    columns = [column.name for column in table.columns]
    json_columns = {column.name for column in table.columns if str(column.type) == "JSONB"}
    async with database.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            await copy.write_row([Jsonb(row[name]) if name in json_columns else row.get(name) for name in columns])


def print_progress(done: int, total: int, seconds: float) -> None:
    """Show on standard error how far seeding is."""
    rate = done / seconds if seconds else 0.0
    left = dt.timedelta(seconds=round((total - done) / rate)) if rate else "?"
    end = "\n" if done == total else ""
    sys.stderr.write(f"\rseeding: {done:,} of {total:,} connections, {rate:,.0f}/s, {left} left   {end}")
    sys.stderr.flush()
