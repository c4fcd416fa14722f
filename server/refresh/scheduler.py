"""Refreshes credentials before anyone asks. Any number of processes share the work: what is due is claimed by rows."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Final

from server.domain.clock import Clock
from server.domain.errors import NotFound, ServiceError
from server.domain.model import ConnectionKey
from server.refresh.ports import AnswerSpool, Due, DueStore, Slot, TokenExchange
from server.refresh.reading import Reader
from server.telemetry import log, metrics

_INTERVAL: Final = 1.0
_FIRST_PART: Final = 0.1
"""The part of the interval after which to look again when something was found; it doubles while nothing is."""
_ADOPT_INTERVAL: Final = 2.0
_SLOTS_INTERVAL: Final = 5.0
"""Seconds after which a provider that is used for the first time gets its slots."""
_HOLD: Final = 180.0
"""Seconds for which nobody else gets a claimed connection or its slot; longer than waiting for another process's exchange
and one of its own take with the default settings. If they take longer, another process may begin a refresh too many."""
DEFAULT_PER_PROVIDER: Final = 10
DEFAULT_OVERALL: Final = 50


class Scheduler:
    """Claims what is due and refreshes it: so many at once per provider in all processes, so many overall in this one.

    After downtime everything is overdue at once; the bounds make that a queue instead of a stampede, soonest first.
    """

    def __init__(
        self,
        store: DueStore,
        reader: Reader,
        exchange: TokenExchange,
        spool: AnswerSpool,
        clock: Clock,
        *,
        overall: int = DEFAULT_OVERALL,
        interval: float = _INTERVAL,
    ) -> None:
        self._store = store
        self._reader = reader
        self._exchange = exchange
        self._spool = spool
        self._clock = clock
        self._overall = overall
        self._interval = interval
        self._owner = uuid.uuid4()
        self._bounds: Mapping[str, int] = {}
        self._bounds_until = 0.0
        self._done: list[Slot] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work for ever; cancelled at shutdown, when what it has begun goes on in its flights."""
        part = 1.0
        while True:
            try:
                part = _FIRST_PART if await self.tick() else min(2 * part, 1.0)
            except ServiceError as error:
                log.get().warning("scheduler_paused", reason=error.reason.name)
                part = 1.0
            await asyncio.sleep(self._interval * part)

    async def tick(self) -> int:
        """Give back what is done, claim what there is room for and start to refresh it; return how many were claimed."""
        room = self._overall - len(self._tasks)
        if room <= 0:
            return 0
        now = self._clock.now()
        if now >= self._bounds_until:
            self._bounds = await self._store.open_slots(self._bound)
            self._bounds_until = now + _SLOTS_INTERVAL
        if not self._bounds:
            return 0
        done, self._done = self._done, []
        try:
            claimed = await self._store.claim_due(
                now=now, limit=room, hold=_HOLD, bounds=self._bounds, done=done, owner=self._owner
            )
        except BaseException:
            self._done += done
            raise
        for due in claimed:
            metrics.SCHEDULER_LAG.set(max(0.0, now - due.due_at))
            task = asyncio.create_task(self._refresh(due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return len(claimed)

    async def idle(self) -> None:
        """Wait until nothing that was claimed is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _bound(self, provider: str) -> int:
        return self._exchange.facts(provider).max_concurrency or DEFAULT_PER_PROVIDER

    async def _refresh(self, due: Due) -> None:
        try:
            await self._reader.refresh_due(due.key)
        except ServiceError as error:
            # The connection's own state tells the rest; a claim that came to nothing is due again after its hold.
            log.get().info("scheduled_refresh_failed", reason=error.reason.name, provider=due.slot.provider)
        finally:
            self._done.append(due.slot)

    async def adopt_spooled(self) -> None:
        """Bring answers that waited on disk into the store and apply them, for ever."""
        waiting: dict[ConnectionKey, int] = {}
        while True:
            waiting |= dict(await self._spool.adopt())
            done = await asyncio.gather(*(self._apply(key, generation) for key, generation in waiting.items()))
            waiting = {key: generation for key, generation in waiting.items() if key not in done}
            await asyncio.sleep(_ADOPT_INTERVAL)

    async def _apply(self, key: ConnectionKey, generation: int) -> ConnectionKey | None:
        """Apply an adopted answer; return the key if that is done with."""
        try:
            await self._reader.apply_stored(key, generation)
        except NotFound:
            return key
        except ServiceError as error:
            log.get().warning("adoption_waits", reason=error.reason.name)
            return None
        return key
