"""Page tokens: opaque, authentic, and bound to the environment and filter that they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Final, Protocol
from uuid import UUID

from server.domain.errors import PageTokenInvalid, PageTokenMismatch
from server.domain.model import ListPosition

_VERSION: Final = 1
_HEAD: Final = struct.Struct("!B16s")


class TokenSealer(Protocol):
    """Seals small texts for callers to keep. `crypto` implements it, with keys that all replicas share."""

    async def seal_token(self, environment_id: UUID, purpose: str, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed for an environment and purpose."""
        ...

    async def open_token(self, environment_id: UUID, purpose: str, token: bytes) -> bytes:
        """Return what was sealed. Raises `ValueError` if it was not sealed here, for them."""
        ...


class PageTokens:
    """Makes page tokens and reads them."""

    def __init__(self, sealer: TokenSealer) -> None:
        self._sealer = sealer

    async def make(self, environment_id: UUID, purpose: str, fingerprint: str, position: bytes) -> str:
        """Return the token of a position in the list that `purpose` and the filter's `fingerprint` name."""
        plaintext = _HEAD.pack(_VERSION, _digest(fingerprint)) + position
        return base64.urlsafe_b64encode(await self._sealer.seal_token(environment_id, purpose, plaintext)).decode()

    async def read(self, environment_id: UUID, purpose: str, fingerprint: str, token: str) -> bytes:
        """Return the position. Raises `PageTokenInvalid`, or `PageTokenMismatch` if the filter is another."""
        try:
            sealed = base64.b64decode(token, altchars=b"-_", validate=True)
            plaintext = await self._sealer.open_token(environment_id, purpose, sealed)
            version, digest = _HEAD.unpack_from(plaintext)
        except (ValueError, binascii.Error, struct.error):
            raise PageTokenInvalid(
                "page_token was not made by this service for this environment; start again without it"
            ) from None
        if version != _VERSION:
            raise PageTokenInvalid("page_token was made by another release; start again without it")
        if digest != _digest(fingerprint):
            raise PageTokenMismatch(
                "page_token was made for another filter; repeat that filter, or start again without the token"
            )
        return plaintext[_HEAD.size :]


def _digest(fingerprint: str) -> bytes:
    return hashlib.sha256(fingerprint.encode()).digest()[:16]


def position_to_bytes(position: ListPosition) -> bytes:
    """Return a position in the list of connections as bytes."""
    return struct.pack("!q16s", position.create_time_us, position.uid.bytes)


def position_from_bytes(data: bytes) -> ListPosition:
    """Return what `position_to_bytes` was given. Raises `PageTokenInvalid`."""
    try:
        created, uid = struct.unpack("!q16s", data)
    except struct.error:
        raise PageTokenInvalid("page_token is damaged; start again without it") from None
    return ListPosition(created, UUID(bytes=uid))
