"""The root keys: what wraps the environments' keys, and is itself kept outside the database."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.crypto.envelope import KEY_BYTES, EnvelopeError, key_id_of, seal, unseal

_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


class KeyringError(Exception):
    """The keyring is malformed, or lacks a key that something is wrapped with."""


class RootKeys(Protocol):
    """Wraps and unwraps keys. Asynchronous, because a key management service is across a network."""

    async def wrap(self, key: bytes, place: bytes) -> bytes:
        """Return `key` in an envelope under the primary root key."""
        ...

    async def unwrap(self, envelope: bytes, place: bytes) -> bytes:
        """Return the key. Raises `KeyringError` if the root key is missing, `EnvelopeError` if it does not open."""
        ...


class Keyring:
    """Root keys from a JSON text::

        {"primary": "k2", "keys": {"k1": "<base64 of 32 bytes>", "k2": "<base64 of 32 bytes>"}}

    The primary wraps, all unwrap: to rotate, add a key, make it the primary, rewrap, and only then drop the old one.
    """

    def __init__(self, primary: str, keys: Mapping[str, bytes]) -> None:
        for key_id, key in keys.items():
            if not _KEY_ID.match(key_id):
                raise KeyringError(f"key id {key_id!r} must be 1 to 64 letters, digits and . _ -")
            if len(key) != KEY_BYTES:
                raise KeyringError(f"key {key_id!r} has {len(key)} bytes; it must have {KEY_BYTES}")
            if len(set(key)) < 8:
                raise KeyringError(f"key {key_id!r} is not random; make one with `connections keyring new`")
        if primary not in keys:
            raise KeyringError(f'"primary" names {primary!r}, which is not among "keys"')
        self._primary = primary
        self._ciphers = {key_id.encode(): AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a keyring from its JSON text. Raises `KeyringError`, without quoting any key."""
        try:
            document = json.loads(text)
            primary, entries = document["primary"], document["keys"]
            keys = {str(key_id): base64.b64decode(value, validate=True) for key_id, value in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            raise KeyringError(
                'the keyring is not JSON of the form {"primary": "k1", "keys": {"k1": "<base64 of 32 bytes>"}}; '
                "make one with `connections keyring new`"
            ) from None
        return cls(str(primary), keys)

    async def wrap(self, key: bytes, place: bytes) -> bytes:
        """Return `key` in an envelope under the primary root key."""
        primary = self._primary.encode()
        return seal(self._ciphers[primary], primary, key, place)

    async def unwrap(self, envelope: bytes, place: bytes) -> bytes:
        """Return the key. Raises `KeyringError` if the root key is missing, `EnvelopeError` if it does not open."""
        key_id = key_id_of(envelope)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyringError(f"the keyring has no key {key_id.decode('ascii', 'replace')!r}")
        return unseal(cipher, envelope, place)

    def __repr__(self) -> str:
        return f"Keyring(primary={self._primary!r}, keys={len(self._ciphers)})"


def new_keyring(key_id: str = "k1") -> str:
    """Return the JSON text of a keyring with one new random key."""
    key = base64.b64encode(os.urandom(KEY_BYTES)).decode()
    return json.dumps({"primary": key_id, "keys": {key_id: key}})


__all__ = ["EnvelopeError", "Keyring", "KeyringError", "RootKeys", "new_keyring"]
