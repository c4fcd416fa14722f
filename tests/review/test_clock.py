"""The clock that all replicas share does not believe an answer that took too long."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from server.domain.errors import StorageUnavailable
from server.storage.clock import DatabaseClock
from server.storage.engine import DatabaseSettings, create_engine


def test_a_stalled_database_does_not_move_the_clock(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as database:
        # Answers with the instant at the end of a stall, as a machine that was paused does.
        database.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS"
            " 'SELECT pg_catalog.clock_timestamp() FROM pg_catalog.pg_sleep(3)'"
        )
        name = database.info.dbname
        database.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')

    async def run() -> float:
        engine = create_engine(DatabaseSettings(database_url))
        clock = DatabaseClock(engine)
        before = clock.now() - asyncio.get_running_loop().time()
        with pytest.raises(StorageUnavailable):
            await clock.set()
        after = clock.now() - asyncio.get_running_loop().time()
        await engine.dispose()
        return after - before

    assert abs(asyncio.run(run())) < 0.01
