"""Deleting a connection, its tokens revoked at the provider first if the caller wants that."""

from __future__ import annotations

import uuid
from typing import Final

from server.domain.clock import Clock
from server.domain.deadline import Deadline
from server.domain.errors import NotFound
from server.domain.model import ConnectionKey, Revocation
from server.domain.ports import ConnectionStore
from server.refresh.ports import Lease, RefreshStore, TokenExchange

_MOST: Final = 10.0
_SHARE: Final = 0.7
"""The part of the caller's time that the provider may take; the rest is for deleting."""


class Deletion:
    """The use case. The connection is deleted whatever the provider answers."""

    def __init__(self, store: ConnectionStore, refreshes: RefreshStore, exchange: TokenExchange, clock: Clock) -> None:
        self._store = store
        self._refreshes = refreshes
        self._exchange = exchange
        self._clock = clock

    async def delete(self, key: ConnectionKey, *, etag: int | None, revoke: bool, deadline: Deadline) -> Revocation:
        """Delete a connection and return what became of its tokens. Raises `NotFound`, `EtagMismatch`.

        Revocation takes the connection's lease, so that no exchange runs meanwhile; if another holds it, the exchange
        finds the connection gone and revokes what it got.
        """
        outcome = Revocation.NOT_REQUESTED
        if revoke:
            if etag is not None:
                await self._check_etag(key, etag)
            outcome = await self._revoke(key, min(_MOST, deadline.remaining() * _SHARE))
        await self._store.delete(key, etag=etag)
        return outcome

    async def _check_etag(self, key: ConnectionKey, etag: int) -> None:
        """Refuse before anything is revoked."""

        def unchanged(edit: object) -> object:
            raise _Unchanged

        try:
            await self._store.edit(key, unchanged, etag=etag)  # type: ignore[arg-type]
        except _Unchanged:
            return

    async def _revoke(self, key: ConnectionKey, seconds: float) -> Revocation:
        now = self._clock.now()
        lease = await self._refreshes.acquire(key, owner=uuid.uuid4(), now=now, ttl=seconds + 1.0)
        if lease is None:
            raise NotFound.connection(key.provider_config_key, key.connection_id)
        if not isinstance(lease, Lease):
            return Revocation.FAILED
        revoked = await self._exchange.revoke(lease.request, timeout=seconds)
        if revoked is None:
            return Revocation.NOT_SUPPORTED
        return Revocation.REVOKED if revoked else Revocation.FAILED


class _Unchanged(Exception):
    """Ends an edit that was only a look."""
