"""Single flight: in one process, at most one refresh of a connection is under way, and nobody who waits can end it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.domain.errors import Interrupted
from server.domain.model import ConnectionKey
from server.refresh.exchange import Result
from server.telemetry import metrics

Run = Callable[[], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class Flight:
    """A refresh under way. `forced`: it ends with an exchange, whether or not one is due."""

    task: asyncio.Task[Result]
    forced: bool


class Flights:
    """The refreshes under way in this process. Each is a task of its own: callers come and go, it runs to its end."""

    def __init__(self) -> None:
        self._flights: dict[ConnectionKey, Flight] = {}

    def get(self, key: ConnectionKey) -> Flight | None:
        """Return the refresh of a connection that is under way, None if there is none."""
        return self._flights.get(key)

    def start(self, key: ConnectionKey, run: Run, *, forced: bool) -> Flight:
        """Start a refresh. There must be none under way."""
        task = asyncio.create_task(_as_task(run), name=f"refresh {key.provider_config_key}/{key.connection_id}")
        flight = Flight(task, forced)
        self._flights[key] = flight
        metrics.REFRESH_IN_FLIGHT.inc()
        task.add_done_callback(lambda _: self._landed(key, flight))
        return flight

    def _landed(self, key: ConnectionKey, flight: Flight) -> None:
        metrics.REFRESH_IN_FLIGHT.dec()
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.task.cancelled():
            # Everyone may have left; an exception that nobody fetched would be reported as a defect of its own.
            flight.task.exception()

    async def drain(self, seconds: float) -> int:
        """Wait for what is under way, then cancel what is left; return how many were cancelled.

        A cancelled exchange is as if the process had died: its attempt stays recorded for the next owner.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        # Those who were about to start one when the draining began may still do so.
        while self._flights and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait({flight.task for flight in self._flights.values()}, timeout=left)
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)


async def _as_task(run: Run) -> Result:
    return await run()


async def wait_for(flight: Flight, seconds: float) -> Result | None:
    """Wait for a flight at most so long; None if it is still under way. Raises what the flight raised.

    A cancellation of the flight (at shutdown) is not one of the caller: it is raised as `Interrupted`.
    """
    await asyncio.wait({flight.task}, timeout=seconds)
    if not flight.task.done():
        return None
    if flight.task.cancelled():
        raise Interrupted("the refresh was cancelled because the process is shutting down", retry_after=1.0)
    return flight.task.result()
