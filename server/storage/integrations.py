"""The integrations aggregate."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from server import wire
from server.crypto.data_keys import DataKeys
from server.domain.errors import EtagMismatch, IntegrationAlreadyExists, IntegrationHasConnections, NotFound
from server.domain.model import AuthMode, Integration
from server.domain.secret import Secret
from server.storage.columns import state_columns, state_of
from server.storage.engine import from_datetime, statement, to_datetime, transaction
from server.storage.tables import connections, integrations

TABLE: Final = "integrations"
CLIENT_SECRET: Final = "sealed_client_secret"  # noqa: S105 (the name of a column)
_RELEASE_BATCH: Final = 500
_HIDDEN: Final = Secret("set")


def row_id(provider_config_key: str) -> bytes:
    """Return what binds an integration's secrets to its row."""
    return provider_config_key.encode()


class PostgresIntegrationStore:
    """Implements `domain.ports.IntegrationStore`."""

    def __init__(self, engine: AsyncEngine, keys: DataKeys) -> None:
        self._engine = engine
        self._keys = keys

    async def create(self, integration: Integration) -> None:
        """Store a new integration. Raises `IntegrationAlreadyExists`."""
        values = await self._columns(integration)
        async with transaction(self._engine) as connection:
            try:
                await connection.execute(sa.insert(integrations).values(values))
            except sa.exc.IntegrityError as error:
                raise IntegrationAlreadyExists(
                    f"integration {integration.provider_config_key!r} exists already; update it, or choose another key",
                    metadata={"providerConfigKey": integration.provider_config_key},
                ) from error

    async def get(self, environment_id: UUID, provider_config_key: str) -> Integration:
        """Return an integration, its client secret open. Raises `NotFound`."""
        async with statement(self._engine) as connection:
            row = await _select(connection, environment_id, provider_config_key)
        return await self.open(row)

    async def page(self, environment_id: UUID, after: str, size: int) -> Sequence[Integration]:
        """Return up to `size` integrations whose key follows `after`, their client secrets only hinted at."""
        query = (
            sa.select(integrations)
            .where(integrations.c.environment_id == environment_id, integrations.c.provider_config_key > after)
            .order_by(integrations.c.provider_config_key)
            .limit(size)
        )
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query)).all()
        return [_integration(row, _HIDDEN if row.sealed_client_secret else None) for row in rows]

    async def update(
        self,
        environment_id: UUID,
        provider_config_key: str,
        change: Callable[[Integration], Integration],
        *,
        etag: int | None,
    ) -> Integration:
        """Apply `change` under the row's lock. A corrected client lets the connections that waited refresh again."""
        await self._keys.get_ready(environment_id)
        async with transaction(self._engine) as connection:
            row = await _select(connection, environment_id, provider_config_key, for_update=True)
            if etag is not None and row.revision != etag:
                raise EtagMismatch(wire.etag_of(row.revision))
            changed = change(await self.open(row))
            values = await self._columns(changed, row.wrapped_data_key)
            values |= {"client_refused_until": None, "client_refusals": 0}
            await connection.execute(
                sa.update(integrations).where(_matches(environment_id, provider_config_key)).values(values)
            )
        await self._release(environment_id, provider_config_key, changed.update_time)
        return changed

    async def delete(self, environment_id: UUID, provider_config_key: str, *, etag: int | None, force: bool) -> int:
        """Remove an integration and return how many connections went with it; see the port."""
        async with transaction(self._engine) as connection:
            row = await _select(connection, environment_id, provider_config_key, for_update=True)
            if etag is not None and row.revision != etag:
                raise EtagMismatch(wire.etag_of(row.revision))
            owned = sa.and_(
                connections.c.environment_id == environment_id,
                connections.c.provider_config_key == provider_config_key,
            )
            if not force and (await connection.execute(sa.select(sa.literal(1)).where(owned).limit(1))).first():
                raise IntegrationHasConnections(
                    f"integration {provider_config_key!r} has connections; delete them first, or delete it with `force`",
                    metadata={"providerConfigKey": provider_config_key},
                )
            deleted = (await connection.execute(sa.delete(connections).where(owned))).rowcount
            await connection.execute(sa.delete(integrations).where(_matches(environment_id, provider_config_key)))
        return deleted

    async def open(self, row: Any) -> Integration:
        """Return the integration that a row holds, its client secret open. Raises `CredentialsUnreadable`."""
        secret = None
        if row.sealed_client_secret is not None:
            key = await self._keys.open(
                row.environment_id, TABLE, row_id(row.provider_config_key), row.wrapped_data_key
            )
            secret = Secret(key.open(CLIENT_SECRET, row.sealed_client_secret).decode())
        return _integration(row, secret)

    async def _columns(self, integration: Integration, wrapped_data_key: bytes | None = None) -> dict[str, Any]:
        environment_id, row = integration.environment_id, row_id(integration.provider_config_key)
        if wrapped_data_key is None:
            key = await self._keys.new(environment_id, TABLE, row)
        else:
            key = await self._keys.open(environment_id, TABLE, row, wrapped_data_key)
        secret = integration.client_secret
        return {
            "environment_id": environment_id,
            "provider_config_key": integration.provider_config_key,
            "uid": integration.uid,
            "provider": integration.provider,
            "auth_mode": integration.auth_mode.value,
            "display_name": integration.display_name,
            "client_id": integration.client_id,
            "wrapped_data_key": key.wrapped,
            CLIENT_SECRET: None if secret is None else key.seal(CLIENT_SECRET, secret.reveal().encode()),
            "scopes": list(integration.scopes),
            "connection_config": integration.connection_config,
            "create_time": to_datetime(integration.create_time),
            "update_time": to_datetime(integration.update_time),
            "revision": integration.revision,
        }

    async def _release(self, environment_id: UUID, provider_config_key: str, now: float) -> None:
        """Make the connections due that waited for the integration to be corrected, a batch at a time."""
        waiting = sa.and_(
            connections.c.environment_id == environment_id,
            connections.c.provider_config_key == provider_config_key,
            connections.c.status == "REFRESH_FAILING",
            connections.c.failure_reason == "INTEGRATION_MISCONFIGURED",
        )
        last = uuid.UUID(int=0)
        while True:
            async with transaction(self._engine) as connection:
                query = (
                    sa.select(connections)
                    .where(waiting, connections.c.uid > last)
                    .order_by(connections.c.uid)
                    .limit(_RELEASE_BATCH)
                    .with_for_update()
                )
                rows = (await connection.execute(query)).all()
                for row in rows:
                    state = dataclasses.replace(state_of(row), refresh_due_at=now, next_refresh_at=now)
                    await connection.execute(
                        sa.update(connections)
                        .where(connections.c.environment_id == environment_id, connections.c.uid == row.uid)
                        .values(state_columns(state))
                    )
            if len(rows) < _RELEASE_BATCH:
                return
            last = rows[-1].uid


def _matches(environment_id: UUID, provider_config_key: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        integrations.c.environment_id == environment_id, integrations.c.provider_config_key == provider_config_key
    )


async def _select(
    connection: AsyncConnection, environment_id: UUID, provider_config_key: str, *, for_update: bool = False
) -> Any:
    query = sa.select(integrations).where(_matches(environment_id, provider_config_key))
    row = (await connection.execute(query.with_for_update() if for_update else query)).one_or_none()
    if row is None:
        raise NotFound.integration(provider_config_key)
    return row


def _integration(row: Any, client_secret: Secret | None) -> Integration:
    return Integration(
        environment_id=row.environment_id,
        provider_config_key=row.provider_config_key,
        uid=row.uid,
        provider=row.provider,
        auth_mode=AuthMode(row.auth_mode),
        display_name=row.display_name,
        client_id=row.client_id,
        client_secret=client_secret,
        scopes=tuple(row.scopes),
        connection_config=row.connection_config,
        create_time=from_datetime(row.create_time) or 0.0,
        update_time=from_datetime(row.update_time) or 0.0,
        revision=row.revision,
    )
