"""Promise 8: refreshed before it is needed. Two schedulers in two processes, on a simulated clock and the real Postgres."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from connections.v1 import connection_pb2

from server.domain.connections import NewConnection
from server.domain.deadline import Deadline
from server.domain.errors import ServiceError
from server.domain.model import OAuth2Credentials
from server.domain.secret import Secret
from server.refresh.scheduler import DEFAULT_PER_PROVIDER
from tests.refresh.load import BOUND, Gauge, latency_of, running, seed, ten_minutes
from tests.refresh.simulated_time import SimulatedLoop
from tests.refresh.simulation import (
    INTEGRATION,
    Process,
    SimulatedProvider,
    World,
    processes_of,
    simulated,
    stored_state,
    template,
)

DAY = 86400.0


def world(loop: SimulatedLoop, url: str, folder: Path, **facts: Any) -> World:
    provider = SimulatedProvider(loop)
    return World(loop, url, folder, provider, template(provider, **facts))


@pytest.mark.timeout(600)
def test_promise_8_fifty_thousand_expire_within_ten_minutes(database_url: str, tmp_path: Path) -> None:
    async def main(world: World) -> None:
        async with processes_of(world) as processes:
            curve = await ten_minutes(world, processes, 50_000)

        assert curve.refreshed == sum(curve.expiries) == 50_000
        assert curve.late == 0
        assert curve.twice == 0
        # Of both together. Had each its own bound, there would be more; a slot is given back a little after its refresh.
        assert 0.8 * BOUND < curve.most_in_flight <= BOUND

    with simulated() as loop:
        loop.run_until_complete(main(world(loop, database_url, tmp_path, max_concurrency=BOUND)))


def test_promise_8_every_step_of_the_engine_under_two_schedulers(database_url: str, tmp_path: Path) -> None:
    """The same with nothing left out, for as many as real time allows."""
    count = 400

    async def main(world: World) -> None:
        provider = world.provider
        provider.latency = lambda refresh_token: 20 * latency_of(refresh_token)
        async with processes_of(world) as processes:
            start = loop.now()
            await seed(processes[0], INTEGRATION, [start + 3000 + 600 * number / count for number in range(count)])
            tasks = [process.tasks.start(process.make_scheduler(interval=5.0).run()) for process in processes]
            # Until the first token would expire.
            await asyncio.sleep(3000)
            for task in tasks:
                task.cancel()
            rows = [await stored_state(processes[0], world.key(f"customer-{number:06}")) for number in range(count)]

        assert all((row.status, row.generation) == ("ACTIVE", 2) for row in rows[: count // 2])
        assert min(row.expires_at for row in rows) > start + 3000
        assert provider.requests == sum(row.generation - 1 for row in rows)
        assert provider.reuses == []
        assert provider.most_in_flight == DEFAULT_PER_PROVIDER

    with simulated() as loop:
        loop.run_until_complete(main(world(loop, database_url, tmp_path)))


def test_promise_8_downtime_is_made_good_in_a_queue_soonest_first(database_url: str, tmp_path: Path) -> None:
    count, bound = 2000, 20

    async def main(world: World) -> None:
        async with processes_of(world) as processes:
            expiries = [loop.now() + 3000 + number for number in range(count)]
            seeded = await seed(processes[0], INTEGRATION, expiries, overdue_by=DAY, access_token="any")
            gauge = Gauge()
            async with running(world, processes, gauge, interval=5.0, latency=latency_of):
                await asyncio.sleep(600)

        due = sorted(seeded, key=lambda one: one.next_refresh_at)
        rank = {one.connection_id: place for place, one in enumerate(due)}
        begun = [rank[key.connection_id] for _, key in gauge.started]
        assert sorted(begun) == list(range(count))
        assert gauge.most_in_flight[INTEGRATION] == bound
        # Nobody overtakes more than those who are claimed together.
        assert all(abs(place - position) < bound for position, place in enumerate(begun))

    with simulated() as loop:
        loop.run_until_complete(main(world(loop, database_url, tmp_path, max_concurrency=bound)))


def test_promise_8_a_provider_with_a_backlog_delays_no_other(database_url: str, tmp_path: Path) -> None:
    async def main(world: World) -> None:
        async with processes_of(world) as processes:
            now = loop.now()
            await seed(processes[0], "crowded", [now + 3000] * 3000, overdue_by=DAY, access_token="any")
            await seed(processes[0], "calm", [now + 3000] * 20, overdue_by=DAY / 2, access_token="any")
            gauge = Gauge()
            async with running(world, processes, gauge, interval=1.0, latency=lambda _: 10.0):
                await asyncio.sleep(60)

        begun = [key.provider_config_key for _, key in gauge.started]
        assert begun.count("calm") == 20
        assert begun.count("crowded") < 100
        assert gauge.most_in_flight == {"crowded": 10, "calm": 10}

    with simulated() as loop:
        made = world(loop, database_url, tmp_path)
        made.others = tuple(template(made.provider, name=name) for name in ("crowded", "calm"))
        loop.run_until_complete(main(made))


def test_promise_8_slots_of_a_dead_process_come_back(database_url: str, tmp_path: Path) -> None:
    async def main(world: World) -> None:
        async with processes_of(world) as (first, second):
            world.provider.latency = lambda _: 5.0
            await seed(first, INTEGRATION, [loop.now() + 3000 + number for number in range(30)], overdue_by=DAY)
            victim = first.tasks.start(first.scheduler.tick())
            assert await victim == DEFAULT_PER_PROVIDER
            await asyncio.sleep(1)
            first.die()
            assert await second.scheduler.tick() == 0
            await asyncio.sleep(200)
            assert await second.scheduler.tick() == DEFAULT_PER_PROVIDER
            await second.scheduler.idle()

        assert world.provider.reuses == []

    with simulated() as loop:
        loop.run_until_complete(main(world(loop, database_url, tmp_path)))


@pytest.mark.parametrize("kept_alive", [True, False])
def test_promise_8_idle_refresh_tokens_are_kept_alive(database_url: str, tmp_path: Path, kept_alive: bool) -> None:
    """A token without expiry, which nobody reads, at a provider that forgets refresh tokens after 30 idle days."""

    async def main(world: World) -> None:
        world.provider.idle_limit = 30 * DAY
        async with processes_of(world) as (process, other):
            key = world.key("customer")
            granted = world.provider.authorize()
            credentials = OAuth2Credentials(Secret(granted["access_token"]), Secret(granted["refresh_token"]))
            await process.use_cases.import_connection(NewConnection(key, credentials))
            world.provider.life = 10 * 365 * DAY
            for _ in range(100):
                await asyncio.sleep(DAY)
                for one in (process, other):
                    await one.scheduler.tick()
                    await one.scheduler.idle()
            row = await stored_state(process, key)
            alive = await alive_after_force(process, world)

        assert alive is kept_alive
        # Every 20 days, some of them sooner by jitter.
        assert row.generation == (1 if not kept_alive else pytest.approx(6, abs=1))

    async def alive_after_force(process: Process, world: World) -> bool:
        try:
            forced = await process.reader.force(world.key("customer"), deadline=Deadline.after(10))
        except ServiceError:
            return False
        token = connection_pb2.Connection.FromString(forced.rendered).credentials.oauth2.access_token
        return token in world.provider.access_tokens

    facts = {"idle_refresh_after": 20 * DAY} if kept_alive else {}
    with simulated() as loop:
        loop.run_until_complete(main(world(loop, database_url, tmp_path, **facts)))
