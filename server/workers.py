"""Several serving processes on one port: started, watched, stopped together.

Each worker is a fresh process with its own loop, pool and gRPC; the parent serves nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import FrameType
from typing import Final

from server.config import Config
from server.telemetry import log

_RESTART_PAUSE: Final = 1.0
_POLL: Final = 0.2
FIRST: Final = "--with-http"


def supervise(config: Config, database_url: str, keyring: str) -> int:
    """Run `config.workers` workers until a signal; return the exit code. A worker that dies is started again."""
    holder, address = _reserve(config.grpc_address)
    with tempfile.TemporaryDirectory(prefix="connections-metrics-") as metrics, holder:
        environment = dict(os.environ)
        for name in ("CONNECTIONS_DATABASE_URL_FILE", "CONNECTIONS_KEYRING_FILE"):
            environment.pop(name, None)
        environment |= {
            "CONNECTIONS_DATABASE_URL": database_url,
            "CONNECTIONS_KEYRING": keyring,
            "CONNECTIONS_GRPC_ADDRESS": address,
            "PROMETHEUS_MULTIPROC_DIR": metrics,
        }
        return _Supervisor(environment, config).run()


def _reserve(address: str) -> tuple[socket.socket, str]:
    """Bind the port without listening, so that it is known, free, and stays ours while workers come and go."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family, kind, protocol, _, place = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    holder = socket.socket(family, kind, protocol)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(place)
    shown = f"[{host}]" if ":" in host else host
    return holder, f"{shown}:{holder.getsockname()[1]}"


class _Supervisor:
    def __init__(self, environment: dict[str, str], config: Config) -> None:
        self._environment = environment
        self._count = config.workers
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._signals = 0

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        started = time.monotonic()
        for index in range(self._count):
            self._start(index)
        while self._workers:
            time.sleep(_POLL)
            for index, worker in list(self._workers.items()):
                code = worker.poll()
                if code is None:
                    continue
                del self._workers[index]
                if self._signals:
                    continue
                if time.monotonic() - started < 2 * _RESTART_PAUSE:
                    # It never came up: starting it again would hide why.
                    self._signalled(signal.SIGTERM, None)
                    self._failed = True
                    continue
                log.get().error("worker_died", index=index, exit_code=code)
                time.sleep(_RESTART_PAUSE)
                if not self._signals:
                    self._start(index)
        return 1 if self._failed else 0

    _failed = False

    def _start(self, index: int) -> None:
        # By name: a worker that looked for its parent only after the parent had died would find another.
        command = [sys.executable, "-m", "server.worker", str(os.getpid())]
        if index == 0:
            command.append(FIRST)
        self._workers[index] = subprocess.Popen(command, env=self._environment)  # noqa: S603

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signals += 1
        for worker in self._workers.values():
            # Workers ignore Ctrl-C, which a terminal sends to all; a second signal ends them at once.
            worker.send_signal(signal.SIGTERM)
