"""The promises that have no file of their own: 1, 8 and 9."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
from connections.v1 import connection_service_pb2

from tests.refresh.conftest import World
from tests.refresh.test_crashes import wait_until
from tests.refresh.test_meanwhile import begin_slow_read

REFRESHED = connection_service_pb2.REFRESH_OUTCOME_REFRESHED
SHARED = connection_service_pb2.REFRESH_OUTCOME_SHARED


def test_promise_1_a_fresh_read_costs_one_select_and_nothing_else(world: World, database_url: str) -> None:
    server, service = world.start()
    service.import_pair(world.oauth.issue(), expires_in=3600)
    service.get()  # the key's cache and the environment's key are warm now
    with psycopg.connect(database_url, autocommit=True) as watcher:
        query = """SELECT sum(xact_commit + xact_rollback), sum(tup_inserted + tup_updated + tup_deleted)
                     FROM pg_stat_database WHERE datname = current_database()"""
        reads = 200

        def counted() -> tuple[int, int]:
            # A backend reports what it did with the first transaction that ends a second after its last report.
            time.sleep(1.2)
            service.get()
            row = watcher.execute(query).fetchone()
            assert row is not None
            return int(row[0]), int(row[1])

        transactions, writes = counted()
        for _ in range(reads):
            service.get()
        after, writes_after = counted()
    assert writes_after == writes
    # One transaction per read; the readiness check and this test's own queries are the rest.
    assert reads <= after - transactions <= reads + 20
    assert world.oauth.stats().total == 0
    server.kill()


def test_promise_8_refreshed_before_it_is_needed(world: World) -> None:
    world.oauth.configure(access_token_lifetime=3600)
    _, service = world.start(scheduler_enabled="true")
    _, other = world.start(scheduler_enabled="true")
    del other
    pairs = [world.oauth.issue() for _ in range(20)]
    for number, pair in enumerate(pairs):
        service.import_pair(pair, expires_in=300, connection_id=f"c{number}")

    wait_until(lambda: all(service.basic(f"c{number}").generation == 2 for number in range(20)), seconds=30)

    stats = world.oauth.stats()
    assert stats.per_refresh_token == {pair.refresh_token: 1 for pair in pairs}
    assert service.basic("c0").next_refresh_time.seconds > time.time() + 1500


def test_promise_8_an_idle_refresh_token_is_kept_alive(world: World) -> None:
    world.template(reuse_window=0, idle_refresh_after=2)
    _, service = world.start(scheduler_enabled="true")
    # It never expires, so nothing but idleness makes it due.
    service.import_pair(world.oauth.issue(), expires_in=None)

    wait_until(lambda: service.basic().generation >= 2, seconds=20)


def test_promise_9_force_refresh_means_it(world: World) -> None:
    _, service = world.start()
    pair = world.oauth.issue()
    service.import_pair(pair, expires_in=3600)

    forced = service.force()

    assert forced.outcome == REFRESHED
    assert forced.previous_generation == 1
    assert forced.connection.generation == 2
    assert forced.connection.credentials.oauth2.access_token != pair.access_token
    assert forced.credentials_expire_time.seconds > time.time()


def test_promise_9_concurrent_forces_share_one_exchange_across_processes(world: World) -> None:
    services = [world.start()[1] for _ in range(2)]
    services[0].import_pair(world.oauth.issue(), expires_in=3600)
    world.oauth.fault("delay", seconds=1.5)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(services[0].force)
        wait_until(lambda: world.oauth.stats().total == 1)
        others = [pool.submit(services[number % 2].force) for number in range(7)]
        answers = [first.result(), *(one.result() for one in others)]

    assert world.oauth.stats().total == 1
    assert {answer.connection.generation for answer in answers} == {2}
    assert [answer.outcome for answer in answers] == [REFRESHED] + [SHARED] * 7


def test_promise_9_a_force_that_joins_a_read_s_refresh_gets_a_token_of_it(world: World) -> None:
    _, service = world.start()
    with ThreadPoolExecutor(1) as pool:
        reading = begin_slow_read(world, service, pool, seconds=1.5)
        forced = service.force()
        assert reading.result().generation == 2
    assert forced.outcome == SHARED
    assert forced.connection.generation == 2
    assert world.oauth.stats().total == 1


def test_promise_9_too_little_time_is_refused_before_anything_is_spent(world: World) -> None:
    _, service = world.start()
    service.import_pair(world.oauth.issue(), expires_in=3600)

    failure = service.force_failure(timeout=0.8)

    assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
    assert failure.metadata == {"requiredMs": "1000"}
    assert world.oauth.stats().total == 0


def test_promise_9_at_the_deadline_the_exchange_goes_on(world: World) -> None:
    _, service = world.start()
    service.import_pair(world.oauth.issue(), expires_in=3600)
    world.oauth.fault("delay", seconds=2.5)

    failure = service.force_failure(timeout=1.5)

    assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", "REFRESH_CONTINUES")
    wait_until(lambda: service.basic().generation == 2)
    assert world.oauth.is_active(service.get().credentials.oauth2.access_token)
