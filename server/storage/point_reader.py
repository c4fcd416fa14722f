"""Reads of single connections, as cheaply as Postgres allows.

Reads that arrive while a query runs share the next one; nothing waits on purpose. The queries are prepared, the answers
binary, and libpq is driven directly: its socket stays registered with the event loop, which saves most of what a driver's
`execute` costs (see docs/performance.md).

A read never waits for a database that hangs: a query that is not answered in time takes its connection down with it,
and everyone who waited for it is told.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import pq
from sqlalchemy import func, literal_column, select
from sqlalchemy.dialects import postgresql

from server.domain.errors import Reason, ServiceError
from server.domain.model import ConnectionKey, Status
from server.domain.ports import Rendered, StoredConnection
from server.storage.engine import DatabaseSettings, startup_options, translate, unavailable
from server.storage.tables import connections as table

_MAX_BATCH: Final = 128
_ENOUGH: Final = 32
"""Reads that make a second query at the same time worth its price; fewer wait for the one under way, and share the next."""
_RECONNECT_FIRST: Final = 0.05
_RECONNECT_MOST: Final = 2.0
_PATIENCE: Final = 2.0
"""Seconds that a read waits for a connection to come back."""
_EPOCH_2000: Final = 946_684_800
_STATUSES: Final = {status.value.encode(): status for status in Status}
_REASONS: Final = {reason.name.encode(): reason for reason in Reason}
_DIALECT: Final[Any] = postgresql.dialect()  # type: ignore[no-untyped-call]
_UUID_OID: Final = 2950
_TEXT_OID: Final = 25
# These connections run one kind of statement, whose plan must not depend on statistics that do not exist yet.
_PLANNER: Final = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
)

_COLUMNS: Final = (
    table.c.uid,
    table.c.generation,
    table.c.status,
    table.c.failure_reason,
    table.c.expire_time,
    table.c.refresh_due_time,
    table.c.edit_part.op("||")(table.c.state_part),
    table.c.wrapped_data_key,
    table.c.sealed_credentials,
)
_Read = tuple[ConnectionKey, "asyncio.Future[StoredConnection | None]"]


def _statement() -> str:
    """Return the SELECT for any number of keys, `$1` to `$3` being arrays of their parts."""
    keys: Any = func.unnest(
        literal_column("$1::uuid[]"), literal_column("$2::text[]"), literal_column("$3::text[]")
    ).table_valued("environment_id", "provider_config_key", "connection_id", with_ordinality="position")
    keys = keys.render_derived(name="k")
    query = select(keys.c.position, *_COLUMNS).select_from(
        keys.join(
            table,
            (table.c.environment_id == keys.c.environment_id)
            & (table.c.provider_config_key == keys.c.provider_config_key.collate("C"))
            & (table.c.connection_id == keys.c.connection_id.collate("C")),
        )
    )
    return str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def _single_statement() -> str:
    """Return the SELECT for one key, which costs the database less than the general one."""
    query = select(literal_column("1::bigint"), *_COLUMNS).where(
        table.c.environment_id == literal_column("$1::uuid"),
        table.c.provider_config_key == literal_column("$2::text"),
        table.c.connection_id == literal_column("$3::text"),
    )
    return str(query.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


SINGLE: Final = _single_statement()
BATCH: Final = _statement()


def _array(oid: int, items: Sequence[bytes]) -> bytes:
    """Encode a one-dimensional array in Postgres' binary format."""
    parts = [struct.pack("!iiIii", 1, 0, oid, len(items), 1)]
    for item in items:
        parts.append(len(item).to_bytes(4, "big"))
        parts.append(item)
    return b"".join(parts)


class PointReader:
    """Reads single connections. Open it before the first read and close it after the last."""

    def __init__(self, settings: DatabaseSettings, *, lanes: int = 2) -> None:
        self._waiting: deque[_Read] = deque()
        self._lanes = [_Lane(settings, self._waiting, self._lost) for _ in range(lanes)]
        self._patience: asyncio.TimerHandle | None = None
        self._awake = False

    async def open(self) -> None:
        """Connect. Raises `StorageUnavailable` if that fails; later losses are repaired in the background."""
        for lane in self._lanes:
            await lane.connect()

    async def close(self) -> None:
        """Disconnect; reads under way fail."""
        for lane in self._lanes:
            await lane.close()
        if self._patience is not None:
            self._patience.cancel()
        self._give_up()

    async def read(self, key: ConnectionKey) -> StoredConnection | None:
        """Return a connection, None if there is none. Raises `StorageUnavailable`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StoredConnection | None] = loop.create_future()
        self._waiting.append((key, future))
        if not self._awake:
            # At the end of this turn of the loop: what else arrives in it shares the query.
            self._awake = True
            loop.call_soon(self._dispatch)
        return await future

    def _dispatch(self) -> None:
        self._awake = False
        idle = [lane for lane in self._lanes if lane.idle]
        busy = any(lane.busy for lane in self._lanes)
        if idle and (not busy or len(self._waiting) >= _ENOUGH):
            idle[0].dispatch()
        elif not idle and not busy:
            self._lost()

    def _lost(self) -> None:
        """Let another connection go on; if none is left, see to it that nobody waits long for one to come back."""
        if any(lane.connected for lane in self._lanes):
            if self._waiting:
                self._dispatch()
        elif self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        if any(lane.connected for lane in self._lanes):
            return
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(unavailable("the database cannot be reached"))


class _Lane:
    """One connection, with at most one query under way."""

    def __init__(self, settings: DatabaseSettings, waiting: deque[_Read], lost: Callable[[], None]) -> None:
        self._settings = settings
        self._lost = lost
        self._waiting = waiting
        self._running: list[_Read] = []
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._pg: pq.abc.PGconn | None = None
        self._descriptor = -1
        self._loop: asyncio.AbstractEventLoop
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._expires_at = 0.0
        self._results: list[pq.abc.PGresult] = []
        self._repair: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        return self._pg is not None

    @property
    def busy(self) -> bool:
        return bool(self._running)

    @property
    def idle(self) -> bool:
        return self._pg is not None and not self._running

    async def connect(self) -> None:
        """Connect and prepare. Raises `StorageUnavailable`."""
        settings = self._settings
        options = "" if settings.transaction_pooling else f"{startup_options(settings)} {_PLANNER}"
        connection = None
        try:
            async with asyncio.timeout(settings.statement_timeout):
                connection = await psycopg.AsyncConnection.connect(
                    settings.url, autocommit=True, application_name="connections reads", options=options
                )
                if not settings.transaction_pooling:
                    await connection.execute(f"PREPARE one (uuid, text, text) AS {SINGLE}".encode())
                    await connection.execute(f"PREPARE many (uuid[], text[], text[]) AS {BATCH}".encode())
        except BaseException as error:
            # A cancellation too: nobody else knows of this connection yet.
            if connection is not None:
                await connection.close()
            if isinstance(error, psycopg.Error | OSError | TimeoutError):
                raise unavailable("the database cannot be reached") from error
            raise
        self._connection, self._pg = connection, connection.pgconn
        self._pg.nonblocking = 1
        self._descriptor = self._pg.socket
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._readable)

    async def close(self) -> None:
        self._closed = True
        if self._repair is not None:
            self._repair.cancel()
            await asyncio.gather(self._repair, return_exceptions=True)
        if self._pg is not None:
            self._lose(unavailable("the service is shutting down"))

    def dispatch(self) -> None:
        """Send the next query for those who wait, if any."""
        waiting = self._waiting
        running: list[_Read] = []
        while waiting and len(running) < _MAX_BATCH:
            read = waiting.popleft()
            if not read[1].done():
                running.append(read)
        if not running:
            return
        self._running = running
        pg = self._pg
        assert pg is not None
        keys = [read[0] for read in running]
        try:
            if len(keys) == 1:
                key = keys[0]
                name, sql = b"one", SINGLE
                parameters = [
                    key.environment_id.bytes,
                    key.provider_config_key.encode(),
                    key.connection_id.encode(),
                ]
            else:
                name, sql = b"many", BATCH
                parameters = [
                    _array(_UUID_OID, [key.environment_id.bytes for key in keys]),
                    _array(_TEXT_OID, [key.provider_config_key.encode() for key in keys]),
                    _array(_TEXT_OID, [key.connection_id.encode() for key in keys]),
                ]
            if self._settings.transaction_pooling:
                pg.send_query_params(sql.encode(), parameters, param_formats=[1, 1, 1], result_format=1)
            else:
                pg.send_query_prepared(name, parameters, param_formats=[1, 1, 1], result_format=1)
            self._flush()
        except psycopg.Error as error:
            self._lose(translate(error))
            return
        self._expires_at = self._loop.time() + self._settings.statement_timeout
        if self._timer is None:
            self._timer = self._loop.call_at(self._expires_at, self._expire)

    def _flush(self) -> None:
        assert self._pg is not None
        unsent = bool(self._pg.flush())
        if unsent and not self._writing:
            self._loop.add_writer(self._descriptor, self._writable)
        elif self._writing and not unsent:
            self._loop.remove_writer(self._descriptor)
        self._writing = unsent

    def _writable(self) -> None:
        try:
            self._flush()
        except psycopg.Error as error:
            self._lose(translate(error))

    def _expire(self) -> None:
        # One timer outlives many queries: setting one for each would cost more than looking at the time.
        self._timer = None
        if not self._running:
            return
        if self._loop.time() < self._expires_at:
            self._timer = self._loop.call_at(self._expires_at, self._expire)
            return
        self._lose(unavailable("the database did not answer in time"))

    def _readable(self) -> None:
        pg = self._pg
        if pg is None:
            return
        try:
            pg.consume_input()
            while not pg.is_busy():
                result = pg.get_result()
                if result is None:
                    break
                self._results.append(result)
            else:
                return
        except psycopg.Error as error:
            self._lose(translate(error))
            return
        if self._running:
            self._finish()

    def _finish(self) -> None:
        running, self._running = self._running, []
        results, self._results = self._results, []
        rows: dict[int, StoredConnection] = {}
        failure: ServiceError | None = None
        for result in results:
            if result.status == pq.ExecStatus.TUPLES_OK:
                for row in range(result.ntuples):
                    position = int.from_bytes(result.get_value(row, 0) or b"", "big")
                    rows[position] = _stored(running[position - 1][0], result, row)
            else:
                failure = translate(psycopg.errors.error_from_result(result))
        for position, (_, future) in enumerate(running, 1):
            if future.done():
                continue
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(rows.get(position))
        if self._waiting:
            self.dispatch()

    def _lose(self, error: ServiceError) -> None:
        """Give the connection up, tell those who waited for it, and start to repair it."""
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        self._writing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._results = []
        running, self._running = self._running, []
        connection, self._connection, self._pg = self._connection, None, None
        if connection is not None:
            connection.pgconn.finish()
        for _, future in running:
            if not future.done():
                future.set_exception(error)
        if not self._closed and (self._repair is None or self._repair.done()):
            self._repair = asyncio.create_task(self._reconnect())
        self._lost()

    async def _reconnect(self) -> None:
        delay = _RECONNECT_FIRST
        while True:
            try:
                await self.connect()
            except ServiceError:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RECONNECT_MOST)
            else:
                self.dispatch()
                if self.connected:
                    return
                # Lost again while it was given its first query; `_lose` leaves that to whoever is at it already.


def _instant(value: bytes | None) -> float | None:
    """Decode a binary `timestamptz`: microseconds since 2000-01-01."""
    if value is None:
        return None
    return int.from_bytes(value, "big", signed=True) / 1e6 + _EPOCH_2000


def _stored(key: ConnectionKey, result: pq.abc.PGresult, row: int) -> StoredConnection:
    value = result.get_value
    reason = value(row, 4)
    return StoredConnection(
        key,
        UUID(bytes=value(row, 1)),
        int.from_bytes(value(row, 2) or b"", "big"),
        _STATUSES[value(row, 3) or b""],
        None if reason is None else _REASONS[reason],
        _instant(value(row, 5)),
        _instant(value(row, 6)),
        Rendered(value(row, 7) or b""),
        value(row, 8) or b"",
        value(row, 9) or b"",
    )
