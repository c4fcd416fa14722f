"""Reads of one connection beside the echo: throughput, latency, processor time, and their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import grpc
import psutil
from connections.v1.connection_service_pb2 import GetConnectionRequest, GetConnectionResponse

from bench import load, processes, seed
from bench.bed import Bed

IN_FLIGHT: Final = (1, 8, 64)
WORKERS: Final = (1, 2)
_KEYS: Final = 4
"""Connections asked for in one round, one by each h2load. Each round asks for others."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: calls per second, latencies in seconds, processor time in seconds per call.

    `database_cpu` is None where no database is involved, or where it runs on another machine.
    """

    rate: float
    p50: float
    p99: float
    server_cpu: float
    database_cpu: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of the rounds for one number of calls in flight and of workers. A ratio is the median of each round's."""

    in_flight: int
    workers: int
    service: Point
    echo: Point
    rate_ratio: float
    p50_ratio: float


def measure(bed: Bed, *, rounds: int, seconds: float, note: Callable[[str], None]) -> list[Comparison]:
    """Measure every combination. All servers run at once, idle but for the one under load; they take turns."""
    load.find()
    with ExitStack() as stack:
        services = {n: stack.enter_context(processes.service(bed.url, bed.keyring, n, bed.directory)) for n in WORKERS}
        for server in services.values():
            _check(bed, server.address)
        answer = _get(bed, services[1].address, 0)
        echoes = {n: stack.enter_context(processes.echo(answer, n, bed.directory)) for n in WORKERS}
        for server in (*services.values(), *(each[0] for each in echoes.values())):
            _point(bed, [server], [request(bed, 0)], IN_FLIGHT[-1], min(seconds, 1.0), len(answer), None)
        found: dict[tuple[int, int], list[tuple[Point, Point]]] = {}
        for turn in range(rounds):
            bodies = [request(bed, (turn * _KEYS + index) * 7919) for index in range(_KEYS)]
            for in_flight in IN_FLIGHT:
                for workers in WORKERS:
                    note(f"get: round {turn + 1} of {rounds}, {in_flight} in flight, {workers} worker(s)")
                    pair = (
                        _point(bed, [services[workers]], bodies, in_flight, seconds, len(answer), bed.postmaster),
                        _point(bed, echoes[workers], bodies, in_flight, seconds, len(answer), None),
                    )
                    found.setdefault((in_flight, workers), []).append(pair)
        for server in services.values():
            _check(bed, server.address)
    return [_median(in_flight, workers, pairs) for (in_flight, workers), pairs in found.items()]


def request(bed: Bed, number: int) -> bytes:
    """Return the request for a seeded connection; numbers beyond the last begin again."""
    return GetConnectionRequest(
        provider_config_key=seed.INTEGRATION, connection_id=seed.connection_id(number % bed.rows)
    ).SerializeToString()


def _point(
    bed: Bed,
    servers: Sequence[processes.Server],
    bodies: Sequence[bytes],
    in_flight: int,
    seconds: float,
    size: int,
    postmaster: psutil.Process | None,
) -> Point:
    def used() -> tuple[float, float]:
        return sum(processes.cpu_seconds(server.process) for server in servers), processes.cpu_seconds(postmaster)

    before = used()
    seen = load.run(servers[0].address, bodies, bed.api_key, in_flight, seconds, bed.directory, size)
    after = used()
    return Point(
        rate=seen.rate,
        p50=seen.percentile(0.5),
        p99=seen.percentile(0.99),
        server_cpu=(after[0] - before[0]) / seen.calls,
        database_cpu=None if postmaster is None else (after[1] - before[1]) / seen.calls,
    )


def _get(bed: Bed, address: str, number: int) -> bytes:
    with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        answer: bytes = channel.unary_unary(load.GET_CONNECTION, request_serializer=None, response_deserializer=None)(
            request(bed, number), metadata=bed.metadata, timeout=30
        )
    return answer


def _check(bed: Bed, address: str) -> None:
    """Ask by a gRPC client, several times over new connections, so that every worker answers: OK, and the right answer."""
    for number in range(8):
        connection = GetConnectionResponse.FromString(_get(bed, address, number)).connection
        tokens = connection.credentials.oauth2
        if connection.connection_id != seed.connection_id(number % bed.rows) or not tokens.access_token:
            raise load.LoadError(f"not the connection that was asked for: {connection.connection_id!r}")


def _median(in_flight: int, workers: int, pairs: Sequence[tuple[Point, Point]]) -> Comparison:
    return Comparison(
        in_flight=in_flight,
        workers=workers,
        service=_median_point([service for service, _ in pairs]),
        echo=_median_point([echo for _, echo in pairs]),
        rate_ratio=statistics.median(service.rate / echo.rate for service, echo in pairs),
        p50_ratio=statistics.median(service.p50 / echo.p50 for service, echo in pairs),
    )


def _median_point(points: Sequence[Point]) -> Point:
    database = [point.database_cpu for point in points if point.database_cpu is not None]
    return Point(
        rate=statistics.median(point.rate for point in points),
        p50=statistics.median(point.p50 for point in points),
        p99=statistics.median(point.p99 for point in points),
        server_cpu=statistics.median(point.server_cpu for point in points),
        database_cpu=statistics.median(database) if database else None,
    )
