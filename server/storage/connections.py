"""The connections aggregate: reads, lists, imports, edits. What refreshes write is in `storage.refresh`."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from server import wire
from server.crypto.data_keys import DataKeys
from server.domain.errors import EtagMismatch, InvalidRequest, NotFound, WriteConflict
from server.domain.model import (
    ConnectionEdit,
    ConnectionKey,
    ListFilter,
    ListPosition,
)
from server.domain.ports import ConnectionImport, ListedConnection, Rendered, StoredConnection
from server.storage.columns import (
    CREDENTIALS,
    GRANT,
    TABLE,
    edit_columns,
    edit_of,
    grant_from_bytes,
    imported_state,
    matches,
    new_columns,
    sealed_columns,
    state_columns,
)
from server.storage.engine import storage_errors, transaction
from server.storage.point_reader import PointReader
from server.storage.tables import connections as table

_EPOCH: Final = dt.datetime.fromtimestamp(0, dt.UTC)
_EPOCH_2000_US: Final = 946_684_800_000_000
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class _ListedRow:
    """One row of a list, as Postgres sent it: of a thousand rows only the last one's position is ever looked at."""

    __slots__ = ("_created", "_uid", "rendered")

    def __init__(self, created: bytes, uid: bytes, rendered: bytes) -> None:
        self._created = created
        self._uid = uid
        self.rendered = Rendered(rendered)

    @property
    def position(self) -> ListPosition:
        """Where the list stands after it. A binary `timestamptz` counts microseconds since 2000-01-01."""
        created = int.from_bytes(self._created, "big", signed=True) + _EPOCH_2000_US
        return ListPosition(created, UUID(bytes=self._uid))


class PostgresConnectionStore:
    """Implements `domain.ports.ConnectionStore`."""

    def __init__(self, engine: AsyncEngine, reader: PointReader, keys: DataKeys) -> None:
        self._engine = engine
        self._reader = reader
        self._keys = keys

    def read(self, key: ConnectionKey) -> Coroutine[Any, Any, StoredConnection | None]:
        """Return a connection by its key with one SELECT, None if there is none."""
        return self._reader.read(key)

    async def render(self, stored: StoredConnection) -> Rendered:
        """Return the connection with its credentials, without what refreshes. Raises `CredentialsUnreadable`."""
        environment_id, row, wrapped = stored.key.environment_id, stored.uid.bytes, stored.wrapped_data_key
        shown = self._keys.open_value(environment_id, TABLE, row, wrapped, CREDENTIALS, stored.sealed)
        if shown is None:
            key = await self._keys.open(environment_id, TABLE, row, wrapped)
            shown = key.open(CREDENTIALS, stored.sealed)
        return Rendered(stored.basic + shown)

    async def render_with_refresh_token(self, key: ConnectionKey) -> Rendered | None:
        """Return the connection with everything that is stored, None if it is gone."""
        query = sa.select(
            table.c.uid, table.c.wrapped_data_key, table.c.sealed_grant, table.c.edit_part, table.c.state_part
        ).where(matches(key))
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        data_key = await self._keys.open(key.environment_id, TABLE, row.uid.bytes, row.wrapped_data_key)
        credentials, raw = grant_from_bytes(data_key.open(GRANT, row.sealed_grant))
        shown = wire.credentials_part(credentials, raw, include_refresh_token=True)
        return Rendered(row.edit_part + row.state_part + shown)

    async def page(
        self, environment_id: UUID, where: ListFilter, after: ListPosition | None, size: int
    ) -> Sequence[ListedConnection]:
        """Return up to `size` connections after a position, newest first. Holds nothing open afterwards."""
        query = page_query(environment_id, where, after, size)
        compiled = query.compile(dialect=self._engine.dialect, compile_kwargs={"render_postcompile": True})
        with storage_errors():
            async with self._engine.connect() as connection:
                # The driver's own cursor, in binary: a row costs a third of what it costs through SQLAlchemy.
                driver = (await connection.get_raw_connection()).driver_connection
                assert driver is not None
                async with driver.cursor(binary=True) as cursor:
                    # Planned with its values each time: a filter that many pass and one that few pass differ in plan.
                    await cursor.execute(str(compiled), compiled.params, prepare=False)
                    result = cursor.pgresult
        assert result is not None
        value = result.get_value
        return [_ListedRow(value(row, 0), value(row, 1), value(row, 2)) for row in range(result.ntuples)]

    async def put(self, put: ConnectionImport, *, etag: int | None, now: float) -> tuple[Rendered, bool]:
        """Create the connection, or update the one that has the key; see the port."""
        key = put.key
        await self._keys.get_ready(key.environment_id)
        async with transaction(self._engine) as connection:
            if etag is None and not put.missing:
                # Most imports create, and then this one statement is all.
                rendered = await self._insert(connection, put, now)
                if rendered is not None:
                    return rendered, True
            row = await self._lock(connection, key)
            if row is None and etag is None and put.missing:
                raise InvalidRequest(put.missing)
            if row is None and etag is None:
                raise WriteConflict("the connection was deleted meanwhile; repeat the call", retry_after=0.0)
            if row is None:
                raise NotFound.connection(key.provider_config_key, key.connection_id)
            _check_etag(row, etag)
            return await self._overwrite(connection, row, put, now), False

    async def _lock(self, connection: AsyncConnection, key: ConnectionKey) -> Any:
        query = sa.select(table).where(matches(key)).with_for_update()
        return (await connection.execute(query)).one_or_none()

    async def _insert(self, connection: AsyncConnection, put: ConnectionImport, now: float) -> Rendered | None:
        key, uid = put.key, uuid.uuid4()
        columns = new_columns(put, uid, await self._keys.new(key.environment_id, TABLE, uid.bytes), now)
        statement = (
            postgresql.insert(table)
            .values(columns)
            .on_conflict_do_nothing(index_elements=["environment_id", "provider_config_key", "connection_id"])
            .returning(table.c.uid)
        )
        try:
            result = await connection.execute(statement)
        except sa.exc.IntegrityError as error:
            # The integration was deleted since it was read.
            raise NotFound.integration(key.provider_config_key) from error
        return Rendered(columns["edit_part"] + columns["state_part"]) if result.first() is not None else None

    async def _overwrite(self, connection: AsyncConnection, row: Any, put: ConnectionImport, now: float) -> Rendered:
        present = edit_of(row)
        edit = ConnectionEdit(
            metadata=present.metadata if put.metadata is None else put.metadata,
            tags=present.tags if put.tags is None else put.tags,
            connection_config=(present.connection_config if put.connection_config is None else put.connection_config),
            display_name=present.display_name if put.display_name is None else put.display_name,
            update_time=now,
            revision=present.revision + 1,
        )
        values = edit_columns(put.key, row, edit)
        state_part = row.state_part
        if put.imported is not None:
            state = imported_state(put.imported, generation=row.generation + 1)
            data_key = await self._keys.open(put.key.environment_id, TABLE, row.uid.bytes, row.wrapped_data_key)
            columns = state_columns(state)
            state_part = columns["state_part"]
            values |= columns | sealed_columns(data_key, put.imported.credentials, put.imported.raw)
            values |= {"rotates": None, "lifetime": None}
        await connection.execute(sa.update(table).where(matches(put.key)).values(values))
        return Rendered(values["edit_part"] + state_part)

    async def edit(
        self, key: ConnectionKey, edit: Callable[[ConnectionEdit], ConnectionEdit], *, etag: int | None
    ) -> Rendered:
        """Apply `edit` under the row's lock, so that no concurrent edit is lost; see the port."""
        query = (
            sa.select(
                table.c.uid,
                table.c.provider,
                table.c.auth_mode,
                table.c.create_time,
                table.c.metadata,
                table.c.tags,
                table.c.connection_config,
                table.c.display_name,
                table.c.update_time,
                table.c.revision,
                table.c.state_part,
            )
            .where(matches(key))
            .with_for_update()
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise NotFound.connection(key.provider_config_key, key.connection_id)
            _check_etag(row, etag)
            values = edit_columns(key, row, edit(edit_of(row)))
            await connection.execute(sa.update(table).where(matches(key)).values(values))
        return Rendered(values["edit_part"] + row.state_part)

    async def delete(self, key: ConnectionKey, *, etag: int | None) -> None:
        """Remove the connection and all its data; see the port."""
        statement = sa.delete(table).where(matches(key))
        if etag is not None:
            statement = statement.where(table.c.revision == etag)
        async with transaction(self._engine) as connection:
            if (await connection.execute(statement)).rowcount:
                return
            row = (await connection.execute(sa.select(table.c.revision).where(matches(key)))).one_or_none()
        if row is None:
            raise NotFound.connection(key.provider_config_key, key.connection_id)
        raise EtagMismatch(wire.etag_of(row.revision))


def _check_etag(row: Any, etag: int | None) -> None:
    if etag is not None and row.revision != etag:
        raise EtagMismatch(wire.etag_of(row.revision))


def page_query(
    environment_id: UUID, where: ListFilter, after: ListPosition | None, size: int
) -> sa.Select[tuple[dt.datetime, UUID, bytes]]:
    """Return the query for one page of a list, newest first."""
    query = sa.select(table.c.create_time, table.c.uid, table.c.edit_part.op("||")(table.c.state_part)).where(
        table.c.environment_id == environment_id
    )
    if after is not None:
        created = _EPOCH + after.create_time_us * _MICROSECOND
        query = query.where(sa.tuple_(table.c.create_time, table.c.uid) < sa.tuple_(created, after.uid))
    if where.connection_id:
        query = query.where(table.c.connection_id == where.connection_id)
    if where.provider_config_keys:
        query = query.where(table.c.provider_config_key.in_(where.provider_config_keys))
    if where.tags:
        query = query.where(table.c.tags.contains(sa.cast(sa.literal(json.dumps(dict(where.tags)), sa.Text), JSONB)))
    if where.statuses:
        query = query.where(table.c.status.in_([status.value for status in where.statuses]))
    if where.search:
        query = query.where(
            sa.or_(
                table.c.connection_id.icontains(where.search, autoescape=True),
                table.c.display_name.icontains(where.search, autoescape=True),
                table.c.tags["end_user_display_name"].astext.icontains(where.search, autoescape=True),
                table.c.tags["end_user_email"].astext.icontains(where.search, autoescape=True),
            )
        )
    return query.order_by(table.c.create_time.desc(), table.c.uid.desc()).limit(size)
