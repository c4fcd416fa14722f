"""The list: every connection of the environment over one stream, and a filter by tag."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import psycopg
from connections.v1.connection_service_pb2 import ListConnectionsRequest, ListConnectionsResponse
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from bench import processes, seed
from bench.bed import Bed
from server.domain.model import ListFilter
from server.storage.connections import page_query

LIST: Final = "/connections.v1.ConnectionService/ListConnections"
TAGS_INDEX: Final = "connections_tags_idx"
_PAGE: Final = 1000
_FILTERED: Final = 50
"""Filtered lists whose latency is taken."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list of everything took. Times in seconds, memory in bytes, `server_cpu` in seconds per row.

    `filter_plan` is how Postgres finds the connections of one organisation, `filter_p50` how long a caller waits for them.
    """

    rows: int
    rate: float
    first_page: float
    page_size: int
    message_bytes: int
    server_cpu: float
    memory: processes.Memory
    filter_rows: int
    filter_p50: float
    filter_plan: str
    filter_uses_index: bool


def measure(bed: Bed, *, rounds: int, note: Callable[[str], None]) -> Listing:
    """List everything `rounds` times from one worker, and by a tag."""
    runs: list[tuple[float, float, int, float]] = []
    with processes.service(bed.url, bed.keyring, 1, bed.directory) as server:
        filter_p50, filter_rows = _filtered(bed, server.address)
        with server.memory() as memory:
            for turn in range(rounds):
                note(f"list: round {turn + 1} of {rounds}, {bed.rows:,} rows")
                before = processes.cpu_seconds(server.process)
                seen = _receive(bed, server.address)
                used = processes.cpu_seconds(server.process) - before
                if seen["rows"] != bed.rows:
                    raise RuntimeError(f"the list has {seen['rows']} rows of {bed.rows}")
                runs.append((bed.rows / seen["seconds"], seen["first"], seen["bytes"], used / bed.rows))
    plan = _plan(bed)
    return Listing(
        rows=bed.rows,
        rate=statistics.median(run[0] for run in runs),
        first_page=statistics.median(run[1] for run in runs),
        page_size=_PAGE,
        message_bytes=runs[0][2],
        server_cpu=statistics.median(run[3] for run in runs),
        memory=memory,
        filter_rows=filter_rows,
        filter_p50=filter_p50,
        filter_plan=plan,
        filter_uses_index=TAGS_INDEX in plan,
    )


def _receive(bed: Bed, address: str) -> dict[str, Any]:
    """Let another process receive the list, so that the client's memory and lock are not in the way."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.listing", address, str(_PAGE)],
        cwd=processes.ROOT,
        env=processes.environment({"BENCH_API_KEY": bed.api_key}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _filtered(bed: Bed, address: str) -> tuple[float, int]:
    """Return the median wait for the connections of one organisation, and how many those are."""
    waits, rows = [], 0
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_stream(LIST, request_serializer=None, response_deserializer=None)
        for number in range(_FILTERED):
            request = ListConnectionsRequest(tags=_organisation(bed, number * 7919))
            started = time.perf_counter()
            answers = list(call(request.SerializeToString(), metadata=bed.metadata, timeout=60))
            waits.append(time.perf_counter() - started)
            rows = sum(len(ListConnectionsResponse.FromString(answer).connections) for answer in answers)
            if not 1 <= rows <= seed.CUSTOMERS:
                raise RuntimeError(f"an organisation has {rows} connections instead of {seed.CUSTOMERS}")
    return statistics.median(waits), rows


def _organisation(bed: Bed, number: int) -> dict[str, str]:
    return {"organization_id": seed.tags_of(number % bed.rows)["organization_id"]}


def _plan(bed: Bed) -> str:
    """Return Postgres' plan for the query that the filtered list makes."""
    with psycopg.connect(bed.url) as connection:
        row = connection.execute("SELECT environment_id FROM environments").fetchone()
        assert row is not None
        query = page_query(row[0], ListFilter(tags=_organisation(bed, 0)), None, 1000)
        make_dialect: Any = psycopg_dialect
        compiled = query.compile(dialect=make_dialect(), compile_kwargs={"render_postcompile": True})
        explained = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) {compiled}".encode()
        return "\n".join(line for (line,) in connection.execute(explained, compiled.params))


def _client(address: str, page_size: int, api_key: str) -> dict[str, Any]:
    """Receive the whole list as bytes. Only the last page is parsed: all before it are full."""
    pages, size, last, first = 0, 0, b"", 0.0
    request = ListConnectionsRequest(page_size=page_size).SerializeToString()
    with grpc.insecure_channel(address, options=(("grpc.max_receive_message_length", -1),)) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        started = time.perf_counter()
        call = channel.unary_stream(LIST, request_serializer=None, response_deserializer=None)
        for page in call(request, metadata=(("authorization", f"Bearer {api_key}"),)):
            if not pages:
                first = time.perf_counter() - started
            pages, size, last = pages + 1, size + len(page), page
        seconds = time.perf_counter() - started
    rows = (pages - 1) * page_size + len(ListConnectionsResponse.FromString(last).connections)
    return {"rows": rows, "seconds": seconds, "first": first, "bytes": size}


if __name__ == "__main__":
    print(json.dumps(_client(sys.argv[1], int(sys.argv[2]), os.environ["BENCH_API_KEY"])))
