"""What a provider answered is kept before anything else is done with it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Final

from server.domain.errors import ServiceError
from server.refresh.ports import AnswerSpool, ExchangeFailed, Lease, ProviderAnswer, RefreshStore, TokenExchange
from server.telemetry import log, metrics

_RETRY_FIRST: Final = 0.2
_RETRY_MOST: Final = 5.0


class Answers:
    """Keeps answers, in Postgres or else in the spool."""

    def __init__(
        self, store: RefreshStore, exchange: TokenExchange, spool: AnswerSpool, *, revocation_timeout: float
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._spool = spool
        self._revocation_timeout = revocation_timeout

    async def keep(self, lease: Lease, answer: ProviderAnswer, now: float) -> bool:
        """Store an answer; return False if the connection is gone. Raises `ServiceError` if only the spool has it.

        Does not return before one of them has it: an answer may hold the only refresh token that still works.
        """
        delay = _RETRY_FIRST
        while True:
            try:
                kept = await self._store.keep_answer(lease, answer, now=now)
            except ServiceError:
                # Whatever keeps Postgres from taking it, away or not: the answer must not be lost.
                if await self._spooled(lease, answer, now):
                    raise
                await asyncio.sleep(delay)
                delay = min(delay * 2, _RETRY_MOST)
            else:
                if not kept:
                    await self.orphan(lease, answer, now)
                return kept

    async def _spooled(self, lease: Lease, answer: ProviderAnswer, now: float) -> bool:
        try:
            await self._spool.keep(lease, answer, now=now)
        except OSError as error:
            metrics.ANSWERS_AT_RISK.inc()
            log.get().critical(
                "answer_at_risk",
                **names_of(lease),
                error=type(error).__name__,
                next_step="neither Postgres nor the spool takes a provider's answer; repair one of them now",
            )
            return False
        metrics.SPOOLED.inc()
        log.get().error("answer_spooled", **names_of(lease), next_step="it is stored when Postgres is back")
        return True

    async def orphan(self, lease: Lease, answer: ProviderAnswer, now: float) -> None:
        """Revoke what came for a connection that was deleted meanwhile, and say so."""
        revoked: bool | None = None
        try:
            new = self._exchange.interpret(lease.request, answer, now=now)
            fresh = dataclasses.replace(lease.request, credentials=new.credentials)
            revoked = await self._exchange.revoke(fresh, timeout=self._revocation_timeout)
        except ExchangeFailed:
            pass
        log.get().warning("answer_for_deleted_connection", **names_of(lease), revoked=revoked)


def names_of(lease: Lease) -> dict[str, str]:
    """Return what names a lease's connection in the log."""
    return {
        "environment_id": str(lease.key.environment_id),
        "provider_config_key": lease.key.provider_config_key,
        "connection_id": lease.key.connection_id,
        "provider": lease.request.provider,
    }
