"""Leases, attempts and their outcome: what the refresh engine remembers across processes and crashes.

Every step is one short transaction; nothing is held while a provider is asked. Time is the engine's clock, which all
replicas share (see `storage.clock`).
"""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from server.crypto.data_keys import DataKey, DataKeys
from server.domain.errors import ServiceError
from server.domain.model import AuthMode, ConnectionKey, CredentialState
from server.refresh.ports import (
    Applied,
    ExchangeRequest,
    Lease,
    LeaseHeld,
    Progress,
    ProviderAnswer,
    UnfinishedAttempt,
)
from server.storage.attempts import (
    HANDED_OVER,
    IntegrationColumns,
    attempt_of,
    end_attempt,
    integration_of,
    snapshot,
    take_lease,
)
from server.storage.columns import (
    GRANT,
    TABLE,
    edit_columns,
    edit_of,
    grant_from_bytes,
    matches,
    sealed_columns,
    state_columns,
    state_of,
)
from server.storage.engine import from_datetime, to_datetime, transaction
from server.storage.integrations import PostgresIntegrationStore
from server.storage.tables import connections, integrations, refresh_attempts

ANSWER: Final = "sealed_answer"


def answer_to_bytes(answer: ProviderAnswer) -> bytes:
    """Serialise a provider's answer."""
    document = {
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": base64.b64encode(answer.body).decode(),
    }
    return json.dumps(document).encode()


def answer_from_bytes(data: bytes) -> ProviderAnswer:
    """Return what `answer_to_bytes` was given."""
    document = json.loads(data)
    return ProviderAnswer(document["status"], document["headers"], base64.b64decode(document["body"]))


class PostgresRefreshStore:
    """Implements `refresh.ports.RefreshStore`."""

    def __init__(self, engine: AsyncEngine, keys: DataKeys, integration_store: PostgresIntegrationStore) -> None:
        self._engine = engine
        self._keys = keys
        self._integrations = integration_store

    async def acquire(self, key: ConnectionKey, *, owner: UUID, now: float, ttl: float) -> Lease | LeaseHeld | None:
        """Take the lease for `ttl` seconds if nobody holds it; see the port."""
        async with transaction(self._engine) as connection:
            try:
                attempt = (await connection.execute(take_lease(key, owner, now, ttl))).one_or_none()
            except sa.exc.IntegrityError:
                # Deleted while the statement ran.
                return None
            if attempt is None:
                query = sa.select(connections.c.uid, connections.c.generation).where(matches(key))
                row = (await connection.execute(query)).one_or_none()
                return None if row is None else LeaseHeld(row.uid, row.generation)
            row = (await connection.execute(snapshot(key, attempt.uid))).one_or_none()
        if row is None:
            return None
        try:
            return await self._lease(key, owner, attempt, row)
        except ServiceError:
            # What does not decrypt will not be refreshed: nobody shall wait for a lease that does nothing.
            own = sa.and_(
                refresh_attempts.c.environment_id == key.environment_id,
                refresh_attempts.c.uid == attempt.uid,
                refresh_attempts.c.owner == owner,
            )
            async with transaction(self._engine) as connection:
                await connection.execute(
                    sa.update(refresh_attempts).where(own).values(lease_expire_time=to_datetime(0.0))
                )
            raise

    async def _lease(self, key: ConnectionKey, owner: UUID, attempt: Any, row: Any) -> Lease:
        data_key = await self._open(key.environment_id, row.uid, row.wrapped_data_key)
        credentials, raw = grant_from_bytes(data_key.open(GRANT, row.sealed_grant))
        integration = await self._integrations.open(IntegrationColumns(row))
        unfinished = None
        if attempt.spend_time is not None and attempt.generation == row.generation:
            sealed = attempt.sealed_answer
            unfinished = UnfinishedAttempt(
                spend_time=attempt.spend_time.timestamp(),
                answer=None if sealed is None else answer_from_bytes(data_key.open(ANSWER, sealed)),
                answer_time=from_datetime(attempt.answer_time),
            )
        return Lease(
            owner=owner,
            key=key,
            uid=row.uid,
            generation=row.generation,
            request=ExchangeRequest(
                key=key,
                provider=row.provider,
                auth_mode=AuthMode(row.auth_mode),
                client_id=integration.client_id,
                client_secret=integration.client_secret,
                scopes=integration.scopes,
                connection_config={**row.connection_config, **integration.connection_config},
                credentials=credentials,
            ),
            state=state_of(row),
            raw=raw,
            rotates=row.rotates,
            lifetime=row.lifetime,
            client_refused_until=from_datetime(row.client_refused_until),
            client_refusals=row.client_refusals,
            unfinished=unfinished,
            wrapped_data_key=row.wrapped_data_key,
        )

    async def renew(self, lease: Lease, *, now: float, ttl: float) -> bool:
        """Hold the lease for `ttl` seconds more; False if it is no longer this owner's."""
        return await self._update_own(lease, now, lease_expire_time=to_datetime(now + ttl))

    async def record_attempt(self, lease: Lease, *, now: float, spend_time: float) -> bool:
        """Record that the token is about to be sent; see the port."""
        return await self._update_own(
            lease, now, refresh_attempts.c.sealed_answer.is_(None), spend_time=to_datetime(spend_time)
        )

    async def _update_own(self, lease: Lease, now: float, *more: sa.ColumnElement[bool], **values: Any) -> bool:
        statement = (
            sa.update(refresh_attempts)
            .where(
                attempt_of(lease),
                refresh_attempts.c.owner == lease.owner,
                refresh_attempts.c.lease_expire_time > to_datetime(now),
                *more,
            )
            .values(values)
        )
        async with transaction(self._engine) as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def progress(self, key: ConnectionKey, uid: UUID) -> Progress | None:
        """Return how far another's exchange is, None if the connection is gone."""
        query = (
            sa.select(connections.c.generation, refresh_attempts.c.lease_expire_time)
            .outerjoin(
                refresh_attempts,
                sa.and_(
                    refresh_attempts.c.environment_id == connections.c.environment_id,
                    refresh_attempts.c.uid == connections.c.uid,
                ),
            )
            .where(matches(key), connections.c.uid == uid)
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Progress(row.generation, from_datetime(row.lease_expire_time))

    async def keep_answer(self, lease: Lease, answer: ProviderAnswer, *, now: float) -> bool:
        """Store the provider's answer, sealed, whoever holds the lease now; False if the connection is gone."""
        data_key = await self._open(lease.key.environment_id, lease.uid, lease.wrapped_data_key)
        return await self.keep_sealed_answer(
            lease.key.environment_id,
            lease.uid,
            lease.generation,
            lease.owner,
            data_key.seal(ANSWER, answer_to_bytes(answer)),
            now,
        )

    async def keep_sealed_answer(
        self, environment_id: UUID, uid: UUID, generation: int, owner: UUID, sealed: bytes, now: float
    ) -> bool:
        """As `keep_answer`, for an answer that is sealed already."""
        insert = postgresql.insert(refresh_attempts).from_select(
            ["environment_id", "uid", "generation", "owner", "lease_expire_time", "spend_time", ANSWER, "answer_time"],
            sa.select(
                connections.c.environment_id,
                connections.c.uid,
                sa.literal(generation, sa.BigInteger),
                sa.literal(owner, sa.Uuid),
                *(sa.literal(to_datetime(now), sa.TIMESTAMP(timezone=True)) for _ in range(2)),
                sa.literal(sealed, sa.LargeBinary),
                sa.literal(to_datetime(now), sa.TIMESTAMP(timezone=True)),
            ).where(connections.c.environment_id == environment_id, connections.c.uid == uid),
        )
        statement = insert.on_conflict_do_update(
            index_elements=["environment_id", "uid"],
            set_={
                "generation": insert.excluded.generation,
                "sealed_answer": insert.excluded.sealed_answer,
                "answer_time": insert.excluded.answer_time,
                "spend_time": sa.func.coalesce(refresh_attempts.c.spend_time, insert.excluded.spend_time),
            },
            # An attempt at newer credentials is not disturbed: this answer lost its race.
            where=refresh_attempts.c.generation <= generation,
        ).returning(refresh_attempts.c.uid)
        async with transaction(self._engine) as connection:
            try:
                if (await connection.execute(statement)).first() is not None:
                    return True
            except sa.exc.IntegrityError:
                # Deleted while the statement ran.
                return False
            query = sa.select(sa.literal(1)).where(
                connections.c.environment_id == environment_id, connections.c.uid == uid
            )
            return (await connection.execute(query)).first() is not None

    async def apply(self, lease: Lease, applied: Applied) -> bool:
        """Store new credentials by compare-and-swap on the generation; False if it moved. Ends the attempt."""
        data_key = await self._open(lease.key.environment_id, lease.uid, lease.wrapped_data_key)
        values: dict[str, Any] = state_columns(applied.state)
        values |= sealed_columns(data_key, applied.new.credentials, applied.new.raw)
        values |= {
            "rotates": applied.rotates,
            "lifetime": None if applied.lifetime is None else min(round(applied.lifetime), 2**31 - 1),
        }
        async with transaction(self._engine) as connection:
            if applied.new.connection_config:
                values |= await self._merged_config(connection, lease, applied.new.connection_config)
            stored = await self._compare_and_swap(connection, lease, values)
            await connection.execute(end_attempt(lease))
            if stored and lease.client_refusals:
                await connection.execute(
                    sa.update(integrations)
                    .where(integration_of(lease))
                    .values(client_refused_until=None, client_refusals=0)
                )
        return stored

    async def fail(self, lease: Lease, state: CredentialState, *, spent: bool, answered: bool) -> bool:
        """Store a failure's state if the generation is still the lease's; see the port."""
        async with transaction(self._engine) as connection:
            stored = await self._compare_and_swap(connection, lease, state_columns(state))
            if spent:
                values: dict[str, Any] = {"lease_expire_time": HANDED_OVER}
                if answered:
                    values |= {ANSWER: None, "answer_time": None}
                await connection.execute(
                    sa.update(refresh_attempts)
                    .where(attempt_of(lease), refresh_attempts.c.owner == lease.owner)
                    .values(values)
                )
            elif answered:
                await connection.execute(end_attempt(lease))
            else:
                await connection.execute(end_attempt(lease).where(refresh_attempts.c.sealed_answer.is_(None)))
        return stored

    async def release(self, lease: Lease) -> None:
        """Give the lease back; what an earlier owner left unfinished stays recorded."""
        own = sa.and_(attempt_of(lease), refresh_attempts.c.owner == lease.owner)
        async with transaction(self._engine) as connection:
            await connection.execute(sa.delete(refresh_attempts).where(own, refresh_attempts.c.spend_time.is_(None)))
            await connection.execute(sa.update(refresh_attempts).where(own).values(lease_expire_time=HANDED_OVER))

    async def refuse_client(self, lease: Lease, *, until: float) -> None:
        """Record that the provider refuses the integration's client."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                sa.update(integrations)
                .where(integration_of(lease))
                .values(client_refused_until=to_datetime(until), client_refusals=integrations.c.client_refusals + 1)
            )

    async def _compare_and_swap(self, connection: AsyncConnection, lease: Lease, values: dict[str, Any]) -> bool:
        statement = (
            sa.update(connections)
            .where(
                connections.c.environment_id == lease.key.environment_id,
                connections.c.uid == lease.uid,
                connections.c.generation == lease.generation,
            )
            .values(values)
        )
        return (await connection.execute(statement)).rowcount == 1

    async def _merged_config(self, connection: AsyncConnection, lease: Lease, found: Any) -> dict[str, Any]:
        """Return the edit columns with values that the token response brought, read under the row's lock."""
        query = (
            sa.select(connections)
            .where(connections.c.environment_id == lease.key.environment_id, connections.c.uid == lease.uid)
            .with_for_update()
        )
        row = (await connection.execute(query)).one_or_none()
        if row is None or all(row.connection_config.get(name) == value for name, value in found.items()):
            return {}
        edit = edit_of(row)
        return edit_columns(
            lease.key, row, dataclasses.replace(edit, connection_config={**edit.connection_config, **found})
        )

    async def _open(self, environment_id: UUID, uid: UUID, wrapped: bytes) -> DataKey:
        return await self._keys.open(environment_id, TABLE, uid.bytes, wrapped)
