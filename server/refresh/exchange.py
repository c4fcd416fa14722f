"""One exchange of a connection's credentials, exactly once, whatever crashes.

The steps, each durable before the next begins:

1. take the lease (a row; renewed while the exchange runs, so that a slow provider does not lose it);
2. look at what an earlier owner left: a stored answer is applied, a token that may be spent is spent again only within
   the provider's reuse window;
3. record the attempt;
4. send the refresh token, once;
5. store the answer, sealed, before looking at it: in Postgres, or in the spool if Postgres is away;
6. apply it: new credentials by compare-and-swap on the generation, or the failure's state.

A process may die between any two steps; docs/refresh.md says what the next owner does then.
"""

from __future__ import annotations

import asyncio
import enum
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from server.domain.clock import Clock
from server.domain.errors import NotFound, ProviderUnavailable, Reason, ServiceError
from server.domain.model import ConnectionKey, Status
from server.refresh import fault_points
from server.refresh.answers import Answers, names_of
from server.refresh.breaker import Breakers
from server.refresh.outcome import (
    FIRST_CLIENT_BACKOFF,
    Rules,
    after_failure,
    after_success,
    backoff,
    reuse_window,
    unknown_outcome,
)
from server.refresh.ports import (
    AnswerSpool,
    ExchangeFailed,
    FailureKind,
    Lease,
    LeaseHeld,
    ProviderAnswer,
    RefreshStore,
    TokenExchange,
)
from server.telemetry import log, metrics

_POLL_FIRST: Final = 0.05
_POLL_MOST: Final = 0.5
_OUTAGES: Final = {Reason.PROVIDER_UNAVAILABLE}


class Ended(enum.Enum):
    """How a refresh ended that raised nothing."""

    EXCHANGED = "exchanged"
    """This process exchanged the credentials."""
    SHARED = "shared"
    """Another process did, or a re-authorization came."""
    ADOPTED = "adopted"
    """An answer that an earlier owner of the lease had stored was applied."""
    NOT_NEEDED = "not_needed"
    """Under the lease it showed that nothing is due."""
    FAILED = "failed"
    """The exchange failed; the connection's state says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a refresh ended. For FAILED: `failure`, whose `provider` it was, and in how many seconds the next attempt is
    due, None for never.
    """

    ended: Ended
    failure: ExchangeFailed | None = None
    provider: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """`timeout`: hard cap of the HTTP exchange; `lease_ttl`: how long a lease holds unless renewed. In seconds."""

    timeout: float = 30.0
    lease_ttl: float = 30.0


class Exchanger:
    """Runs exchanges. Each runs as a task of its own that no caller can cancel (see `flights`)."""

    def __init__(
        self,
        store: RefreshStore,
        exchange: TokenExchange,
        spool: AnswerSpool,
        breakers: Breakers,
        clock: Clock,
        rules: Rules,
        settings: ExchangeSettings,
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._answers = Answers(store, exchange, spool, revocation_timeout=settings.timeout)
        self._breakers = breakers
        self._clock = clock
        self._rules = rules
        self._settings = settings

    async def run(self, key: ConnectionKey, *, seen_generation: int, forced: bool) -> Result:
        """Refresh the credentials that were at `seen_generation` when the caller looked.

        `forced`: whether or not they are due. Raises `NotFound`, `StorageUnavailable`, `ProviderUnavailable` (breaker).
        """
        poll = _POLL_FIRST
        waited = False
        while True:
            await fault_points.reach(fault_points.BEFORE_LEASE)
            now = self._clock.now()
            lease = await self._store.acquire(key, owner=uuid.uuid4(), now=now, ttl=self._settings.lease_ttl)
            if lease is None:
                raise NotFound.connection(key.provider_config_key, key.connection_id)
            if isinstance(lease, Lease):
                result = await self._under_lease(lease, seen_generation=seen_generation, forced=forced)
                if result is None:
                    continue
                if forced and result.ended is Ended.ADOPTED:
                    # The answer had arrived before this call began; a forced refresh wants one of its own.
                    seen_generation = lease.generation + 1
                    continue
                return result
            if lease.generation > seen_generation:
                return Result(Ended.SHARED)
            if not waited:
                metrics.LEASE_WAITS.inc()
                waited = True
            poll = await self._wait(key, lease, poll)

    async def _wait(self, key: ConnectionKey, held: LeaseHeld, poll: float) -> float:
        """Wait until the holder is done or its lease has run out; return the next interval to poll at."""
        while True:
            await asyncio.sleep(poll * (0.75 + 0.5 * self._rules.random()))
            poll = min(poll * 1.5, _POLL_MOST)
            now = self._clock.now()
            progress = await self._store.progress(key, held.uid)
            if (
                progress is None
                or progress.generation > held.generation
                or progress.lease_expires_at is None
                or progress.lease_expires_at <= now
            ):
                return poll

    async def _under_lease(self, lease: Lease, *, seen_generation: int, forced: bool) -> Result | None:
        """Do what is to be done under a lease; None if it has to be taken again."""
        await fault_points.reach(fault_points.AFTER_LEASE)
        if lease.unfinished is not None:
            found = "answer" if lease.unfinished.answer is not None else "spent"
            metrics.LEASE_TAKEOVERS.labels(found).inc()
        if lease.unfinished is not None and lease.unfinished.answer is not None:
            result = await self._apply(lease, lease.unfinished.answer, lease.unfinished.answer_time or 0.0)
            if forced and result.ended is Ended.FAILED:
                # That was the failure of an earlier exchange.
                return None
            return Result(Ended.ADOPTED) if result.ended is Ended.EXCHANGED else result
        if lease.generation > seen_generation:
            await self._release(lease)
            return Result(Ended.SHARED)
        now = self._clock.now()
        if not self._exchange.is_refreshable(lease.request.auth_mode, lease.request.credentials) or (
            not forced and _waits(lease, now)
        ):
            await self._release(lease)
            return Result(Ended.NOT_NEEDED)
        facts = self._exchange.facts(lease.request.provider)
        window = reuse_window(facts, rotates=lease.rotates)
        spend_time = now
        if lease.unfinished is not None:
            if now <= lease.unfinished.spend_time + window:
                # A second use counts from the first.
                spend_time = lease.unfinished.spend_time
            elif not forced or lease.state.failure_reason is not Reason.OUTCOME_UNKNOWN:
                # Who forces it must have been told first that the token may be spent.
                return await self._fail(lease, unknown_outcome(), now)
        if lease.client_refused_until is not None and lease.client_refused_until > now and not forced:
            return await self._fail(lease, _client_refused(lease.client_refused_until - now), now)
        return await self._send_and_apply(lease, spend_time=spend_time, window=window, forced=forced)

    async def _send_and_apply(self, lease: Lease, *, spend_time: float, window: float, forced: bool) -> Result | None:
        try:
            host = self._exchange.token_host(lease.request)
        except ExchangeFailed as failure:
            return await self._fail(lease, failure, self._clock.now())
        closed_for = None if forced else self._breakers.enter(host)
        if closed_for is not None:
            await self._release(lease)
            raise ProviderUnavailable(
                "the provider is failing for everyone; no exchange is started until it recovers",
                metadata={"provider": lease.request.provider},
                retry_after=closed_for,
            )
        try:
            recorded = await self._store.record_attempt(lease, now=self._clock.now(), spend_time=spend_time)
            if recorded:
                await fault_points.reach(fault_points.BEFORE_SEND)
        except BaseException:
            self._breakers.abandon(host)
            raise
        if not recorded:
            self._breakers.abandon(host)
            await self._release(lease)
            return None
        metrics.TIME_TO_EXPIRY.observe((lease.state.expires_at or self._clock.now()) - self._clock.now())
        started = time.monotonic()
        async with self._renewed(lease):
            try:
                answer = await self._exchange.send(lease.request, timeout=self._settings.timeout)
            except ExchangeFailed as failure:
                if failure.reason in _OUTAGES:
                    self._breakers.fail(host)
                else:
                    # A value of one connection that cannot be sent says nothing about the provider.
                    self._breakers.abandon(host)
                now = self._clock.now()
                lost = failure.maybe_spent and now > spend_time + window
                self._report(lease, started, unknown_outcome() if lost else failure)
                return await self._fail(lease, unknown_outcome() if lost else failure, now)
            except BaseException:
                self._breakers.abandon(host)
                raise
            answered_at = self._clock.now()
            if answer.status >= 500:
                self._breakers.fail(host)
            else:
                self._breakers.succeed(host)
            await fault_points.reach(fault_points.AFTER_ANSWER)
            if not await self._answers.keep(lease, answer, answered_at):
                raise NotFound.connection(lease.key.provider_config_key, lease.key.connection_id)
            await fault_points.reach(fault_points.BEFORE_APPLY)
            return await self._apply(lease, answer, answered_at, started=started)

    async def _apply(
        self, lease: Lease, answer: ProviderAnswer, answered_at: float, *, started: float | None = None
    ) -> Result:
        try:
            new = self._exchange.interpret(lease.request, answer, now=answered_at)
        except ExchangeFailed as failure:
            seen = failure
            told = lease.state.failure_reason is Reason.OUTCOME_UNKNOWN
            if failure.kind is FailureKind.PERMANENT and lease.unfinished is not None and not told:
                # The token was sent before, and that answer was lost: this refusal says nothing about the grant.
                seen = unknown_outcome()
            self._report(lease, started, seen)
            return await self._fail(lease, seen, answered_at, ended=True)
        facts = self._exchange.facts(lease.request.provider)
        refreshable = self._exchange.is_refreshable(lease.request.auth_mode, new.credentials)
        applied = after_success(lease, new, facts, self._rules, now=answered_at, refreshable=refreshable)
        stored = await self._store.apply(lease, applied)
        if not stored and await self._store.progress(lease.key, lease.uid) is None:
            await self._answers.orphan(lease, answer, answered_at)
        await fault_points.reach(fault_points.AFTER_APPLY)
        self._report(lease, started, None, superseded=not stored)
        return Result(Ended.EXCHANGED if stored else Ended.SHARED)

    async def _fail(self, lease: Lease, failure: ExchangeFailed, now: float, *, ended: bool = False) -> Result:
        """Store a failure. `ended`: an answer came, and has been looked at."""
        if failure.kind is FailureKind.CONFIGURATION and ended:
            # The provider refused the client. What fails before anything is sent is this connection's own affair: a
            # value in its config that does not fit must not stop its neighbours.
            wait = backoff(lease.client_refusals + 1, first=FIRST_CLIENT_BACKOFF, random=self._rules.random())
            until = now + wait if lease.client_refused_until is None or lease.client_refused_until <= now else None
            if until is not None:
                await self._store.refuse_client(lease, until=until)
        state = after_failure(lease, failure, self._rules, now=now)
        # An answer tells what became of this use of the token, but not of an earlier one whose answer was lost.
        spent = (failure.maybe_spent and not ended) or (
            lease.unfinished is not None and lease.unfinished.answer is None
        )
        decided = failure.kind is FailureKind.PERMANENT
        if not await self._store.fail(lease, state, spent=spent and not decided, answered=ended):
            # The generation moved: a re-authorization or another exchange won, and this failure says nothing about it.
            return Result(Ended.SHARED)
        retry_after = None if state.refresh_due_at is None else max(0.0, state.refresh_due_at - now)
        return Result(Ended.FAILED, failure, lease.request.provider, retry_after)

    async def _release(self, lease: Lease) -> None:
        await self._store.release(lease)

    @asynccontextmanager
    async def _renewed(self, lease: Lease) -> AsyncIterator[None]:
        """Renew the lease while the body runs."""
        renewal = asyncio.create_task(self._renew(lease))
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_ttl / 3)
            try:
                held = await self._store.renew(lease, now=self._clock.now(), ttl=self._settings.lease_ttl)
            except ServiceError:
                continue
            if not held:
                # The token is sent already; whoever took over finds the attempt recorded and does not spend it again.
                metrics.LEASE_LOST.inc()
                log.get().warning("lease_lost", **names_of(lease))
                return

    def _report(
        self, lease: Lease, started: float | None, failure: ExchangeFailed | None, *, superseded: bool = False
    ) -> None:
        outcome = "superseded" if superseded else "success" if failure is None else failure.reason.name.lower()
        seconds = None if started is None else time.monotonic() - started
        metrics.REFRESHES.labels(lease.request.provider, outcome).inc()
        if seconds is not None:
            metrics.REFRESH_SECONDS.labels(lease.request.provider).observe(seconds)
        log.get().info(
            "refresh",
            **names_of(lease),
            outcome=outcome,
            generation=lease.generation,
            attempts=lease.state.refresh_attempts + (failure is not None),
            duration_ms=None if seconds is None else round(seconds * 1000, 1),
            adopted=started is None,
            detail=None if failure is None else failure.detail,
            oauth_error=(failure.oauth_error or None) if failure is not None else None,
        )


def _waits(lease: Lease, now: float) -> bool:
    """Return whether a refresh that nobody forces must wait: the connection backs off, or only a person can repair it."""
    state = lease.state
    if state.status is Status.ACTIVE:
        return False
    return state.refresh_due_at is None or now < state.refresh_due_at


def _client_refused(retry_after: float) -> ExchangeFailed:
    return ExchangeFailed(
        FailureKind.CONFIGURATION,
        Reason.INTEGRATION_MISCONFIGURED,
        "the provider refused the integration's client; waiting until it is corrected or tried again",
        retry_after=retry_after,
    )
