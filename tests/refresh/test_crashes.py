"""Promise 6: crash-safe rotation. A server is killed at every step of an exchange, and another takes over.

What the next owner must do follows from what it can know:

| killed                              | the token      | the next owner                                                 |
|-------------------------------------|----------------|----------------------------------------------------------------|
| before the lease                    | unspent        | refreshes                                                      |
| after the lease                     | unspent        | refreshes, once the lease has run out                          |
| before sending (attempt recorded)   | maybe spent    | reuse window open: tries again; else OUTCOME_UNKNOWN           |
| while the provider works            | maybe spent    | the same                                                       |
| after the answer, before it is kept | spent, lost    | the same                                                       |
| after the answer was kept           | spent, stored  | applies the stored answer; no second request                   |
| after it was applied                | spent, stored  | returns it                                                     |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from connections.v1 import connection_service_pb2

from tests.refresh.conftest import World
from tests.support.server_process import ServerProcess
from tests.support.service import Service

TTL = "1s"


def crash(world: World, fault_point: str, **settings: str) -> str:
    """Let a server die at a step of an exchange; return the refresh token that it was to spend."""
    server, service = world.start(fault_point=f"{fault_point}:kill", lease_ttl=TTL, **settings)
    pair = world.oauth.issue(expires_in=1)
    service.import_pair(pair, expires_in=-1)
    with pytest.raises(grpc.RpcError):
        service.get()
    assert server.wait(10) != 0
    return pair.refresh_token


@pytest.mark.parametrize("step", ["before_lease", "after_lease"])
def test_promise_6_killed_before_anything_is_spent(world: World, step: str) -> None:
    spent = crash(world, step)
    _, heir = world.start(lease_ttl=TTL)

    assert world.oauth.is_active(heir.get().credentials.oauth2.access_token)
    assert world.oauth.stats().per_refresh_token == {spent: 1}


@pytest.mark.parametrize("step", ["before_send", "after_answer"])
def test_promise_6_killed_when_the_token_may_be_spent_without_a_reuse_window(world: World, step: str) -> None:
    crash(world, step)
    requests = world.oauth.stats().total
    _, heir = world.start(lease_ttl=TTL)

    failure = heir.get_failure()

    # Not REAUTHORIZATION_REQUIRED: nobody has refused anything.
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "OUTCOME_UNKNOWN")
    assert heir.basic().generation == 1
    stats = world.oauth.stats()
    assert stats.total == requests
    assert stats.reuses == 0
    # It stays so, without another request, until somebody decides.
    assert heir.get_failure().reason == "OUTCOME_UNKNOWN"
    assert world.oauth.stats().total == requests


def test_promise_6_outcome_unknown_has_two_ways_out(world: World) -> None:
    crash(world, "before_send")
    _, heir = world.start(lease_ttl=TTL)
    assert heir.get_failure().reason == "OUTCOME_UNKNOWN"

    # The token was never sent, so forcing it works.
    forced = heir.force()
    assert forced.outcome == connection_service_pb2.REFRESH_OUTCOME_REFRESHED
    assert world.oauth.is_active(heir.get().credentials.oauth2.access_token)

    world.oauth.reset()
    fresh = world.oauth.issue()
    imported = heir.import_pair(fresh, expires_in=3600)
    assert imported.status == 1
    assert heir.get().credentials.oauth2.access_token == fresh.access_token


@pytest.mark.parametrize("step", ["before_send", "after_answer"])
def test_promise_6_killed_when_the_token_may_be_spent_within_the_reuse_window(world: World, step: str) -> None:
    world.oauth.configure(reuse_window=60)
    world.template(reuse_window=60)
    crash(world, step)
    _, heir = world.start(lease_ttl=TTL)

    assert world.oauth.is_active(heir.get().credentials.oauth2.access_token)
    assert world.oauth.stats().reuses == 0


def test_promise_6_killed_while_the_provider_works(world: World) -> None:
    world.oauth.configure(reuse_window=60)
    world.template(reuse_window=60)
    victim, service = world.start(lease_ttl=TTL)
    _, heir = world.start(lease_ttl=TTL)
    pair = world.oauth.issue(expires_in=1)
    service.import_pair(pair, expires_in=-1)
    world.oauth.fault("delay", seconds=2)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(service.get)
        wait_until(lambda: world.oauth.stats().total == 1)
        victim.kill()
        with pytest.raises(grpc.RpcError):
            reading.result()

    assert world.oauth.is_active(heir.get().credentials.oauth2.access_token)
    assert world.oauth.stats().reuses == 0


@pytest.mark.parametrize("step", ["before_apply", "after_apply"])
def test_promise_6_killed_after_the_answer_was_kept(world: World, step: str) -> None:
    spent = crash(world, step)
    _, heir = world.start(lease_ttl=TTL)

    connection = heir.get()

    assert world.oauth.is_active(connection.credentials.oauth2.access_token)
    assert connection.generation == 2
    # The stored answer was applied: no second request.
    assert world.oauth.stats().per_refresh_token == {spent: 1}


def test_promise_6_the_takeover_comes_within_the_lease(world: World) -> None:
    crash(world, "before_apply")
    _, heir = world.start(lease_ttl=TTL)
    started = time.monotonic()

    heir.get(timeout=10)

    # The lease of one second, and a poll or two; a bound against hanging, not a measurement.
    assert time.monotonic() - started < 8


def wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


__all__ = ["ServerProcess", "Service", "wait_until"]
