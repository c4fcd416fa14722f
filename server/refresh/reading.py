"""Reads with credentials that are valid now, and forced refreshes: what each caller gets, and how long it waits.

docs/refresh.md has the table of every combination; `tests/refresh` has a test for each row.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from dataclasses import dataclass
from typing import Final

from server.domain.clock import Clock
from server.domain.deadline import Deadline
from server.domain.errors import (
    DeadlineTooShort,
    NotFound,
    NotRefreshable,
    ProviderUnavailable,
    RefreshContinues,
    ServiceError,
)
from server.domain.model import ConnectionKey, Status
from server.domain.ports import ConnectionStore, Rendered, StoredConnection
from server.refresh.exchange import Ended, Exchanger, Result
from server.refresh.flights import Flight, Flights, wait_for
from server.refresh.outcome import error_of, why_unusable
from server.telemetry import metrics

MIN_FORCE_BUDGET: Final = 1.0
"""Seconds that a forced refresh needs at least."""
MIN_REFRESH_BUDGET: Final = 0.5
"""Seconds under which a read with a token that still works does not wait for a refresh."""
_RESERVE: Final = 0.05
"""Seconds kept back from a caller's deadline, so that the answer still arrives."""


class ForceOutcome(enum.Enum):
    """Whose exchange brought the credentials that a forced refresh returns."""

    REFRESHED = "REFRESHED"
    SHARED = "SHARED"


@dataclass(frozen=True, slots=True)
class Forced:
    """What a forced refresh returns."""

    rendered: Rendered
    outcome: ForceOutcome
    previous_generation: int
    expires_at: float | None


class Reader:
    """Returns connections with credentials that work."""

    def __init__(self, store: ConnectionStore, exchanger: Exchanger, flights: Flights, clock: Clock) -> None:
        self._store = store
        self._exchanger = exchanger
        self._flights = flights
        self._clock = clock

    async def basic(self, key: ConnectionKey) -> Rendered:
        """Return a connection without credentials; never refreshes. Raises `NotFound`."""
        return (await self._read(key)).basic

    async def get(
        self, key: ConnectionKey, *, min_ttl: float, deadline: Deadline, include_refresh_token: bool = False
    ) -> Rendered:
        """Return a connection with credentials that live for at least `min_ttl` seconds, refreshed first if needed.

        Raises `NotFound`, `RefreshContinues` at the deadline, and what `why_unusable` says for dead credentials.
        """
        stored = await self._store.read(key)
        if stored is None:
            raise NotFound.connection(key.provider_config_key, key.connection_id)
        now = self._clock.now()
        if (stored.refresh_due_at is None or now < stored.refresh_due_at) and (
            stored.expires_at is None or stored.expires_at - now > min_ttl
        ):
            metrics.READS_FRESH.inc()
        else:
            try:
                stored = await self._refreshed(stored, min_ttl, deadline)
            except ServiceError:
                metrics.READS.labels("error").inc()
                raise
        if include_refresh_token:
            return await self._with_refresh_token(key)
        return await self._store.render(stored)

    async def force(self, key: ConnectionKey, *, deadline: Deadline, include_refresh_token: bool = False) -> Forced:
        """Return credentials from an exchange that ended after this call began.

        Raises `DeadlineTooShort` before anything is spent, `RefreshContinues` at the deadline, `NotRefreshable`, and the
        error of an exchange that failed.
        """
        if deadline.remaining() < MIN_FORCE_BUDGET:
            raise DeadlineTooShort(MIN_FORCE_BUDGET)
        before = await self._read(key)
        result, outcome = await self._forced_flight(before, deadline)
        if result.failure is not None:
            raise error_of(result.failure.reason, key, result.provider, retry_after=result.retry_after)
        if result.ended is Ended.NOT_NEEDED:
            raise NotRefreshable(
                "these credentials cannot be refreshed: their kind has no refresh, or there is no refresh token",
                metadata={"providerConfigKey": key.provider_config_key, "connectionId": key.connection_id},
            )
        after = await self._read(key)
        rendered = await (self._with_refresh_token(key) if include_refresh_token else self._store.render(after))
        return Forced(rendered, outcome, before.generation, after.expires_at)

    async def _forced_flight(self, before: StoredConnection, deadline: Deadline) -> tuple[Result, ForceOutcome]:
        while True:
            flight = self._flights.get(before.key)
            if flight is None:
                result = await self._wait(self._start(before, forced=True), deadline)
                shared = result.ended is Ended.SHARED
                return result, ForceOutcome.SHARED if shared else ForceOutcome.REFRESHED
            metrics.REFRESH_JOINS.inc()
            # One that was not told to exchange whatever the state may end without: then it says nothing about this call.
            with contextlib.suppress(*(() if flight.forced else (ProviderUnavailable,))):
                result = await self._wait(flight, deadline)
                if flight.forced and result.ended in {Ended.FAILED, Ended.NOT_NEEDED}:
                    return result, ForceOutcome.SHARED
                # What it found or brought counts only if it is newer than what this call began with.
                if (await self._read(before.key)).generation > before.generation:
                    return result, ForceOutcome.SHARED

    def refresh_behind(self, stored: StoredConnection) -> Flight:
        """Start a refresh that nobody waits for, or return the one under way."""
        return self._flights.get(stored.key) or self._start(stored, forced=False)

    async def refresh_due(self, key: ConnectionKey, generation: int) -> Result | None:
        """Refresh a connection that was due at `generation`; None if it is gone, or was refreshed since."""
        stored = await self._store.read(key)
        if stored is None or stored.generation != generation:
            return None
        return await asyncio.shield(self.refresh_behind(stored).task)

    async def apply_stored(self, key: ConnectionKey, generation: int) -> Result:
        """Apply an answer that was stored for the credentials of `generation`; if they are replaced, nothing is spent."""
        while (flight := self._flights.get(key)) is not None:
            # It may have looked before the answer was there.
            await asyncio.wait({flight.task})
        flight = self._flights.start(
            key, lambda: self._exchanger.run(key, seen_generation=generation, forced=False), forced=False
        )
        return await asyncio.shield(flight.task)

    async def _refreshed(self, stored: StoredConnection, min_ttl: float, deadline: Deadline) -> StoredConnection:
        """Return the connection after a refresh, or as it is if that is the best there is."""
        key = stored.key
        now = self._clock.now()
        works = _lives(stored, now, min_ttl)
        if stored.refresh_due_at is None or (stored.status is not Status.ACTIVE and now < stored.refresh_due_at):
            # Nothing can be refreshed, or the connection backs off.
            if works:
                metrics.READS.labels("fresh").inc()
                return stored
            raise _unusable(stored, now)
        joined = self._flights.get(key)
        if joined is not None:
            metrics.REFRESH_JOINS.inc()
        flight = joined or self._start(stored, forced=False)
        if works and deadline.remaining() < MIN_REFRESH_BUDGET:
            metrics.READS.labels("stale_short_deadline").inc()
            return stored
        failure: ServiceError | None = None
        result: Result | None = None
        try:
            result = await self._wait(flight, deadline)
        except NotFound:
            # Deleted meanwhile: its token is nobody's any more, whether or not it still works.
            raise
        except ServiceError as error:
            failure = error
        now = self._clock.now()
        if result is None or result.ended is Ended.FAILED:
            return await self._despite_failure(stored, min_ttl, result, failure)
        after = await self._read(key)
        metrics.READS.labels("refreshed").inc()
        if result.ended is Ended.NOT_NEEDED and not _lives(after, now, min_ttl):
            raise _unusable(after, now)
        if not _lives(after, now, 0.0):
            raise _unusable(after, now)
        return after

    async def _despite_failure(
        self, stored: StoredConnection, min_ttl: float, result: Result | None, failure: ServiceError | None
    ) -> StoredConnection:
        """Return the token that still works although its refresh failed; raise the failure if it does not."""
        now = self._clock.now()
        if _lives(stored, now, min_ttl):
            metrics.READS.labels("stale_while_failing").inc()
            if failure is not None:
                return stored
            # Read again: the state now tells of the failure.
            return await self._store.read(stored.key) or stored
        if failure is not None:
            raise failure
        assert result is not None
        assert result.failure is not None
        raise error_of(result.failure.reason, stored.key, result.provider, retry_after=result.retry_after)

    async def _wait(self, flight: Flight, deadline: Deadline) -> Result:
        result = await wait_for(flight, max(0.0, deadline.remaining() - _RESERVE))
        if result is None:
            raise RefreshContinues(
                "the deadline came while the refresh was running; it continues, and the next read has its result"
            )
        return result

    def _start(self, stored: StoredConnection, *, forced: bool) -> Flight:
        return self._flights.start(
            stored.key,
            lambda: self._exchanger.run(stored.key, seen_generation=stored.generation, forced=forced),
            forced=forced,
        )

    async def _read(self, key: ConnectionKey) -> StoredConnection:
        stored = await self._store.read(key)
        if stored is None:
            raise NotFound.connection(key.provider_config_key, key.connection_id)
        return stored

    async def _with_refresh_token(self, key: ConnectionKey) -> Rendered:
        rendered = await self._store.render_with_refresh_token(key)
        if rendered is None:
            raise NotFound.connection(key.provider_config_key, key.connection_id)
        return rendered


def _lives(stored: StoredConnection, now: float, min_ttl: float) -> bool:
    return stored.expires_at is None or stored.expires_at - now > min_ttl


def _unusable(stored: StoredConnection, now: float) -> ServiceError:
    return why_unusable(
        stored.key,
        status=stored.status,
        failure_reason=stored.failure_reason,
        expires_at=stored.expires_at,
        refresh_due_at=stored.refresh_due_at,
        now=now,
    )
