"""A server, a caller and an integration at the tests' authorization server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.oauth import OAuthServer
from tests.support.server_process import ServerProcess
from tests.support.service import Service, write_template


@dataclass(slots=True)
class World:
    """What a test of the engine works with. Servers that it starts share one database, one template folder, one key."""

    oauth: OAuthServer
    templates: Path
    _start: StartServer
    _services: list[Service]
    key: str = ""

    def template(self, **facts: Any) -> None:
        """Write the provider's template anew; servers that start later read it."""
        write_template(self.templates, self.oauth, **facts)

    def start(self, *, fault_point: str = "", **settings: Any) -> tuple[ServerProcess, Service]:
        """Start a server; the first also makes the key and the integration."""
        server = self._start(fault_point=fault_point, providers_dir=str(self.templates), **settings)
        first = not self.key
        if first:
            self.key = server.bootstrap()
        service = Service(server.address, self.key)
        self._services.append(service)
        if first:
            service.create_integration(self.oauth)
        return server, service


@pytest.fixture
def world(oauth_server: OAuthServer, connections_server: StartServer, tmp_path: Path) -> Iterator[World]:
    """A world whose provider rotates refresh tokens and detects reuse, without a window."""
    services: list[Service] = []
    made = World(oauth_server, tmp_path / "templates", connections_server, services)
    made.template(reuse_window=0)
    yield made
    for service in services:
        service.close()
