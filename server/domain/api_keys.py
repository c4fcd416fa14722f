"""API keys: how they look, who they are, and how they are checked without asking Postgres each time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from server.domain.clock import Clock
from server.domain.errors import CallerUnauthenticated
from server.domain.model import ApiKey, Environment, Principal
from server.domain.ports import EnvironmentStore
from server.domain.secret import Secret

_PREFIX: Final = "cnx_"
_ENVIRONMENT_CHARACTERS: Final = 26
_MAX_CACHED: Final = 10_000
_REFUSED: Final = "send a valid key as `authorization: Bearer <key>`"


def new_secret(environment_id: UUID) -> Secret:
    """Return a new key: `cnx_`, the environment, and 256 random bits.

    The environment is in the key so that its row is found by the environment that leads every index.
    """
    environment = base64.b32encode(environment_id.bytes).decode().rstrip("=").lower()
    return Secret(f"{_PREFIX}{environment}_{secrets.token_urlsafe(32)}")


def hash_of(key: str) -> bytes:
    """Return what is stored of a key. A plain SHA-256 is enough for 256 random bits: there is nothing to guess."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def environment_of(key: str) -> UUID | None:
    """Return the environment that a key names, None if it has not the form of a key."""
    encoded = key[len(_PREFIX) : len(_PREFIX) + _ENVIRONMENT_CHARACTERS]
    if not key.startswith(_PREFIX) or len(encoded) != _ENVIRONMENT_CHARACTERS or not encoded.isascii():
        return None
    try:
        return UUID(bytes=base64.b32decode(encoded.upper() + "======"))
    except ValueError:
        return None


@dataclass(slots=True)
class _Cached:
    principal: Principal
    expires_at: float | None
    checked_at: float


class Authenticator:
    """Tells whose key a caller sent.

    A key that was found is trusted for `ttl` seconds, then looked up again while the caller waits: a revoked key stops
    working everywhere within that time. A key that was not found is looked up each time.
    """

    def __init__(self, store: EnvironmentStore, clock: Clock, *, ttl: float = 10.0) -> None:
        self._store = store
        self._clock = clock
        self._ttl = ttl
        self._cache: dict[bytes, _Cached] = {}
        self._lookups: dict[bytes, asyncio.Task[Principal]] = {}

    def cached(self, key: str) -> Principal | None:
        """Return whose key this is if that is known without asking, else None."""
        found = self._cache.get(hash_of(key))
        if found is None or time.monotonic() - found.checked_at > self._ttl:
            return None
        if found.expires_at is not None and self._clock.now() >= found.expires_at:
            return None
        return found.principal

    async def authenticate(self, key: str) -> Principal:
        """Return whose key this is. Raises `CallerUnauthenticated`, `StorageUnavailable`."""
        principal = self.cached(key)
        if principal is not None:
            return principal
        key_hash = hash_of(key)
        # Callers that arrive together share one look-up; a caller that leaves does not end it for the others.
        lookup = self._lookups.get(key_hash)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(key, key_hash))
            self._lookups[key_hash] = lookup
            lookup.add_done_callback(lambda done: self._finish(key_hash, done))
        return await asyncio.shield(lookup)

    def _finish(self, key_hash: bytes, lookup: asyncio.Task[Principal]) -> None:
        self._lookups.pop(key_hash, None)
        if not lookup.cancelled():
            # Every caller may have left; an exception that nobody fetched would be reported as a defect.
            lookup.exception()

    async def _look_up(self, key: str, key_hash: bytes) -> Principal:
        environment_id = environment_of(key)
        found = None if environment_id is None else await self._store.find_api_key(environment_id, key_hash)
        if found is None or (found[1] is not None and self._clock.now() >= found[1]):
            self._cache.pop(key_hash, None)
            raise CallerUnauthenticated(f"the key is not known, or expired, or revoked; {_REFUSED}")
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[key_hash] = _Cached(found[0], found[1], time.monotonic())
        return found[0]

    def forget(self) -> None:
        """Look every key up again: one was revoked."""
        self._cache.clear()


class ApiKeys:
    """The use cases on API keys."""

    def __init__(self, store: EnvironmentStore, clock: Clock, authenticator: Authenticator) -> None:
        self._store = store
        self._clock = clock
        self._authenticator = authenticator

    async def create(
        self, environment: Environment, *, display_name: str = "", admin: bool = False, expire_time: float | None = None
    ) -> tuple[ApiKey, Secret]:
        """Create a key; return what is known about it and, this once, the key."""
        secret = new_secret(environment.environment_id)
        key = ApiKey(
            api_key_id=uuid.uuid4(),
            environment_id=environment.environment_id,
            environment=environment.name,
            display_name=display_name,
            admin=admin,
            suffix=secret.reveal()[-4:],
            create_time=self._clock.now(),
            expire_time=expire_time,
        )
        await self._store.add_api_key(key, hash_of(secret.reveal()))
        return key, secret

    async def delete(self, environment: Environment, api_key_id: UUID) -> None:
        """Revoke a key: in this process at once, in others within the cache's time to live. Raises `NotFound`."""
        await self._store.delete_api_key(environment, api_key_id)
        self._authenticator.forget()
