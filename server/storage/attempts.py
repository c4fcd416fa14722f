"""The statements behind leases: how an attempt is taken, named and ended."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from server.domain.model import ConnectionKey
from server.refresh.ports import Lease
from server.storage.columns import matches
from server.storage.engine import to_datetime
from server.storage.tables import connections, integrations, refresh_attempts

HANDED_OVER: Final = to_datetime(0.0)
"""Until when an attempt is leased that nobody holds, and whose connection's own times say when to go on with it."""


class IntegrationColumns:
    """Shows the integration's part of a joined row as a row of its own."""

    def __init__(self, row: Any) -> None:
        self._row = row

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, f"i_{name}")


def attempt_of(lease: Lease) -> sa.ColumnElement[bool]:
    """Return the condition that holds for the attempts row of a lease's connection."""
    return sa.and_(refresh_attempts.c.environment_id == lease.key.environment_id, refresh_attempts.c.uid == lease.uid)


def integration_of(lease: Lease) -> sa.ColumnElement[bool]:
    """Return the condition that holds for a lease's integration."""
    return sa.and_(
        integrations.c.environment_id == lease.key.environment_id,
        integrations.c.provider_config_key == lease.key.provider_config_key,
    )


def end_attempt(lease: Lease) -> sa.Delete:
    """Forget the attempt. One at newer credentials, by whoever took the lease over, is not touched."""
    return sa.delete(refresh_attempts).where(attempt_of(lease), refresh_attempts.c.generation == lease.generation)


def take_lease(key: ConnectionKey, owner: UUID, now: float, ttl: float) -> Any:
    """Return the statement that takes the lease if it is free, and tells what an earlier owner left."""
    insert = postgresql.insert(refresh_attempts).from_select(
        ["environment_id", "uid", "generation", "owner", "lease_expire_time"],
        sa.select(
            connections.c.environment_id,
            connections.c.uid,
            connections.c.generation,
            sa.literal(owner, sa.Uuid),
            sa.literal(to_datetime(now + ttl), sa.TIMESTAMP(timezone=True)),
        ).where(matches(key)),
    )
    same = refresh_attempts.c.generation == insert.excluded.generation
    kept = {
        name: sa.case((same, refresh_attempts.c[name]), else_=sa.null())
        for name in ("spend_time", "sealed_answer", "answer_time")
    }
    return insert.on_conflict_do_update(
        index_elements=["environment_id", "uid"],
        set_={
            "owner": insert.excluded.owner,
            "lease_expire_time": insert.excluded.lease_expire_time,
            "generation": insert.excluded.generation,
            **kept,
        },
        where=refresh_attempts.c.lease_expire_time <= to_datetime(now),
    ).returning(
        refresh_attempts.c.uid,
        refresh_attempts.c.generation,
        refresh_attempts.c.spend_time,
        refresh_attempts.c.sealed_answer,
        refresh_attempts.c.answer_time,
    )


def snapshot(key: ConnectionKey, uid: UUID) -> sa.Select[Any]:
    """Return the query for a connection and its integration, whose columns carry the prefix `i_`."""
    return (
        sa.select(
            connections,
            *(column.label(f"i_{column.name}") for column in integrations.c),
            integrations.c.client_refused_until,
            integrations.c.client_refusals,
        )
        .join(
            integrations,
            sa.and_(
                integrations.c.environment_id == connections.c.environment_id,
                integrations.c.provider_config_key == connections.c.provider_config_key,
            ),
        )
        .where(matches(key), connections.c.uid == uid)
    )
