"""Many connections that come due together, on a simulated clock: what schedulers make of them.

`seed` writes the connections as imports would, sealed by the service's own code. `QuickReader` stands for a process's
`Reader` where tens of thousands of refreshes would take too long in real time: what it leaves out (lease, attempt, answer,
sealing; promised and proven elsewhere) takes no simulated time anyway, so that what the schedulers do is the same.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from server.domain.lifetime import when_due
from server.domain.model import AuthMode, ConnectionKey, OAuth2Credentials
from server.domain.ports import ConnectionImport, ImportedCredentials
from server.domain.secret import Secret
from server.refresh.exchange import Ended, Result
from server.refresh.scheduler import Scheduler
from server.storage.columns import TABLE, new_columns
from server.storage.due import PostgresDueStore
from server.storage.engine import to_datetime
from server.storage.tables import connections as table
from tests.refresh.simulation import Process, World

_FLUSH_INTERVAL: Final = 5.0


@dataclass(frozen=True, slots=True)
class Seeded:
    """A connection that was seeded."""

    integration: str
    connection_id: str
    expires_at: float
    next_refresh_at: float


async def seed(
    process: Process,
    integration: str,
    expiries: Sequence[float],
    *,
    overdue_by: float = 0.0,
    access_token: str = "",
    seed_number: int = 1,
) -> list[Seeded]:
    """Import connections whose tokens expire at these instants; `overdue_by` moves when they are due into the past.

    If the provider is to refresh them they get tokens that it has issued, otherwise any.
    """
    world = process.world
    dice = random.Random(f"jitter {seed_number}")
    facts = process.exchange.facts(integration if integration in world.providers() else world.template.name)
    now = world.loop.now()
    rows, seeded = [], []
    for number, expires_at in enumerate(expiries):
        due = when_due(
            expires_at=expires_at, refreshable=True, facts=facts, now=now, jitter=dice.random(), margin=world.margin
        )
        assert due.next_refresh_at is not None
        granted = {"access_token": "at", "refresh_token": "rt"} if access_token else world.provider.authorize()
        put = ConnectionImport(
            key=ConnectionKey(world.environment_id, integration, f"customer-{number:06}"),
            provider=world.template.name if integration not in world.providers() else integration,
            auth_mode=AuthMode.OAUTH2,
            imported=ImportedCredentials(
                credentials=OAuth2Credentials(
                    Secret(granted["access_token"]), Secret(granted["refresh_token"]), "Bearer", expires_at
                ),
                raw=None,
                granted_scopes=(),
                expires_at=expires_at,
                refresh_due_at=due.refresh_due_at,
                next_refresh_at=due.next_refresh_at - overdue_by,
            ),
            connection_config={},
            metadata={},
            tags={},
            display_name="",
            create_time=None,
        )
        uid = uuid.uuid4()
        key = await process.keys.new(world.environment_id, TABLE, uid.bytes)
        rows.append(new_columns(put, uid, key, now))
        seeded.append(Seeded(integration, put.key.connection_id, expires_at, due.next_refresh_at - overdue_by))
    with world.loop.real_work():
        await _copy(world.url, rows)
    return seeded


async def _copy(url: str, rows: Iterable[dict[str, Any]]) -> None:
    columns = [column.name for column in table.columns]
    json = {column.name for column in table.columns if str(column.type) == "JSONB"}
    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
        async with database.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                await copy.write_row([Jsonb(row[name]) if name in json else row.get(name) for name in columns])
        await database.execute(f"ANALYZE {table.name}".encode())


@dataclass(slots=True)
class Gauge:
    """What providers see of several processes together."""

    in_flight: Counter[str] = field(default_factory=Counter)
    most_in_flight: Counter[str] = field(default_factory=Counter)
    started: list[tuple[float, ConnectionKey]] = field(default_factory=list)


class QuickReader:
    """Refreshes for a scheduler: waits as long as the provider takes, and writes what matters to schedulers."""

    def __init__(self, world: World, gauge: Gauge, latency: Callable[[str], float]) -> None:
        self._world = world
        self._gauge = gauge
        self._latency = latency
        self._refreshed: list[tuple[ConnectionKey, float]] = []

    async def refresh_due(self, key: ConnectionKey) -> Result:
        """Do as `Reader.refresh_due` does."""
        gauge, provider = self._gauge, key.provider_config_key
        gauge.started.append((self._world.loop.now(), key))
        gauge.in_flight[provider] += 1
        gauge.most_in_flight[provider] = max(gauge.most_in_flight[provider], gauge.in_flight[provider])
        await asyncio.sleep(self._latency(key.connection_id))
        gauge.in_flight[provider] -= 1
        self._refreshed.append((key, self._world.loop.now() + self._world.provider.life))
        return Result(Ended.EXCHANGED)

    async def write(self, database: psycopg.AsyncConnection[Any]) -> None:
        """Store what was refreshed since the last time."""
        refreshed, self._refreshed = self._refreshed, []
        if refreshed:
            with self._world.loop.real_work():
                await database.execute(
                    f"UPDATE {table.name} c SET generation = generation + 1, expire_time = n.expire_time, "
                    "next_refresh_time = n.expire_time - interval '15 minutes' "
                    "FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS n (integration, id, expire_time) "
                    "WHERE c.environment_id = %s AND c.provider_config_key = n.integration AND c.connection_id = n.id",
                    [
                        [key.provider_config_key for key, _ in refreshed],
                        [key.connection_id for key, _ in refreshed],
                        [to_datetime(expires_at) for _, expires_at in refreshed],
                        self._world.environment_id,
                    ],
                )

    async def keep_writing(self, database: psycopg.AsyncConnection[Any]) -> None:
        """Store it now and then, for ever: long before a claim runs out."""
        while True:
            await asyncio.sleep(_FLUSH_INTERVAL)
            await self.write(database)


def quick_scheduler(process: Process, reader: QuickReader, **settings: Any) -> Scheduler:
    """Return a scheduler of a process that refreshes by a quick reader."""
    store: Any = PostgresDueStore(process.engine)
    quick: Any = reader
    return Scheduler(store, quick, process.exchange, process.spool, process.world.loop, **settings)


@asynccontextmanager
async def running(world: World, processes: Sequence[Process], gauge: Gauge, **settings: Any) -> AsyncIterator[None]:
    """Let a quick scheduler run in each process, one after the other by part of an interval."""
    latency: Callable[[str], float] = settings.pop("latency")
    interval: float = settings["interval"]
    tasks: list[asyncio.Task[None]] = []
    with world.loop.real_work():
        database = await psycopg.AsyncConnection.connect(world.url, autocommit=True)
    try:
        for number, process in enumerate(processes):
            reader = QuickReader(world, gauge, latency)
            scheduler = quick_scheduler(process, reader, **settings)
            tasks += [
                asyncio.create_task(_later(number * interval / 10 / len(processes), scheduler)),
                asyncio.create_task(reader.keep_writing(database)),
            ]
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()


async def _later(seconds: float, scheduler: Scheduler) -> None:
    await asyncio.sleep(seconds)
    await scheduler.run()


def latency_of(connection_id: str) -> float:
    """Return a latency between 0.2 and 1 second that is the same each time for a connection."""
    return 0.2 + 0.8 * random.Random(connection_id).random()


@dataclass(frozen=True, slots=True)
class Curve:
    """Events per simulated minute since the start: tokens that would have expired, and refreshes that began."""

    expiries: tuple[int, ...]
    refreshes: tuple[int, ...]
    bound: int
    most_in_flight: int
    late: int
    """How many refreshes began after their token had expired."""
    refreshed: int
    twice: int
    """How many connections were refreshed more than once."""


BOUND: Final = 60
_FIRST_EXPIRY: Final = 3000.0


async def ten_minutes(world: World, processes: Sequence[Process], count: int, *, seed_number: int = 1) -> Curve:
    """Let `count` tokens expire within ten minutes, and schedulers in all processes refresh them ahead; see what they do."""
    dice = random.Random(seed_number)
    start = world.loop.now()
    expiries = [start + _FIRST_EXPIRY + 600 * dice.random() for _ in range(count)]
    seeded = await seed(processes[0], world.template.name, expiries, access_token="any", seed_number=seed_number)
    start = world.loop.now()
    gauge = Gauge()
    async with running(world, processes, gauge, interval=10.0, latency=latency_of):
        await asyncio.sleep(_FIRST_EXPIRY + 660)
    expires_at = {one.connection_id: one.expires_at for one in seeded}
    begun = Counter(key.connection_id for _, key in gauge.started)
    return Curve(
        expiries=_per_minute(start, expiries),
        refreshes=_per_minute(start, [instant for instant, _ in gauge.started]),
        bound=BOUND,
        most_in_flight=max(gauge.most_in_flight.values()),
        late=sum(
            instant + latency_of(key.connection_id) >= expires_at[key.connection_id] for instant, key in gauge.started
        ),
        refreshed=len(begun),
        twice=sum(times > 1 for times in begun.values()),
    )


def _per_minute(start: float, instants: Iterable[float]) -> tuple[int, ...]:
    counts = Counter(int((instant - start) // 60) for instant in instants)
    return tuple(counts[minute] for minute in range(int(_FIRST_EXPIRY + 660) // 60))
