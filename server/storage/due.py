"""What is due: claimed by rows, so that any number of processes share the work without meeting.

A claim takes two things in one transaction: a free slot of the provider (a row of `provider_slots`, of which there are as
many as refreshes may run at the provider at once, over all processes), and a connection that is due (a row whose next
refresh time moves on). Both are taken with `SKIP LOCKED`, so nobody waits for anybody; both come back by themselves
after a while, so nothing is lost with a process that dies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from server.domain.model import ConnectionKey
from server.refresh.ports import Due, Slot
from server.storage.attempts import HANDED_OVER
from server.storage.engine import to_datetime, transaction
from server.storage.tables import connections, integrations, provider_slots, refresh_attempts

_NOW: Final = sa.bindparam("now", type_=sa.TIMESTAMP(timezone=True))


class PostgresDueStore:
    """Implements `refresh.ports.DueStore`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def open_slots(self, bound: Callable[[str], int]) -> Mapping[str, int]:
        """See to it that every provider in use has its slots; see the port."""
        async with transaction(self._engine) as connection:
            providers = (await connection.execute(sa.select(integrations.c.provider).distinct())).scalars().all()
            bounds = {provider: bound(provider) for provider in sorted(providers)}
            rows = [
                {"provider": provider, "slot": slot, "expire_time": HANDED_OVER}
                for provider, count in bounds.items()
                for slot in range(1, count + 1)
            ]
            if rows:
                await connection.execute(postgresql.insert(provider_slots).on_conflict_do_nothing(), rows)
        return bounds

    async def claim_due(
        self, *, now: float, limit: int, hold: float, bounds: Mapping[str, int], done: Sequence[Slot], owner: UUID
    ) -> list[Due]:
        """Claim connections that are due, soonest first, each with a slot of its provider; see the port."""
        async with transaction(self._engine) as connection:
            await connection.execute(_HAND_OVER, {"now": to_datetime(now)})
            if done:
                await connection.execute(_free(done, owner))
            free = await self._free(connection, now, bounds)
            due = await self._due(connection, now, limit, free) if free else []
            if not due:
                return []
            claimed = []
            for row in due:
                slot = Slot(row.provider, free[row.provider].pop())
                key = ConnectionKey(row.environment_id, row.provider_config_key, row.connection_id)
                claimed.append(Due(key, slot, row.next_refresh_time.timestamp()))
            until = to_datetime(now + hold)
            await connection.execute(
                sa.update(connections)
                .where(sa.tuple_(connections.c.environment_id, connections.c.uid).in_([(r[0], r[1]) for r in due]))
                .values(next_refresh_time=until)
            )
            await connection.execute(
                sa.update(provider_slots)
                .where(_are([one.slot for one in claimed]))
                .values(owner=owner, expire_time=until)
            )
        return claimed

    async def _free(self, connection: AsyncConnection, now: float, bounds: Mapping[str, int]) -> dict[str, list[int]]:
        """Lock and return the free slots of each provider."""
        parameters = {"now": to_datetime(now), "providers": list(bounds), "bounds": list(bounds.values())}
        free: dict[str, list[int]] = {}
        for provider, slot in await connection.execute(_FREE_SLOTS, parameters):
            free.setdefault(provider, []).append(slot)
        return free

    async def _due(
        self, connection: AsyncConnection, now: float, limit: int, free: Mapping[str, Sequence[int]]
    ) -> Sequence[Any]:
        """Lock and return what is due."""
        parameters = {
            "now": to_datetime(now),
            "most": limit,
            "providers": list(free),
            "free": [len(slots) for slots in free.values()],
        }
        rows: Sequence[Any] = (await connection.execute(_DUE, parameters)).all()
        return rows


def _hand_over() -> sa.Update:
    """Return the statement that makes what a dead process left in mid-exchange due at once, each attempt once.

    Its token may be spent: while the reuse window is open it can still be saved, and an answer that was stored waits only
    to be applied. The connection's own time may be far off, or never.
    """
    abandoned = (
        sa.update(refresh_attempts)
        .where(
            refresh_attempts.c.lease_expire_time > HANDED_OVER,
            refresh_attempts.c.lease_expire_time <= _NOW,
            refresh_attempts.c.spend_time.is_not(None),
        )
        .values(lease_expire_time=HANDED_OVER)
        .returning(refresh_attempts.c.environment_id, refresh_attempts.c.uid, refresh_attempts.c.generation)
        .cte("abandoned")
    )
    return (
        sa.update(connections)
        .where(
            connections.c.environment_id == abandoned.c.environment_id,
            connections.c.uid == abandoned.c.uid,
            connections.c.generation == abandoned.c.generation,
        )
        .values(next_refresh_time=sa.func.least(connections.c.next_refresh_time, _NOW))
    )


def _free(done: Sequence[Slot], owner: UUID) -> sa.Update:
    """Return the statement that gives slots back. One that ran out and that another took is left alone."""
    return (
        sa.update(provider_slots)
        .where(_are(done), provider_slots.c.owner == owner)
        .values(owner=None, expire_time=HANDED_OVER)
    )


def _are(slots: Sequence[Slot]) -> sa.ColumnElement[bool]:
    return sa.tuple_(provider_slots.c.provider, provider_slots.c.slot).in_(
        [(one.provider, one.number) for one in slots]
    )


def _unnest(name: str, **columns: Any) -> Any:
    """Return equally long lists, parameters of the same names, as the columns of a table."""
    arrays = (sa.bindparam(column, type_=ARRAY(kind)) for column, kind in columns.items())
    table: Any = sa.func.unnest(*arrays).table_valued(*(sa.column(column, kind) for column, kind in columns.items()))
    return table.render_derived(name=name)


def _free_slots() -> sa.Select[Any]:
    """Return the query that locks the free slots. Those that another process is about to take are not free."""
    within = _unnest("within", providers=sa.Text, bounds=sa.Integer)
    return (
        sa.select(provider_slots.c.provider, provider_slots.c.slot)
        .join(
            within,
            sa.and_(provider_slots.c.provider == within.c.providers, provider_slots.c.slot <= within.c.bounds),
        )
        .where(provider_slots.c.expire_time <= _NOW)
        .with_for_update(of=provider_slots, skip_locked=True)
    )


def _due() -> sa.Select[Any]:
    """Return the query that locks what is due, soonest first, no more per provider than it has free slots."""
    room = _unnest("room", providers=sa.Text, free=sa.Integer)
    most = sa.bindparam("most", type_=sa.Integer)
    of_provider = (
        sa.select(
            connections.c.environment_id,
            connections.c.uid,
            connections.c.provider_config_key,
            connections.c.connection_id,
            connections.c.provider,
            connections.c.next_refresh_time,
        )
        .where(connections.c.provider == room.c.providers, connections.c.next_refresh_time <= _NOW)
        .order_by(connections.c.next_refresh_time)
        .limit(sa.func.least(room.c.free, most))
        .with_for_update(skip_locked=True)
        .lateral("of_provider")
    )
    return (
        sa.select(of_provider)
        .select_from(room.join(of_provider, sa.true()))
        .order_by(of_provider.c.next_refresh_time)
        .limit(most)
    )


# Made once: to build a statement takes longer than to run it.
_HAND_OVER: Final = _hand_over()
_FREE_SLOTS: Final = _free_slots()
_DUE: Final = _due()
