"""An event loop on which time passes only while everybody sleeps.

Sleeps, time-outs, deadlines, leases and expiries all follow one simulated clock: when nothing is ready to run and no
input or output is under way, the loop jumps to its next timer. So a day passes in milliseconds, while what speaks to the
real Postgres takes no simulated time at all.
"""

from __future__ import annotations

import asyncio
import selectors
import weakref
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final, TypeVar

START: Final = 1_900_000_000.0
_STUCK: Final = 30.0
"""Real seconds after which a loop in which everybody waits for nothing is reported."""

_R = TypeVar("_R")
_group: ContextVar[Tasks | None] = ContextVar("_group", default=None)


class Tasks:
    """The tasks of one simulated process: those that were started in it, and those that they started."""

    def __init__(self) -> None:
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def start(self, work: Coroutine[Any, Any, _R]) -> asyncio.Task[_R]:
        """Start a task of this group."""
        context = Context()
        context.run(_group.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def add(self, task: asyncio.Task[Any]) -> None:
        """Count a task in."""
        self._tasks.add(task)

    def alive(self) -> list[asyncio.Task[Any]]:
        """Return those that have not ended, without the one that asks."""
        return [task for task in self._tasks if not task.done() and task is not asyncio.current_task()]

    @staticmethod
    def current() -> Tasks | None:
        """Return the group of the running task."""
        return _group.get()


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop. `busy` are questions of which one says yes while real input or output is under way."""

    def __init__(self) -> None:
        self._selector_of_time = _Selector()
        super().__init__(self._selector_of_time)
        self.set_default_executor(_Threads(self))
        factory: Any = _task_in_its_group
        self.set_task_factory(factory)

    def time(self) -> float:
        """Return the simulated seconds since the loop was made."""
        return self._selector_of_time.now

    def now(self) -> float:
        """Return the simulated instant, in seconds since the epoch: this is a `server.domain.clock.Clock`."""
        return START + self.time()

    def monotonic(self) -> float:
        """Stand in for `time.monotonic`."""
        return self.time()

    def add_busy(self, question: Callable[[], bool]) -> None:
        """Let no time pass while `question` says yes."""
        self._selector_of_time.busy.append(question)

    def remove_busy(self, question: Callable[[], bool]) -> None:
        """Forget a question."""
        self._selector_of_time.busy.remove(question)

    @contextmanager
    def real_work(self) -> Iterator[None]:
        """Let no time pass during the body."""
        self._selector_of_time.working += 1
        try:
            yield
        finally:
            self._selector_of_time.working -= 1


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.working = 0
        self.busy: list[Callable[[], bool]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self.working or any(question() for question in self.busy):
            return super().select(1.0)
        if timeout is not None:
            self.now += timeout
            return []
        events = super().select(_STUCK)
        if not events:
            raise RuntimeError("everybody waits, and there is nothing to wait for")
        return events


class _Threads(ThreadPoolExecutor):
    """Threads whose work counts as real."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__(max_workers=2)
        self._loop = loop
        self._pending = 0
        loop.add_busy(lambda: self._pending > 0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._pending += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._ended))
        return future

    def _ended(self) -> None:
        self._pending -= 1


def _task_in_its_group(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], *, context: Context | None = None, **options: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, context=context, **options)
    group = context.get(_group) if context is not None else _group.get()
    if group is not None:
        group.add(task)
    return task
