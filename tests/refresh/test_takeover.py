"""What the next owner does with a token that may be spent: cases that the state machine found, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.domain.connections import NewConnection
from server.domain.deadline import Deadline
from server.domain.errors import Reason, ServiceError
from server.domain.model import OAuth2Credentials
from server.domain.secret import Secret
from server.refresh import fault_points
from server.refresh.breaker import FAILURES_TO_OPEN
from tests.refresh.simulated_time import SimulatedLoop
from tests.refresh.simulation import (
    Mode,
    Process,
    SimulatedProvider,
    World,
    processes_of,
    simulated,
    stored_state,
    template,
)

LIFE = 3600.0


@dataclass(slots=True)
class Scene:
    """Three processes, and a connection whose token has expired unless the scene says otherwise."""

    loop: SimulatedLoop
    provider: SimulatedProvider
    world: World
    first: Process
    second: Process
    third: Process

    async def imported(self, *, expires_in: float, name: str = "customer") -> None:
        granted = self.provider.authorize()
        credentials = OAuth2Credentials(
            Secret(granted["access_token"]), Secret(granted["refresh_token"]), "Bearer", self.loop.now() + expires_in
        )
        await self.first.use_cases.import_connection(NewConnection(self.world.key(name), credentials))

    async def read(self, process: Process, name: str = "customer") -> Reason | None:
        return await self._outcome(
            process, lambda: process.reader.get(self.world.key(name), min_ttl=0.0, deadline=Deadline.after(60))
        )

    async def force(self, process: Process) -> Reason | None:
        return await self._outcome(
            process, lambda: process.reader.force(self.world.key("customer"), deadline=Deadline.after(60))
        )

    async def _outcome(self, process: Process, work: Callable[[], Awaitable[Any]]) -> Reason | None:
        """Return the reason of a failure, None if there was none."""
        try:
            await process.run(work)
        except ServiceError as error:
            return error.reason
        return None

    async def dies(self, process: Process, point: str, work: Callable[[Process], Awaitable[Any]]) -> None:
        process.dies_at = point
        with pytest.raises(asyncio.CancelledError):
            await work(process)

    async def tick(self, process: Process) -> None:
        await process.scheduler.tick()
        await process.scheduler.idle()

    async def state(self) -> Any:
        return await stored_state(self.second, self.world.key("customer"))


Play = Callable[..., None]


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Play:
    """Play a scene with a provider that has this reuse window."""

    def play(
        scene: Callable[[Scene], Awaitable[None]],
        *,
        reuse_window: float,
        expires_in: float = -1.0,
        lease_ttl: float = 30.0,
    ) -> None:
        @asynccontextmanager
        async def stage(loop: SimulatedLoop) -> AsyncIterator[Scene]:
            provider = SimulatedProvider(loop, reuse_window=reuse_window, life=LIFE)
            world = World(loop, database_url, tmp_path, provider, template(provider), lease_ttl=lease_ttl)
            async with processes_of(world, 3) as processes:
                made = Scene(loop, provider, world, *processes)
                await made.imported(expires_in=expires_in)
                yield made

        async def main(loop: SimulatedLoop) -> None:
            async with stage(loop) as made:
                await scene(made)
                assert made.provider.reuses == []

        with simulated() as loop:
            loop.run_until_complete(main(loop))

    return play


def test_a_forced_refresh_after_a_crash_is_told_before_it_may_spend_again(play: Play) -> None:
    async def scene(it: Scene) -> None:
        await it.dies(it.first, fault_points.AFTER_ANSWER, it.read)
        await asyncio.sleep(60)

        assert await it.force(it.second) is Reason.OUTCOME_UNKNOWN
        assert it.provider.requests == 1

    play(scene, reuse_window=0.0)


def test_a_forced_refresh_that_learns_nothing_leaves_the_outcome_unknown(play: Play) -> None:
    async def scene(it: Scene) -> None:
        await it.dies(it.first, fault_points.AFTER_ANSWER, it.read)
        await asyncio.sleep(60)
        assert await it.read(it.second) is Reason.OUTCOME_UNKNOWN
        it.provider.mode = Mode.DOWN
        assert await it.force(it.second) is Reason.PROVIDER_UNAVAILABLE
        it.provider.mode = Mode.UP

        await asyncio.sleep(7200)
        await it.tick(it.second)

        assert await it.read(it.second) is Reason.OUTCOME_UNKNOWN
        assert it.provider.requests == 1

    play(scene, reuse_window=0.0)


@pytest.mark.parametrize("mode", [Mode.DOWN, Mode.FAILING, Mode.LIMITING, Mode.REFUSING])
def test_a_second_try_that_fails_does_not_forget_the_first(play: Play, mode: Mode) -> None:
    async def scene(it: Scene) -> None:
        await it.dies(it.first, fault_points.AFTER_ANSWER, it.read)
        it.provider.mode = mode
        await asyncio.sleep(31)
        assert await it.read(it.second) not in {None, Reason.OUTCOME_UNKNOWN}
        it.provider.mode = Mode.UP
        await asyncio.sleep(7200)

        assert await it.read(it.second) is Reason.OUTCOME_UNKNOWN

    play(scene, reuse_window=60.0)


def test_a_refusal_after_a_decided_second_try_ends_in_reauthorization(play: Play) -> None:
    async def scene(it: Scene) -> None:
        await it.dies(it.first, fault_points.BEFORE_SEND, it.read)
        await asyncio.sleep(60)
        assert await it.read(it.second) is Reason.OUTCOME_UNKNOWN
        it.provider.revoked.add(1)
        await it.dies(it.second, fault_points.BEFORE_SEND, it.force)
        await asyncio.sleep(60)

        assert await it.force(it.third) is Reason.REAUTHORIZATION_REQUIRED

    play(scene, reuse_window=0.0)


def test_what_a_dead_process_left_is_tried_again_while_the_reuse_window_is_open(play: Play) -> None:
    """Although nobody reads, and the connection itself is due in half an hour only."""

    async def scene(it: Scene) -> None:
        await it.dies(it.first, fault_points.AFTER_ANSWER, it.force)
        await asyncio.sleep(35)
        await it.tick(it.second)

        state = await it.state()
        assert (state.status, state.generation) == ("ACTIVE", 2)

    play(scene, reuse_window=60.0, expires_in=LIFE)


def test_an_answer_that_comes_after_its_outcome_was_reported_unknown_is_applied(play: Play) -> None:
    """A process that Postgres has lost sight of keeps its answer after all, and dies before it applies it."""

    async def scene(it: Scene) -> None:
        it.provider.latency = lambda _: 25.0
        reading = asyncio.create_task(it.read(it.first))
        await asyncio.sleep(1)
        it.first.cut = True
        await asyncio.sleep(20)
        assert await it.read(it.second) is Reason.OUTCOME_UNKNOWN
        it.first.cut, it.first.dies_at = False, fault_points.BEFORE_APPLY
        with pytest.raises(asyncio.CancelledError):
            await reading

        await asyncio.sleep(60)
        await it.tick(it.second)

        assert (await it.state()).status == "ACTIVE"
        assert it.provider.requests == 1

    play(scene, reuse_window=0.0, lease_ttl=5.0)


def test_a_probe_that_postgres_stops_does_not_keep_the_breaker_open(play: Play) -> None:
    async def scene(it: Scene) -> None:
        it.provider.mode = Mode.DOWN
        for number in range(FAILURES_TO_OPEN):
            await it.imported(expires_in=-1, name=f"other-{number}")
            assert await it.read(it.first, f"other-{number}") is Reason.PROVIDER_UNAVAILABLE
        it.provider.mode = Mode.UP
        await asyncio.sleep(30)
        it.first.cut_at = fault_points.AFTER_LEASE
        assert await it.read(it.first) is Reason.STORAGE_UNAVAILABLE
        it.first.cut = False
        await asyncio.sleep(60)

        assert await it.read(it.first) is None

    play(scene, reuse_window=0.0)
