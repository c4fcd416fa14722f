"""Point reads: the right row for each key whatever is asked at once, and never a wait without end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from bench import seed
from server.config import Config
from server.domain.errors import StorageUnavailable
from server.domain.model import ConnectionKey
from server.prepare import bootstrap
from server.storage.engine import DatabaseSettings
from server.storage.point_reader import PointReader
from tests.support.server_process import KEYRING

COUNT = 60
ODD = (
    "ключ", "钥匙", "🔑", "é", "e\u0301", "it's", 'say "x"', "{1,2}", "a,b", "\\", "\\N", "NULL", "null", " ", "a b ",
    "%", "$1", "x" * 255, "語" * 255,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database holds, in two environments that use the same names."""

    url: str
    environments: tuple[UUID, ...]
    uids: dict[ConnectionKey, UUID]


@pytest.fixture
async def rows(database_url: str, tmp_path: Path) -> Rows:
    """Connections with plain names and with odd ones; the second environment lacks every third."""
    settings = {"DATABASE_URL": database_url, "KEYRING": KEYRING, "DATA_DIR": str(tmp_path)}
    config = Config.from_environment({f"CONNECTIONS_{name}": value for name, value in settings.items()})
    for name in ("one", "two"):
        await asyncio.to_thread(bootstrap, config, name)
        await seed.seed(database_url, KEYRING, name, COUNT)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        environments = [
            row[0] for row in await _all(connection, "SELECT environment_id FROM environments ORDER BY name")
        ]
        await _rename(connection, "integrations", "provider_config_key", ODD)
        await _rename(connection, "connections", "connection_id", ODD)
        await connection.execute(
            "DELETE FROM connections WHERE environment_id = %s AND right(connection_id, 1) IN ('0', '3', '6', '9')",
            (environments[1],),
        )
        uids = {
            ConnectionKey(*key): uid
            for *key, uid in await _all(
                connection, "SELECT environment_id, provider_config_key, connection_id, uid FROM connections"
            )
        }
    return Rows(database_url, tuple(environments), uids)


async def _all(connection: psycopg.AsyncConnection[Any], query: str) -> Sequence[tuple[Any, ...]]:
    return await (await connection.execute(query.encode())).fetchall()


async def _rename(connection: psycopg.AsyncConnection[Any], table: str, column: str, names: Sequence[str]) -> None:
    """Copy a row of each environment under other names. What is sealed in it does not matter here."""
    found = await _all(connection, f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'")
    columns = ", ".join(f'"{name}"' for (name,) in found)
    chosen = ", ".join(
        f"names.name AS {name}" if name == column else "gen_random_uuid() AS uid" if name == "uid" else f'"{name}"'
        for (name,) in found
    )
    first = "" if table == "integrations" else f"WHERE connection_id = '{seed.connection_id(1)}'"
    await connection.execute(
        f"INSERT INTO {table} ({columns}) SELECT {chosen} FROM {table}, unnest(%s::text[]) AS names(name) {first}".encode(),
        (list(names),),
    )


@asynccontextmanager
async def _reader(rows: Rows, *, timeout: float = 5.0, pooling: bool = False) -> AsyncIterator[PointReader]:
    reader = PointReader(DatabaseSettings(rows.url, statement_timeout=timeout, transaction_pooling=pooling))
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()


def _keys(rows: Rows, dice: random.Random, count: int) -> list[ConnectionKey]:
    """Keys that exist, keys that exist in the other environment only, and keys that nobody has."""
    known = list(rows.uids)
    keys = []
    for _ in range(count):
        key = dice.choice(known)
        match dice.randrange(4):
            case 0:
                other = next(each for each in rows.environments if each != key.environment_id)
                key = ConnectionKey(other, key.provider_config_key, key.connection_id)
            case 1:
                key = ConnectionKey(key.environment_id, key.provider_config_key, key.connection_id + "?")
        keys.append(key)
    return keys


async def _check(reader: PointReader, rows: Rows, keys: Sequence[ConnectionKey]) -> None:
    found = await asyncio.gather(*(reader.read(key) for key in keys))
    assert [None if each is None else each.uid for each in found] == [rows.uids.get(key) for key in keys]
    assert [each.key for each in found if each is not None] == [key for key in keys if key in rows.uids]


@pytest.mark.parametrize("pooling", [False, True])
async def test_every_caller_gets_the_row_of_its_own_key(rows: Rows, pooling: bool) -> None:
    dice = random.Random(17)
    async with _reader(rows, pooling=pooling) as reader:
        for count in (1, 2, 3, 31, 33, 128, 129, 400):
            await _check(reader, rows, _keys(rows, dice, count))


async def test_callers_that_come_at_any_moment_get_their_own_rows(rows: Rows) -> None:
    dice = random.Random(23)

    async def caller(seed_of_caller: int) -> None:
        own = random.Random(seed_of_caller)
        for _ in range(20):
            await asyncio.sleep(own.random() / 500)
            await _check(reader, rows, _keys(rows, own, own.randrange(1, 4)))

    async with _reader(rows) as reader:
        await asyncio.gather(*(caller(dice.randrange(1 << 30)) for _ in range(30)))


@pytest.mark.parametrize("pooling", [False, True])
async def test_names_are_taken_literally(rows: Rows, pooling: bool) -> None:
    keys = [ConnectionKey(rows.environments[0], seed.INTEGRATION, name) for name in ODD]
    assert all(key in rows.uids for key in keys)
    async with _reader(rows, pooling=pooling) as reader:
        for key in keys:
            await _check(reader, rows, [key])
        await _check(reader, rows, keys)
        for name in ODD:
            swapped = ConnectionKey(rows.environments[0], name, seed.INTEGRATION)
            await _check(reader, rows, [swapped, *keys[:3]])


async def test_another_environments_connection_is_not_there(rows: Rows) -> None:
    theirs = [key for key in rows.uids if key.environment_id == rows.environments[0]]
    async with _reader(rows) as reader:
        for environment in (rows.environments[1], uuid4()):
            mine = [ConnectionKey(environment, key.provider_config_key, key.connection_id) for key in theirs]
            await _check(reader, rows, mine)
            for key in mine:
                stored = await reader.read(key)
                assert stored is None or stored.uid == rows.uids[key]


async def test_a_caller_that_leaves_takes_nobody_with_it(rows: Rows) -> None:
    dice = random.Random(5)
    async with _reader(rows) as reader:
        for _ in range(50):
            keys = _keys(rows, dice, 40)
            tasks = [asyncio.create_task(reader.read(key)) for key in keys]
            await asyncio.sleep(dice.choice((0, 0, 0.0005)))
            left = set(dice.sample(range(len(tasks)), 20))
            for index in left:
                tasks[index].cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            for index, (key, each) in enumerate(zip(keys, found, strict=True)):
                if index not in left:
                    assert not isinstance(each, BaseException)
                    assert (each and each.uid) == rows.uids.get(key)


async def _backends(rows: Rows) -> list[int]:
    async with await psycopg.AsyncConnection.connect(rows.url) as connection:
        found = await _all(
            connection,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'connections reads' "
            "AND datname = current_database()",
        )
    return [pid for (pid,) in found]


async def _reads_again(reader: PointReader, rows: Rows) -> None:
    key = next(iter(rows.uids))
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StorageUnavailable):
                stored = await reader.read(key)
                assert stored is not None
                assert stored.uid == rows.uids[key]
                return
            await asyncio.sleep(0.02)


async def test_connections_that_die_under_reads_are_replaced(rows: Rows) -> None:
    dice = random.Random(7)
    outcomes = {"answered": 0, "refused": 0}
    dying = True

    async def caller() -> None:
        while dying:
            key = _keys(rows, dice, 1)[0]
            try:
                stored = await reader.read(key)
            except StorageUnavailable:
                outcomes["refused"] += 1
                await asyncio.sleep(0.001)
            else:
                assert (stored and stored.uid) == rows.uids.get(key)
                outcomes["answered"] += 1

    async with _reader(rows) as reader, await psycopg.AsyncConnection.connect(rows.url, autocommit=True) as killer:
        callers = [asyncio.create_task(caller()) for _ in range(20)]
        for _ in range(10):
            for pid in await _backends(rows):
                await killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
            await _reads_again(reader, rows)
        dying = False
        async with asyncio.timeout(60):
            await asyncio.gather(*callers)
        await _check(reader, rows, _keys(rows, dice, 100))
    assert outcomes["answered"]


async def test_one_of_two_connections_is_enough(rows: Rows) -> None:
    async with _reader(rows) as reader, await psycopg.AsyncConnection.connect(rows.url, autocommit=True) as killer:
        for pid in sorted(await _backends(rows))[:1]:
            await killer.execute("SELECT pg_terminate_backend(%s)", (pid,))
        await _reads_again(reader, rows)
        await _check(reader, rows, _keys(rows, random.Random(3), 300))


async def test_a_database_that_hangs_is_not_waited_for(rows: Rows) -> None:
    async with _reader(rows, timeout=0.3) as reader:
        frozen = await _backends(rows)
        assert frozen
        try:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
        except PermissionError:
            pytest.skip("Postgres runs as a user whose processes cannot be stopped from here")
        try:
            async with asyncio.timeout(60):
                found = await asyncio.gather(
                    *(reader.read(key) for key in _keys(rows, random.Random(11), 200)), return_exceptions=True
                )
            assert any(isinstance(each, StorageUnavailable) for each in found)
            assert not [
                each for each in found if isinstance(each, BaseException) and type(each) is not StorageUnavailable
            ]
            # New connections are made beside the frozen ones.
            await _reads_again(reader, rows)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        await _reads_again(reader, rows)


async def test_a_closed_reader_leaves_nobody_waiting(rows: Rows) -> None:
    keys = _keys(rows, random.Random(13), 300)
    async with _reader(rows) as reader:
        tasks = [asyncio.create_task(reader.read(key)) for key in keys]
        await asyncio.sleep(0)
        await reader.close()
        async with asyncio.timeout(60):
            found = await asyncio.gather(*tasks, return_exceptions=True)
    for key, each in zip(keys, found, strict=True):
        if not isinstance(each, StorageUnavailable):
            assert not isinstance(each, BaseException)
            assert (each and each.uid) == rows.uids.get(key)
