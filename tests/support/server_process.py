"""The service as a real process, and the `connections` command beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT: Final = Path(__file__).resolve().parents[2]
START_TIMEOUT: Final = 60.0

# A fixed key: what one server of a test has written, another can read.
KEYRING: Final = '{"primary": "k1", "keys": {"k1": "dGVzdHMtb25seS1rZXlyaW5nLXdpdGgtMzItYnl0ZXM="}}'
KEYRING_SECRET: Final = "dGVzdHMtb25seS1rZXlyaW5nLXdpdGgtMzItYnl0ZXM="


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that has these settings and none of the surrounding shell's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTIONS_")}
    return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}", **settings}


def run_command(
    *arguments: str, settings: Mapping[str, str] | None = None, stdin: str | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `connections ARGUMENTS` to its end and return what it said. A failure is returned, not raised."""
    return subprocess.run(
        [sys.executable, "-m", "server.cli.main", *arguments],
        cwd=ROOT,
        env=environment(settings or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a server listens, as host:port."""

    grpc: str
    http: str


class ServerProcess:
    """One `connections serve`. Its output, standard and error, goes to the file `log`."""

    def __init__(
        self,
        settings: Mapping[str, str],
        log: Path,
        arguments: Sequence[str] = (),
        *,
        fault_point: str = "",
    ) -> None:
        self.settings = dict(settings)
        self.addresses = Addresses(settings["CONNECTIONS_GRPC_ADDRESS"], settings["CONNECTIONS_HTTP_ADDRESS"])
        self.log = log
        module = "tests.support.faulty_server" if fault_point else "server.cli.main"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "serve", *arguments],
                cwd=ROOT,
                env=environment(self.settings) | ({"FAULT_POINT": fault_point} if fault_point else {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its workers can be reached, and a Ctrl-C of the tests does not
            )

    @property
    def pid(self) -> int:
        """Process id of the main process."""
        return self._process.pid

    @property
    def address(self) -> str:
        """Where gRPC is served, host:port."""
        return self.addresses.grpc

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Return when the overall health is SERVING. Raises RuntimeError with the log if the process ends or hangs."""
        deadline = time.monotonic() + timeout
        with grpc.insecure_channel(self.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise RuntimeError(f"the server ended with {self._process.returncode}:\n{self.logs()}")
                try:
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1)
                except grpc.RpcError:
                    time.sleep(0.05)
                    continue
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(0.05)
        raise RuntimeError(f"the server was not ready after {timeout:g} s:\n{self.logs()}")

    def logs(self) -> str:
        """Return everything that it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        """Return whether the main process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash of the machine would: SIGKILL to the process and its workers. May be called again."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process alone."""
        self._process.send_signal(number)

    def terminate(self, timeout: float = 60) -> int:
        """Ask it to stop by SIGTERM, as an orchestrator does; returns the exit code. Raises TimeoutExpired."""
        self._process.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 60) -> int:
        """Wait until it has ended; returns the exit code. Raises TimeoutExpired."""
        return self._process.wait(timeout)

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a `connections` command against this server; `settings` are further variables."""
        return run_command(*arguments, settings={"CONNECTIONS_ADDRESS": self.address, **settings})

    def bootstrap(self, environment_name: str = "dev") -> str:
        """Create an environment with its first admin key, directly in the database, and return the key."""
        done = run_command("bootstrap", "--environment", environment_name, settings=self.settings)
        if done.returncode != 0:
            raise RuntimeError(f"bootstrap failed ({done.returncode}): {done.stderr}")
        return done.stdout.strip()


def default_settings(database_url: str, data_dir: Path) -> dict[str, str]:
    """Return the settings of a server on free ports that may call loopback and refreshes nothing by itself."""
    return {
        "CONNECTIONS_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
        "CONNECTIONS_HTTP_ADDRESS": f"127.0.0.1:{free_port()}",
        "CONNECTIONS_DATABASE_URL": database_url,
        "CONNECTIONS_DATA_DIR": str(data_dir),
        "CONNECTIONS_KEYRING": KEYRING,
        "CONNECTIONS_OUTBOUND_ALLOWED_HOSTS": "127.0.0.1",
        "CONNECTIONS_LOG_FORMAT": "json",
        "CONNECTIONS_SCHEDULER_ENABLED": "false",
    }
