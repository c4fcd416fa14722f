"""Answers that waited in the spool: each is applied once, void ones spend nothing, and no bad file stops the others."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import psycopg
from connections.v1 import connection_service_pb2

from server.crypto.data_keys import DataKeys
from server.crypto.keyring import Keyring
from server.domain.model import ConnectionKey
from server.refresh.ports import ProviderAnswer
from server.storage.engine import DatabaseSettings, create_engine
from server.storage.environments import PostgresEnvironmentKeyStore
from server.storage.spool import FileSpool
from tests.refresh.conftest import World
from tests.refresh.test_crashes import wait_until
from tests.support.server_process import KEYRING
from tests.support.service import CONNECTION, INTEGRATION

REFRESHED = connection_service_pb2.REFRESH_OUTCOME_REFRESHED


def spool(folder: Path, database_url: str, generation: int, answer: dict[str, Any]) -> None:
    """Keep an answer as a server does that cannot reach Postgres."""
    with psycopg.connect(database_url) as database:
        row = database.execute("SELECT environment_id, uid, wrapped_data_key FROM connections").fetchone()
    assert row is not None
    lease: Any = SimpleNamespace(
        key=ConnectionKey(row[0], INTEGRATION, CONNECTION),
        uid=row[1],
        wrapped_data_key=row[2],
        generation=generation,
        owner=uuid4(),
    )

    async def keep() -> None:
        engine = create_engine(DatabaseSettings(database_url))
        keys = DataKeys(Keyring.parse(KEYRING), PostgresEnvironmentKeyStore(engine))
        store: Any = None
        kept = ProviderAnswer(200, {"content-type": "application/json"}, json.dumps(answer).encode())
        await FileSpool(folder, keys, store).keep(lease, kept, now=time.time())
        await engine.dispose()

    asyncio.run(keep())


def test_a_void_answer_spends_nothing_and_a_bad_file_stops_nobody(
    world: World, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    (folder / "0.answer").mkdir(parents=True)
    _, service = world.start(spool_dir=str(folder))
    service.import_pair(world.oauth.issue(expires_in=1), expires_in=-1)
    fresh = world.oauth.issue()
    answer = {"access_token": fresh.access_token, "refresh_token": fresh.refresh_token, "expires_in": 3600}

    spool(folder, database_url, 1, answer)
    wait_until(lambda: service.basic().generation == 2)
    assert service.get().credentials.oauth2.access_token == fresh.access_token

    # The same once more, as after a write that succeeded although it seemed to fail: the credentials have moved on.
    spool(folder, database_url, 1, answer)
    wait_until(lambda: [path.name for path in folder.glob("*.answer")] == ["0.answer"])
    assert service.force().outcome == REFRESHED
    assert world.oauth.stats().per_refresh_token == {fresh.refresh_token: 1}
