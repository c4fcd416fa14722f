"""Refreshes credentials before anyone asks. Any number of processes share the work: what is due is claimed by rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from server.domain.clock import Clock
from server.domain.errors import NotFound, ServiceError
from server.domain.model import ConnectionKey
from server.refresh.ports import AnswerSpool, Due, RefreshStore, TokenExchange
from server.refresh.reading import Reader
from server.telemetry import log, metrics

_INTERVAL: Final = 1.0
_ADOPT_INTERVAL: Final = 2.0
_HOLD: Final = 300.0
"""Seconds for which nobody else gets a claimed connection; longer than any exchange takes."""
DEFAULT_PER_PROVIDER: Final = 10
DEFAULT_OVERALL: Final = 50


class Scheduler:
    """Claims what is due and refreshes it, so many at once per provider and overall in this process.

    After downtime everything is overdue at once; the bounds make that a queue instead of a stampede, soonest first.
    """

    def __init__(
        self,
        store: RefreshStore,
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
        self._running: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work for ever; cancelled at shutdown, when what it has begun goes on in its flights."""
        while True:
            try:
                claimed = await self.tick()
            except ServiceError as error:
                log.get().warning("scheduler_paused", reason=error.reason.name)
                claimed = 0
            # With more due than there is room for, go on as soon as there is room.
            await asyncio.sleep(self._interval if claimed == 0 else self._interval / 20)

    async def tick(self) -> int:
        """Claim what there is room for and start to refresh it; return how many were claimed."""
        room = self._overall - len(self._tasks)
        if room <= 0:
            return 0
        full = [provider for provider, running in self._running.items() if running >= self._bound(provider)]
        now = self._clock.now()
        claimed = await self._store.claim_due(now=now, limit=room, hold=_HOLD, exclude=full)
        for due in claimed:
            metrics.SCHEDULER_LAG.set(max(0.0, now - due.due_at))
            self._running[due.provider] += 1
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

    def _gate(self, provider: str) -> asyncio.Semaphore:
        """Return what lets so many exchanges at once through to a provider."""
        gate = self._gates.get(provider)
        if gate is None:
            gate = self._gates[provider] = asyncio.Semaphore(self._bound(provider))
        return gate

    async def _refresh(self, due: Due) -> None:
        try:
            async with self._gate(due.provider):
                await self._reader.refresh_due(due.key)
        except ServiceError as error:
            # The connection's own state tells the rest; a claim that came to nothing is due again after its hold.
            log.get().info("scheduled_refresh_failed", reason=error.reason.name, provider=due.provider)
        finally:
            self._running[due.provider] -= 1

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
