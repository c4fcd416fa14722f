"""The whole engine under arbitrary interleavings of callers, failures, crashes and time, on a simulated clock.

Two processes share the real Postgres and one connection. Whatever happens to them: no refresh token is spent twice
outside its reuse window (unless a person forces a connection that reports OUTCOME_UNKNOWN), the generation only grows,
no token that would do is withheld, no edit and no answer that was stored or spooled is lost, and every state has a way
back.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import pytest
from connections.v1 import connection_pb2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from server.domain import deadline as deadline_module
from server.domain.connections import NewConnection
from server.domain.deadline import Deadline
from server.domain.errors import Reason, ServiceError
from server.domain.model import OAuth2Credentials
from server.domain.ports import Rendered
from server.domain.secret import Secret
from server.refresh import fault_points
from tests.refresh.simulated_time import SimulatedLoop
from tests.refresh.simulation import Mode, Process, SimulatedProvider, World, hook, stored_state, template

NAMES: Final = ("first", "second")
POINTS: Final = (
    fault_points.BEFORE_LEASE,
    fault_points.AFTER_LEASE,
    fault_points.BEFORE_SEND,
    fault_points.AFTER_ANSWER,
    fault_points.BEFORE_APPLY,
    fault_points.AFTER_APPLY,
)
# What may keep a token from a caller although it would do: not the credentials' state, but the process's own.
EXCUSES: Final = {Reason.STORAGE_UNAVAILABLE, Reason.INTERRUPTED}

names = st.sampled_from(NAMES)
min_ttls = st.sampled_from([0.0, 60.0, 1200.0, 3000.0, 7200.0])
timeouts = st.sampled_from([0.3, 2.0, 15.0, 60.0])


class Machine(RuleBasedStateMachine):
    """What may happen, and what must hold after it."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        asyncio.set_event_loop(self.loop)
        self.folder = Path(tempfile.mkdtemp())
        self.processes: dict[str, Process] = {}
        self.metadata: dict[str, Any] = {}
        self.edits = 0
        self.generation = 0
        self.forces = 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(deadline_module, "time", self.loop)
        self.patch.setattr(fault_points, "_hook", self._hook)

    async def _hook(self, point: str) -> None:
        await hook(list(self.processes.values()), point)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @initialize(
        window=st.sampled_from([0.0, 60.0, None]),
        life=st.sampled_from([600.0, 3600.0]),
        lease=st.sampled_from([5.0, 30.0]),
    )
    def begin(self, window: float | None, life: float, lease: float) -> None:
        self.provider = SimulatedProvider(self.loop, reuse_window=window or 0.0, rotates=window is not None, life=life)
        facts = template(self.provider)
        self.world = World(self.loop, self.url, self.folder, self.provider, facts, lease_ttl=lease)
        self.run(self._begin())

    async def _begin(self) -> None:
        for name in NAMES:
            await self._start(name)
        await self.world.set_up(self.processes[NAMES[0]])
        self.key = self.world.key("customer")
        await self._import(self.processes[NAMES[0]], 0.5)
        self.row = await stored_state(self.processes[NAMES[0]], self.key)

    async def _start(self, name: str) -> None:
        self.processes[name] = process = Process(self.world, name)
        await process.start()

    async def _import(self, process: Process, part_of_life: float) -> None:
        granted = self.provider.authorize()
        expires_at = self.loop.now() + self.provider.life * part_of_life
        self.provider.access_tokens[granted["access_token"]] = expires_at
        credentials = OAuth2Credentials(
            Secret(granted["access_token"]), Secret(granted["refresh_token"]), "Bearer", expires_at
        )
        await process.use_cases.import_connection(NewConnection(self.key, credentials))

    async def _attempt(self, name: str, work: Callable[[Process], Coroutine[Any, Any, Any]]) -> Any:
        """Do something in a process; return what came of it, the error if one did, None if the process died."""
        process = self.processes[name]
        try:
            return await process.run(lambda: work(process))
        except ServiceError as error:
            return error
        except asyncio.CancelledError:
            assert process.dead
            return None

    async def _settle(self) -> None:
        """Bury who died, start them again, and look at what is stored."""
        for name, process in list(self.processes.items()):
            if process.dead:
                await process.bury()
                await self._start(name)
        for process in self.processes.values():
            if not process.cut:
                self.row = await stored_state(process, self.key)
                return

    async def _step(self, *acts: Coroutine[Any, Any, Any]) -> None:
        await asyncio.gather(*acts)
        await self._settle()

    async def _read(self, name: str, min_ttl: float, timeout: float) -> None:
        expires_at, generation = self.row.expires_at, self.row.generation
        result = await self._attempt(
            name, lambda process: process.reader.get(self.key, min_ttl=min_ttl, deadline=Deadline.after(timeout))
        )
        if isinstance(result, ServiceError):
            withheld = expires_at - self.loop.now() > min_ttl and generation == self.generation
            assert not withheld or result.reason in EXCUSES, f"a token that would do was withheld: {result!r}"
        elif result is not None:
            self._check(result)

    def _check(self, rendered: Rendered) -> None:
        token = connection_pb2.Connection.FromString(rendered).credentials.oauth2.access_token
        assert token in self.provider.access_tokens, "a token that nobody issued"
        assert self.provider.access_tokens[token] > self.loop.now(), "a token that has expired"

    async def _force(self, name: str, timeout: float) -> None:
        self.forces += 1
        result = await self._attempt(
            name, lambda process: process.reader.force(self.key, deadline=Deadline.after(timeout))
        )
        if result is not None and not isinstance(result, ServiceError):
            self._check(result.rendered)

    async def _edit(self, name: str) -> None:
        self.edits += 1
        patch = {f"edit-{self.edits}": self.edits}
        result = await self._attempt(name, lambda process: process.use_cases.merge_metadata(self.key, patch))
        if result is not None and not isinstance(result, ServiceError):
            self.metadata |= patch

    async def _adopt(self, name: str) -> None:
        """Let the loop that adopts spooled answers look once."""

        async def look(process: Process) -> None:
            task = asyncio.create_task(process.scheduler.adopt_spooled())
            await asyncio.sleep(1.0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await self._attempt(name, look)

    async def _die(self, name: str) -> None:
        self.processes[name].die()

    async def _tick(self, name: str) -> None:
        async def tick(process: Process) -> None:
            await process.scheduler.tick()
            await process.scheduler.idle()

        await self._attempt(name, tick)

    @rule(name=names, min_ttl=min_ttls, timeout=timeouts)
    def read(self, name: str, min_ttl: float, timeout: float) -> None:
        self.run(self._step(self._read(name, min_ttl, timeout)))

    @rule(name=names, timeout=st.sampled_from([0.5, 2.0, 60.0]))
    def force(self, name: str, timeout: float) -> None:
        self.run(self._step(self._force(name, timeout)))

    @rule(
        acts=st.lists(
            st.tuples(st.sampled_from(["read", "force", "edit", "tick", "adopt", "import"]), names),
            min_size=2,
            max_size=6,
        )
    )
    def together(self, acts: list[tuple[str, str]]) -> None:
        works: dict[str, Callable[[str], Coroutine[Any, Any, Any]]] = {
            "read": lambda name: self._read(name, 0.0, 60.0),
            "force": lambda name: self._force(name, 60.0),
            "edit": self._edit,
            "tick": self._tick,
            "adopt": self._adopt,
            "import": lambda name: self._attempt(name, lambda process: self._import(process, 1.0)),
        }
        self.run(self._step(*(works[act](name) for act, name in acts)))

    @rule(name=names)
    def edit(self, name: str) -> None:
        self.run(self._step(self._edit(name)))

    @rule(name=names, part_of_life=st.sampled_from([0.001, 0.3, 1.0]))
    def reimport(self, name: str, part_of_life: float) -> None:
        self.run(self._step(self._attempt(name, lambda process: self._import(process, part_of_life))))

    @rule(mode=st.sampled_from(list(Mode)))
    def provider_becomes(self, mode: Mode) -> None:
        self.provider.mode = mode

    @rule(latency=st.sampled_from([0.0, 0.2, 12.0, 50.0]))
    def provider_takes(self, latency: float) -> None:
        self.provider.latency = lambda _: latency

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0, 61.0, 300.0, 1000.0, 3600.0, 86400.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(self._step(asyncio.sleep(seconds)))

    @rule(name=names, point=st.sampled_from(POINTS))
    def will_die_at(self, name: str, point: str) -> None:
        self.processes[name].dies_at = point

    @rule(name=names)
    def dies(self, name: str) -> None:
        self.run(self._step(self._die(name)))

    @rule(name=names, cut=st.booleans())
    def loses_postgres(self, name: str, cut: bool) -> None:
        self.processes[name].cut = cut

    @rule(name=names)
    def scheduler_ticks(self, name: str) -> None:
        self.run(self._step(self._tick(name)))

    @rule(name=names)
    def spool_is_adopted(self, name: str) -> None:
        self.run(self._step(self._adopt(name)))

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "row"):
            return
        tried_anyway = self.world.tried_anyway
        assert set(self.provider.reuses) <= set(tried_anyway), "a spent refresh token was spent again"
        assert len(tried_anyway) <= self.forces, "OUTCOME_UNKNOWN was left without anybody's decision"
        if all(process.cut for process in self.processes.values()):
            return
        assert self.row.generation >= self.generation, "the generation went back"
        self.generation = self.row.generation
        assert self.metadata.items() <= self.row.metadata.items(), "an edit was lost"

    def teardown(self) -> None:
        try:
            if hasattr(self, "row"):
                self.run(self._recover())
                self.holds()
        finally:
            self.run(self._end())
            self.patch.undo()
            asyncio.set_event_loop(None)
            gc.collect()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)

    async def _recover(self) -> None:
        """With everything up again, time alone leads back; or what the state asks for does."""
        self.provider.mode = Mode.UP
        self.provider.latency = lambda _: 0.2
        for process in self.processes.values():
            process.cut, process.dies_at = False, None
        await asyncio.sleep(120.0)
        await self._step(*(self._adopt(name) for name in NAMES))
        newest = self._newest_kept()
        for _ in range(40):
            await self._step(*(self._tick(name) for name in NAMES))
            if self.row.status == "ACTIVE" and self.row.expires_at > self.loop.now():
                break
            await asyncio.sleep(300.0)
        await self._check_newest(newest)
        if self.row.failure_reason == "OUTCOME_UNKNOWN":
            await self._step(self._force(NAMES[0], 60.0))
        if self.row.status == "REAUTHORIZATION_REQUIRED":
            await self._step(self._import(self.processes[NAMES[0]], 1.0))
        assert self.row.status == "ACTIVE", f"no way back from {self.row.status}, {self.row.failure_reason}"
        await self._step(self._read(NAMES[1], 0.0, 60.0))

    def _newest_kept(self) -> tuple[int, int]:
        return max((self.provider.position(token) for token in self.world.kept), default=(0, 0))

    async def _check_newest(self, newest: tuple[int, int]) -> None:
        """Answers that were kept are stored now, unless an end user has authorized anew since."""
        process = self.processes[NAMES[0]]
        rendered = await process.connections.render_with_refresh_token(self.key)
        assert rendered is not None
        token = connection_pb2.Connection.FromString(rendered).credentials.oauth2.refresh_token
        assert self.provider.position(token) >= newest, "an answer that was kept was lost"

    async def _end(self) -> None:
        for process in self.processes.values():
            await process.flights.drain(0.0)
            await process.stop()


# A process that dies in the midst of a statement leaves its connection to the garbage collector, which says so. And a
# failure is worth the time that it takes to find the shortest way to it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(900)
def test_state_machine(database_url: str) -> None:
    machine = type("BoundMachine", (Machine,), {"url": database_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
