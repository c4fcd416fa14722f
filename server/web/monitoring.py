"""Metrics and health over HTTP, for scrapers and probes that do not speak gRPC."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


class Monitoring:
    """Serves `/metrics`, `/healthz` (the process lives) and `/readyz` (it can serve)."""

    def __init__(self, address: str, ready: Callable[[], Awaitable[bool]]) -> None:
        self._address = address
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Bind and serve. Raises `OSError` if the address is taken."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/healthz", self._alive),
                web.get("/readyz", self._readiness),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        host, _, port = self._address.rpartition(":")
        await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _alive(self, request: web.Request) -> web.Response:
        del request
        return web.Response(text="ok\n")

    async def _readiness(self, request: web.Request) -> web.Response:
        del request
        ready = await self._ready()
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)
