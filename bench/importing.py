"""The real import: `connections import --jsonl` of many lines, in its own process, into two workers."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import processes, seed
from bench.bed import Bed

_WORKERS = 2


@dataclass(frozen=True, slots=True)
class Import:
    """Lines imported, and how many a second. `server_cpu` is in seconds per line."""

    lines: int
    rate: float
    server_cpu: float


def measure(bed: Bed, *, lines: int, note: Callable[[str], None]) -> Import:
    """Import `lines` new connections, count them, and remove them again."""
    note(f"import: {lines:,} lines into {_WORKERS} workers")
    file = bed.directory / "import.jsonl"
    _write(file, lines)
    try:
        with processes.service(bed.url, bed.keyring, _WORKERS, bed.directory) as server:
            before, started = processes.cpu_seconds(server.process), time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "server.cli.main", "import", "--jsonl", str(file)],
                cwd=processes.ROOT,
                env=processes.environment({"CONNECTIONS_ADDRESS": server.address, "CONNECTIONS_API_KEY": bed.api_key}),
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.perf_counter() - started
            used = processes.cpu_seconds(server.process) - before
        if done.returncode or not re.search(rf"\b{lines} created, 0 updated, 0 failed", done.stdout + done.stderr):
            raise RuntimeError(f"the import failed ({done.returncode}): {done.stdout[-1000:]}{done.stderr[-1000:]}")
    finally:
        file.unlink()
        processes.execute(bed.url, "DELETE FROM connections WHERE connection_id LIKE 'imported-%'")
    return Import(lines, lines / seconds, used / lines)


def _write(file: Path, lines: int) -> None:
    dice = random.Random(1)
    with file.open("w", encoding="utf-8") as out:
        for number in range(lines):
            line = {
                "provider_config_key": seed.INTEGRATION,
                "connection_id": f"imported-{number:07d}",
                "credentials": {
                    "oauth2": {
                        "access_token": dice.randbytes(128).hex(),
                        "refresh_token": dice.randbytes(32).hex(),
                        "token_type": "bearer",
                        "expire_time": "2099-01-01T00:00:00Z",
                    }
                },
                "connection_config": {"token_url": "https://auth.example.com/oauth/token"},
                "metadata": {"number": number, "archived": False},
                "tags": {"tags": seed.tags_of(number)},
            }
            out.write(json.dumps(line) + "\n")
