"""Load from h2load, which costs a fraction of what the server does: it speaks HTTP/2 and knows nothing of gRPC.

h2load sends one body for the whole of its run, so several of them run at once, each asking for another connection. It
checks the HTTP status alone, which gRPC leaves at 200 whatever happens; that answers are real is checked by a gRPC client
before and after (see `bench.get`), and by the size of what came.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GET_CONNECTION: Final = "/connections.v1.ConnectionService/GetConnection"
_MISSING: Final = "h2load is missing: it makes the load. On Debian and Ubuntu: apt-get install nghttp2-client"
_COUNTS: Final = re.compile(
    r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)
_CODES: Final = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_BYTES: Final = re.compile(r"\((\d+)\) data")

SHAPES: Final = {1: (1, 1, 1), 8: (2, 4, 1), 64: (4, 4, 4)}
"""Calls in flight: how many h2load, connections of each, streams of each connection. With `SO_REUSEPORT` the kernel
spreads connections, not calls, so there have to be many of them."""


class LoadError(Exception):
    """The load was not what it should have been; the text says how."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run saw. `latencies` are in seconds, sorted."""

    calls: int
    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    def percentile(self, part: float) -> float:
        """Return the latency that `part` (0 to 1) of the calls did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(part * len(self.latencies)))]


def find() -> str:
    """Return the path of h2load. Raises `LoadError` with what to do if there is none."""
    program = shutil.which("h2load")
    if program is None:
        raise LoadError(_MISSING)
    return program


def run(
    address: str, bodies: Sequence[bytes], api_key: str, in_flight: int, seconds: float, directory: Path, expected: int
) -> Load:
    """Load `address` with `GetConnection` for `seconds`; each h2load takes one of `bodies`, which are gRPC messages.

    `expected` is the size of an answer, in bytes. Raises `LoadError` if any call was answered otherwise.
    """
    program = find()
    processes, clients, streams = SHAPES[in_flight]
    started = []
    for index in range(processes):
        body, log = directory / f"body-{index}", directory / f"log-{index}"
        message = bodies[index % len(bodies)]
        body.write_bytes(struct.pack("!BI", 0, len(message)) + message)
        log.unlink(missing_ok=True)
        command = [program, "-c", str(clients), "-m", str(streams), "-D", f"{seconds * 1000:.0f}ms"]
        command += [
            "--log-file",
            str(log),
            "-d",
            str(body),
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
        ]
        command += ["-H", f"authorization: Bearer {api_key}", f"http://{address}{GET_CONNECTION}"]
        started.append((subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), log))
    calls, latencies = 0, []
    for process, log in started:
        output, _ = process.communicate(timeout=seconds + 60)
        calls += _checked(output, process.returncode, expected)
        latencies += _latencies(log)
    return Load(calls, seconds, sorted(latencies))


def _checked(output: str, exit_code: int, expected: int) -> int:
    """Return how many calls were answered. Raises `LoadError` if any was not, or differently."""
    counts, codes, received = _COUNTS.search(output), _CODES.search(output), _BYTES.search(output)
    if exit_code or counts is None or codes is None or received is None:
        raise LoadError(f"h2load failed ({exit_code}):\n{output}")
    done, succeeded, failed, errored, timed_out = map(int, counts.groups())
    if not done or failed or errored or timed_out or any(map(int, codes.groups()[1:])):
        raise LoadError(f"not every call was answered:\n{output}")
    # A status other than OK comes without a message. The gRPC prefix has five bytes; calls cut off by the end send some.
    missing = succeeded * (expected + 5) - int(received.group(1))
    if missing > 0.02 * succeeded * expected:
        raise LoadError(f"{missing} bytes are missing from answers of {expected + 5}:\n{output}")
    return done


def _latencies(log: Path) -> list[float]:
    """Read h2load's log: start (us since the epoch), HTTP status, duration (us)."""
    text = log.read_text(encoding="ascii")
    return [int(line.rsplit("\t", 1)[1]) / 1e6 for line in text.splitlines() if line]
