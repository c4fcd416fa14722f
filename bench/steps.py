"""What each step of a read costs inside the process: the budget of docs/performance.md.

The service's own chain and stores run here without gRPC, one call after the other, against the real Postgres. Caches are
warm and nothing else runs between two calls, so this is the least that a step costs; between two calls of a server other
processes run on the same core, and everything costs several times as much.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from bench import seed
from bench.bed import ENVIRONMENT, Bed
from bench.load import GET_CONNECTION
from server.crypto.data_keys import DataKeys
from server.crypto.keyring import Keyring
from server.domain.api_keys import Authenticator
from server.domain.model import ConnectionKey
from server.rpc import convert
from server.rpc.call import Call
from server.rpc.chain import Authenticate, Budget, Shed, access_log, errors, identity, measure
from server.rpc.interceptor import ChainInterceptor
from server.storage.clock import DatabaseClock
from server.storage.connections import PostgresConnectionStore
from server.storage.engine import DatabaseSettings, create_engine
from server.storage.environments import PostgresEnvironmentKeyStore, PostgresEnvironmentStore
from server.storage.point_reader import PointReader
from server.telemetry import log

_CALLS: Final = 2000
_ROUNDS: Final = 7
_TOGETHER: Final = 32


@dataclass(frozen=True, slots=True)
class Step:
    """A step and what it costs, in seconds of processor time of this process per call."""

    name: str
    seconds: float


class _Context:
    """What gRPC tells of a call."""

    def __init__(self, api_key: str) -> None:
        self._metadata = (("user-agent", "bench"), ("te", "trailers"), ("authorization", f"Bearer {api_key}"))

    def invocation_metadata(self) -> Any:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:127.0.0.1:50000"

    def time_remaining(self) -> float | None:
        return 10.0


def run(bed: Bed) -> list[Step]:
    """Measure every step."""
    with Path(os.devnull).open("w") as nowhere, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        log.configure("info", "json", nowhere)
        return runner.run(_run(bed))


async def _run(bed: Bed) -> list[Step]:
    settings = DatabaseSettings(bed.url, pool_size=2)
    engine = create_engine(settings)
    reader = PointReader(settings)
    await reader.open()
    try:
        keys = DataKeys(Keyring.parse(bed.keyring), PostgresEnvironmentKeyStore(engine))
        environments = PostgresEnvironmentStore(engine, keys)
        environment_id = (await environments.by_name(ENVIRONMENT)).environment_id
        authenticator = Authenticator(environments, DatabaseClock(engine), ttl=3600.0)
        await authenticator.authenticate(bed.api_key)
        steps = await _chain(bed, authenticator)
        store = PostgresConnectionStore(engine, reader, keys)
        wanted = [
            ConnectionKey(environment_id, seed.INTEGRATION, seed.connection_id(number % bed.rows))
            for number in range(_TOGETHER)
        ]
        stored = await store.read(wanted[0])
        assert stored is not None
        rendered = await store.render(stored)

        async def together() -> None:
            await asyncio.gather(*(store.read(key) for key in wanted))

        async def framed() -> None:
            convert.framed(convert.CONNECTION_FIELD, rendered)

        return [
            *steps,
            Step("SELECT, alone", await _cost(lambda: store.read(wanted[0]))),
            Step(f"SELECT, {_TOGETHER} at once, each", await _cost(together, calls=_CALLS // _TOGETHER) / _TOGETHER),
            Step("decryption, response", await _cost(lambda: store.render(stored))),
            Step("frame of the response", await _cost(framed)),
        ]
    finally:
        await reader.close()
        await engine.dispose()


async def _chain(bed: Bed, authenticator: Authenticator) -> list[Step]:
    """Measure the chain with one step more each time: what it adds is the step's cost."""

    async def answer(request: Any, call: Call) -> bytes:
        del request
        call.fields["provider_config_key"] = seed.INTEGRATION
        call.fields["connection_id"] = seed.connection_id(1)
        return b""

    named: list[tuple[str, Any]] = [
        ("identity", identity),
        ("access log", access_log),
        ("metrics", measure),
        ("errors", errors),
        ("load shedding", Shed(max_calls=1000, max_lists=64)),
        ("key check", Authenticate(authenticator)),
        ("deadline", Budget(cap=30.0)),
    ]
    context = _Context(bed.api_key)
    found, before = [], 0.0
    for count in range(len(named) + 1):
        interceptor = ChainInterceptor([step for _, step in named[:count]])
        handler: Any = interceptor.unary(answer, GET_CONNECTION)
        cost = await _cost(lambda handler=handler: handler(None, context))  # type: ignore[misc]
        found.append(Step(named[count - 1][0] if count else "interceptor, call", max(0.0, cost - before)))
        before = cost
    return found


async def _cost(work: Callable[[], Awaitable[Any]], *, calls: int = _CALLS) -> float:
    """Return the processor time of one call: that of the best of several rounds."""
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.process_time()
        for _ in range(calls):
            await work()
        best = min(best, (time.process_time() - started) / calls)
    return best
