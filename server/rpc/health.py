"""Health as the mesh sees it (grpc.health.v1): readiness follows the database, and is known in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from grpc_health.v1 import health, health_pb2

from server.telemetry import log

_INTERVAL: Final = 2.0
_TIMEOUT: Final = 0.5
_FAILURES: Final = 3
"""Checks in a row that must fail before readiness is lost; one that succeeds restores it."""


class Readiness:
    """Keeps the health servicer's statuses: overall (the empty name) and per service."""

    def __init__(self, services: Sequence[str], check: Callable[[], Awaitable[None]]) -> None:
        self.servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._names = ("", *services)
        self._check = check
        self._ready: bool | None = None
        self._draining = False

    async def start(self) -> None:
        """Set everything to NOT_SERVING: the servicer begins with SERVING, which nothing has shown yet."""
        await self._set(ready=False)

    async def watch(self) -> None:
        """Check for ever."""
        failures = _FAILURES
        while True:
            failures = 0 if await self._works() else failures + 1
            if failures == 0 or failures >= _FAILURES:
                await self._set(ready=failures == 0)
            await asyncio.sleep(_INTERVAL)

    async def check_once(self) -> bool:
        """Check now, and set the statuses by it."""
        works = await self._works() and not self._draining
        await self._set(ready=works)
        return works

    async def drain(self) -> None:
        """Say NOT_SERVING from now on, whatever happens."""
        self._draining = True
        self._ready = False
        await self.servicer.enter_graceful_shutdown()

    async def _works(self) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await self._check()
        except Exception as error:  # noqa: BLE001 (whatever is wrong, the answer is the same)
            log.get().debug("readiness_check_failed", error=type(error).__name__)
            return False
        return True

    async def _set(self, *, ready: bool) -> None:
        if self._draining or ready == self._ready:
            return
        if self._ready is not None or ready:
            log.get().info("readiness", serving=ready)
        self._ready = ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self.servicer.set(name, status)
