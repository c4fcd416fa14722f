"""Promise 2: exactly one exchange, however many callers, processes and machines ask at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.refresh.conftest import World

CALLERS = 300


@pytest.mark.parametrize(
    ("lease_ttl", "provider_takes"),
    [("30s", 0.0), ("1s", 4.0)],
    ids=["quick provider", "provider slower than the lease"],
)
def test_promise_2_exactly_one_exchange(world: World, lease_ttl: str, provider_takes: float) -> None:
    services = [world.start(lease_ttl=lease_ttl)[1] for _ in range(3)]
    pair = world.oauth.issue(expires_in=1)
    services[0].import_pair(pair, expires_in=-1)
    if provider_takes:
        world.oauth.fault("delay", seconds=provider_takes)

    def read(number: int) -> str:
        return services[number % 3].get(timeout=60).credentials.oauth2.access_token

    with ThreadPoolExecutor(CALLERS) as pool:
        tokens = set(pool.map(read, range(CALLERS)))

    stats = world.oauth.stats()
    assert stats.total == 1
    assert stats.reuses == 0
    assert len(tokens) == 1
    assert pair.access_token not in tokens
    assert world.oauth.is_active(tokens.pop())
