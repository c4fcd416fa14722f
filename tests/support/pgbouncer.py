"""PgBouncer in transaction mode, in front of a test's database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.support.server_process import free_port

_CONFIG = """
[databases]
* = host={host} port=5432 user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
logfile = {log}
"""


def find() -> str | None:
    """Return the program's path, None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(program: str, database_url: str) -> Iterator[str]:
    """Run it and yield the URL by which it gives the database."""
    parts = urlsplit(database_url)
    host = parse_qs(parts.query).get("host", [parts.hostname or "127.0.0.1"])[0]
    port = free_port()
    # Not pytest's own temporary directory, which other users cannot enter: it refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="cxn-pool-", dir="/tmp"))
    config = folder / "pgbouncer.ini"
    config.write_text(_CONFIG.format(host=host, port=port, log=folder / "pgbouncer.log"))
    user = None
    if os.geteuid() == 0:
        # Whoever Postgres runs as may reach its socket.
        user = Path(host).stat().st_uid if host.startswith("/") else 65534
        os.chown(folder, user, -1)
        os.chown(config, user, -1)
    process = subprocess.Popen([program, "-q", str(config)], user=user, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < deadline, "pgbouncer does not listen"
            time.sleep(0.05)
        yield f"postgresql://{parts.username or 'postgres'}@127.0.0.1:{port}{parts.path}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
