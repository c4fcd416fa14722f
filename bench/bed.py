"""What a run measures on: a Postgres with seeded connections, and the key to reach them."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench import processes, seed
from server.config import Config
from server.crypto.keyring import new_keyring
from server.prepare import bootstrap
from server.storage import migrate

ENVIRONMENT: Final = "bench"
_FRESH: Final = seed.LIFE / 2


@dataclass(frozen=True, slots=True)
class Bed:
    """`directory` is where the run may write. `postmaster` is None if Postgres runs on another machine."""

    url: str
    keyring: str
    api_key: str
    rows: int
    directory: Path
    postmaster: psutil.Process | None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call sends to be let in."""
        return (("authorization", f"Bearer {self.api_key}"),)


@contextmanager
def prepared(directory: Path, url: str, rows: int) -> Iterator[Bed]:
    """Give a bed of `rows` connections.

    What an earlier run left in `directory` is used again if it has that many. With `url`, an empty database of a server
    of one's own is filled instead, and nothing is kept.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with processes.postgres(directory, url) as found:
        notes = directory / "bed.json"
        known = json.loads(notes.read_text()) if notes.exists() and not url else {}
        if known.get("rows") != rows or time.time() - known.get("seeded", 0.0) > _FRESH:
            notes.unlink(missing_ok=True)
            known = _filled(found, rows, str(directory))
            if not url:
                descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    json.dump(known, file)
        yield Bed(found, known["keyring"], known["api_key"], rows, directory, processes.postmaster_of(found))


def _filled(url: str, rows: int, data_dir: str) -> dict[str, object]:
    migrate.upgrade(url)
    processes.execute(url, "TRUNCATE environments CASCADE")
    keyring = new_keyring()
    settings = {"DATABASE_URL": url, "KEYRING": keyring, "DATA_DIR": data_dir}
    config = Config.from_environment({f"CONNECTIONS_{name}": value for name, value in settings.items()})
    api_key = bootstrap(config, ENVIRONMENT)
    asyncio.run(seed.seed(url, keyring, ENVIRONMENT, rows, seed.print_progress))
    return {"rows": rows, "seeded": time.time(), "keyring": keyring, "api_key": api_key}
