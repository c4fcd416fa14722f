"""The clock that all replicas share: the database's."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from server.domain.errors import ServiceError
from server.storage.engine import transaction, unavailable

_INTERVAL: Final = 60.0
_SLOWEST: Final = 2.0
"""Seconds that a measurement may take: its error is up to half of that, and must stay far below any lease."""


class DatabaseClock:
    """Tells the database's time without asking it: this machine's monotonic clock, set by the database's now and then.

    Leases and expiries are compared by this clock alone, so that replicas whose clocks differ still agree.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Return the present instant, in seconds since the epoch."""
        return self._offset + time.monotonic()

    async def set(self) -> None:
        """Set the clock. Raises `StorageUnavailable`, also if the database took too long to tell a time that is of use."""
        async with transaction(self._engine) as connection:
            before = time.monotonic()
            instant = (
                await connection.execute(sa.select(sa.func.extract("epoch", sa.func.clock_timestamp())))
            ).scalar_one()
            after = time.monotonic()
        if after - before > _SLOWEST:
            raise unavailable("the database is too slow to tell the time")
        self._offset = float(instant) - (before + after) / 2

    async def keep_set(self) -> None:
        """Set the clock once a minute, for ever. A database that is away leaves it as it is."""
        while True:
            await asyncio.sleep(_INTERVAL)
            try:
                await self.set()
            except ServiceError:
                continue
