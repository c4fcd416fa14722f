"""The real processes that are measured: Postgres, the service, the echo; and what they use of the machine."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString

import grpc
import psutil
import psycopg
from grpc_health.v1 import health_pb2

from bench.load import GET_CONNECTION
from server.storage.embedded import EmbeddedPostgres

ROOT: Final = Path(__file__).resolve().parents[1]
_START: Final = 60.0
_SAMPLE: Final = 0.02


@contextmanager
def postgres(directory: Path, url: str) -> Iterator[str]:
    """Give the URL of the Postgres to use: `url`, or the embedded one in `directory` if that is empty."""
    if url:
        yield url
        return
    embedded = EmbeddedPostgres(directory / "postgres")
    try:
        yield embedded.start()
    finally:
        embedded.stop()


def postmaster_of(url: str) -> psutil.Process | None:
    """Return the process whose children are this Postgres, None if it runs elsewhere."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid(), version()").fetchone()
        assert row is not None
        with contextlib.suppress(psutil.Error):
            backend = psutil.Process(row[0])
            if backend.name().startswith("postgres"):
                return backend.parent()
    return None


def execute(url: str, statement: LiteralString) -> list[Any]:
    """Run one statement, and return its rows if it has any."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that has these settings and none of the surrounding shell's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTIONS_")}
    return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}", **settings}


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def cpu_seconds(process: psutil.Process | None) -> float:
    """Return the processor time that a process and those below it have used so far, in seconds."""
    used = 0.0
    for each in [] if process is None else tree(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            used += times.user + times.system
    return used


@dataclass(slots=True)
class Memory:
    """Memory of a server's processes, in bytes: RSS before and at most during, USS (what is theirs alone) at most."""

    before: int = 0
    peak: int = 0
    unique: int = 0


class Server:
    """One or more server processes on one port. `process` is the parent of all."""

    def __init__(self, command: Sequence[str], address: str, log: Path, settings: Mapping[str, str]) -> None:
        self.address = address
        with log.open("ab") as output:
            self._started = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._log = log
        self.process = psutil.Process(self._started.pid)

    def wait_for(self, request: bytes, method: str) -> None:
        """Return when `method` answers. Raises `RuntimeError` with the log if it does not within a minute."""
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline and self._started.poll() is None:
            with grpc.insecure_channel(self.address) as channel, contextlib.suppress(grpc.RpcError):
                answer = channel.unary_unary(method, request_serializer=None, response_deserializer=None)(
                    request, timeout=1
                )
                if method == GET_CONNECTION or _is_serving(answer):
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start:\n{self._log.read_text(errors='replace')[-4000:]}")

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._started.terminate()
        try:
            self._started.wait(_START)
        except subprocess.TimeoutExpired:
            self._started.kill()
            self._started.wait()

    @contextmanager
    def memory(self) -> Iterator[Memory]:
        """Watch the memory of its processes while the block runs."""
        seen, done = Memory(before=_rss(self.process)), threading.Event()

        def watch() -> None:
            ticks = 0
            while not done.wait(_SAMPLE):
                seen.peak = max(seen.peak, _rss(self.process))
                if ticks % 10 == 0:
                    # Costs a walk through the pages, so not each time.
                    seen.unique = max(seen.unique, _uss(self.process))
                ticks += 1

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield seen
        finally:
            done.set()
            thread.join()


def _is_serving(answer: bytes) -> bool:
    found = health_pb2.HealthCheckResponse.FromString(answer)
    return bool(found.status == health_pb2.HealthCheckResponse.SERVING)


def _rss(process: psutil.Process) -> int:
    total = 0
    for each in tree(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


def _uss(process: psutil.Process) -> int:
    total = 0
    for each in tree(process):
        with contextlib.suppress(psutil.Error):
            total += each.memory_full_info().uss
    return total


@contextmanager
def service(url: str, keyring: str, workers: int, directory: Path) -> Iterator[Server]:
    """Run `connections serve --workers N` with the settings of production: JSON logs at level info, to a file."""
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "CONNECTIONS_DATABASE_URL": url,
        "CONNECTIONS_KEYRING": keyring,
        "CONNECTIONS_DATA_DIR": str(directory),
        "CONNECTIONS_GRPC_ADDRESS": address,
        "CONNECTIONS_HTTP_ADDRESS": f"127.0.0.1:{free_port()}",
        "CONNECTIONS_LOG_FORMAT": "json",
    }
    server = Server(
        ["-m", "server.cli.main", "serve", "--workers", str(workers)], address, directory / "service.log", settings
    )
    try:
        server.wait_for(health_pb2.HealthCheckRequest().SerializeToString(), "/grpc.health.v1.Health/Check")
        yield server
    finally:
        server.stop()


@contextmanager
def echo(answer: bytes, processes: int, directory: Path) -> Iterator[Sequence[Server]]:
    """Run so many echoes on one port; see `bench.echo`."""
    address = f"127.0.0.1:{free_port()}"
    file = directory / "answer"
    file.write_bytes(answer)
    servers: list[Server] = []
    try:
        for _ in range(processes):  # not at once: if one does not start, those before it are stopped
            server = Server(["-m", "bench.echo", address, str(file)], address, directory / "echo.log", {})
            servers.append(server)
        for server in servers:
            server.wait_for(b"", GET_CONNECTION)
        yield servers
    finally:
        for server in servers:
            server.stop()


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
