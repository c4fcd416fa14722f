"""Sealed bytes that name their key and open only where they were sealed.

Layout of an envelope::

    1 byte   version, 0x01
    1 byte   length of the key id, n
    n bytes  key id
    12 bytes nonce, random
    rest     AES-256-GCM ciphertext and its 16-byte tag

The associated data is not stored: it is made again from the place where the envelope was found, so that a ciphertext
copied to another row, column or environment does not open (NIST SP 800-38D, AAD).

A random nonce is safe for 2^32 envelopes under one key (SP 800-38D section 8.3). Root and environment keys seal one
envelope per key they wrap, data keys one per change of a connection: a million connections refreshed every hour for ten
years make 2^20 envelopes under an environment key and 2^18 under each data key.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION: Final = 1
_NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32


class EnvelopeError(Exception):
    """An envelope does not open: it is damaged, was moved, or belongs to another key. Says nothing of its content."""


def associated_data(environment_id: UUID, table: str, row: bytes, column: str) -> bytes:
    """Return what binds an envelope to its place: environment, table, row and column.

    Each part is preceded by its length, so that no two places share a value.
    """
    return _before_row(environment_id, table) + len(row).to_bytes(2, "big") + row + _framed(column)


@lru_cache(maxsize=4096)
def _before_row(environment_id: UUID, table: str) -> bytes:
    parts = (b"connections", environment_id.bytes, table.encode())
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


@lru_cache(maxsize=64)
def _framed(column: str) -> bytes:
    return len(column.encode()).to_bytes(2, "big") + column.encode()


def seal(cipher: AESGCM, key_id: bytes, plaintext: bytes, place: bytes) -> bytes:
    """Seal `plaintext` for `place` (see `associated_data`) under the key that `cipher` holds."""
    nonce = os.urandom(_NONCE_BYTES)
    return b"".join((bytes((_VERSION, len(key_id))), key_id, nonce, cipher.encrypt(nonce, plaintext, place)))


def key_id_of(envelope: bytes) -> bytes:
    """Return the id of the key that opens `envelope`. Raises `EnvelopeError` if it is not an envelope."""
    if len(envelope) < 2 or envelope[0] != _VERSION or len(envelope) < 2 + envelope[1] + _NONCE_BYTES + 16:
        raise EnvelopeError("not an envelope of a known version")
    return envelope[2 : 2 + envelope[1]]


def unseal(cipher: AESGCM, envelope: bytes, place: bytes) -> bytes:
    """Return what was sealed. Raises `EnvelopeError` if key, place or a single bit differ."""
    start = 2 + envelope[1]
    try:
        return cipher.decrypt(envelope[start : start + _NONCE_BYTES], envelope[start + _NONCE_BYTES :], place)
    except (InvalidTag, ValueError) as error:
        raise EnvelopeError("the envelope does not open with this key at this place") from error
