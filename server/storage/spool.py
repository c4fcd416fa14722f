"""Provider answers that wait on disk while Postgres is away: sealed, one file each, adopted by whoever finds them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from server.crypto.data_keys import DataKeys
from server.domain.errors import ServiceError, StorageUnavailable
from server.domain.model import ConnectionKey
from server.refresh.ports import Lease, ProviderAnswer
from server.storage.columns import TABLE
from server.storage.refresh import ANSWER, PostgresRefreshStore, answer_to_bytes
from server.telemetry import log, metrics

_SUFFIX: Final = ".answer"
_REJECTED: Final = ".rejected"


class FileSpool:
    """Implements `refresh.ports.AnswerSpool`.

    A file holds one JSON document: whose answer it is, and the answer sealed under the connection's data key, as the
    database would hold it. It appears by a rename after it has reached the disk, so that there are no half files.
    Several processes may adopt from one folder: storing an answer twice changes nothing.
    """

    def __init__(self, folder: Path, keys: DataKeys, store: PostgresRefreshStore) -> None:
        self._folder = folder
        self._keys = keys
        self._store = store

    async def keep(self, lease: Lease, answer: ProviderAnswer, *, now: float) -> None:
        """Write an answer so that it survives the process and the machine's restart. Raises `OSError`."""
        environment_id = lease.key.environment_id
        # The lease was taken with this key open, so no database is needed to seal.
        key = await self._keys.open(environment_id, TABLE, lease.uid.bytes, lease.wrapped_data_key)
        document = {
            "environment_id": str(environment_id),
            "provider_config_key": lease.key.provider_config_key,
            "connection_id": lease.key.connection_id,
            "uid": str(lease.uid),
            "generation": lease.generation,
            "owner": str(lease.owner),
            "answer_time": now,
            "sealed_answer": base64.b64encode(key.seal(ANSWER, answer_to_bytes(answer))).decode(),
        }
        await asyncio.to_thread(self._write, json.dumps(document).encode())

    def _write(self, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        partial = self._folder / f"{name}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._folder / f"{name}{_SUFFIX}")
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def adopt(self) -> list[tuple[ConnectionKey, int]]:
        """Move what waits into the store; see the port. A file that makes trouble does not keep the others waiting."""
        adopted: list[tuple[ConnectionKey, int]] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                document = json.loads(path.read_bytes())
                key = ConnectionKey(
                    UUID(document["environment_id"]), document["provider_config_key"], document["connection_id"]
                )
                generation = int(document["generation"])
                kept = await self._store.keep_sealed_answer(
                    key.environment_id,
                    UUID(document["uid"]),
                    generation,
                    UUID(document["owner"]),
                    base64.b64decode(document["sealed_answer"]),
                    float(document["answer_time"]),
                )
            except StorageUnavailable:
                return adopted
            except FileNotFoundError:
                continue
            except (ServiceError, OSError) as error:
                log.get().error("spool_file_waits", file=path.name, error=type(error).__name__)
                continue
            except (ValueError, KeyError, TypeError, OverflowError):
                # Kept for a person to look at; it would fail again each time.
                with suppress(FileNotFoundError):
                    path.rename(path.with_suffix(_REJECTED))
                log.get().error("spool_file_unreadable", file=path.name)
                continue
            path.unlink(missing_ok=True)
            metrics.SPOOL_ADOPTED.inc()
            log.get().warning(
                "answer_adopted",
                environment_id=str(key.environment_id),
                provider_config_key=key.provider_config_key,
                connection_id=key.connection_id,
                connection_exists=kept,
            )
            if kept:
                adopted.append((key, generation))
        return adopted
