"""The fixtures of the engine's and the service's tests, here too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.refresh.conftest import world
from tests.service.conftest import client, service
from tests.support.oauth import OAuthServer

__all__ = ["client", "service", "world"]


@pytest.fixture(autouse=True)
def _same_endpoint(oauth_server: OAuthServer) -> Iterator[None]:
    """Let tests point the template elsewhere."""
    present = oauth_server.token_url
    yield
    oauth_server.token_url = present
