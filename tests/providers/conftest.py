"""A token endpoint on loopback, and exchanges that may reach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.providers.support import Endpoint, Setup


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()


@pytest.fixture
async def setup(tmp_path: Path, endpoint: Endpoint) -> AsyncIterator[Setup]:
    made = Setup(tmp_path, endpoint)
    yield made
    for exchange in made.opened:
        await exchange.close()
